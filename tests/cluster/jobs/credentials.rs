//! Credentials of the grantee account that are rejected, missing, or corrected while the operator runs, and whose
//! account pays.

use std::sync::Arc;

use imm_emulator::ProjectSeed;
use serde_json::{Value, json};

use super::fixtures::{manifest_job, prefix_job, put_images, with_grant};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage, condition};

// P9
pub async fn rotated_credentials_are_used_without_a_restart(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "rotated", 5).await;
    let wrong = tenant.keys("caller").replace("canary-caller", "canary-wrong");
    tenant.apply(&wrong).await;
    tenant.apply(&over(&tenant, "rotated", &keys, &json!({}))).await;
    let job = tenant
        .until_reason(JOB, "rotated", "CredentialsUnavailable")
        .await;
    assert_eq!(
        condition(&job, "CredentialsValid")[..2],
        ["False", "CredentialsRejected"]
    );
    let [_, _, message] = condition(&job, "Ready");
    assert!(
        message.contains("Secret caller") && message.contains("SignatureDoesNotMatch"),
        "{message}"
    );
    // The request for the project's limits found the error, and is not billed.
    assert!(tenant.scores().is_empty());

    tenant.apply(&tenant.keys("caller")).await;
    tenant.request_reconcile(JOB, "rotated").await;
    let job = tenant.until_true(JOB, "rotated", "Complete").await;
    assert_eq!(condition(&job, "CredentialsValid")[0], "True");
    assert_eq!(job["status"]["items"]["succeeded"], 5);
    assert_eq!(tenant.scores().len(), 5);
}

// P9
pub async fn a_missing_secret_is_reported_and_awaited(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "keyless", 1).await;
    stage
        .kubectl(&["delete", "secret", "caller", "-n", "keyless"])
        .await;
    tenant.apply(&over(&tenant, "keyless", &keys, &json!({}))).await;
    let job = tenant
        .until_reason(JOB, "keyless", "CredentialsUnavailable")
        .await;
    assert_eq!(condition(&job, "CredentialsValid")[1], "SecretMissing");
    tenant.one_event("keyless", "CredentialsUnavailable").await;
    assert!(tenant.scores().is_empty());
    // The operator does not watch Secrets: it checks again automatically.
    tenant.apply(&tenant.keys("caller")).await;
    tenant.until_true(JOB, "keyless", "Complete").await;
}

// P9
pub async fn credentials_of_another_account_are_reported_and_make_no_call(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "foreign", 2).await;
    let owners = json!({"credentials": {"secretRef": {"name": "owner"}}});
    tenant.apply(&over(&tenant, "foreign", &keys, &owners)).await;
    let job = tenant
        .until_reason(JOB, "foreign", "CredentialsUnavailable")
        .await;
    let [status, reason, message] = condition(&job, "CredentialsValid");
    assert_eq!([status, reason], ["False", "OtherAccount"]);
    assert!(
        message.contains(ACCOUNT_A) && message.contains(ACCOUNT_B),
        "{message}"
    );
    let of_owner = |call: &imm_emulator::Call| {
        call.service == "imm" && call.access_key_id.as_deref() == Some(&tenant.key_id("owner"))
    };
    assert!(!stage.cloud.calls().iter().any(of_owner));

    // Once the Secret is corrected, the job continues.
    let valid = tenant
        .keys("caller")
        .replace(r#""name":"caller""#, r#""name":"owner""#);
    tenant.apply(&valid).await;
    tenant.request_reconcile(JOB, "foreign").await;
    tenant.until_true(JOB, "foreign", "Complete").await;
    assert_eq!(tenant.scores().len(), 2);
}

// P9
pub async fn credentials_of_another_account_are_not_used_by_a_running_job(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "swapped", 200).await;
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        latency_ms: 500,
        ..ProjectSeed::default()
    });
    tenant
        .apply(&over(&tenant, "swapped", &keys, &json!({"parallelism": 1})))
        .await;
    stage
        .until_calls("some calls", &tenant.bucket, "DetectImageScore", 3)
        .await;
    let swapped = tenant
        .keys("owner")
        .replace(r#""name":"owner""#, r#""name":"caller""#);
    tenant.apply(&swapped).await;
    let job = tenant
        .until_reason(JOB, "swapped", "CredentialsUnavailable")
        .await;
    assert_eq!(
        condition(&job, "CredentialsValid")[..2],
        ["False", "OtherAccount"]
    );
    let of_owner =
        |call: &&imm_emulator::Call| call.access_key_id.as_deref() == Some(&tenant.key_id("owner"));
    let scores = tenant.scores();
    assert_eq!(
        scores.iter().filter(of_owner).count(),
        0,
        "calls of the bucket owner account"
    );
    assert!(scores.len() < 200, "the job was stopped in the middle");

    tenant.apply(&tenant.keys("caller")).await;
    let quick = json!({"spec": {"parallelism": 100}});
    tenant.patch(JOB, "swapped", &quick).await;
    tenant.request_reconcile(JOB, "swapped").await;
    tenant.until_true(JOB, "swapped", "Complete").await;
    assert_eq!(tenant.scores().len(), 200, "no call is billed twice");
}

// C23
pub async fn a_pay_by_requester_bucket_is_read_only_at_the_costs_of_a_job_that_accepts_them(
    stage: Arc<Stage>,
) {
    let tenant = with_grant(&stage, "payer").await;
    put_images(&tenant, 3, Some("0.5"));
    let manifest = format!("oss://{}/photos/0000000.jpg\n", tenant.bucket);
    assert!(stage.cloud.put_object(&tenant.bucket, "list.txt", manifest, None));
    let mut policy: Value = serde_json::from_str(&tenant.policy()).unwrap();
    policy["Statement"].as_array_mut().unwrap().push(json!({
        "Effect": "Allow", "Principal": [ACCOUNT_A], "Action": ["oss:ListObjects", "oss:GetObject"],
        "Resource": [format!("acs:oss:*:{ACCOUNT_B}:{}", tenant.bucket), format!("acs:oss:*:{ACCOUNT_B}:{}/*", tenant.bucket)],
    }));
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&policy.to_string())));
    assert!(stage.cloud.require_requester_pays(&tenant.bucket, true));
    // The source is read with the credentials of the job, which are of account A.
    let source = |kind: &str, payer: Option<&str>| {
        let own = json!({"source": {kind: {"credentials": null, "requestPayer": payer}}});
        match kind {
            "prefix" => prefix_job(&tenant, kind, &json!({}), &own),
            _ => manifest_job(&tenant, kind, "list.txt", &own),
        }
    };
    for (kind, scores) in [("prefix", 3), ("manifest", 4)] {
        tenant.apply(&source(kind, None)).await;
        let job = tenant.until_reason(JOB, kind, "SourceUnreadable").await;
        let [_, _, message] = condition(&job, "Ready");
        assert!(
            message.contains("set requestPayer: Requester"),
            "{kind}: {message}"
        );
        // The source of a job is immutable.
        tenant.delete(JOB, kind).await;
        tenant.apply(&source(kind, Some("Requester"))).await;
        tenant.until_true(JOB, kind, "Complete").await;
        assert_eq!(tenant.scores().len(), scores);
    }
}
