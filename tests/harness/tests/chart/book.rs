//! The Helm values that the documentation shows: the chart accepts them.

use std::path::{Path, PathBuf};

use imm_harness::Helm;
use imm_harness::environment::checkout;
use serde_json::Value;

use super::chart;
use crate::rendering::render_values;

#[path = "../../../docs/blocks.rs"]
mod blocks;

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "md") {
            found.push(path);
        }
    }
}

/// Returns whether a block has Helm values: every name is one of the chart's.
fn is_values(block: &Value, known: &Value) -> bool {
    let members = block.as_object();
    members.is_some_and(|all| !all.is_empty() && all.keys().all(|name| known.get(name).is_some()))
}

#[test]
fn the_chart_accepts_the_values_of_the_book() {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let known: Value = serde_saphyr::from_str(&read(&chart().join("values.yaml"))).unwrap();
    let mut found = vec![checkout().join("README.md")];
    pages(&checkout().join("docs"), &mut found);
    pages(&checkout().join("charts"), &mut found);
    let mut checked = 0;
    for page in found {
        let blocks = blocks::blocks(&read(&page));
        let documents = blocks
            .iter()
            .flat_map(|block| serde_saphyr::from_multiple::<Value>(block).unwrap());
        for values in documents.filter(|document| is_values(document, &known)) {
            checked += 1;
            let rendered = render_values(Helm::Four, &values.to_string(), &[]);
            assert!(rendered.is_ok(), "{}: {values}: {rendered:?}", page.display());
        }
    }
    assert!(checked >= 7, "only {checked} blocks");
}

#[test]
fn a_wrong_name_below_a_value_is_refused() {
    let known = serde_json::json!({"metrics": {}, "replicaCount": 1});
    let values = serde_json::json!({"metrics": {"serviceMonitr": {"enabled": true}}});
    assert!(is_values(&values, &known) && !is_values(&serde_json::json!({"spec": {}}), &known));
    let refused = render_values(Helm::Four, &values.to_string(), &[]).unwrap_err();
    assert!(refused.contains("serviceMonitr"), "{refused}");
}
