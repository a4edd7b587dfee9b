//! Rotation and renewal: Secrets are rotated and sessions expire, and neither needs an action.

use std::sync::Arc;

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch};
use imm_harness::until;
use serde_json::{Value, json};

use super::accounts;
use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant, condition};

// P9
pub async fn a_rotated_secret_is_used_without_a_restart(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "rotated").await;
    tenant.granted("rotated", &json!({})).await;
    // The new AccessKey pair is stored, and the old one disabled.
    tenant.set_permissions("owner-new", None);
    let (old, new) = (tenant.key_id("owner"), tenant.key_id("owner-new"));
    let secret: Value = serde_json::from_str(&tenant.keys("owner-new")).unwrap();
    let mut rotated = secret.clone();
    rotated["metadata"]["name"] = json!("owner");
    tenant.apply(&rotated.to_string()).await;
    let disabled = FaultAnswer {
        status: 403,
        code: "InvalidAccessKeyId".to_owned(),
        ..FaultAnswer::default()
    };
    let matching = FaultMatch {
        access_key_id: Some(old),
        ..FaultMatch::default()
    };
    stage.cloud.add_fault(Fault {
        matching,
        skip: 0,
        times: None,
        effect: FaultEffect::Answer(disabled),
    });
    until("a call with the new AccessKey pair", PATIENCE, || async {
        let grant = tenant.reconcile("rotated").await;
        let [_, reason, message] = condition(&grant, "Ready");
        if reason == "Applied" {
            Ok(())
        } else {
            Err(message.to_owned())
        }
    })
    .await
    .unwrap();
    let last = stage.calls(&tenant.bucket, "GetBucketPolicy").pop().unwrap();
    assert_eq!(last.access_key_id, Some(new));
    assert_eq!(tenant.puts().len(), 1);
}

// P9
pub async fn an_expired_session_is_renewed_without_a_condition_change(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "expired").await;
    let credentials = accounts::trusted(&tenant, &accounts::subject(&tenant)).await;
    accounts::open(&tenant).await;
    let before = tenant.granted("expired", &credentials).await;
    let first = tenant.puts().remove(0).access_key_id;
    stage.cloud.expire_sessions();
    let after = tenant.reconcile("expired").await;
    let reads = stage.calls(&tenant.bucket, "GetBucketPolicy");
    let refused = reads
        .iter()
        .filter(|call| call.code.as_deref() == Some("SecurityTokenExpired"));
    assert_eq!(refused.count(), 1, "one call with the old session: {reads:?}");
    assert_ne!(reads.last().unwrap().access_key_id, first);

    let conditions = |object: &Value| object["status"]["conditions"].clone();
    assert_eq!(
        conditions(&before),
        conditions(&after),
        "no condition has changed, not even for a moment"
    );
    for reason in ["AccessDenied", "CredentialsUnavailable"] {
        assert!(tenant.events("expired", reason).await.is_empty(), "{reason}");
    }
    tenant.until_reason(GRANT, "expired", "Applied").await;
}
