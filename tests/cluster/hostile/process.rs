//! What the process of the operator leaves behind, and what it relies on at its start.

use std::sync::Arc;

use imm_harness::{Helm, until};
use serde_json::{Value, json};

use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant, chart};

/// Path of the members of a ledger entry in the CRD of grants.
const ENTRY: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/ledgerOf";

// T14
pub async fn a_crash_leaves_no_core_dump(stage: Arc<Stage>) {
    let process = stage.operator_process().await;
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
}

async fn patch_crd(stage: &Stage, operation: Value) {
    let patch = json!([operation]).to_string();
    let name = "immbucketgrants.immops.dev";
    stage
        .kubectl(&["patch", "crd", name, "--type=json", "-p", &patch])
        .await;
}

// T14
pub async fn with_older_crds_the_operator_is_not_ready_and_keeps_the_ledger(stage: Arc<Stage>) {
    let stage = stage.another(Helm::Four, &chart()).await;
    let tenant = Tenant::new(&stage, "outdated").await;
    let ledger = tenant.granted("outdated", &json!({})).await["status"]["owned"].clone();
    assert!(stage.stop_operator().await.success());
    let path = format!(
        "jsonpath={{{}}}",
        ENTRY.replace('/', ".").replace("versions.0.", "versions[0].")
    );
    let member = stage
        .kubectl(&["get", "crd", "immbucketgrants.immops.dev", "-o", &path])
        .await;
    let member: Value = serde_json::from_str(&member).unwrap();
    patch_crd(&stage, json!({"op": "remove", "path": ENTRY})).await;
    // The schema reaches the description of the API a moment later.
    until("the older schema to be served", PATIENCE, || async {
        let served = stage
            .kubectl(&["get", "--raw", "/openapi/v3/apis/immops.dev/v1alpha1"])
            .await;
        let served: Value = serde_json::from_str(&served).unwrap();
        let entry = "/components/schemas/dev.immops.v1alpha1.ImmBucketGrant/properties/status/properties";
        let members = served.pointer(entry).cloned().unwrap_or_default();
        (members.is_object() && members["ledgerOf"].is_null()).then_some(())
    })
    .await
    .unwrap();
    let writes = || stage.audited().iter().filter(|one| one.verb == "update").count();
    let before = writes();
    let starting = tokio::spawn({
        let stage = Arc::clone(&stage);
        async move { stage.start_operator().await }
    });
    until("the log to name what to do", PATIENCE, || async {
        stage.log().contains("apply crds/ first").then_some(())
    })
    .await
    .unwrap();
    assert!(stage.log().contains("ImmBucketGrant.status.ledgerOf"));
    assert!(!starting.is_finished(), "the operator is not ready");
    assert_eq!(writes(), before, "nothing is written");
    patch_crd(&stage, json!({"op": "add", "path": ENTRY, "value": member})).await;
    starting.await.unwrap();
    let grant = tenant.reconcile("outdated").await;
    assert_eq!(grant["status"]["owned"], ledger);
    tenant.until_reason(GRANT, "outdated", "Applied").await;
    stage.finish().await.unwrap();
}
