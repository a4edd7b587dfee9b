//! What the cloud rejects, what the message asks for, and that the fix alone is enough.

use std::sync::Arc;

use imm_emulator::{BucketSeed, FaultAnswer, FaultEffect};
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_B, Stage, Tenant, condition};

// G27
pub async fn a_policy_that_would_grow_too_large_is_not_written(stage: Arc<Stage>) {
    // 300 bytes are free: enough for one action, too little for nine.
    let frame = r#"{"Version":"1","Statement":[]}"#;
    let before = frame.replace("[]", &format!("[]{}", " ".repeat(16_384 - 300 - frame.len())));
    let tenant = Tenant::with_policy(&stage, "large", &before).await;
    tenant.apply(&tenant.grant("large", &json!({}))).await;
    let grant = tenant.until_reason(GRANT, "large", "PolicyTooLarge").await;
    let [_, _, message] = condition(&grant, "Ready");
    let numbers: Vec<usize> = message
        .split(|sign: char| !sign.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        matches!(numbers[..2], [needed, free] if needed > free && needed < 500 && free.abs_diff(300) <= 1),
        "{message}"
    );
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    tenant.reconcile("large").await;
    assert!(tenant.puts().is_empty());
    assert_eq!(tenant.policy(), before);

    // A preview of the same grant reports the same reason, and has no plan.
    let preview = json!({"mode": "Preview", "access": {"prefixes": ["a/"]}});
    tenant.apply(&tenant.grant("previewed", &preview)).await;
    let grant = tenant.until_reason(GRANT, "previewed", "PolicyTooLarge").await;
    assert!(grant["status"]["plan"].is_null(), "{grant}");

    // Another grant of the bucket that fits is not blocked.
    tenant
        .granted("small", &json!({"access": {"preset": "Minimal"}}))
        .await;
    assert_eq!(
        condition(&tenant.reconcile("large").await, "Ready")[1],
        "PolicyTooLarge"
    );
    tenant.delete(GRANT, "small").await;
    tenant.until_deleted(GRANT, "small").await;
    tenant.delete(GRANT, "large").await;
    tenant.until_deleted(GRANT, "large").await;
}

// G30
pub async fn a_throttled_bucket_is_retried_and_does_not_stall(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "throttled").await;
    let slow_down = FaultAnswer {
        status: 503,
        code: "MetaOperationQpsLimitExceeded".to_owned(),
        ..FaultAnswer::default()
    };
    tenant.fault("GetBucketPolicy", 0, 4, FaultEffect::Answer(slow_down));
    tenant.apply(&tenant.grant("throttled", &json!({}))).await;
    let grant = tenant.until_reason(GRANT, "throttled", "RateLimited").await;
    assert_eq!(
        [
            condition(&grant, "Stalled")[0],
            condition(&grant, "Reconciling")[0]
        ],
        ["", "True"]
    );
    let grant = tenant.until_reason(GRANT, "throttled", "Applied").await;
    assert_eq!(condition(&grant, "Reconciling")[0], "");
    assert_eq!(tenant.puts().len(), 1);
}

// G31, C9
pub async fn a_grant_recovers_when_a_missing_permission_is_granted(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "denied").await;
    tenant.set_permissions(
        "owner",
        Some(&["oss:GetBucketPolicy", "oss:GetBucketPublicAccessBlock"]),
    );
    tenant.apply(&tenant.grant("denied", &json!({}))).await;
    let grant = tenant.until_reason(GRANT, "denied", "AccessDenied").await;
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    let [_, _, message] = condition(&grant, "Ready");
    assert!(
        message.contains("oss:PutBucketPolicy") && message.contains("denied-bucket"),
        "{message}"
    );
    assert!(
        message.contains("no RAM policy allows oss:PutBucketPolicy") && message.contains("of Secret "),
        "{message}"
    );
    assert_eq!(tenant.policy(), "");
    tenant.one_event("denied", "AccessDenied").await;

    tenant.set_permissions("owner", None);
    let grant = tenant.reconcile("denied").await;
    assert_eq!(condition(&grant, "Ready")[1], "Applied");
    assert_eq!(condition(&grant, "Stalled")[0], "");
}

// G35
pub async fn a_bucket_in_another_region_is_reported_and_never_written(stage: Arc<Stage>) {
    let far = BucketSeed {
        region: "cn-beijing".to_owned(),
        block_public_access: true,
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(&stage, "elsewhere", far).await;
    tenant.apply(&tenant.grant("elsewhere", &json!({}))).await;
    let grant = tenant.until_reason(GRANT, "elsewhere", "RegionMismatch").await;
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    tenant.reconcile("elsewhere").await;
    assert!(tenant.puts().is_empty());
}

// G35
pub async fn a_bucket_of_another_owner_is_reported_and_never_written(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "misowned").await;
    let changes = json!({"bucket": {"ownerUID": "1111222233334444"}});
    tenant.apply(&tenant.grant("misowned", &changes)).await;
    let grant = tenant.until_reason(GRANT, "misowned", "OwnerMismatch").await;
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    assert!(condition(&grant, "Ready")[2].contains(ACCOUNT_B));
    tenant.reconcile("misowned").await;
    assert!(tenant.puts().is_empty());
}

// D5: OSS itself reports the policy status after a write.
pub async fn a_policy_that_has_become_public_is_reported(stage: Arc<Stage>) {
    let closed = Tenant::new(&stage, "closed").await;
    let grant = closed.granted("closed", &json!({})).await;
    assert_eq!(grant["status"]["policy"]["public"], false);

    let policy = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["*"],"Resource":["acs:oss:*:{ACCOUNT_B}:public-bucket/*"]}}]}}"#
    );
    let open = BucketSeed {
        block_public_access: false,
        policy: Some(policy),
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(&stage, "public", open).await;
    let grant = tenant
        .granted("public", &json!({"access": {"passRoleStatement": "Omit"}}))
        .await;
    assert_eq!(grant["status"]["policy"]["public"], true);
}

// G28
pub async fn a_policy_that_oss_rejects_for_its_content_is_reported_with_its_code(stage: Arc<Stage>) {
    // A statement stored before OSS became stricter: a repeated wildcard makes OSS reject the whole document.
    let policy = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["27490"],"Resource":["acs:oss:*:{ACCOUNT_B}:stricter-bucket/**"]}}]}}"#
    );
    let tenant = Tenant::with_policy(&stage, "stricter", &policy).await;
    tenant.apply(&tenant.grant("stricter", &json!({}))).await;
    let grant = tenant
        .until_reason(GRANT, "stricter", "ForeignStatementRejected")
        .await;
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    let put = tenant.puts().remove(0);
    let message = condition(&grant, "Ready")[2];
    assert!(
        message.contains(&put.code.unwrap()) && message.contains(&put.request_id),
        "{message}"
    );
    assert_eq!(tenant.policy(), policy);
}

// P17
pub async fn every_change_to_stalled_is_a_warning_event(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "warned").await;
    let wrong = json!({"bucket": {"ownerUID": "1111222233334444"}});
    tenant.apply(&tenant.grant("warned", &wrong)).await;
    tenant.until_reason(GRANT, "warned", "OwnerMismatch").await;
    let note = tenant.one_event("warned", "OwnerMismatch").await;
    assert!(
        note.contains("docs/src/troubleshoot/reasons.md#ownermismatch"),
        "{note}"
    );
    let selector = "--field-selector=reason=OwnerMismatch,type=Warning";
    let events = stage
        .kubectl(&["get", "events", "-n", "warned", selector, "-o", "name"])
        .await;
    assert_eq!(events.lines().count(), 1, "{events}");
    // A reconcile that finds the same state publishes nothing.
    tenant.reconcile("warned").await;
    tenant.one_event("warned", "OwnerMismatch").await;
}
