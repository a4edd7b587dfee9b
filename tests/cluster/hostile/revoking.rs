//! A tenant that tries to keep a statement of another tenant in the policy.

use std::sync::Arc;

use imm_emulator::{Fault, FaultEffect, FaultMatch};
use serde_json::{Value, json};

use crate::support::tenant::GRANT;
use crate::support::user::User;
use crate::support::{Stage, Tenant};

// T2
pub async fn a_grant_that_may_only_read_does_not_keep_the_statement_of_another_tenant(stage: Arc<Stage>) {
    let victim = Tenant::new(&stage, "victim").await;
    let attacker = Tenant::new(&stage, "squatter").await;
    let user = User::new(&stage, "squatter", "admin").await;
    attacker.set_permissions(
        "owner",
        Some(&[
            "oss:GetBucketPolicy",
            "oss:GetBucketInfo",
            "oss:GetBucketPublicAccessBlock",
        ]),
    );
    // The rejection of the write takes a while, in which the user edits the grant.
    stage.cloud.add_fault(Fault {
        matching: FaultMatch {
            action: Some("PutBucketPolicy".to_owned()),
            access_key_id: Some(attacker.key_id("owner")),
            ..FaultMatch::default()
        },
        skip: 0,
        times: Some(1),
        effect: FaultEffect::DelayMs(3_000),
    });
    let on_their_bucket = json!({"bucket": {"name": victim.bucket}});
    let grant: Value = serde_json::from_str(&attacker.grant("equal", &on_their_bucket)).unwrap();
    user.create(GRANT, &grant).await;
    let recorded = attacker
        .until(GRANT, "equal", "a recorded write", |grant| {
            grant["status"]["owned"][0]["state"] == "Intended"
        })
        .await;
    user.patch(GRANT, "equal", &json!({"spec": {"suspend": true}}))
        .await;
    let grant = attacker.until_reason(GRANT, "equal", "Suspended").await;
    assert_eq!(
        grant["status"]["owned"],
        Value::Null,
        "the rejected write is rolled back"
    );
    // Nothing depends on that: with more edits, the entry could have stayed until its write has expired.
    let mut left = recorded["status"]["owned"].clone();
    for entry in left.as_array_mut().unwrap() {
        entry["unsettledUntil"] = json!("2020-01-01T00:00:00Z");
    }
    let patch = json!({"status": {"owned": left}}).to_string();
    let args = [
        "patch",
        "ibg",
        "equal",
        "-n",
        &attacker.name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    stage.kubectl(&args).await;

    victim.granted("revoked", &json!({})).await;
    let policy = victim.policy();
    victim.delete(GRANT, "revoked").await;
    victim.until_deleted(GRANT, "revoked").await;
    assert_eq!(victim.policy(), "", "the statement is gone with its grant");

    // What somebody else writes later is not the attacker's either, whatever its ledger once recorded.
    assert!(stage.cloud.set_policy(&victim.bucket, Some(&policy)));
    user.patch(GRANT, "equal", &json!({"spec": {"suspend": false}}))
        .await;
    let grant = attacker.until_reason(GRANT, "equal", "Applied").await;
    assert_eq!(grant["status"]["owned"][0]["preExisting"], true);
    user.delete(GRANT, "equal").await;
    attacker.until_deleted(GRANT, "equal").await;
    assert_eq!(victim.policy(), policy);
}
