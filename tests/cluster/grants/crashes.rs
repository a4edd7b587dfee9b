//! The operator crashes around a write, or cannot store what it is about to do. No other test runs at the same time.

use std::sync::Arc;

use imm_emulator::FaultEffect;
use imm_harness::until;
use serde_json::json;

use super::merging::FOREIGN;
use crate::support::seen::statements;
use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant, condition};

/// Checks, after a crash, that the statement is owned, exists once, and is removed with the grant.
async fn owned_once_and_removed(tenant: &Tenant) {
    let stage = &tenant.stage;
    stage.start_operator().await;
    let grant = tenant.until_reason(GRANT, "crashed", "Applied").await;
    assert_eq!(statements(&tenant.policy()).len(), 4);
    let entry = &grant["status"]["owned"][0];
    assert_eq!(
        [&entry["state"], &entry["preExisting"]],
        [&json!("Applied"), &json!(false)]
    );
    assert_eq!(tenant.puts().len(), 1, "the write is not repeated");
    tenant.delete(GRANT, "crashed").await;
    // The object may stay for a few minutes, until no write of the crashed process can arrive any more.
    until("the statement to be removed", PATIENCE, || async {
        let policy = tenant.policy();
        if policy == FOREIGN { Ok(()) } else { Err(policy) }
    })
    .await
    .unwrap();
}

// G19
pub async fn a_crash_after_the_write_loses_and_duplicates_nothing(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "crash-one", FOREIGN).await;
    // The third read is the one that would verify the write.
    tenant.fault("GetBucketPolicy", 2, 1, FaultEffect::DelayMs(600_000));
    tenant.apply(&tenant.grant("crashed", &json!({}))).await;
    stage
        .until_calls("the write", &tenant.bucket, "PutBucketPolicy", 1)
        .await;
    let grant = tenant.object(GRANT, "crashed").await;
    assert_eq!(
        grant["status"]["owned"][0]["state"], "Intended",
        "recorded before the write"
    );
    stage.kill_operator().await;
    owned_once_and_removed(&tenant).await;
}

// G19
pub async fn a_crash_after_an_unanswered_write_loses_and_duplicates_nothing(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "crash-two", FOREIGN).await;
    tenant.fault("PutBucketPolicy", 0, 1, FaultEffect::DropAfter);
    tenant.apply(&tenant.grant("crashed", &json!({}))).await;
    stage
        .until_calls("the write", &tenant.bucket, "PutBucketPolicy", 1)
        .await;
    stage.kill_operator().await;
    owned_once_and_removed(&tenant).await;
}

// G20
pub async fn without_a_stored_ledger_nothing_is_written(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "no-ledger", FOREIGN).await;
    let role = stage
        .kubectl(&["get", "clusterrole", "imm-operator", "-o", "json"])
        .await;
    let mut without: serde_json::Value = serde_json::from_str(&role).unwrap();
    for rule in without["rules"].as_array_mut().unwrap() {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|resource| resource != "immbucketgrants/status");
        }
    }
    let rules = json!({"rules": without["rules"]}).to_string();
    stage
        .kubectl(&[
            "patch",
            "clusterrole",
            "imm-operator",
            "--type=merge",
            "-p",
            &rules,
        ])
        .await;
    tenant.apply(&tenant.grant("unrecorded", &json!({}))).await;
    // Three rejected status writes are at least two complete reconciles.
    until("rejected status writes", PATIENCE, || async {
        let refused = stage.audited().into_iter().filter(|one| {
            one.resource == "immbucketgrants/status" && one.namespace == "no-ledger" && one.code == 403
        });
        let count = refused.count();
        if count >= 3 {
            Ok(())
        } else {
            Err(format!("{count} refused"))
        }
    })
    .await
    .unwrap();
    assert!(
        tenant.puts().is_empty(),
        "a statement is written only after the ledger has recorded it"
    );
    assert_eq!(tenant.policy(), FOREIGN);

    let given_back: serde_json::Value = serde_json::from_str(&role).unwrap();
    let rules = json!({"rules": given_back["rules"]}).to_string();
    stage
        .kubectl(&[
            "patch",
            "clusterrole",
            "imm-operator",
            "--type=merge",
            "-p",
            &rules,
        ])
        .await;
    let grant = tenant.until_reason(GRANT, "unrecorded", "Applied").await;
    assert_eq!(condition(&grant, "Granted")[0], "True");
    assert_eq!(tenant.puts().len(), 1);
}
