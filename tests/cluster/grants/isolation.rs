//! Protection of others: grants of one bucket from each other, other writers from us, and foreign statements from a
//! tampered ledger.

use std::sync::Arc;

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch};
use imm_operator::core::policy::fingerprint;
use serde_json::json;

use super::merging::FOREIGN;
use crate::support::seen::statements;
use crate::support::tenant::GRANT;
use crate::support::{Stage, Tenant, condition};

// G13
pub async fn an_invalid_grant_blocks_no_other_grant_of_the_bucket(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "siblings").await;
    let access = |prefix: &str| json!({"access": {"prefixes": [prefix]}});
    let mut without_keys = access("keys/");
    without_keys["credentials"] = json!({"secretRef": {"name": "reader"}});
    let mut elsewhere = access("region/");
    elsewhere["bucket"] = json!({"region": "cn-beijing"});
    let grants = [
        ("keys", &without_keys),
        ("region", &elsewhere),
        ("one", &access("one/")),
        ("two", &access("two/")),
    ];
    let manifests: Vec<String> = grants
        .iter()
        .map(|(name, spec)| tenant.grant(name, spec))
        .collect();
    tenant.apply(&manifests.join("\n---\n")).await;
    for (name, expected) in [
        ("keys", "CredentialsUnavailable"),
        ("region", "RegionMismatch"),
        ("one", "Applied"),
        ("two", "Applied"),
    ] {
        tenant.until_reason(GRANT, name, expected).await;
    }
    assert_eq!(statements(&tenant.policy()).len(), 2);
}

// G13: a policy is written as a whole, so that one rejected statement could block all others.
pub async fn a_grant_that_oss_rejects_blocks_neither_additions_nor_removals_of_others(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "rejected").await;
    let access = |prefix: &str| json!({"access": {"prefixes": [prefix]}});
    tenant.granted("old", &access("old/")).await;
    let rejection = FaultAnswer {
        status: 400,
        code: "InvalidPolicyDocument".to_owned(),
        ..FaultAnswer::default()
    };
    stage.cloud.add_fault(Fault {
        matching: FaultMatch {
            bucket: Some(tenant.bucket.clone()),
            body_contains: Some("/bad/*".to_owned()),
            ..FaultMatch::default()
        },
        skip: 0,
        times: None,
        effect: FaultEffect::Answer(rejection),
    });
    let names = ["bad", "one", "two"];
    let manifests: Vec<String> = names
        .map(|name| tenant.grant(name, &access(&format!("{name}/"))))
        .into();
    tenant.apply(&manifests.join("\n---\n")).await;
    tenant.delete(GRANT, "old").await;
    tenant.until_deleted(GRANT, "old").await;
    for name in ["one", "two"] {
        tenant.until_reason(GRANT, name, "Applied").await;
    }
    tenant
        .until_reason(GRANT, "bad", "ForeignStatementRejected")
        .await;
    let policy = tenant.policy();
    assert!(
        !policy.contains("/old/*") && !policy.contains("/bad/*"),
        "{policy}"
    );

    // From now on, other changes cost no rejected write.
    let rejected = || {
        let puts = tenant.puts();
        puts.iter().filter(|put| put.status == Some(400)).count()
    };
    let before = rejected();
    tenant.granted("three", &access("three/")).await;
    tenant.delete(GRANT, "one").await;
    tenant.until_deleted(GRANT, "one").await;
    assert_eq!(rejected(), before);

    // An edited grant is tried again at once.
    tenant.granted("bad", &access("good/")).await;
    assert!(tenant.policy().contains("/good/*"));
}

// G15
pub async fn a_statement_is_only_written_with_the_credentials_of_its_own_grant(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "deputy").await;
    tenant.set_permissions(
        "reader",
        Some(&["oss:GetBucketPolicy", "oss:GetBucketPublicAccessBlock"]),
    );
    tenant.apply(&tenant.keys("reader")).await;
    let weak = json!({"credentials": {"secretRef": {"name": "reader"}}, "access": {"prefixes": ["weak/"]}});
    let strong = json!({"access": {"prefixes": ["strong/"]}});
    tenant
        .apply(&format!(
            "{}\n---\n{}",
            tenant.grant("weak", &weak),
            tenant.grant("strong", &strong)
        ))
        .await;
    tenant.until_reason(GRANT, "weak", "AccessDenied").await;
    tenant.until_reason(GRANT, "strong", "Applied").await;
    tenant.reconcile("weak").await;
    tenant.reconcile("strong").await;
    let policy = tenant.policy();
    assert!(
        policy.contains("/strong/*") && !policy.contains("/weak/*"),
        "{policy}"
    );
    let strong_key = tenant.key_id("owner");
    let carried = tenant
        .puts()
        .into_iter()
        .filter(|put| put.body.as_ref().unwrap().contains("/weak/*"));
    let keys: Vec<_> = carried.map(|put| put.access_key_id.unwrap()).collect();
    assert!(!keys.is_empty() && !keys.contains(&strong_key), "{keys:?}");
}

// G17
pub async fn a_foreign_change_between_our_two_reads_survives(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "between", FOREIGN).await;
    let second_read = tenant.hold("GetBucketPolicy", 1, Some(1));
    tenant.apply(&tenant.grant("between", &json!({}))).await;
    // The ledger is stored after the first read and before the second.
    tenant
        .until(GRANT, "between", "a stored ledger", |grant| {
            grant["status"]["owned"][0]["state"] == "Intended"
        })
        .await;
    assert!(
        stage
            .cloud
            .set_policy(&tenant.bucket, Some(&FOREIGN.replace("vpc-1", "vpc-2")))
    );
    drop(second_read);
    tenant.until_reason(GRANT, "between", "Applied").await;
    let policy = tenant.policy();
    assert!(
        policy.contains("vpc-2") && statements(&policy).len() == 4,
        "{policy}"
    );
    assert_eq!(tenant.puts().len(), 1);
}

// G18
pub async fn a_foreign_change_right_after_our_write_is_found_by_the_second_check(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "after", FOREIGN).await;
    tenant
        .granted("after", &json!({"driftIntervalSeconds": 86400}))
        .await;
    // Another writer that had read the policy before our write restores that version, with a change of its own.
    let theirs = FOREIGN.replace("vpc-1", "vpc-3");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&theirs)));
    // No reconcile is requested: the operator checks again automatically within 45 s.
    tenant
        .until(GRANT, "after", "the restored statement", |grant| {
            grant["status"]["lastDrift"]["count"] == 1 && condition(grant, "Granted")[0] == "True"
        })
        .await;
    let policy = tenant.policy();
    assert!(
        policy.contains("vpc-3") && statements(&policy).len() == 4,
        "{policy}"
    );
    tenant.one_event("after", "DriftDetected").await;
}

pub async fn write_status(tenant: &Tenant, name: &str, change: &serde_json::Value) {
    let patch = json!({"status": change}).to_string();
    let args = [
        "patch",
        "ibg",
        name,
        "-n",
        &tenant.name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    tenant.stage.kubectl(&args).await;
}

// P15
pub async fn a_dropped_ledger_makes_our_statement_pre_existing(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "dropped", FOREIGN).await;
    tenant.granted("dropped", &json!({})).await;
    let policy = tenant.policy();
    write_status(&tenant, "dropped", &json!({"owned": null})).await;
    let grant = tenant.reconcile("dropped").await;
    assert_eq!(condition(&grant, "Ready")[1], "Applied");
    assert_eq!(grant["status"]["owned"][0]["preExisting"], true);
    tenant.delete(GRANT, "dropped").await;
    tenant.until_deleted(GRANT, "dropped").await;
    assert_eq!(
        tenant.policy(),
        policy,
        "a statement whose owner is unknown stays, and an event says so"
    );
    tenant.one_event("dropped", "ResidualAccess").await;
    assert_eq!(tenant.puts().len(), 1);
}

// P15
pub async fn a_forged_ledger_removes_no_foreign_statement(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "forged", FOREIGN).await;
    let grant = tenant.granted("forged", &json!({})).await;
    let mut ledger = grant["status"]["owned"].as_array().unwrap().clone();
    for foreign in statements(FOREIGN) {
        let text = foreign.to_string();
        ledger.push(
            json!({"fingerprint": fingerprint(&text).unwrap(), "role": "Access", "state": "Applied",
            "preExisting": false, "statement": text}),
        );
    }
    write_status(&tenant, "forged", &json!({"owned": ledger})).await;
    tenant.reconcile("forged").await;
    assert_eq!(statements(&tenant.policy()).len(), 4);
    tenant.delete(GRANT, "forged").await;
    tenant.until_deleted(GRANT, "forged").await;
    assert_eq!(tenant.policy(), FOREIGN);
}
