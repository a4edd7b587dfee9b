//! Suspending, cancelling and deadlines: calls in flight are awaited, billed results are kept, and each change is
//! published as one event.

use std::sync::Arc;

use imm_emulator::FaultEffect;
use imm_harness::until;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::fixtures::{add_score_fault, assert_counts, assert_indexes, results_of, set_speed};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, Tenant, condition};

/// Starts a job of sixty images with three calls at a time, and waits until part of it is scored.
async fn under_way(stage: &Arc<Stage>, name: &str, changes: &Value) -> Tenant {
    let (tenant, keys) = gallery(stage, name, 60).await;
    set_speed(&tenant, 100, 400);
    let mut all = json!({"parallelism": 3});
    crate::support::tenant::merge(&mut all, changes);
    tenant.apply(&over(&tenant, name, &keys, &all)).await;
    stage
        .until_calls("some calls", &tenant.bucket, "DetectImageScore", 7)
        .await;
    tenant
}

/// Checks that every call is answered and its result kept; returns the number of calls.
async fn drained(tenant: &Tenant, name: &str, job: &Value) -> usize {
    let calls = tenant.scores().len();
    assert!(calls < 60, "the job was stopped in the middle");
    assert_eq!(job["status"]["items"]["active"], 0);
    assert_indexes(&results_of(tenant, name).await, calls);
    assert_counts(tenant, job);
    calls
}

async fn reconciled(tenant: &Tenant, name: &str) -> Value {
    let token = tenant.request_reconcile(JOB, name).await;
    tenant
        .until(JOB, name, "a reconcile", |job| {
            job["status"]["lastHandledReconcileAt"] == *token
        })
        .await
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

// J23
pub async fn a_suspended_job_makes_no_call_and_resumes_where_it_stopped(stage: Arc<Stage>) {
    let tenant = under_way(&stage, "pause", &json!({})).await;
    tenant
        .patch(JOB, "pause", &json!({"spec": {"suspend": true}}))
        .await;
    let job = tenant.until_true(JOB, "pause", "Suspended").await;
    assert_eq!(condition(&job, "Suspended")[1], "Suspended");
    assert_eq!(condition(&job, "Ready")[..2], ["True", "Suspended"]);
    let calls = drained(&tenant, "pause", &job).await;
    tenant.one_event("pause", "Suspended").await;

    // The deadline does not run while the job is suspended, and a reconcile makes no call.
    tenant
        .patch(JOB, "pause", &json!({"spec": {"activeDeadlineSeconds": 1}}))
        .await;
    let since = time(&job["status"]["activeSince"]);
    until("a deadline to pass", PATIENCE, || async {
        (Timestamp::now() > since + SignedDuration::from_secs(2)).then_some(())
    })
    .await
    .unwrap();
    let job = reconciled(&tenant, "pause").await;
    assert_eq!(condition(&job, "Ready")[1], "Suspended");
    assert_eq!(tenant.scores().len(), calls);

    tenant
        .patch(
            JOB,
            "pause",
            &json!({"spec": {"suspend": false, "activeDeadlineSeconds": 600, "parallelism": 50}}),
        )
        .await;
    let job = tenant.until_true(JOB, "pause", "Complete").await;
    assert_eq!(condition(&job, "Suspended")[0], "");
    assert!(
        time(&job["status"]["activeSince"]) > since,
        "its active time starts again"
    );
    assert_eq!(tenant.scores().len(), 60, "each image is requested once");
    assert_counts(&tenant, &job);
    tenant.one_event("pause", "Resumed").await;
    tenant.one_event("pause", "Suspended").await;
    tenant.one_event("pause", "Completed").await;
}

// J24
pub async fn a_cancelled_job_keeps_its_results_and_stays_finished(stage: Arc<Stage>) {
    let tenant = under_way(&stage, "cancel", &json!({})).await;
    tenant
        .patch(JOB, "cancel", &json!({"spec": {"cancel": true}}))
        .await;
    let job = tenant.until_true(JOB, "cancel", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "Cancelled");
    assert_eq!(condition(&job, "Complete")[0], "");
    let calls = drained(&tenant, "cancel", &job).await;
    tenant.one_event("cancel", "Failed").await;

    tenant
        .patch(JOB, "cancel", &json!({"spec": {"cancel": false}}))
        .await;
    let generation = |job: &Value| job["status"]["observedGeneration"] == job["metadata"]["generation"];
    let after = tenant
        .until(JOB, "cancel", "the observed generation", generation)
        .await;
    for part in ["items", "results", "completionTime", "requests", "summary"] {
        assert_eq!(after["status"][part], job["status"][part], "{part}");
    }
    assert_eq!(condition(&after, "Failed")[1], "Cancelled");
    assert_eq!(tenant.scores().len(), calls);

    // A job that is cancelled before its first call costs nothing.
    let waits = json!({"grantRef": {"name": "none"}, "cancel": true});
    tenant
        .apply(&tenant.job("early", &["image-000.jpg"], &waits))
        .await;
    let job = tenant.until_true(JOB, "early", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "Cancelled");
    assert_eq!(tenant.scores().len(), calls);
}

// J24: a slow answer must not delay the storing of results that came before it.
pub async fn results_that_arrive_while_a_job_drains_are_stored_immediately(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "drains", 10).await;
    set_speed(&tenant, 100, 2_000);
    add_score_fault(&tenant, "image-009.jpg", None, FaultEffect::DelayMs(9_000));
    tenant.apply(&over(&tenant, "drains", &keys, &json!({}))).await;
    let sent = |job: &Value| job["status"]["requests"]["sent"] == 10;
    tenant.until(JOB, "drains", "all calls to be sent", sent).await;
    tenant
        .patch(JOB, "drains", &json!({"spec": {"cancel": true}}))
        .await;
    let stored = |job: &Value| job["status"]["items"]["succeeded"].as_u64() >= Some(9);
    let job = tenant.until(JOB, "drains", "nine scores", stored).await;
    assert_eq!(
        job["status"]["completionTime"],
        Value::Null,
        "the job waits for the last answer"
    );
    assert_eq!(job["status"]["items"]["active"], 1);
    let job = tenant.until_true(JOB, "drains", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "Cancelled");
    assert_indexes(&results_of(&tenant, "drains").await, 10);
    assert_counts(&tenant, &job);
}

// J25
pub async fn a_job_that_exceeds_its_deadline_fails_and_keeps_its_results(stage: Arc<Stage>) {
    let tenant = under_way(&stage, "late", &json!({})).await;
    tenant
        .patch(JOB, "late", &json!({"spec": {"activeDeadlineSeconds": 1}}))
        .await;
    let job = tenant.until_true(JOB, "late", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "DeadlineExceeded");
    assert!(message.contains("activeDeadlineSeconds"), "{message}");
    assert_eq!(condition(&job, "Complete")[0], "");
    let calls = drained(&tenant, "late", &job).await;
    tenant.one_event("late", "Failed").await;
    // A later deadline comes too late.
    tenant
        .patch(JOB, "late", &json!({"spec": {"activeDeadlineSeconds": 600}}))
        .await;
    let noted = |job: &Value| job["status"]["observedGeneration"] == job["metadata"]["generation"];
    let after = tenant.until(JOB, "late", "the observed generation", noted).await;
    assert_eq!(after["status"]["items"], job["status"]["items"]);
    assert_eq!(tenant.scores().len(), calls);
}

// J25
pub async fn the_deadline_runs_while_a_job_waits_for_its_grant_or_credentials(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "overdue").await;
    let cases = [
        ("grant", json!({"grantRef": {"name": "none"}})),
        ("keys", json!({"credentials": {"secretRef": {"name": "reader"}}})),
    ];
    for (name, changes) in &cases {
        let mut all = json!({"activeDeadlineSeconds": 3});
        crate::support::tenant::merge(&mut all, changes);
        tenant.apply(&tenant.job(name, &["a.jpg"], &all)).await;
    }
    for (name, _) in &cases {
        let job = tenant.until_true(JOB, name, "Failed").await;
        assert_eq!(condition(&job, "Failed")[1], "DeadlineExceeded", "{name}");
        tenant.one_event(name, "Failed").await;
    }
    assert!(tenant.scores().is_empty());
}
