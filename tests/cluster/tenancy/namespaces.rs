//! Deleting a namespace deletes its Secret and its Role before, or while, the grant is released: the deletion must not
//! hang, and no access may remain unreported.

use std::sync::Arc;

use imm_emulator::BucketSeed;
use imm_harness::until;
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_B, PATIENCE, REGION, Stage, Tenant, condition};

const OTHERS: &str = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;

async fn until_namespace_deleted(stage: &Stage, name: &str) {
    until(&format!("namespace {name} to be deleted"), PATIENCE, || async {
        let args = [
            "get",
            "namespace",
            name,
            "-o",
            "jsonpath={.status}",
            "--ignore-not-found",
        ];
        let status = stage.kubectl(&args).await;
        if status.is_empty() { Ok(()) } else { Err(status) }
    })
    .await
    .unwrap();
}

// P14
pub async fn deleting_a_namespace_removes_its_statements(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "leaving", OTHERS).await;
    for (name, prefix) in [("one", "a/"), ("two", "b/")] {
        tenant
            .granted(name, &json!({"access": {"prefixes": [prefix]}}))
            .await;
    }
    // On another bucket a grant with the same credentials is deleted first: the credentials are still needed here.
    let second = BucketSeed {
        name: "leaving-second".to_owned(),
        region: REGION.to_owned(),
        owner: ACCOUNT_B.to_owned(),
        ..BucketSeed::default()
    };
    stage.cloud.add_bucket(second).unwrap();
    tenant.set_permissions("reader", None);
    tenant.apply(&tenant.keys("reader")).await;
    for (name, secret) in [("passing", "owner"), ("staying", "reader")] {
        let changes = json!({"bucket": {"name": "leaving-second"}, "access": {"prefixes": [format!("{name}/")]},
            "credentials": {"secretRef": {"name": secret}}});
        tenant.granted(name, &changes).await;
    }
    tenant.delete(GRANT, "passing").await;
    tenant.until_deleted(GRANT, "passing").await;
    // Without its Role the Secret is not readable, which is the operator's view of a half-deleted namespace.
    stage
        .kubectl(&["delete", "role", "read-keys", "-n", "leaving"])
        .await;
    stage
        .kubectl(&["delete", "namespace", "leaving", "--wait=false"])
        .await;
    until_namespace_deleted(&stage, "leaving").await;
    assert_eq!(tenant.policy(), OTHERS);
    assert_eq!(stage.cloud.policy("leaving-second"), None);
}

// P14: a process that never held the credentials cannot use them.
pub async fn after_a_restart_a_namespace_deletion_waits_for_an_action(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "stranded", OTHERS).await;
    tenant.granted("stranded", &json!({})).await;
    let policy = tenant.policy();
    assert!(stage.stop_operator().await.success());
    stage
        .kubectl(&["delete", "namespace", "stranded", "--wait=false"])
        .await;
    until("the Secret to be deleted", PATIENCE, || async {
        let left = stage
            .kubectl(&["get", "secrets,roles", "-n", "stranded", "-o", "name"])
            .await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await
    .unwrap();
    stage.start_operator().await;
    let grant = tenant
        .until_reason(GRANT, "stranded", "CredentialsUnavailable")
        .await;
    let [_, _, message] = condition(&grant, "Ready");
    assert!(message.contains("immops.dev/abandon: \"true\""), "{message}");
    assert_eq!(tenant.policy(), policy);

    let change = json!({"metadata": {"annotations": {"immops.dev/abandon": "true"}}});
    tenant.patch(GRANT, "stranded", &change).await;
    until_namespace_deleted(&stage, "stranded").await;
    assert_eq!(
        tenant.policy(),
        policy,
        "the access remains, as the message warns"
    );
}
