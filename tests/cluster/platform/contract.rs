//! Status as a contract: the kstatus conventions hold at every moment.

use std::sync::Arc;

use imm_emulator::FaultEffect;
use serde_json::json;

use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant, condition, reason};

// P1
pub async fn a_new_object_is_in_progress_before_the_operator_runs(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "newborn").await;
    assert!(stage.stop_operator().await.success());
    tenant.apply(&tenant.grant("newborn", &json!({}))).await;
    tenant
        .apply(&tenant.job("newborn", &["a.jpg"], &json!({"grantRef": {"name": "none"}})))
        .await;
    for kind in [GRANT, JOB] {
        let object = tenant.object(kind, "newborn").await;
        assert_eq!(object["status"], json!({"observedGeneration": -1}), "{kind}");
        assert_eq!(object["metadata"]["generation"], 1);
    }
    let shown = stage.kubectl(&["get", "imm", "-n", "newborn"]).await;
    assert_eq!(
        shown.lines().filter(|line| line.contains("newborn")).count(),
        2,
        "{shown}"
    );

    stage.start_operator().await;
    tenant.until_reason(GRANT, "newborn", "Applied").await;
    tenant.until_reason(JOB, "newborn", "WaitingForGrant").await;
}

// P2
pub async fn check_22_the_observed_generation_follows_a_change_while_failing(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "failing").await;
    tenant.set_permissions("owner", Some(&[]));
    tenant.apply(&tenant.grant("failing", &json!({}))).await;
    tenant.until_reason(GRANT, "failing", "AccessDenied").await;
    for prefix in ["a/", "b/"] {
        tenant
            .apply(&tenant.grant("failing", &json!({"access": {"prefixes": [prefix]}})))
            .await;
        let generation = tenant.object(GRANT, "failing").await["metadata"]["generation"].clone();
        let grant = tenant
            .until(GRANT, "failing", "the observed generation", |grant| {
                grant["status"]["observedGeneration"] == generation
            })
            .await;
        assert_eq!(condition(&grant, "Ready")[..2], ["False", "AccessDenied"]);
        let conditions = grant["status"]["conditions"].as_array().unwrap();
        assert!(
            conditions
                .iter()
                .all(|one| one["observedGeneration"] == generation),
            "{conditions:?}"
        );
    }
}

// P3
pub async fn reconciling_is_cleared_after_a_crash_in_the_middle(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "middle").await;
    // The second read comes right before the write: the ledger is stored, and nothing has been written yet.
    tenant.fault("GetBucketPolicy", 1, 1, FaultEffect::DelayMs(600_000));
    tenant.apply(&tenant.grant("middle", &json!({}))).await;
    let grant = tenant.until_true(GRANT, "middle", "Reconciling").await;
    assert_eq!(grant["status"]["owned"][0]["state"], "Intended");
    stage.kill_operator().await;
    let left = tenant.object(GRANT, "middle").await;
    assert_eq!(
        condition(&left, "Reconciling")[0],
        "True",
        "Reconciling stays after the crash"
    );
    stage.start_operator().await;
    let grant = tenant.until_reason(GRANT, "middle", "Applied").await;
    assert_eq!(
        [condition(&grant, "Reconciling")[0], condition(&grant, "Ready")[0]],
        ["", "True"]
    );
    assert_eq!(tenant.puts().len(), 1);
}

// P13
pub async fn an_idle_grant_is_written_only_to_echo_a_token(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "idle").await;
    tenant.granted("watched", &json!({})).await;
    tenant
        .granted("asked", &json!({"access": {"prefixes": ["a/"]}}))
        .await;
    tenant.reconcile("asked").await;
    let version = |object: &serde_json::Value| object["metadata"]["resourceVersion"].clone();
    let before = tenant.object(GRANT, "watched").await;
    let reads = stage.calls(&tenant.bucket, "GetBucketPolicy").len();
    for _ in 0..4 {
        // Each reconcile covers the whole bucket, hence both grants.
        let asked = tenant.reconcile("asked").await;
        assert_eq!(reason(&asked), "Applied");
    }
    assert!(stage.calls(&tenant.bucket, "GetBucketPolicy").len() >= reads + 4);
    assert_eq!(version(&tenant.object(GRANT, "watched").await), version(&before));
    let echoes = stage
        .audited()
        .into_iter()
        .filter(|one| one.namespace == "idle" && one.name == "asked");
    let echoes = echoes
        .filter(|one| one.resource == "immbucketgrants/status")
        .count();
    // The ledger, the result, and one echo for each of the five tokens.
    assert_eq!(echoes, 7);
}
