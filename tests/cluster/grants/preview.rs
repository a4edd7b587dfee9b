//! Grants that read but do not write: previews, and drift that is only reported.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::merging::FOREIGN;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant, condition};

fn sha256(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

// G36, G37
pub async fn enforcing_writes_exactly_the_previewed_policy(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "preview", FOREIGN).await;
    let changes = json!({"mode": "Preview", "access": {"prefixes": ["photos/"]}});
    tenant.apply(&tenant.grant("preview", &changes)).await;
    let grant = tenant.until_reason(GRANT, "preview", "Preview").await;
    let states = ["Ready", "Granted", "Stalled", "Reconciling"].map(|kind| condition(&grant, kind)[0]);
    assert_eq!(states, ["True", "False", "", ""]);
    let plan = &grant["status"]["plan"];
    let added: Vec<Value> = plan["add"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(added.len(), 1);
    assert!(
        added[0]["Resource"][0].as_str().unwrap().ends_with("/photos/*"),
        "{added:?}"
    );
    assert!(plan["remove"].as_array().is_none_or(Vec::is_empty));
    tenant.reconcile("preview").await;
    assert!(tenant.puts().is_empty());
    assert_eq!(tenant.policy(), FOREIGN);

    tenant
        .patch(GRANT, "preview", &json!({"spec": {"mode": "Enforce"}}))
        .await;
    let enforced = tenant.until_reason(GRANT, "preview", "Applied").await;
    let policy = tenant.policy();
    assert_eq!(plan["resultingSha256"], sha256(&policy));
    assert_eq!(plan["resultingBytes"], policy.len());
    assert_eq!(enforced["status"]["policy"]["sha256"], sha256(&policy));
    assert!(
        enforced["status"]["plan"].is_null(),
        "the plan is removed from status"
    );
}

// G39
pub async fn a_preview_removes_nothing_until_it_is_deleted(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "back", FOREIGN).await;
    tenant.granted("back", &json!({})).await;
    let policy = tenant.policy();
    tenant
        .patch(
            GRANT,
            "back",
            &json!({"spec": {"mode": "Preview", "access": {"prefixes": ["new/"]}}}),
        )
        .await;
    let grant = tenant.until_reason(GRANT, "back", "Preview").await;
    assert_eq!(
        condition(&grant, "Granted")[0],
        "True",
        "the live statement stays"
    );
    assert_eq!(grant["status"]["plan"]["add"].as_array().unwrap().len(), 1);
    assert_eq!(grant["status"]["plan"]["remove"].as_array().unwrap().len(), 1);
    assert_eq!(tenant.policy(), policy);

    let never = json!({"mode": "Preview", "access": {"prefixes": ["never/"]}});
    tenant.apply(&tenant.grant("never", &never)).await;
    tenant.until_reason(GRANT, "never", "Preview").await;
    for name in ["never", "back"] {
        tenant.delete(GRANT, name).await;
        tenant.until_deleted(GRANT, name).await;
    }
    assert_eq!(tenant.policy(), FOREIGN);
    assert_eq!(tenant.puts().len(), 2);
}

// J5
pub async fn a_preview_without_the_statements_of_a_job_starts_no_job(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "lost", FOREIGN).await;
    tenant
        .granted("lost", &json!({"access": {"prefixes": ["old/"]}}))
        .await;
    let policy = tenant.policy();
    tenant
        .patch(GRANT, "lost", &json!({"spec": {"mode": "Preview"}}))
        .await;
    let grant = tenant.until_reason(GRANT, "lost", "Preview").await;
    assert_eq!(condition(&grant, "Granted")[0], "True");

    let others = FOREIGN.replace("vpc-1", "vpc-2");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&others)));
    tenant.reconcile("lost").await;
    // A read within half a minute of our write may be stale, and is repeated.
    let missing = |grant: &Value| condition(grant, "Granted")[..2] == ["False", "Missing"];
    let grant = tenant.until(GRANT, "lost", "a missing statement", missing).await;
    assert_eq!(condition(&grant, "Ready")[..2], ["True", "Preview"]);
    let named = json!({"grantRef": {"name": "lost"}, "grantWait": {"settleSeconds": 0}});
    tenant.apply(&tenant.job("first", &["old/a.jpg"], &named)).await;
    tenant.until_reason(JOB, "first", "WaitingForGrant").await;
    assert!(tenant.scores().is_empty(), "no call is billed that must fail");

    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&policy)));
    let grant = tenant.reconcile("lost").await;
    assert_eq!(condition(&grant, "Granted")[..2], ["True", "Applied"]);
    stage
        .until_calls("the job to continue", &tenant.bucket, "DetectImageScore", 1)
        .await;

    let wide = format!("{}/", "w".repeat(500));
    let change = json!({"spec": {"access": {"prefixes": ["new/", wide]}}});
    tenant.patch(GRANT, "lost", &change).await;
    let grant = tenant.until_reason(GRANT, "lost", "Preview").await;
    assert_eq!(
        condition(&grant, "Granted")[0],
        "True",
        "the old statement exists"
    );
    tenant.apply(&tenant.job("second", &["new/a.jpg"], &named)).await;
    tenant.until_reason(JOB, "second", "WaitingForGrant").await;
    // Neither does a preview without a plan start a job, here because foreign statements fill the policy.
    let mut full: Value = serde_json::from_str(&policy).unwrap();
    let resource = format!("acs:oss:*:*:{}/{}*", tenant.bucket, "x".repeat(15_000));
    full["Statement"].as_array_mut().unwrap().push(
        json!({"Effect": "Allow", "Action": ["oss:GetObject"], "Principal": ["1111"], "Resource": [resource]}),
    );
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&full.to_string())));
    let grant = tenant.reconcile("lost").await;
    assert_eq!(condition(&grant, "Granted")[0], "True");
    assert_eq!(grant["status"]["plan"], Value::Null);
    let token = tenant.request_reconcile(JOB, "second").await;
    let echoed = |job: &Value| job["status"]["lastHandledReconcileAt"] == *token;
    let job = tenant.until(JOB, "second", "a reconcile", echoed).await;
    assert_eq!(condition(&job, "Ready")[1], "WaitingForGrant");
    assert_eq!((tenant.scores().len(), tenant.puts().len()), (1, 1));
}

// G22
pub async fn reported_drift_is_shown_and_not_corrected(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "reports", FOREIGN).await;
    tenant.granted("reports", &json!({"driftPolicy": "Report"})).await;
    let others = FOREIGN.replace("vpc-1", "vpc-2");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&others)));
    let grant = tenant.until_reason(GRANT, "reports", "DriftReported").await;
    let states = ["Ready", "Granted", "Stalled"].map(|kind| condition(&grant, kind)[0]);
    assert_eq!(states, ["False", "False", "True"]);
    assert_eq!(grant["status"]["plan"]["add"].as_array().unwrap().len(), 1);
    let resulting = grant["status"]["plan"]["resultingSha256"].clone();
    for _ in 0..2 {
        tenant.reconcile("reports").await;
    }
    assert_eq!(tenant.policy(), others);
    assert_eq!(tenant.puts().len(), 1);
    tenant.one_event("reports", "DriftDetected").await;

    tenant
        .patch(GRANT, "reports", &json!({"spec": {"driftPolicy": "Correct"}}))
        .await;
    tenant.until_reason(GRANT, "reports", "Applied").await;
    assert_eq!(resulting, sha256(&tenant.policy()));
}

// G36
pub async fn a_preview_that_can_no_longer_read_the_policy_shows_no_plan(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "unread", FOREIGN).await;
    let changes = json!({"mode": "Preview"});
    tenant.apply(&tenant.grant("unread", &changes)).await;
    let grant = tenant.until_reason(GRANT, "unread", "Preview").await;
    assert_eq!(grant["status"]["plan"]["add"].as_array().unwrap().len(), 1);

    tenant.set_permissions("owner", Some(&[]));
    tenant.reconcile_until_reason("unread", "AccessDenied").await;
    let grant = tenant.object(GRANT, "unread").await;
    assert!(grant["status"]["plan"].is_null(), "{grant}");
    tenant.set_permissions("owner", None);
    tenant.reconcile_until_reason("unread", "Preview").await;
    let grant = tenant.object(GRANT, "unread").await;
    assert_eq!(grant["status"]["plan"]["add"].as_array().unwrap().len(), 1);
}
