//! Deletions that try to reach the cloud with the operator's own identity.

use std::sync::Arc;

use imm_emulator::Call;
use imm_harness::{Helm, until};
use serde_json::{Value, json};

use crate::support::stage::OWN_KEY;
use crate::support::tenant::GRANT;
use crate::support::user::User;
use crate::support::{ACCOUNT_B, PATIENCE, Stage, Tenant, chart, condition};

/// A role of the tenant's own account, which would see the operator's AccessKey pair and the external ID.
const OWN_ROLE: &str = "acs:ram::9999888877776666:role/catcher";
const OTHERS: &str = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;

fn operator() -> Value {
    json!({"credentials": {"source": "Operator", "secretRef": null}})
}

/// Returns the calls about a bucket, and those of the operator's own identity that assume the tenant's role.
fn calls(stage: &Stage, bucket: &str) -> Vec<Call> {
    let calls = stage.cloud.calls().into_iter();
    calls
        .filter(|call| call.bucket.as_deref() == Some(bucket) || format!("{call:?}").contains("catcher"))
        .collect()
}

/// Creates a grant that pretends to be an old one: with the operator's finalizer.
async fn create_with_finalizer(user: &User, tenant: &Tenant, name: &str, changes: &Value) {
    let mut grant: Value = serde_json::from_str(&tenant.grant(name, changes)).unwrap();
    grant["metadata"]["finalizers"] = json!(["immops.dev/grant"]);
    user.create(GRANT, &grant).await;
}

// T1
pub async fn a_grant_that_owns_nothing_is_deleted_without_any_credentials(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "sneaky", OTHERS).await;
    let user = User::new(&stage, "sneaky", "admin").await;
    let mut role = operator();
    role["credentials"]["assumeRole"] = json!({"roleARN": OWN_ROLE, "externalID": "chosen-by-tenant"});
    let own = json!({"credentials": {"secretRef": {"name": "owner"}}});
    for (name, changes) in [("direct", operator()), ("role", role), ("own", own)] {
        create_with_finalizer(&user, &tenant, name, &changes).await;
        user.delete(GRANT, name).await;
        tenant.until_deleted(GRANT, name).await;
    }
    let by_operator = |call: &Call| call.access_key_id.as_deref() == Some(OWN_KEY);
    let made: Vec<Call> = calls(&stage, &tenant.bucket)
        .into_iter()
        .filter(by_operator)
        .collect();
    assert!(made.is_empty(), "{made:?}");
    assert!(tenant.events("direct", "ResidualAccess").await.is_empty());
    assert_eq!(tenant.policy(), OTHERS);
}

/// Replaces the ledger of a grant, as a race of writes could leave it behind.
async fn store_ledger(tenant: &Tenant, name: &str, ledger: &Value) {
    let patch = json!({"status": {"owned": ledger}}).to_string();
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

// T1
pub async fn a_deletion_does_not_borrow_the_operators_identity(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "borrowing").await;
    let user = User::new(&stage, "borrowing", "admin").await;
    let grant = tenant.granted("planted", &json!({})).await;
    let policy = tenant.policy();
    // The ledger of an earlier version: nothing says whose entries these are.
    let mut old = grant["status"]["owned"].clone();
    for entry in old.as_array_mut().unwrap() {
        assert!(entry["identity"].as_str().unwrap().starts_with("sha256:"));
        entry.as_object_mut().unwrap().remove("identity");
    }
    for (name, ledger) in [("planted", &grant["status"]["owned"]), ("unsigned", &old)] {
        if name == "unsigned" {
            create_with_finalizer(&user, &tenant, name, &json!({"suspend": true})).await;
            tenant.until_reason(GRANT, name, "Suspended").await;
            store_ledger(&tenant, name, ledger).await;
        }
        user.patch(
            GRANT,
            name,
            &json!({"spec": {"suspend": false, "credentials": {"source": "Operator", "secretRef": null}}}),
        )
        .await;
        tenant.until_reason(GRANT, name, "TenancyDenied").await;
        user.delete(GRANT, name).await;
        let grant = tenant
            .until(GRANT, name, "a deletion that is denied", |grant| {
                let deleting = !grant["metadata"]["deletionTimestamp"].is_null();
                deleting && condition(grant, "Ready")[2].contains("immops.dev/abandon")
            })
            .await;
        assert_eq!(condition(&grant, "Ready")[1], "TenancyDenied");
    }
    let by_operator = |call: &Call| call.access_key_id.as_deref() == Some(OWN_KEY);
    assert!(!calls(&stage, &tenant.bucket).iter().any(by_operator));
    assert_eq!(tenant.policy(), policy);
    // The credentials that wrote the statements still remove them.
    for name in ["planted", "unsigned"] {
        let own = json!({"spec": {"credentials": {"source": "Secret", "secretRef": {"name": "owner"}}}});
        user.patch(GRANT, name, &own).await;
        tenant.until_deleted(GRANT, name).await;
    }
    assert_eq!(tenant.policy(), "");
}

// T1
pub async fn what_the_operators_identity_has_written_it_removes_after_its_rule_is_gone(stage: Arc<Stage>) {
    // Rules apply to a whole cluster, so this test has one of its own.
    let stage = stage.another(Helm::Four, &chart()).await;
    let tenant = Tenant::with_policy(&stage, "lent", OTHERS).await;
    let rule = json!({"namespaces": {"names": ["lent"]}, "credentialSources": ["Operator"], "ownerUIDs": [ACCOUNT_B],
        "kinds": ["ImmBucketGrant"], "buckets": ["lent-*"]});
    stage.allow(rule);
    tenant.granted("lent", &operator()).await;
    stage.write_rules("rules: []");
    tenant.until_reason(GRANT, "lent", "TenancyDenied").await;
    // Of a bucket whose owner it cannot verify now, the operator's identity does not even read the policy.
    let reads = || stage.calls(&tenant.bucket, "GetBucketPolicy").len();
    let before = reads();
    let denied = imm_emulator::FaultAnswer {
        status: 403,
        code: "AccessDenied".to_owned(),
        ..imm_emulator::FaultAnswer::default()
    };
    tenant.fault("GetBucketInfo", 0, 1, imm_emulator::FaultEffect::Answer(denied));
    tenant.delete(GRANT, "lent").await;
    tenant.until_reason(GRANT, "lent", "OwnerUnverified").await;
    assert_eq!(reads(), before);
    tenant.request_reconcile(GRANT, "lent").await;
    tenant.until_deleted(GRANT, "lent").await;
    assert_eq!(tenant.policy(), OTHERS);
    until("the audit line of the removal", PATIENCE, || async {
        let log = stage.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("policy written") && line.contains("lent-bucket"))?;
        let parts = [
            "lent/lent uid=",
            "generation=",
            "sha256_before",
            "sha256_after",
            "request_id",
        ];
        parts.iter().all(|part| line.contains(part)).then_some(())
    })
    .await
    .unwrap();
    stage.finish().await.unwrap();
}
