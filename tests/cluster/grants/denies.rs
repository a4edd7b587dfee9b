//! Deny statements of other writers: what they certainly deny costs no call, and everything else is decided by a call.

use std::sync::Arc;

use imm_emulator::BucketSeed;
use serde_json::{Value, json};

use super::other_writers::with;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage, Tenant, condition};

// G26, J5
pub async fn a_foreign_deny_is_reported_and_jobs_wait(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "gainsaid").await;
    tenant.granted("gainsaid", &json!({})).await;
    let policy = tenant.policy();
    let deny = json!({"Effect": "Deny", "Action": ["oss:GetObject"],
        "Principal": [format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/*")],
        "Resource": [format!("acs:oss:*:{ACCOUNT_B}:gainsaid-bucket/*")]});
    let mut conditional = deny.clone();
    conditional["Condition"] = json!({"StringEquals": {"acs:SourceVpc": ["vpc-1"]}});
    for (statement, state, reason) in [
        (deny, "False", "ExplicitDeny"),
        (conditional, "Unknown", "ConditionalDeny"),
    ] {
        let denied = with(&policy, |all| all.push(statement.clone()));
        assert!(stage.cloud.set_policy(&tenant.bucket, Some(&denied)));
        let grant = tenant.reconcile("gainsaid").await;
        assert_eq!(condition(&grant, "Effective")[..2], [state, reason]);
        assert_eq!(condition(&grant, "Granted")[0], "True");
        if state == "False" {
            let job = json!({"grantRef": {"name": "gainsaid"}, "grantWait": {"settleSeconds": 0}});
            tenant.apply(&tenant.job("waits", &["a.jpg"], &job)).await;
            tenant.until_reason(JOB, "waits", "WaitingForGrant").await;
            assert!(tenant.scores().is_empty(), "no call is billed that must fail");
        }
    }
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&policy)));
    let grant = tenant.reconcile("gainsaid").await;
    assert_eq!(condition(&grant, "Effective")[..2], ["True", "NoDeny"]);
    stage
        .until_calls("the job to continue", &tenant.bucket, "DetectImageScore", 1)
        .await;
    assert_eq!(tenant.puts().len(), 1);
}

/// Adds a Deny to the policy of the tenant's bucket, and returns the grant as it is reconciled with it.
async fn deny(tenant: &Tenant, policy: &str, statement: &Value) -> Value {
    let denied = with(policy, |all| all.push(statement.clone()));
    assert!(tenant.stage.cloud.set_policy(&tenant.bucket, Some(&denied)));
    tenant.reconcile("open").await
}

async fn denied_tenant(stage: &Arc<Stage>, name: &str) -> (Tenant, String) {
    let tenant = Tenant::new(stage, name).await;
    for key in ["private/a.jpg", "b.jpg", "c.jpg"] {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    tenant.granted("open", &json!({})).await;
    let policy = tenant.policy();
    (tenant, policy)
}

fn job(tenant: &Tenant, name: &str, keys: &[&str]) -> String {
    let changes =
        json!({"grantRef": {"name": "open"}, "grantWait": {"settleSeconds": 0}, "maxFailedItems": 1});
    tenant.job(name, keys, &changes)
}

// G26, J5
pub async fn a_deny_for_some_objects_fails_only_their_items(stage: Arc<Stage>) {
    let (tenant, policy) = denied_tenant(&stage, "partly").await;
    let statement = json!({"Effect": "Deny", "Action": ["oss:getobject"], "Principal": ["*"],
        "Resource": [format!("acs:oss:*:*:{}/private/*", tenant.bucket)]});
    let grant = deny(&tenant, &policy, &statement).await;
    assert_eq!(condition(&grant, "Effective")[..2], ["Unknown", "PartialDeny"]);
    let pattern = format!("{}/private/*", tenant.bucket);
    assert_eq!(grant["status"]["deniedObjects"], json!([pattern]));

    // The Deny is removed, and the grant still shows it: the job acts on a fresh read.
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&policy)));
    tenant.apply(&job(&tenant, "fresh", &["private/a.jpg"])).await;
    let done = tenant.until_true(JOB, "fresh", "Complete").await;
    assert_eq!(done["status"]["results"][0]["score"], "0.5");
    deny(&tenant, &policy, &statement).await;

    tenant
        .apply(&job(&tenant, "some", &["private/a.jpg", "b.jpg", "c.jpg"]))
        .await;
    let done = tenant.until_true(JOB, "some", "Complete").await;
    assert_eq!(done["status"]["results"][0]["code"], "ExplicitDeny");
    assert_eq!(done["status"]["items"]["failed"], 1, "{}", done["status"]);
    assert_eq!(tenant.scores().len(), 3, "no call for the denied object");
}

// G26
pub async fn a_deny_that_is_not_certain_stops_no_job(stage: Arc<Stage>) {
    let (tenant, policy) = denied_tenant(&stage, "unsure").await;
    let all = format!("acs:oss:*:*:{}/*", tenant.bucket);
    let session = format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/nobody");
    for (name, statement, reason) in [
        (
            "session",
            json!({"Effect": "Deny", "Action": ["oss:*"], "Principal": [session], "Resource": [all]}),
            "PartialDeny",
        ),
        (
            "account",
            json!({"Effect": "Deny", "Action": ["oss:*"], "Principal": [ACCOUNT_A], "Resource": [all]}),
            "NotEvaluated",
        ),
        (
            "condition",
            json!({"Effect": "Deny", "Action": ["oss:*"], "Principal": ["*"], "Resource": [all],
                "Condition": {"StringEquals": {"acs:SourceVpc": ["vpc-1"]}}}),
            "ConditionalDeny",
        ),
    ] {
        let grant = deny(&tenant, &policy, &statement).await;
        assert_eq!(condition(&grant, "Effective")[..2], ["Unknown", reason]);
        tenant.apply(&job(&tenant, name, &["b.jpg"])).await;
        tenant.until_true(JOB, name, "Complete").await;
    }
    assert_eq!(tenant.scores().len(), 3);
}

// G26, J3
pub async fn a_job_waits_for_the_end_of_a_deny_no_longer_than_its_grant_wait(stage: Arc<Stage>) {
    let (tenant, policy) = denied_tenant(&stage, "forever").await;
    let statement = json!({"Effect": "Deny", "Action": ["OSS:Get*"], "Principal": ["*"], "Resource": ["*"]});
    let grant = deny(&tenant, &policy, &statement).await;
    assert_eq!(condition(&grant, "Effective")[..2], ["False", "ExplicitDeny"]);
    let changes =
        json!({"grantRef": {"name": "open"}, "grantWait": {"settleSeconds": 0, "timeoutSeconds": 2}});
    tenant.apply(&tenant.job("denied", &["b.jpg"], &changes)).await;
    let job = tenant.until_true(JOB, "denied", "Failed").await;
    let failed = condition(&job, "Failed");
    assert_eq!(failed[1], "GrantTimeout");
    assert!(failed[2].contains("Deny"), "{}", failed[2]);
    assert!(tenant.scores().is_empty());
    assert_eq!(
        condition(&tenant.object(GRANT, "open").await, "Granted")[0],
        "True"
    );
}

// C19
pub async fn a_deny_in_another_spelling_is_found(stage: Arc<Stage>) {
    let (tenant, policy) = denied_tenant(&stage, "shouted").await;
    for (action, effective) in [
        ("OSS:GETOBJECT", ["False", "ExplicitDeny"]),
        ("oss:Get?bject", ["Unknown", "NotEvaluated"]),
    ] {
        let statement = json!({"Effect": "Deny", "Action": [action], "Principal": ["*"], "Resource": ["*"]});
        let grant = deny(&tenant, &policy, &statement).await;
        assert_eq!(condition(&grant, "Effective")[..2], effective, "{action}");
    }
    // A `?` is not evaluated: the call decides, and OSS denies it.
    tenant.apply(&job(&tenant, "asks", &["b.jpg"])).await;
    let calls = stage
        .until_calls("the denied call", &tenant.bucket, "DetectImageScore", 1)
        .await;
    assert_eq!(calls[0].status, Some(403));
}

// C20
pub async fn a_deny_that_alibaba_cloud_added_is_named_and_bounds_the_wait(stage: Arc<Stage>) {
    let bucket = BucketSeed {
        security_deny: true,
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(&stage, "secured", bucket).await;
    let added = tenant.policy();
    let grant = tenant.granted("open", &json!({})).await;
    let [status, reason, message] = condition(&grant, "Effective");
    assert_eq!([status, reason], ["False", "ExplicitDeny"]);
    let name = "Created by Alibaba Cloud Security";
    assert!(
        message.contains(name) && message.contains("do not remove it"),
        "{message}"
    );
    let changes =
        json!({"grantRef": {"name": "open"}, "grantWait": {"settleSeconds": 0, "timeoutSeconds": 2}});
    tenant.apply(&tenant.job("waits", &["a.jpg"], &changes)).await;
    let job = tenant.until_true(JOB, "waits", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "GrantTimeout");
    assert!(message.contains(name), "{message}");
    assert!(tenant.scores().is_empty());

    tenant.delete(GRANT, "open").await;
    tenant.until_deleted(GRANT, "open").await;
    assert_eq!(tenant.policy(), added, "the Deny stays");
}
