//! The cost of the rules of the CRDs, as the API server estimates it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::Stage;

/// Every rule is checked twice in the same rule: the API server accepts it only if the estimated cost of each rule,
/// and of all together, is below half the limit.
pub async fn every_rule_costs_less_than_half_the_limit(stage: Arc<Stage>) {
    let folder = tempfile::tempdir().unwrap();
    for mut definition in imm_operator::api::crds() {
        let mut count = 0;
        for version in &mut definition.spec.versions {
            let mut value = serde_json::to_value(&version.schema).unwrap();
            double_rules(&mut value, &mut count);
            version.schema = serde_json::from_value(value).unwrap();
        }
        let name = definition.metadata.name.clone().unwrap();
        let file = folder.path().join(&name);
        std::fs::write(&file, serde_json::to_string(&definition).unwrap()).unwrap();
        let path = file.display().to_string();
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "-f",
            &path,
        ];
        stage.kubectl(&args).await;
        println!("{name}: {count} rules cost less than half the limit, each and together");
    }
}

fn double_rules(schema: &mut Value, count: &mut usize) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if name != "x-kubernetes-validations" {
                    double_rules(member, count);
                    continue;
                }
                for rule in member.as_array_mut().unwrap() {
                    let text = rule["rule"].as_str().unwrap();
                    rule["rule"] = json!(format!("({text}) && ({text})"));
                    *count += 1;
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| double_rules(item, count)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
