//! Other writers of the same policy: repeated removals, a widened statement, a wiped policy.

use std::sync::Arc;

use serde_json::{Value, json};

use super::merging::FOREIGN;
use crate::support::seen::statements;
use crate::support::tenant::GRANT;
use crate::support::{Stage, Tenant, condition};

pub fn with(policy: &str, change: impl Fn(&mut Vec<Value>)) -> String {
    let mut document: Value = serde_json::from_str(policy).unwrap();
    change(document["Statement"].as_array_mut().unwrap());
    document.to_string()
}

/// Removes the statements of a grant three times within a few seconds. Returns the grant, which waits before the next
/// restore, and the policy that it waits with.
async fn removed_three_times(stage: &Stage, tenant: &Tenant, name: &str) -> (Value, String) {
    for removal in 1..=2 {
        let others = FOREIGN.replace("vpc-1", &format!("vpc-{}", removal + 1));
        assert!(stage.cloud.set_policy(&tenant.bucket, Some(&others)));
        tenant.request_reconcile(GRANT, name).await;
        tenant
            .until(GRANT, name, "the restored statement", |grant| {
                grant["status"]["lastDrift"]["count"] == removal
                    && condition(grant, "Granted")[0] == "True"
                    && condition(grant, "Ready")[1] == "Applied"
            })
            .await;
    }
    let others = FOREIGN.replace("vpc-1", "vpc-4");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&others)));
    let grant = tenant.until_reason(GRANT, name, "RepeatedDrift").await;
    (grant, others)
}

// G25
pub async fn the_third_removal_within_an_hour_is_repeated_drift_and_writes_nothing(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "repeated", FOREIGN).await;
    tenant.granted("repeated", &json!({})).await;
    let (grant, others) = removed_three_times(&stage, &tenant, "repeated").await;
    let states = ["RepeatedDrift", "Stalled", "Granted"].map(|kind| condition(&grant, kind)[0]);
    assert_eq!(states, ["True", "True", "False"]);
    for _ in 0..2 {
        tenant.reconcile("repeated").await;
    }
    assert_eq!(tenant.puts().len(), 3, "the first write and two corrections");
    assert_eq!(tenant.policy(), others);
    let note = tenant.one_event("repeated", "RepeatedDrift").await;
    assert!(note.contains("alicloud_oss_bucket"), "{note}");
}

// As docs/src/concepts/concurrent-writers.md describes.
pub async fn access_comes_back_during_the_wait_by_hand_or_with_a_new_grant(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "sooner", FOREIGN).await;
    tenant.granted("sooner", &json!({})).await;
    let (grant, others) = removed_three_times(&stage, &tenant, "sooner").await;
    let owned = grant["status"]["owned"].as_array().unwrap();
    let ours: Vec<&str> = owned.iter().map(|e| e["statement"].as_str().unwrap()).collect();
    assert!(!ours.is_empty());

    let by_hand = with(&others, |all| {
        all.extend(
            ours.iter()
                .map(|text| serde_json::from_str::<Value>(text).unwrap()),
        );
    });
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&by_hand)));
    tenant.request_reconcile(GRANT, "sooner").await;
    let grant = tenant.until_reason(GRANT, "sooner", "Applied").await;
    let states = ["Ready", "Granted", "RepeatedDrift", "Stalled"].map(|kind| condition(&grant, kind)[0]);
    assert_eq!(states, ["True", "True", "True", "True"]);
    let entries = grant["status"]["owned"].as_array().unwrap();
    for entry in entries {
        assert_eq!(entry["state"], "Applied");
        assert_ne!(entry["preExisting"], true, "the grant still owns it");
    }
    assert_eq!(tenant.puts().len(), 3, "nothing had to be written");

    let others = FOREIGN.replace("vpc-1", "vpc-5");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&others)));
    tenant.request_reconcile(GRANT, "sooner").await;
    tenant.until_reason(GRANT, "sooner", "RepeatedDrift").await;
    tenant.delete(GRANT, "sooner").await;
    tenant.until_deleted(GRANT, "sooner").await;
    assert_eq!(tenant.policy(), others);
    let grant = tenant.granted("sooner", &json!({})).await;
    assert!(grant["status"]["repeatedDrift"].is_null(), "{}", grant["status"]);
    assert_eq!(tenant.puts().len(), 4);
    assert_eq!(
        statements(&tenant.policy()).len(),
        statements(&others).len() + ours.len()
    );
}

// G23
pub async fn a_widened_statement_becomes_foreign_and_ours_is_restored_beside_it(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "widened").await;
    tenant
        .granted("widened", &json!({"access": {"preset": "Minimal"}}))
        .await;
    let ours = statements(&tenant.policy()).remove(0);
    let mut theirs = ours.clone();
    theirs["Action"] = json!(["oss:GetObject", "oss:PutObject"]);
    let widened = with(&tenant.policy(), |all| *all = vec![theirs.clone()]);
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&widened)));
    tenant
        .until(
            GRANT,
            "widened",
            "our statement beside the widened one",
            |grant| grant["status"]["overlaps"] == 1 && condition(grant, "Ready")[1] == "Applied",
        )
        .await;
    assert_eq!(statements(&tenant.policy()), [theirs.clone(), ours]);
    tenant.one_event("widened", "ForeignOverlap").await;

    tenant.delete(GRANT, "widened").await;
    tenant.until_deleted(GRANT, "widened").await;
    assert_eq!(statements(&tenant.policy()), [theirs]);
    tenant.one_event("widened", "ResidualAccess").await;
}

// G24
pub async fn of_a_wiped_policy_only_our_statements_are_restored_and_the_backup_has_the_rest(
    stage: Arc<Stage>,
) {
    let tenant = Tenant::with_policy(&stage, "wiped", FOREIGN).await;
    let grant = tenant.granted("wiped", &json!({})).await;
    let whole = tenant.policy();
    let copy = grant["status"]["policy"]["backupRef"].clone();
    let [name, entry] = ["name", "entry"].map(|member| copy[member].as_str().unwrap());
    assert!(stage.cloud.set_policy(&tenant.bucket, None));
    tenant
        .until(GRANT, "wiped", "our restored statement", |grant| {
            grant["status"]["lastDrift"]["count"] == 1 && condition(grant, "Ready")[1] == "Applied"
        })
        .await;
    let policy = tenant.policy();
    assert_eq!(statements(&policy).len(), 1);
    assert!(
        !policy.contains("vpc-1"),
        "foreign statements may have been removed on purpose"
    );
    let note = tenant.one_event("wiped", "DriftDetected").await;
    assert!(note.contains(name) && note.contains(entry), "{note}");

    // Restores the backup that the event names by hand.
    let kept = stage
        .kubectl(&["get", "configmap", name, "-n", "imm-system", "-o", "json"])
        .await;
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let lost = kept["data"][format!("{entry}.json")].as_str().unwrap();
    assert_eq!(lost, FOREIGN, "the backup equals the original, byte for byte");
    assert_eq!(kept["data"][format!("{entry}.writer")], "wiped/wiped");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(lost)));
    tenant
        .until(
            GRANT,
            "wiped",
            "our statement beside the restored ones",
            |grant| grant["status"]["lastDrift"]["count"] == 2 && condition(grant, "Ready")[1] == "Applied",
        )
        .await;
    assert_eq!(tenant.policy(), whole);
}
