//! Suspending and deleting grants: what stays, what is removed, and what blocks a deletion.

use std::sync::Arc;

use imm_emulator::{FaultAnswer, FaultEffect};
use serde_json::json;

use super::merging::FOREIGN;
use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_B, Stage, Tenant, condition};

// G38, G39
pub async fn a_suspended_grant_is_not_reconciled_and_can_be_deleted(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "suspended", FOREIGN).await;
    tenant.granted("paused", &json!({})).await;
    tenant
        .apply(&tenant.grant("paused", &json!({"suspend": true})))
        .await;
    let grant = tenant.until_reason(GRANT, "paused", "Suspended").await;
    let states =
        ["Ready", "Granted", "Suspended", "Reconciling", "Stalled"].map(|kind| condition(&grant, kind)[0]);
    assert_eq!(states, ["True", "True", "True", "", ""]);

    let by_hand = FOREIGN.replace("vpc-1", "vpc-2");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&by_hand)));
    tenant.reconcile("paused").await;
    assert_eq!(tenant.policy(), by_hand, "manual changes are not corrected");

    tenant.delete(GRANT, "paused").await;
    tenant.until_deleted(GRANT, "paused").await;
    assert_eq!(tenant.policy(), by_hand);
    assert_eq!(tenant.puts().len(), 1);
}

// G40
pub async fn a_retained_statement_stays_without_a_write(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "retained", FOREIGN).await;
    tenant.granted("kept", &json!({"deletionPolicy": "Retain"})).await;
    let policy = tenant.policy();
    tenant.delete(GRANT, "kept").await;
    tenant.until_deleted(GRANT, "kept").await;
    assert_eq!(tenant.policy(), policy);
    assert_eq!(tenant.puts().len(), 1);
    tenant.one_event("kept", "Retained").await;
}

// G41
pub async fn the_policy_is_deleted_with_its_last_statement(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "last").await;
    tenant.granted("last", &json!({})).await;
    tenant.delete(GRANT, "last").await;
    tenant.until_deleted(GRANT, "last").await;
    assert_eq!(
        stage.cloud.policy(&tenant.bucket),
        None,
        "no empty document remains"
    );
    assert_eq!(stage.calls(&tenant.bucket, "DeleteBucketPolicy").len(), 1);
    tenant.one_event("last", "StatementRemoved").await;
}

// G42
pub async fn a_grant_whose_bucket_is_missing_is_released(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "vanished").await;
    tenant.granted("vanished", &json!({})).await;
    let not_found = FaultAnswer {
        status: 404,
        code: "NoSuchBucket".to_owned(),
        ..FaultAnswer::default()
    };
    tenant.fault("GetBucketPolicy", 0, 1000, FaultEffect::Answer(not_found));
    tenant.delete(GRANT, "vanished").await;
    tenant.until_deleted(GRANT, "vanished").await;
    tenant.one_event("vanished", "BucketGone").await;
}

// C18
pub async fn a_bucket_that_other_credentials_do_not_see_is_not_taken_for_missing(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "unseen").await;
    tenant.granted("unseen", &json!({})).await;
    let policy = tenant.policy();
    let of_other = tenant
        .keys("caller")
        .replace(r#""name":"caller""#, r#""name":"owner""#);
    tenant.apply(&of_other).await;
    assert!(stage.cloud.hide_from_others(&tenant.bucket, true));
    // The credentials are read again.
    tenant.reconcile_until_reason("unseen", "BucketNotFound").await;
    tenant.delete(GRANT, "unseen").await;
    let named = "a message that names the owner and the annotation";
    let grant = tenant
        .until(GRANT, "unseen", named, |grant| {
            let [_, reason, message] = condition(grant, "Ready");
            reason == "BucketNotFound"
                && message.contains(ACCOUNT_B)
                && message.contains("immops.dev/abandon")
        })
        .await;
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    assert_eq!(tenant.policy(), policy);

    tenant.apply(&tenant.keys("owner")).await;
    tenant.request_reconcile(GRANT, "unseen").await;
    tenant.until_deleted(GRANT, "unseen").await;
    assert_eq!(tenant.policy(), "");
}

// G43
pub async fn a_grant_without_its_secret_waits_until_it_is_abandoned(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "orphan").await;
    tenant.granted("orphan", &json!({})).await;
    let policy = tenant.policy();
    stage
        .kubectl(&["delete", "secret", "owner", "-n", "orphan"])
        .await;
    // Rejected credentials are not cached: the Secret is read again at the next reconcile.
    let refused = FaultAnswer {
        status: 403,
        code: "InvalidAccessKeyId".to_owned(),
        ..FaultAnswer::default()
    };
    tenant.fault("GetBucketPolicy", 0, 1, FaultEffect::Answer(refused));
    tenant.reconcile("orphan").await;
    tenant.delete(GRANT, "orphan").await;
    let grant = tenant
        .until(
            GRANT,
            "orphan",
            "a message that names what blocks the deletion",
            |grant| {
                condition(grant, "CredentialsValid")[1] == "SecretMissing"
                    && !grant["metadata"]["deletionTimestamp"].is_null()
            },
        )
        .await;
    let [_, reason, message] = condition(&grant, "Ready");
    assert_eq!(reason, "CredentialsUnavailable");
    assert!(message.contains("immops.dev/abandon: \"true\""), "{message}");
    assert_eq!(condition(&grant, "Stalled")[0], "True");

    tenant
        .patch(
            GRANT,
            "orphan",
            &json!({"metadata": {"annotations": {"immops.dev/abandon": "true"}}}),
        )
        .await;
    tenant.until_deleted(GRANT, "orphan").await;
    tenant.one_event("orphan", "Abandoned").await;
    assert_eq!(
        tenant.policy(),
        policy,
        "the access remains, as the message warns"
    );
}
