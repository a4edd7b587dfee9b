//! Renders the chart with either major version of Helm.

#![allow(dead_code, reason = "each test program uses another part of this")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use imm_harness::Helm;
use imm_harness::environment::checkout;
use serde_json::Value;

pub const BOTH: [Helm; 2] = [Helm::Three, Helm::Four];

pub fn chart() -> PathBuf {
    checkout().join("charts/imm-operator")
}

pub fn helm(helm: Helm, args: &[&str]) -> Result<String, String> {
    let output = Command::new(helm.tool().path().unwrap())
        .args(args)
        .arg(chart())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

pub fn render(major: Helm, more: &[&str]) -> Result<String, String> {
    helm(
        major,
        &[&["template", "release", "--namespace", "imm-system"], more].concat(),
    )
}

/// Parses the rendered objects, so that formatting does not matter.
pub fn objects(rendered: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(rendered).unwrap();
    all.into_iter().filter(|object| !object.is_null()).collect()
}

pub fn names(objects: &[Value]) -> BTreeSet<String> {
    let name = |object: &Value| {
        format!(
            "{} {}",
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"]
        )
    };
    objects.iter().map(name).collect()
}
