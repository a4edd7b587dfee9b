//! Several grants on one bucket, and statements that existed before a grant.

use std::sync::Arc;

use serde_json::json;

use crate::support::seen::statements;
use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage, Tenant, condition};

/// Returns the access statement of the usual grant, in another order and spelling than ours.
fn same_by_hand(bucket: &str) -> String {
    format!(
        r#"{{"Version":"1","Statement":[{{"Resource":"acs:oss:*:{ACCOUNT_B}:{bucket}/*","Principal":"arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*","Action":"oss:GetObject","Effect":"Allow"}}]}}"#
    )
}

// G10, G11, G12
pub async fn two_grants_share_a_statement_until_the_last_one_is_deleted(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "shared").await;
    let first = tenant.granted("one", &json!({})).await;
    tenant.granted("two", &json!({})).await;
    let version = |object: &serde_json::Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(statements(&tenant.policy()).len(), 1);
    assert_eq!(tenant.puts().len(), 1);
    assert_eq!(
        version(&tenant.object(GRANT, "one").await),
        version(&first),
        "the first grant is not written"
    );

    let (policy, second) = (tenant.policy(), tenant.object(GRANT, "two").await);
    tenant.delete(GRANT, "one").await;
    tenant.until_deleted(GRANT, "one").await;
    let left = tenant.reconcile("two").await;
    assert_eq!(condition(&left, "Granted"), condition(&second, "Granted"));
    assert_eq!(tenant.policy(), policy);
    assert_eq!(tenant.puts().len(), 1, "no gap: nothing was written");

    tenant.delete(GRANT, "two").await;
    tenant.until_deleted(GRANT, "two").await;
    assert_eq!(tenant.policy(), "");
}

// G14
pub async fn twenty_grants_at_once_cost_at_most_three_writes(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "twenty").await;
    let names: Vec<String> = (0..20).map(|n| format!("grant-{n}")).collect();
    let manifests: Vec<String> = names
        .iter()
        .map(|name| {
            tenant.grant(
                name,
                &json!({"access": {"preset": "Minimal", "prefixes": [format!("{name}/")]}}),
            )
        })
        .collect();
    tenant.apply(&manifests.join("\n---\n")).await;
    for name in &names {
        tenant.until_true(GRANT, name, "Granted").await;
    }
    let policy = tenant.policy();
    assert_eq!(statements(&policy).len(), 20);
    assert!(names.iter().all(|name| policy.contains(&format!("/{name}/*"))));
    let puts = tenant.puts().len();
    assert!(puts <= 3, "{puts} writes");
}

// G16
pub async fn an_adopted_statement_stays_when_the_grant_is_deleted(stage: Arc<Stage>) {
    let before = same_by_hand("adopted-bucket");
    let tenant = Tenant::with_policy(&stage, "adopted", &before).await;
    let grant = tenant
        .granted("adopts", &json!({"access": {"preset": "Minimal"}}))
        .await;
    assert_eq!(condition(&grant, "Granted")[0], "True");
    assert_eq!(grant["status"]["owned"][0]["preExisting"], true);
    tenant.delete(GRANT, "adopts").await;
    tenant.until_deleted(GRANT, "adopts").await;
    assert_eq!(tenant.policy(), before);
    assert!(tenant.puts().is_empty());
    let note = tenant.one_event("adopts", "ResidualAccess").await;
    assert!(note.contains("Access remains"), "{note}");
}

// G16
pub async fn an_existing_statement_stalls_a_grant_with_adoption_policy_fail(stage: Arc<Stage>) {
    let before = same_by_hand("strict-bucket");
    let tenant = Tenant::with_policy(&stage, "strict", &before).await;
    let changes = json!({"access": {"preset": "Minimal"}, "adoptionPolicy": "Fail"});
    tenant.apply(&tenant.grant("strict", &changes)).await;
    let grant = tenant.until_reason(GRANT, "strict", "ExistingStatement").await;
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    tenant.reconcile("strict").await;
    assert!(tenant.puts().is_empty());
    assert_eq!(tenant.policy(), before);

    // The fix that the message names.
    tenant
        .granted(
            "strict",
            &json!({"access": {"preset": "Minimal"}, "adoptionPolicy": "Adopt"}),
        )
        .await;
    assert_eq!(tenant.policy(), before);
}
