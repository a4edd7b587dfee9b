//! The operator's command line.
fn main() {
    for crd in imm_operator::api::definitions() {
        println!("---\n{}", serde_saphyr::to_string(&crd).unwrap_or_default());
    }
}
