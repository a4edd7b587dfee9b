//! Upgrading and uninstalling the chart: what Helm updates, what Helm leaves, and how to finish what is left. Each test
//! has a cluster of its own, because a cluster holds one release.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imm_harness::{ControlPlane, Helm, Options};
use serde_json::{Value, json};

use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant, chart};

const OTHERS: &str = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;

/// Returns a copy of the chart as an earlier release could have been: its CRD has another column.
fn earlier(folder: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (from, to) = entry.map(|e| (e.path(), to.join(e.file_name()))).unwrap();
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(&from, &to).unwrap();
            }
        }
    }
    let earlier = folder.join("earlier");
    copy(&chart(), &earlier);
    for (file, now, then) in [
        (
            "templates/crds/immbucketgrants.yaml",
            "name: Last-Write",
            "name: Written",
        ),
        ("Chart.yaml", "version: 0.1.0", "version: 0.0.9"),
    ] {
        let text = std::fs::read_to_string(earlier.join(file)).unwrap();
        assert!(text.contains(now), "{file}");
        std::fs::write(earlier.join(file), text.replacen(now, then, 1)).unwrap();
    }
    earlier
}

/// Runs `imm-operator release-finalizers`, or its old name, as the administrator.
fn release_finalizers(plane: &ControlPlane, name: &str, flags: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
    command
        .arg(name)
        .args(flags)
        .env("KUBECONFIG", plane.kubeconfig());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn columns(stage: &Stage) -> String {
    let shown = stage.kubectl(&["get", "ibg", "-A", "-o", "wide"]).await;
    shown.lines().next().unwrap_or_default().to_owned()
}

/// Returns identity, spec and ledger of every object: what a downgrade must not change.
async fn kept(stage: &Stage) -> Vec<Value> {
    let all = stage.kubectl(&["get", "ibg,isj", "-A", "-o", "json"]).await;
    let all: Value = serde_json::from_str(&all).unwrap();
    let kept = |object: &Value| {
        let metadata = &object["metadata"];
        json!([
            metadata["uid"],
            metadata["generation"],
            metadata["finalizers"],
            object["spec"],
            object["status"]["owned"]
        ])
    };
    all["items"].as_array().unwrap().iter().map(kept).collect()
}

/// Goes back to the earlier chart, whose CRDs come back, and forward again. The process is the same throughout: there
/// is no earlier binary.
async fn downgrade_and_upgrade_again(stage: &Stage, helm: Helm, upgrade: &[&str]) {
    let before = kept(stage).await;
    assert_eq!(before.len(), 3);
    let rollback = ["rollback", "imm-operator", "1", "-n", "imm-system"];
    stage.plane.helm(helm, &rollback).await.unwrap();
    assert!(columns(stage).await.contains("WRITTEN"));
    assert_eq!(kept(stage).await, before);
    stage.plane.helm(helm, upgrade).await.unwrap();
    assert!(columns(stage).await.contains("LAST-WRITE"));
    assert_eq!(kept(stage).await, before);
}

async fn lives(stage: &Arc<Stage>, helm: Helm, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let stage = &stage.another(helm, &earlier(folder.path())).await;
    let tenant = Tenant::with_policy(stage, name, OTHERS).await;
    for (grant, prefix) in [("finished", "a/"), ("drained", "b/")] {
        tenant
            .granted(grant, &json!({"access": {"prefixes": [prefix]}}))
            .await;
    }
    tenant
        .apply(&tenant.job("kept", &["a.jpg"], &json!({"grantRef": {"name": "none"}})))
        .await;
    assert!(columns(stage).await.contains("WRITTEN"));

    let chart = chart().display().to_string();
    let release = |verb| [verb, "imm-operator", &chart, "-n", "imm-system"];
    let notes = stage.plane.helm(helm, &release("upgrade")).await.unwrap();
    assert!(columns(stage).await.contains("LAST-WRITE"));
    assert!(
        notes.contains("imm-operator release-finalizers"),
        "the notes name the command that finishes an uninstall: {notes}"
    );
    tenant.reconcile("finished").await;
    tenant.until_reason(GRANT, "finished", "Applied").await;
    downgrade_and_upgrade_again(stage, helm, &release("upgrade")).await;
    tenant.reconcile("finished").await;
    tenant.until_reason(GRANT, "finished", "Applied").await;

    assert!(stage.stop_operator().await.success());
    let uninstall = ["uninstall", "imm-operator", "-n", "imm-system"];
    stage.plane.helm(helm, &uninstall).await.unwrap();
    let left = stage.kubectl(&["get", "imm", "-n", name, "-o", "name"]).await;
    assert_eq!(left.lines().count(), 3, "{left}");
    // A grant that is deleted now waits for an operator.
    tenant.delete(JOB, "kept").await;
    tenant.until_deleted(JOB, "kept").await;
    for grant in ["finished", "drained"] {
        tenant.delete(GRANT, grant).await;
        let waiting = tenant.object(GRANT, grant).await;
        assert_eq!(waiting["metadata"]["finalizers"], json!(["immops.dev/grant"]));
        assert!(!waiting["metadata"]["deletionTimestamp"].is_null());
    }

    // One way to finish: install the operator again.
    let both = tenant.policy();
    let listed = release_finalizers(&stage.plane, "drain", &[]);
    assert_eq!(
        listed.matches("kept in the policy: 1 statement").count(),
        2,
        "{listed}"
    );
    assert_eq!(tenant.policy(), both, "listing changes nothing");
    stage.plane.helm(helm, &release("install")).await.unwrap();
    let account = stage
        .plane
        .service_account_kubeconfig("imm-system", "imm-operator");
    assert_eq!(account.await.unwrap(), stage.kubeconfig);
    stage.start_operator().await;
    for grant in ["finished", "drained"] {
        tenant.until_deleted(GRANT, grant).await;
    }
    assert_eq!(tenant.policy(), OTHERS);

    // The other way, without an operator: release the finalizers, so that the access remains.
    tenant.granted("drained", &json!({})).await;
    let granted = tenant.policy();
    assert!(stage.stop_operator().await.success());
    stage.plane.helm(helm, &uninstall).await.unwrap();
    stage.kubectl(&["delete", "secret", "owner", "-n", name]).await;
    tenant.delete(GRANT, "drained").await;
    let released = release_finalizers(&stage.plane, "release-finalizers", &["--yes"]);
    assert!(
        released.contains(&format!("{name}/drained: released")),
        "{released}"
    );
    tenant.until_deleted(GRANT, "drained").await;
    assert_eq!(tenant.policy(), granted);
    stage.finish().await.unwrap();
}

// P11
pub async fn check_19_21_helm_3_upgrades_the_crds_and_keeps_every_object(stage: Arc<Stage>) {
    lives(&stage, Helm::Three, "lived-three").await;
}

// P11
pub async fn check_19_21_helm_4_upgrades_the_crds_and_keeps_every_object(stage: Arc<Stage>) {
    lives(&stage, Helm::Four, "lived-four").await;
}

pub async fn without_crds_there_is_nothing_to_release(_: Arc<Stage>) {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    for flags in [&[][..], &["--yes"]] {
        let said = release_finalizers(&plane, "release-finalizers", flags);
        assert_eq!(
            said,
            "The cluster has no CRD immbucketgrants.immops.dev, so there are no grants and no finalizers\n"
        );
    }
    plane.stop().unwrap();
}
