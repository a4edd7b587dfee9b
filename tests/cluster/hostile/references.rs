//! References of an earlier object that somebody else creates again under the same name.

use std::sync::Arc;

use imm_emulator::Seed;
use imm_emulator::seed::{AccountSeed, RoleSeed, TrustSeed};
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_B, Stage, Tenant, condition};

// T6
pub async fn a_grant_made_again_by_somebody_else_opens_its_own_reference(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "reused").await;
    let role = RoleSeed {
        name: "reused-writer".to_owned(),
        trust: Some(TrustSeed {
            accounts: vec![ACCOUNT_B.to_owned()],
            ..TrustSeed::default()
        }),
        ..RoleSeed::default()
    };
    let account = AccountSeed {
        uid: ACCOUNT_B.to_owned(),
        roles: vec![role],
        ..AccountSeed::default()
    };
    let seed = Seed {
        accounts: vec![account],
        ..Seed::default()
    };
    stage.cloud.add(seed).unwrap();
    let arn = format!("acs:ram::{ACCOUNT_B}:role/reused-writer");
    let through_role = json!({"credentials": {"assumeRole": {"roleARN": arn}}});
    tenant.granted("grant", &through_role).await;
    let policy = tenant.policy();
    // The namespace goes, with everything in it; the session lasts for another hour.
    let retain = json!({"spec": {"deletionPolicy": "Retain"}});
    tenant.patch(GRANT, "grant", &retain).await;
    stage
        .kubectl(&["delete", "namespace", "reused", "--timeout=600s"])
        .await;
    let before = stage.calls(&tenant.bucket, "GetBucketPolicy").len();

    // Somebody else makes the namespace and the grant again, without a Secret or a Role.
    stage.kubectl(&["create", "namespace", "reused"]).await;
    tenant.apply(&tenant.grant("grant", &through_role)).await;
    let grant = tenant
        .until_reason(GRANT, "grant", "CredentialsUnavailable")
        .await;
    assert_eq!(condition(&grant, "CredentialsValid")[1], "SecretAccessDenied");
    tenant.delete(GRANT, "grant").await;
    tenant.until_deleted(GRANT, "grant").await;
    assert_eq!(
        stage.calls(&tenant.bucket, "GetBucketPolicy").len(),
        before,
        "no call with the session of the earlier grant"
    );
    assert_eq!(tenant.policy(), policy);
}
