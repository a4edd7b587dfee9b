//! What needs a rule without strict mode: the operator's own identity, and taking ownership of a statement.

use std::sync::Arc;

use imm_emulator::{FaultAnswer, FaultEffect};
use serde_json::{Value, json};

use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage, Tenant, condition};

fn operator() -> Value {
    json!({"credentials": {"source": "Operator", "secretRef": null}})
}

fn calls_about(stage: &Stage, bucket: &str) -> usize {
    let calls = stage.cloud.calls().into_iter();
    calls
        .filter(|call| call.bucket.as_deref() == Some(bucket))
        .count()
}

// P5
pub async fn without_a_rule_the_operators_identity_makes_no_call_until_a_rule_is_added(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "unruled").await;
    tenant.apply(&tenant.grant("unruled", &operator())).await;
    let grant = tenant.until_reason(GRANT, "unruled", "TenancyDenied").await;
    assert_eq!(condition(&grant, "Allowed")[..2], ["False", "TenancyDenied"]);
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    let note = tenant.one_event("unruled", "TenancyDenied").await;
    assert!(
        note.contains("tenancy.rules"),
        "the event names what to request: {note}"
    );
    assert_eq!(calls_about(&stage, &tenant.bucket), 0);

    // A rule for another owner's buckets changes nothing; a matching rule is enough, without an edit of the grant.
    let rule = |owner: &str| {
        json!({"namespaces": {"names": ["unrul*"]}, "kinds": ["ImmBucketGrant"],
            "credentialSources": ["Operator"], "ownerUIDs": [owner], "buckets": ["unruled-*"], "granteeUIDs": [ACCOUNT_A], "presets": ["Documented"]})
    };
    stage.allow(rule("1111222233334444"));
    stage.allow(rule(ACCOUNT_B));
    let grant = tenant.until_reason(GRANT, "unruled", "Applied").await;
    assert_eq!(condition(&grant, "Allowed")[0], "True");
    assert_eq!(grant["metadata"]["generation"], 1);
    assert_eq!(
        grant["metadata"]["annotations"]["immops.dev/reconcile-at"],
        Value::Null
    );
    assert_eq!(tenant.puts().len(), 1);
}

// D10
pub async fn an_unreadable_owner_blocks_the_operators_identity(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "unseen").await;
    stage.allow(
        json!({"namespaces": {"names": ["unseen"]}, "kinds": ["ImmBucketGrant"],
        "credentialSources": ["Operator"], "ownerUIDs": ["*"]}),
    );
    let denied = FaultAnswer {
        status: 403,
        code: "AccessDenied".to_owned(),
        ..FaultAnswer::default()
    };
    tenant.fault("GetBucketInfo", 0, 1000, FaultEffect::Answer(denied));
    tenant.apply(&tenant.grant("unseen", &operator())).await;
    let grant = tenant.until_reason(GRANT, "unseen", "OwnerUnverified").await;
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    assert!(tenant.puts().is_empty());

    // With the tenant's own credentials an unreadable owner blocks nothing: credentials that work prove enough.
    tenant.apply(&tenant.grant("with-keys", &json!({}))).await;
    tenant.until_reason(GRANT, "with-keys", "Applied").await;
    let writers: Vec<_> = tenant.puts().into_iter().map(|put| put.access_key_id).collect();
    assert_eq!(writers, [Some(tenant.key_id("owner"))]);
}

// G16
pub async fn taking_ownership_needs_a_rule_and_then_removes_the_statement_on_deletion(stage: Arc<Stage>) {
    let by_hand = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"oss:GetObject","Principal":"arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*","Resource":"acs:oss:*:{ACCOUNT_B}:taken-bucket/*"}},{{"Effect":"Deny","Principal":"27490","Action":"oss:DeleteObject","Resource":"acs:oss:*:{ACCOUNT_B}:taken-bucket/*"}}]}}"#
    );
    let tenant = Tenant::with_policy(&stage, "taken", &by_hand).await;
    let changes = json!({"access": {"preset": "Minimal"}, "adoptionPolicy": "TakeOwnership"});
    tenant.apply(&tenant.grant("taken", &changes)).await;
    tenant.until_reason(GRANT, "taken", "TenancyDenied").await;
    assert_eq!(calls_about(&stage, &tenant.bucket), 0);

    stage.allow(json!({"namespaces": {"names": ["taken"]}, "takeOwnership": true}));
    let grant = tenant.until_reason(GRANT, "taken", "Applied").await;
    assert_eq!(grant["status"]["owned"][0]["preExisting"], false);
    assert_eq!(tenant.policy(), by_hand, "taking ownership writes nothing");
    tenant.delete(GRANT, "taken").await;
    tenant.until_deleted(GRANT, "taken").await;
    let left = tenant.policy();
    assert!(!left.contains(ACCOUNT_A) && left.contains("27490"), "{left}");
}
