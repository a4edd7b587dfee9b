//! Every YAML sample of the documentation and of `deploy` on a real API server, with strict field validation and the
//! rules of the CRDs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imm_harness::environment::checkout;
use imm_harness::{Helm, until};
use serde_json::{Value, json};

use super::blocks::blocks;
use crate::support::{PATIENCE, Stage, chart};

/// API groups of samples that a plain API server does not serve, and of files that are no objects.
const NOT_SERVED: &[&str] = &[
    "argoproj.io",
    "helm.toolkit.fluxcd.io",
    "kustomize.config.k8s.io",
    "kustomize.toolkit.fluxcd.io",
    "monitoring.coreos.com",
    "source.toolkit.fluxcd.io",
    "velero.io",
];
/// Kinds with a spec of which a page shows a part: the part replaces members of this sample.
const WHOLE: [&str; 2] = ["deploy/samples/grant.yaml", "deploy/samples/job.yaml"];

fn find(folder: &Path, kind: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, kind, found);
        } else if path.extension().is_some_and(|extension| extension == kind) {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A document and the file that has it.
struct Sample {
    file: PathBuf,
    object: Value,
}

/// Returns every document of the pages and of the manifests.
fn documents() -> Vec<Sample> {
    let root = checkout();
    let (mut pages, mut manifests) = (vec![root.join("README.md")], Vec::new());
    for folder in ["docs", "deploy", "charts"] {
        find(&root.join(folder), "md", &mut pages);
    }
    find(&root.join("deploy"), "yaml", &mut manifests);
    let mut texts: Vec<(PathBuf, String)> = Vec::new();
    for page in pages {
        let text = read(&page);
        texts.extend(blocks(&text).into_iter().map(|block| (page.clone(), block)));
    }
    texts.extend(manifests.into_iter().map(|file| (file.clone(), read(&file))));
    let chart: Value = serde_saphyr::from_str(&read(&root.join("charts/imm-operator/Chart.yaml"))).unwrap();
    let examples: Vec<Value> = serde_saphyr::from_str(
        chart["annotations"]["artifacthub.io/crdsExamples"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    let mut samples = Vec::new();
    for (file, text) in texts {
        let found: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        samples.extend(found.into_iter().map(|object| Sample {
            file: file.clone(),
            object,
        }));
    }
    samples.extend(examples.into_iter().map(|object| Sample {
        file: root.join("charts/imm-operator/Chart.yaml"),
        object,
    }));
    samples
}

/// Returns what the API server is asked to accept: objects, and for a part of a spec each whole sample with that part, of
/// which one must be accepted.
fn alternatives(sample: &Sample) -> Vec<Value> {
    let object = &sample.object;
    if object["apiVersion"].is_string() {
        let group = object["apiVersion"].as_str().unwrap().split('/').next().unwrap();
        return if NOT_SERVED.contains(&group) || object["kind"] == "Plugin" {
            Vec::new()
        } else {
            vec![object.clone()]
        };
    }
    let Some(part) = object["spec"]
        .as_object()
        .filter(|_| object.as_object().unwrap().len() == 1)
    else {
        return Vec::new();
    };
    let whole = |file: &&str| {
        let mut whole: Value = serde_saphyr::from_str(&read(&checkout().join(file))).unwrap();
        whole["spec"].as_object_mut().unwrap().extend(part.clone());
        whole
    };
    WHOLE.iter().map(whole).collect()
}

/// Asks the API server to accept an object, without storing it. Fields that Helm owns may be in a manifest as well.
async fn accepts(stage: &Stage, object: &Value) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), object.to_string()).unwrap();
    let path = file.path().display().to_string();
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
        "--validate=strict",
        "-f",
        &path,
    ];
    let answer = stage.plane.kubectl(&apply).await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// Creates the namespaces that the samples name.
async fn namespaces(stage: &Stage, samples: &[Sample]) {
    let mut names: BTreeSet<&str> = samples
        .iter()
        .filter_map(|sample| sample.object["metadata"]["namespace"].as_str())
        .collect();
    names.remove("imm-system");
    for name in names {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        stage.plane.apply(&namespace.to_string()).await.unwrap();
    }
}

pub async fn check_15_every_sample_is_accepted_by_the_api_server(stage: Arc<Stage>) {
    let samples = documents();
    namespaces(&stage, &samples).await;
    let (mut ours, mut others, mut parts, mut faults) = (0, 0, 0, Vec::new());
    for sample in &samples {
        let asked = alternatives(sample);
        match asked.as_slice() {
            [] => continue,
            [object] if object["apiVersion"] == "immops.dev/v1alpha1" => ours += 1,
            [_] => others += 1,
            _ => parts += 1,
        }
        let mut refused = Vec::new();
        for object in &asked {
            let mut object = object.clone();
            if object["metadata"]["name"] == "NAME" {
                // A page says that the API server rejects this placeholder, which a command replaces.
                let rejected = accepts(&stage, &object).await.unwrap_err();
                assert!(rejected.contains("metadata.name"), "{rejected}");
                object["metadata"]["name"] = json!("gallery-2024-01");
            }
            match accepts(&stage, &object).await {
                Ok(()) => {
                    refused.clear();
                    break;
                }
                Err(error) => refused.push(error),
            }
        }
        if !refused.is_empty() {
            faults.push(format!("{}: {}", sample.file.display(), refused.join("\n")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        ours >= 14 && others >= 20 && parts >= 6,
        "only {ours}, {others} and {parts} samples"
    );
    // The CronJob of the guide and its copy in `deploy/examples`.
    assert_eq!(created_by_scripts(&stage, &samples).await, 2);
    // A field that does not exist, and a rule of the CRD that is violated.
    let mut wrong: Value = serde_saphyr::from_str(&read(&checkout().join(WHOLE[0]))).unwrap();
    wrong["spec"]["bucketName"] = json!("x");
    assert!(accepts(&stage, &wrong).await.unwrap_err().contains("bucketName"));
    wrong["spec"]
        .as_object_mut()
        .unwrap()
        .remove("bucketName")
        .unwrap();
    accepts(&stage, &wrong).await.unwrap();
    wrong["spec"]["credentials"] = json!({"source": "Secret"});
    assert!(accepts(&stage, &wrong).await.unwrap_err().contains("secretRef"));
}

/// Checks the manifests that the scripts in samples pass to `kubectl create`, and returns their number.
async fn created_by_scripts(stage: &Stage, samples: &[Sample]) -> usize {
    let mut found = 0;
    for sample in samples.iter().filter(|sample| sample.object["kind"] == "CronJob") {
        let container = &sample.object["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
        let script = container["args"][0].as_str().unwrap();
        let (_, rest) = script.split_once("<<JOB\n").unwrap();
        let (manifest, _) = rest.split_once("\nJOB").unwrap();
        // What the shell makes of it in the first night, and later.
        let optional = "${last:+modifiedAfter: \"$last\"}";
        for line in ["", "modifiedAfter: \"2026-10-01T02:15:00Z\""] {
            let manifest = manifest
                .replace(optional, line)
                .replace("generateName: photos-", "name: photos-1");
            assert!(!manifest.contains('$'), "{manifest}");
            let mut object: Value = serde_saphyr::from_str(&manifest).unwrap();
            object["metadata"]["namespace"] = sample.object["metadata"]["namespace"].clone();
            accepts(stage, &object)
                .await
                .unwrap_or_else(|error| panic!("{error}{manifest}"));
        }
        found += 1;
    }
    found
}

/// Returns the samples that a user applies as they are.
fn applied() -> Vec<(String, Vec<Value>)> {
    let names = ["namespaces", "keys", "service-account", "grant", "job", "gallery"];
    let file = |name: &str| {
        let path = checkout().join(format!("deploy/samples/{name}.yaml"));
        let objects: Vec<Value> = serde_saphyr::from_multiple(&read(&path)).unwrap();
        (path.display().to_string(), objects)
    };
    names.map(file).into()
}

/// Returns uid, generation and version of an object.
async fn state(stage: &Stage, object: &Value) -> [Value; 3] {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or("default").to_owned();
    let kind = object["kind"].as_str().unwrap();
    let (name, namespace) = (text("name"), text("namespace"));
    let stored = stage
        .kubectl(&["get", kind, &name, "-n", &namespace, "-o", "json"])
        .await;
    let stored: Value = serde_json::from_str(&stored).unwrap();
    ["uid", "generation", "resourceVersion"].map(|member| stored["metadata"][member].clone())
}

pub async fn check_15_a_second_apply_changes_nothing(stage: Arc<Stage>) {
    let stage = stage.another(Helm::Four, &chart()).await;
    for (file, objects) in applied() {
        stage.kubectl(&["apply", "--validate=strict", "-f", &file]).await;
        for object in objects.iter().filter(|object| ours(object)) {
            until("the operator to write a status", PATIENCE, || async {
                let kind = object["kind"].as_str().unwrap();
                let [name, namespace] =
                    ["name", "namespace"].map(|n| object["metadata"][n].as_str().unwrap());
                let path = "jsonpath={.status.observedGeneration}";
                let seen = stage
                    .kubectl(&["get", kind, name, "-n", namespace, "-o", path])
                    .await;
                if seen == "1" { Ok(()) } else { Err(seen) }
            })
            .await
            .unwrap();
        }
    }
    // Without an operator, only an apply could change something.
    assert!(stage.stop_operator().await.success());
    changes_nothing(&stage, &["--validate=strict"]).await;
    let server_side = ["--validate=strict", "--server-side", "--force-conflicts"];
    for (file, _) in applied() {
        let first = [&["apply", "-f", &file][..], &server_side[..]].concat();
        stage.kubectl(&first).await;
    }
    changes_nothing(&stage, &server_side).await;
    stage.finish().await.unwrap();
}

fn ours(object: &Value) -> bool {
    object["apiVersion"] == "immops.dev/v1alpha1"
}

/// Applies all samples again, with flags.
async fn changes_nothing(stage: &Stage, flags: &[&str]) {
    for (file, objects) in applied() {
        let mut before = Vec::new();
        for object in &objects {
            before.push(state(stage, object).await);
        }
        let said = stage
            .kubectl(&[&["apply", "-f", &file][..], flags].concat())
            .await;
        assert_eq!(said.lines().count(), objects.len(), "{said}");
        // kubectl cannot see that stringData of a Secret is stored already; the versions below show it.
        let unchanged = |line: &str| {
            let end = line.rsplit(' ').next().unwrap();
            ["unchanged", "serverside-applied"].contains(&end) || line.starts_with("secret/")
        };
        assert!(said.lines().all(unchanged), "{said}");
        for (object, before) in objects.iter().zip(before) {
            assert_eq!(state(stage, object).await, before, "{object}");
            assert!(!ours(object) || before[1] == 1, "{object}");
        }
    }
}
