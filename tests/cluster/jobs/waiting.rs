//! No billed call is made before the grant is live, has propagated and covers the job.

use std::sync::Arc;

use imm_emulator::ProjectSeed;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::scoring::{gallery, over};
use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant, condition};

fn image(tenant: &Tenant) -> Vec<String> {
    assert!(
        tenant
            .stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    vec!["a.jpg".to_owned()]
}

// J2
pub async fn a_job_makes_no_call_before_its_grant_has_propagated(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "propagates").await;
    let keys = image(&tenant);
    tenant
        .apply(&over(
            &tenant,
            "early",
            &keys,
            &json!({"grantWait": {"settleSeconds": 4}}),
        ))
        .await;
    let job = tenant.until_reason(JOB, "early", "WaitingForGrant").await;
    assert_eq!(condition(&job, "GrantReady")[0], "False");
    assert_eq!(job["status"]["progress"], "0/1");
    assert!(tenant.scores().is_empty());
    tenant.one_event("early", "WaitingForGrant").await;

    tenant.granted("open", &json!({})).await;
    let job = tenant.until_true(JOB, "early", "Complete").await;
    assert_eq!(condition(&job, "GrantReady")[0], "True");
    let (put, score) = (&tenant.puts()[0], &tenant.scores()[0]);
    let [written, scored] = [put, score].map(|call| call.time.parse::<Timestamp>().unwrap());
    // The time of the write is recorded in whole seconds.
    assert!(
        scored.duration_since(written) >= SignedDuration::from_secs(3),
        "{written} {scored}"
    );
    assert_eq!(tenant.scores().len(), 1);
}

// J3
pub async fn a_grant_that_is_never_created_fails_the_job_without_a_call(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "never").await;
    let keys = image(&tenant);
    tenant
        .apply(&over(
            &tenant,
            "never",
            &keys,
            &json!({"grantWait": {"timeoutSeconds": 2}}),
        ))
        .await;
    let job = tenant.until_true(JOB, "never", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "GrantTimeout");
    assert_eq!(
        [condition(&job, "Ready")[0], condition(&job, "Stalled")[0]],
        ["False", "True"]
    );
    assert!(tenant.scores().is_empty());
}

// J4
pub async fn a_missing_grant_and_a_forbidden_one_are_reported_alike(stage: Arc<Stage>) {
    let (owner, keys) = gallery(&stage, "closed", 1).await;
    let stranger = Tenant::new(&stage, "stranger").await;
    let mut messages = Vec::new();
    for (name, grant) in [("forbidden", "open"), ("missing", "none")] {
        let reference = json!({"grantRef": {"name": grant, "namespace": "closed"}});
        let mut manifest: Value = serde_json::from_str(&over(&stranger, name, &keys, &reference)).unwrap();
        manifest["spec"]["source"]["uris"] = json!([format!("oss://{}/{}", owner.bucket, keys[0])]);
        stranger.apply(&manifest.to_string()).await;
        let job = stranger.until_reason(JOB, name, "WaitingForGrant").await;
        messages.push(condition(&job, "Ready")[2].replace(&format!("closed/{grant}"), "GRANT"));
    }
    assert_eq!(messages[0], messages[1]);
    assert!(owner.scores().is_empty());

    // The grant's owner allows the namespace: the job continues automatically.
    owner
        .apply(&owner.grant("open", &json!({"allowedConsumers": {"namespaces": ["stranger"]}})))
        .await;
    stranger.until_true(JOB, "forbidden", "Complete").await;
    assert_eq!(owner.scores().len(), 1);
}

// J5
pub async fn a_grant_that_does_not_cover_the_job_fails_it_without_a_call(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "uncovered").await;
    let keys = image(&tenant);
    let cases = [
        (
            "account",
            json!({"grantee": {"accountUID": "1111222233334444"}}),
            "is for account 1111222233334444",
        ),
        (
            "prefix",
            json!({"access": {"prefixes": ["b/"]}}),
            "does not cover spec.source.uris[0]",
        ),
        (
            "actions",
            json!({"access": {"preset": "Custom", "actions": ["oss:ListObjects"]}}),
            "oss:GetObject",
        ),
    ];
    for (name, changes, _) in &cases {
        tenant.granted(name, changes).await;
    }
    for (name, _, message) in &cases {
        tenant
            .apply(&over(&tenant, name, &keys, &json!({"grantRef": {"name": name}})))
            .await;
        let job = tenant.until_true(JOB, name, "Failed").await;
        let [_, reason, actual] = condition(&job, "Failed");
        assert!(
            reason == "GrantMismatch" && actual.contains(message),
            "{name}: {reason}: {actual}"
        );
    }
    // A bucket that the grant does not name.
    let mut manifest: Value = serde_json::from_str(&over(
        &tenant,
        "bucket",
        &keys,
        &json!({"grantRef": {"name": "prefix"}}),
    ))
    .unwrap();
    manifest["spec"]["source"]["uris"] = json!(["oss://another-bucket/b/a.jpg"]);
    tenant.apply(&manifest.to_string()).await;
    let job = tenant.until_true(JOB, "bucket", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "GrantMismatch");
    assert!(tenant.scores().is_empty());
    assert!(stage.calls("another-bucket", "DetectImageScore").is_empty());
}

// J13
pub async fn a_bucket_in_another_region_fails_the_job_without_a_call(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "faraway", 1).await;
    tenant
        .apply(&over(
            &tenant,
            "faraway",
            &keys,
            &json!({"project": {"region": "cn-beijing"}}),
        ))
        .await;
    let job = tenant.until_true(JOB, "faraway", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "RegionMismatch");
    assert!(tenant.scores().is_empty());
}

// G44, D6
pub async fn a_deleted_grant_stops_the_calls_until_it_is_recreated(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "revoked", 60).await;
    stage.add_project(imm_emulator::ProjectSeed {
        name: tenant.project.clone(),
        latency_ms: 300,
        ..imm_emulator::ProjectSeed::default()
    });
    tenant
        .apply(&over(&tenant, "revoked", &keys, &json!({"parallelism": 2})))
        .await;
    stage
        .until_calls("some calls", &tenant.bucket, "DetectImageScore", 4)
        .await;
    tenant.delete(GRANT, "open").await;
    tenant.until_deleted(GRANT, "open").await;
    let job = tenant.until_reason(JOB, "revoked", "WaitingForGrant").await;
    assert_eq!(
        [condition(&job, "Failed")[0], condition(&job, "GrantReady")[0]],
        ["", "False"]
    );
    // Calls in flight have been awaited and stored, and unused reservations released. The two calls that may be in flight
    // when the statement is removed can be denied; no other call is.
    let served = |tenant: &Tenant| {
        tenant
            .scores()
            .iter()
            .filter(|call| call.status == Some(200))
            .count()
    };
    let calls = tenant.scores().len();
    let stored = job["status"]["results"].as_array().unwrap().len();
    assert!(
        calls < 60 && stored == served(&tenant),
        "{stored} results of {calls} calls"
    );
    assert!(calls - stored <= 2, "{stored} results of {calls} calls");
    assert_eq!(job["status"]["requests"]["sent"], calls);
    // A requested reconcile makes no call either.
    let token = tenant.request_reconcile(JOB, "revoked").await;
    tenant
        .until(JOB, "revoked", "the reconcile", |job| {
            job["status"]["lastHandledReconcileAt"] == *token
        })
        .await;
    assert_eq!(tenant.scores().len(), calls);

    tenant.granted("open", &json!({})).await;
    let job = tenant.until_true(JOB, "revoked", "Complete").await;
    assert_eq!(job["status"]["items"]["succeeded"], 60);
    assert_eq!(served(&tenant), 60, "no image is scored twice");
    assert_eq!(
        tenant.scores().len() - 60,
        calls - stored,
        "no call is denied after that"
    );
}

// J5
pub async fn a_project_with_another_service_role_costs_no_billed_request(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "other-role", 3).await;
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        service_role: Some("AnotherRole".to_owned()),
        ..ProjectSeed::default()
    });
    // The second job uses what the first one learned, and sends no request.
    for name in ["asks", "knows"] {
        tenant.apply(&over(&tenant, name, &keys, &json!({}))).await;
        let job = tenant.until_true(JOB, name, "Failed").await;
        let [_, reason, message] = condition(&job, "Failed");
        assert_eq!(reason, "GrantMismatch");
        assert!(
            message.contains("AliyunIMMDefaultRole") && message.contains("AnotherRole"),
            "{message}"
        );
    }
    assert!(tenant.scores().is_empty());
}
