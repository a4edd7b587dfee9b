//! The demo on a cluster of the user: which clusters are refused, and that nothing is removed but what the demo created.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use imm_harness::current::created::{self, CreatedObject};
use imm_harness::current::removal::{remove_own_kinds, remove_rest};
use imm_harness::current::{CurrentCluster, guards};
use imm_harness::environment::checkout;
use imm_harness::process::Process;
use imm_harness::{ControlPlane, HarnessError, Helm, Options, Result, until};
use serde_json::{Value, json};

const NAMESPACES: [&str; 3] = ["imm-system", "media", "analytics"];
const SOON: Duration = Duration::from_secs(60);

/// Writes a copy of a kubeconfig whose context has another name.
fn renamed(folder: &Path, kubeconfig: &Path, name: &str) -> PathBuf {
    let mut config: Value = serde_json::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
    config["contexts"][0]["name"] = json!(name);
    config["current-context"] = json!(name);
    let path = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn refusal(result: Result<()>) -> String {
    match result {
        Err(HarnessError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn sample(name: &str) -> PathBuf {
    checkout().join("deploy/samples").join(name)
}

#[tokio::test]
async fn a_context_is_refused_before_anything_is_sent_to_its_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    let unreachable = folder.path().join("config");
    std::fs::write(&unreachable, config.to_string()).unwrap();
    let open = async |name: &str, typed: Option<&str>| {
        let path = renamed(folder.path(), &unreachable, name);
        CurrentCluster::open(Some(&path), typed).await.map(|_| ())
    };
    assert!(refusal(open("prod", None).await).contains("CONTEXT=prod"));
    assert!(refusal(open("kind-dev", Some("kind-kind")).await).contains("CONTEXT=kind-dev"));
    open("prod", Some("prod")).await.unwrap();
    open("kind-dev", None).await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_has_the_operator_or_a_namespace_of_the_demo_is_refused() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let path = renamed(plane.folder(), plane.kubeconfig(), "kind-demo");
    let cluster = CurrentCluster::open(Some(&path), None).await.unwrap();
    let check = async || guards::refuse_occupied(&cluster, &NAMESPACES).await;
    check().await.unwrap();

    plane.kubectl(&["create", "namespace", "media"]).await.unwrap();
    assert!(refusal(check().await).starts_with("namespace/media exists"));

    let deployment = ["create", "deployment", "renamed", "--image=none", "--replicas=0"];
    plane.kubectl(&deployment).await.unwrap();
    let labelled = [
        "label",
        "deployment",
        "renamed",
        "app.kubernetes.io/name=imm-operator",
    ];
    plane.kubectl(&labelled).await.unwrap();
    assert!(refusal(check().await).starts_with("Deployment renamed in namespace default"));

    // What Helm has begun to install and does not list.
    plane
        .kubectl(&["create", "secret", "generic", "begun"])
        .await
        .unwrap();
    let labels = ["label", "secret", "begun", "owner=helm", "name=imm-operator"];
    plane.kubectl(&labels).await.unwrap();
    assert!(refusal(check().await).starts_with("Secret begun in namespace default"));

    let chart = checkout().join("charts/imm-operator").display().to_string();
    let release = [
        "install",
        "other",
        &chart,
        "-n",
        "imm",
        "--create-namespace",
        "--set",
        "crds.enabled=false",
    ];
    plane.helm(Helm::Four, &release).await.unwrap();
    assert!(refusal(check().await).starts_with("the release other in namespace imm exists"));

    let definition = checkout().join("crds/immbucketgrants.yaml").display().to_string();
    plane.kubectl(&["create", "-f", &definition]).await.unwrap();
    let refused = refusal(check().await);
    assert!(
        refused.contains("immbucketgrants.immops.dev exists") && refused.contains("kind-demo"),
        "{refused}"
    );

    // A release of others with the demo's name, which came after this check, is not taken for the demo's.
    let release = [
        "install",
        "imm-operator",
        &chart,
        "-n",
        "imm-system",
        "--create-namespace",
        "--set",
        "crds.enabled=false",
    ];
    plane.helm(Helm::Four, &release).await.unwrap();
    let found = created::of_release(&cluster).await.unwrap();
    assert!(found.objects.is_empty() && found.failed.is_empty(), "{found:?}");
    plane.stop().unwrap();
}

/// Creates what the demo creates, without an operator.
async fn created(cluster: &CurrentCluster) -> Vec<CreatedObject> {
    let mut all = created::create_namespace(cluster, "imm-system").await.unwrap();
    let chart = checkout().join("charts/imm-operator").display().to_string();
    let labels = created::labels(cluster);
    let mut release = vec![
        "install",
        "imm-operator",
        &chart,
        "-n",
        "imm-system",
        "--set",
        "replicaCount=0",
    ];
    release.extend(labels.iter().map(String::as_str));
    cluster.helm(&release).await.unwrap();
    all.extend(created::of_release(cluster).await.unwrap().objects);
    for name in ["namespaces.yaml", "keys.yaml", "job.yaml", "grant.yaml"] {
        all.extend(created::create(cluster, &sample(name)).await.unwrap());
    }
    all
}

#[tokio::test]
async fn what_somebody_else_made_stays() {
    let plane = ControlPlane::start(Options {
        controllers: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let path = renamed(plane.folder(), plane.kubeconfig(), "kind-demo");
    let cluster = CurrentCluster::open(Some(&path), None).await.unwrap();
    let mut mine = created(&cluster).await;
    let records = mine
        .iter()
        .filter(|object| object.name.starts_with("sh.helm.release."));
    assert_eq!(records.count(), 1, "{mine:?}");
    // Without Helm's record, which another demo may have removed, everything else is found.
    let record = [
        "delete",
        "secret",
        "sh.helm.release.v1.imm-operator.v1",
        "-n",
        "imm-system",
    ];
    plane.kubectl(&record).await.unwrap();
    mine.retain(|object| !object.name.starts_with("sh.helm.release."));
    // What an interrupted demo could not note is found by its mark.
    let mut found = created::of_namespace(&cluster, "imm-system").await.unwrap();
    found.extend(created::of_release(&cluster).await.unwrap().objects);
    for name in ["namespaces.yaml", "keys.yaml", "job.yaml", "grant.yaml"] {
        found.extend(created::of_manifest(&cluster, &sample(name)).await.unwrap());
    }
    assert_eq!(found, mine);
    // An existing object is never taken over.
    assert!(created::create(&cluster, &sample("keys.yaml")).await.is_err());

    plane
        .kubectl(&["create", "configmap", "theirs", "-n", "media"])
        .await
        .unwrap();
    plane
        .kubectl(&["delete", "secret", "imm-caller", "-n", "analytics"])
        .await
        .unwrap();
    plane
        .kubectl(&["create", "secret", "generic", "imm-caller", "-n", "analytics"])
        .await
        .unwrap();
    plane.kubectl(&["create", "namespace", "others"]).await.unwrap();
    let grant = std::fs::read_to_string(sample("grant.yaml")).unwrap();
    plane
        .apply(&grant.replace("namespace: media", "namespace: others"))
        .await
        .unwrap();
    assert!(
        created::of_manifest(&cluster, &sample("keys.yaml"))
            .await
            .unwrap()
            .len()
            < 7
    );

    let own = remove_own_kinds(&cluster, &mine).await;
    assert_eq!((own.removed, own.failed.len()), (2, 0), "{own:?}");
    let rest = remove_rest(&cluster, &mine).await.unwrap();
    assert!(rest.failed.is_empty(), "{rest:?}");
    let mut left = rest.left;
    left.sort();
    let expected = [
        "namespace analytics, because of Secret imm-caller in namespace analytics",
        "namespace media, because of ConfigMap theirs in namespace media",
        "the CRDs, because of ImmBucketGrant photos-to-analytics in namespace others",
    ];
    assert_eq!(left, expected);
    let exists = async |args: &[&str]| plane.kubectl(&[&["get"], args].concat()).await.is_ok();
    assert!(exists(&["configmap", "theirs", "-n", "media"]).await);
    assert!(exists(&["secret", "imm-caller", "-n", "analytics"]).await);
    assert!(exists(&["immbucketgrant", "photos-to-analytics", "-n", "others"]).await);
    assert!(!exists(&["immbucketgrant", "photos-to-analytics", "-n", "media"]).await);
    assert!(!exists(&["secret", "oss-policy-admin", "-n", "media"]).await);
    assert!(!exists(&["clusterrole", "imm-operator"]).await);
    assert!(!exists(&["namespace", "imm-system"]).await);
    plane.stop().unwrap();
}

/// Returns every object of the cluster with its uid, except what comes and goes by itself.
async fn everything(plane: &ControlPlane) -> BTreeSet<String> {
    let kinds = plane
        .kubectl(&["api-resources", "--verbs=list,delete", "-o", "name"])
        .await
        .unwrap();
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.starts_with("leases"))
        .collect();
    let list = [
        "get",
        &kinds.join(","),
        "--all-namespaces",
        "--ignore-not-found",
        "-o",
        "json",
    ];
    let found: Value = serde_json::from_str(&plane.kubectl(&list).await.unwrap()).unwrap();
    let found = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(CreatedObject::of);
    found
        .map(|object| format!("{} {}", object.place(), object.uid))
        .collect()
}

#[tokio::test]
async fn the_demo_leaves_a_cluster_as_it_was_also_when_it_is_interrupted() {
    let harness = Path::new(env!("CARGO_BIN_EXE_imm-harness"));
    assert!(
        harness.with_file_name("imm-operator").is_file(),
        "the operator is missing: run `cargo build`"
    );
    let plane = ControlPlane::start(Options {
        controllers: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let path = renamed(plane.folder(), plane.kubeconfig(), "kind-demo");
    let before = everything(&plane).await;

    let log = plane.folder().join("interrupted.log");
    let mut demo = Command::new(harness);
    demo.args(["demo", "--cluster", "current"])
        .env("KUBECONFIG", &path);
    let demo = Process::spawn("imm-harness demo", &mut demo, &log).unwrap();
    until("the demo to apply its grant", SOON, || async {
        demo.must_run().map_err(|error| error.to_string())?;
        if demo.log().contains("waiting for the grant to be applied") {
            Ok(())
        } else {
            Err(demo.log())
        }
    })
    .await
    .unwrap();
    let status = demo.terminate(SOON).await.unwrap();
    let said = demo.log();
    assert!(
        status.code() == Some(1) && said.contains("were removed by their uid"),
        "{status:?}\n{said}"
    );
    assert_eq!(everything(&plane).await, before, "{said}");

    let mut demo = Command::new(harness);
    demo.args(["demo", "--cluster", "current"])
        .env("KUBECONFIG", &path);
    let output = demo.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("the policy equals the original, byte for byte") && !said.contains("  left: "),
        "{said}"
    );
    assert_eq!(everything(&plane).await, before, "{said}");
    plane.stop().unwrap();
}
