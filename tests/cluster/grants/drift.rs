//! Drift of our statements, and reconciles on request.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::merging::FOREIGN;
use crate::support::seen::statements;
use crate::support::tenant::GRANT;
use crate::support::{Stage, Tenant, condition};

// G21
pub async fn a_removed_statement_is_restored_with_one_event(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "drift", FOREIGN).await;
    tenant.granted("drift", &json!({})).await;
    let policy = tenant.policy();
    // For a while after our own write the previous document may be a stale read. Only a document that is neither the one
    // before the write nor the one after it is certain to be another writer's.
    let others = FOREIGN.replace("vpc-1", "vpc-2");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&others)));
    let grant = tenant
        .until(GRANT, "drift", "one corrected drift", |grant| {
            grant["status"]["lastDrift"]["kind"] == "StatementRemoved"
                && condition(grant, "Granted")[0] == "True"
        })
        .await;
    assert_eq!(grant["status"]["lastDrift"]["count"], 1);
    assert_eq!(tenant.policy(), policy.replace("vpc-1", "vpc-2"));
    for _ in 0..3 {
        tenant.reconcile("drift").await;
    }
    tenant.one_event("drift", "DriftDetected").await;
    tenant.one_event("drift", "DriftCorrected").await;
    assert_eq!(tenant.puts().len(), 2);
}

// D1: OSS may return an older document for a while.
pub async fn the_document_from_before_our_write_is_first_taken_for_a_stale_read(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "older", FOREIGN).await;
    tenant.granted("older", &json!({})).await;
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(FOREIGN)));
    let grant = tenant.reconcile("older").await;
    assert_eq!(
        [condition(&grant, "Ready")[1], condition(&grant, "Granted")[0]],
        ["Propagating", "True"]
    );
    assert_eq!(
        tenant.puts().len(),
        1,
        "nothing is written because of a stale read"
    );

    // Half a minute after our write the document is no longer taken for a stale read.
    let grant = tenant.until_reason(GRANT, "older", "Applied").await;
    assert_eq!(grant["status"]["lastDrift"]["count"], 1);
    assert_eq!(tenant.puts().len(), 2);
    let written = |place: usize| tenant.puts()[place].time.parse::<Timestamp>().unwrap();
    let apart = written(1).duration_since(written(0));
    assert!(apart >= SignedDuration::from_secs(29), "{apart}");
}

// G29
pub async fn a_statement_with_the_same_meaning_is_not_written_again(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "reworded").await;
    tenant
        .granted(
            "reworded",
            &json!({"access": {"preset": "Custom", "actions": ["oss:GetObject"]}}),
        )
        .await;
    let mut ours = statements(&tenant.policy()).remove(0);
    for member in ["Action", "Principal", "Resource"] {
        ours[member] = ours[member][0].clone();
    }
    // A map of serde_json is sorted by name, which differs from our order.
    let reworded = json!({"Statement": [ours], "Version": "1"}).to_string();
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&reworded)));
    for _ in 0..2 {
        let grant = tenant.reconcile("reworded").await;
        assert_eq!(condition(&grant, "Granted")[0], "True");
    }
    assert_eq!(tenant.policy(), reworded);
    assert_eq!(tenant.puts().len(), 1);

    // The statement is still owned: it is removed with the grant.
    tenant.delete(GRANT, "reworded").await;
    tenant.until_deleted(GRANT, "reworded").await;
    assert_eq!(tenant.policy(), "");
}

// G45
pub async fn a_requested_reconcile_runs_immediately_and_is_echoed(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "asked").await;
    tenant
        .granted("asked", &json!({"driftIntervalSeconds": 86400}))
        .await;
    let reads = stage.calls(&tenant.bucket, "GetBucketPolicy").len();
    let token = tenant.request_reconcile(GRANT, "asked").await;
    // The regular interval of this grant is a day.
    tenant
        .until(GRANT, "asked", "the echoed token", |grant| {
            grant["status"]["lastHandledReconcileAt"] == *token
        })
        .await;
    assert!(stage.calls(&tenant.bucket, "GetBucketPolicy").len() > reads);
}
