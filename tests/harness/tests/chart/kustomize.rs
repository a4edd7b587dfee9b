//! The Kustomize base, its overlays and components: each renders with kubectl, and is the chart with the values that
//! the component names.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use imm_harness::Helm;
use imm_harness::environment::checkout;
use imm_harness::tools::Tool;
use serde_json::{Value, json};

use crate::rendering::{helm, objects, only};

const RRSA: &[&str] = &["--set", "rrsa.roleName=imm-operator,credentials.source=rrsa"];
const RRSA_LABELS: &[&str] = &["pod-identity.alibabacloud.com/injection"];
const HIGH_AVAILABILITY: &[&str] = &[
    "--set",
    "replicaCount=2",
    "--set-json",
    r#"topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}]"#,
];

/// Folders below `deploy/kustomize`, the values of the chart that render the same objects, and the namespace's own
/// labels.
const FOLDERS: [(&str, &[&str], &[&str]); 3] = [
    ("base", &[], &[]),
    ("overlays/rrsa", RRSA, RRSA_LABELS),
    ("overlays/high-availability", HIGH_AVAILABILITY, &[]),
];

/// Renders a kustomization.
pub(crate) fn kustomized(folder: &std::path::Path) -> Vec<Value> {
    let output = Command::new(Tool::Kubectl.path().unwrap())
        .arg("kustomize")
        .arg(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    objects(&String::from_utf8(output.stdout).unwrap())
}

/// Removes the labels that Helm sets, wherever an object has them, and writes 1 and 1.0 alike, as Kustomize does.
fn comparable(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::Object(labels)) = members.get_mut("labels") {
                labels.remove("helm.sh/chart");
                labels.remove("app.kubernetes.io/managed-by");
            }
            members.values_mut().for_each(comparable);
        }
        Value::Array(items) => items.iter_mut().for_each(comparable),
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Returns the objects by kind and name; the order of members does not matter then.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let named = |object: Value| {
        (
            format!("{} {}", object["kind"], object["metadata"]["name"]),
            object,
        )
    };
    objects.into_iter().map(named).collect()
}

/// Checks that objects are those of the chart with some values, and a namespace with more labels.
fn assert_equals_chart(what: &str, mut found: Vec<Value>, values: &[&str], labels: &[&str]) {
    found.iter_mut().for_each(comparable);
    let template = ["template", "imm-operator", "-n", "imm-system"];
    let plain = ["--skip-tests", "--set", "crds.keep=false"];
    let rendered = helm(Helm::Four, &[&template, &plain[..], values].concat()).unwrap();
    let mut expected = objects(&rendered);
    expected.iter_mut().for_each(comparable);
    let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
        {"name": "imm-system", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    for label in labels {
        namespace["metadata"]["labels"][*label] = json!("on");
    }
    expected.push(namespace);
    assert!(expected.len() > 12, "{what}: {}", expected.len());
    let (found, expected) = (by_name(found), by_name(expected));
    assert!(
        found.keys().eq(expected.keys()),
        "{what}: {:?} {:?}",
        found.keys(),
        expected.keys()
    );
    for (name, object) in &found {
        assert!(expected.get(name) == Some(object), "{what}: {name}: {object}");
    }
}

#[test]
fn every_kustomization_is_the_chart_with_its_values() {
    for (folder, values, labels) in FOLDERS {
        let found = kustomized(&checkout().join("deploy/kustomize").join(folder));
        assert_equals_chart(folder, found, values, labels);
    }
}

#[test]
fn a_kustomization_of_the_user_can_list_several_components() {
    let start = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    for order in [["rrsa", "high-availability"], ["high-availability", "rrsa"]] {
        let parts = order.map(|name| format!("  - {REMOTE}/deploy/kustomize/components/{name}\n"));
        let text = format!(
            "{start}resources:\n  - {REMOTE}/deploy/kustomize/base\ncomponents:\n{}",
            parts.concat()
        );
        let values = [RRSA, HIGH_AVAILABILITY].concat();
        assert_equals_chart(&text, of_the_user(&text), &values, RRSA_LABELS);
    }
}

#[test]
fn every_folder_of_kustomize_is_tested() {
    let names = |kind: &str| -> BTreeSet<String> {
        let folders = std::fs::read_dir(checkout().join("deploy/kustomize").join(kind)).unwrap();
        folders
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    };
    let expected = BTreeSet::from(["rrsa", "high-availability"].map(ToOwned::to_owned));
    assert_eq!(names("overlays"), expected);
    // Each overlay is the base with the component of its name.
    assert_eq!(names("components"), expected);
}

/// How a kustomization of a user names this repository.
const REMOTE: &str = "https://github.com/imm-operator/imm-operator/";

/// Renders a kustomization of a user, on the folders of this checkout.
fn of_the_user(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    // Kustomize wants a relative path.
    let up = folder.path().canonicalize().unwrap().components().count() - 1;
    let root = checkout().canonicalize().unwrap();
    let root = root.strip_prefix("/").unwrap().display();
    let local = text.replace(REMOTE, &format!("{}{root}", "../".repeat(up)));
    std::fs::write(folder.path().join("kustomization.yaml"), local).unwrap();
    kustomized(folder.path())
}

/// Renders the kustomization that the page shows for users, in another namespace.
fn example() -> Vec<Value> {
    let page = std::fs::read_to_string(checkout().join("docs/src/operate/install.md")).unwrap();
    let start = "apiVersion: kustomize.config.k8s.io/v1beta1\n";
    let shown = page.split("```yaml\n").find(|block| block.starts_with(start));
    let shown = shown.unwrap().split("```").next().unwrap();
    let version = "?ref=v0.1.0";
    assert!(shown.contains(REMOTE) && shown.contains(version), "{shown}");
    let local = shown.replace(version, "");
    of_the_user(&local.replace("namespace: imm-system", "namespace: scores"))
}

#[test]
fn a_kustomization_of_the_user_sets_what_is_the_users() {
    let found = example();
    let mut places = 0;
    for object in &found {
        let text = object.to_string();
        let own = object["kind"] != "CustomResourceDefinition";
        assert!(!own || !text.contains("imm-system"), "{text}");
        places += text.matches("\"namespace\":\"scores\"").count();
    }
    // The objects of the namespace, and the subjects of both bindings.
    assert!(places >= 7, "{places}");
    only(&found, "PodDisruptionBudget");
    let container = &only(&found, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example.com/imm-operator:0.1.0");
    let role = &only(&found, "ServiceAccount")["metadata"]["annotations"];
    assert_eq!(
        role["pod-identity.alibabacloud.com/role-name"],
        "NAME-OF-THE-ROLE"
    );
    let rules = &only(&found, "ConfigMap")["data"]["rules.yaml"];
    assert_eq!(rules, "strict: true\nrules: []");
}
