//! What the API server rejects at apply time, each with a message that names the fix.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::tenant::GRANT;
use crate::support::{Stage, Tenant};

async fn all_rejected(tenant: &Tenant, cases: &[(Value, &str)]) {
    for (changes, message) in cases {
        let error = tenant.expect_rejection(&tenant.grant("refused", changes)).await;
        assert!(error.contains(message), "{changes}: {error}");
    }
    assert!(tenant.object(GRANT, "refused").await.is_null());
    assert!(made_no_calls(tenant), "a rejected grant makes no cloud call");
}

fn made_no_calls(tenant: &Tenant) -> bool {
    tenant.stage.calls(&tenant.bucket, "GetBucketPolicy").is_empty()
}

// G5, G7
pub async fn check_14_a_grant_that_violates_the_schema_is_rejected_with_its_own_message(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "schema").await;
    let service_account = json!({"name": "a", "roleARN": "acs:ram::6543210987654321:role/r",
        "oidcProviderARN": "acs:ram::6543210987654321:oidc-provider/p"});
    all_rejected(
        &tenant,
        &[
            (
                json!({"grantee": {"accountUID": 1_234_567_890_123_456_i64}}),
                "spec.grantee.accountUID",
            ),
            (
                json!({"bucket": {"ownerUID": 6_543_210_987_654_321_i64}}),
                "spec.bucket.ownerUID",
            ),
            (
                json!({"access": {"actions": ["oss:GetObject"]}}),
                "preset: Custom requires at least one action",
            ),
            (
                json!({"access": {"preset": "Custom", "actions": ["oss:PutObject"]}}),
                "spec.access.actions[0]",
            ),
            (
                json!({"credentials": {"serviceAccount": service_account}}),
                "set serviceAccount, or remove it",
            ),
            (
                json!({"credentials": {"secretRef": {"namespace": "other"}}}),
                "secretRef.namespace",
            ),
            (json!({"driftIntervalSeconds": 59}), "spec.driftIntervalSeconds"),
        ],
    )
    .await;
}

// G7
pub async fn credentials_accept_only_the_block_that_matches_their_source(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "sources").await;
    let service_account = json!({"name": "a", "roleARN": "acs:ram::6543210987654321:role/r",
        "oidcProviderARN": "acs:ram::6543210987654321:oidc-provider/p"});
    let assumed = json!({"roleARN": "acs:ram::6543210987654321:role/r"});
    all_rejected(
        &tenant,
        &[
            (json!({"credentials": {"source": "Operator"}}), "secretRef is required with source: Secret"),
            (
                json!({"credentials": {"source": "ServiceAccount", "secretRef": null}}),
                "serviceAccount is required with source: ServiceAccount",
            ),
            (
                json!({"credentials": {"source": "ServiceAccount", "secretRef": null, "serviceAccount": service_account, "assumeRole": assumed}}),
                "assumeRole requires source Secret or Operator",
            ),
        ],
    )
    .await;
}

// G6
pub async fn the_bucket_of_a_grant_is_immutable(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "immutable").await;
    tenant.granted("fixed", &json!({})).await;
    let changed = [
        json!({"bucket": {"name": "another-bucket"}}),
        json!({"bucket": {"region": "cn-beijing"}}),
        json!({"bucket": {"ownerUID": "1111222233334444"}}),
    ];
    for changes in changed {
        let error = tenant.expect_rejection(&tenant.grant("fixed", &changes)).await;
        assert!(
            error.contains("bucket is immutable: create another ImmBucketGrant"),
            "{error}"
        );
    }
}
