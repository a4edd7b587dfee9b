//! Each how-to guide has one manifest in `deploy/examples`, which has the objects that the guide shows. The API server checks
//! these manifests in the cluster test of all samples.

use std::collections::BTreeSet;

use imm_operator::api::GROUP;
use serde_json::Value;

use super::blocks::blocks;
use super::samples::check_object;
use super::{REPOSITORY, find_pages, read, root};

const FOLDER: &str = "deploy/examples";

fn ours(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.starts_with(GROUP)
}

/// Returns whether a guide shows an object as a user applies it: a placeholder for a name, or for a namespace that another tool
/// sets, is replaced first.
fn applied_as_shown(object: &Value) -> bool {
    ours(object) && object["metadata"]["namespace"].is_string() && object["metadata"]["name"] != "NAME"
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Returns what is wrong with the manifest of a guide.
fn faults(guide: &str, manifest: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    if !manifest.iter().any(ours) {
        faults.push("no object of our kinds".to_owned());
    }
    for object in manifest.iter().filter(|object| ours(object)) {
        faults.extend(check_object(object).err());
    }
    let shown = blocks(guide).into_iter().flat_map(|block| documents(&block));
    for object in shown.filter(applied_as_shown) {
        if !manifest.contains(&object) {
            faults.push(format!("the guide shows another {}", object["metadata"]["name"]));
        }
    }
    faults
}

#[test]
fn every_guide_has_an_example_manifest() {
    let mut pages = Vec::new();
    find_pages(&root().join("docs/src/how-to"), &mut pages);
    let mut expected = BTreeSet::from(["README.md".to_owned()]);
    for page in pages {
        let name = format!("{}.yaml", page.file_stem().unwrap().to_string_lossy());
        let guide = read(&page);
        let link = format!("]({REPOSITORY}{FOLDER}/{name})");
        assert!(
            guide.contains(&link),
            "{}: no link to {FOLDER}/{name}",
            page.display()
        );
        let found = faults(&guide, &documents(&read(format!("{FOLDER}/{name}"))));
        assert!(found.is_empty(), "{name}: {}", found.join("\n"));
        expected.insert(name);
    }
    let entries = std::fs::read_dir(root().join(FOLDER)).unwrap();
    let present: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, expected);
    assert!(expected.len() > 10, "only {} guides", expected.len());
}

#[test]
fn a_manifest_that_differs_from_its_guide_is_detected() {
    let sample = read("deploy/samples/grant.yaml");
    let guide = format!("```yaml\n{sample}```\n");
    assert_eq!(faults(&guide, &documents(&sample)), Vec::<String>::new());
    let other = sample.replace("cn-hangzhou", "cn-shanghai");
    assert_eq!(faults(&guide, &documents(&other)).len(), 1);
    let invalid = sample.replace("ownerUID", "owner");
    assert_eq!(faults("", &documents(&invalid)).len(), 1);
    assert_eq!(faults("", &documents("kind: Namespace")).len(), 1);
}
