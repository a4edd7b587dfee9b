//! Renders the chart with either major version of Helm.

#![allow(dead_code, reason = "each test program uses another part of this")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use imm_harness::Helm;
use imm_harness::environment::checkout;
use serde_json::Value;

pub const BOTH: [Helm; 2] = [Helm::Three, Helm::Four];

pub fn chart() -> PathBuf {
    checkout().join("charts/imm-operator")
}

pub fn helm(helm: Helm, args: &[&str]) -> Result<String, String> {
    helm_on(&chart(), helm, args)
}

/// Runs Helm on another chart.
pub fn helm_on(chart: &Path, helm: Helm, args: &[&str]) -> Result<String, String> {
    let output = Command::new(helm.tool().path().unwrap())
        .args(args)
        .arg(chart)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Returns a chart that has this one as a dependency.
pub fn parent() -> tempfile::TempDir {
    parent_with("")
}

/// Returns a chart that has this one as a dependency, with more members of the dependency.
pub fn parent_with(more: &str) -> tempfile::TempDir {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("charts");
    std::fs::create_dir(&place).unwrap();
    let dependency = format!("name: imm-operator, version: 0.1.0, condition: imm-operator.enabled{more}");
    let head = format!("apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies: [{{{dependency}}}]\n");
    std::fs::write(parent.path().join("Chart.yaml"), head).unwrap();
    std::os::unix::fs::symlink(chart(), place.join("imm-operator")).unwrap();
    parent
}

/// Renders with values that are given as YAML or JSON.
pub fn render_values(major: Helm, values: &str, more: &[&str]) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    let path = file.path().display().to_string();
    render(major, &[&["--values", &path], more].concat())
}

/// Returns the only object of a kind.
pub fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next();
    assert!(found.next().is_none(), "several objects of kind {kind}");
    first.unwrap()
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
