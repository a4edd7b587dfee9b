//! What the cloud refuses, what a person must do about it, and that the cure alone is enough.

use std::sync::Arc;

use imm_emulator::{BucketSeed, FaultAnswer, FaultEffect};
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{Stage, Tenant, condition};

// G27
pub async fn a_policy_that_would_grow_too_large_is_left_alone(stage: Arc<Stage>) {
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
    tenant.pass("large").await;
    assert!(tenant.puts().is_empty());
    assert_eq!(tenant.policy(), before);

    // Another grant of the bucket that does fit is not held back.
    tenant
        .granted("small", &json!({"access": {"preset": "Minimal"}}))
        .await;
    assert_eq!(
        condition(&tenant.pass("large").await, "Ready")[1],
        "PolicyTooLarge"
    );
    tenant.delete(GRANT, "small").await;
    tenant.until_gone(GRANT, "small").await;
    tenant.delete(GRANT, "large").await;
    tenant.until_gone(GRANT, "large").await;
}

// G30
pub async fn a_throttled_bucket_is_tried_again_and_nobody_is_called(stage: Arc<Stage>) {
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

// G31
pub async fn a_missing_permission_heals_when_it_is_given(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "denied").await;
    tenant.give_rights(
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
    assert_eq!(tenant.policy(), "");
    tenant.one_event("denied", "AccessDenied").await;

    tenant.give_rights("owner", None);
    let grant = tenant.pass("denied").await;
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
    tenant.pass("elsewhere").await;
    assert!(tenant.puts().is_empty());
}
