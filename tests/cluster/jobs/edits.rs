//! Edits at awkward moments: while calls are draining, with a partly used budget, and after the job has finished.

use std::sync::Arc;

use imm_emulator::ProjectSeed;
use imm_harness::until;
use serde_json::{Value, json};

use super::fixtures::{
    answer, assert_counts, assert_indexes, outcome, reports_of, results_of, until_finished,
    without_reconcile_echo,
};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, Tenant, condition, until_held};

/// Returns how often the operator has read a job.
fn reads(tenant: &Tenant, name: &str) -> usize {
    let asked = tenant.stage.audited().into_iter();
    let asked = asked.filter(|one| one.verb == "get" && one.resource == "imagescorejobs");
    asked
        .filter(|one| one.namespace == tenant.name && one.name == name)
        .count()
}

// J24
pub async fn a_cancelled_job_stays_cancelled_while_its_calls_drain(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "undecided", 12).await;
    // The first call goes alone.
    let calls = tenant.hold("DetectImageScore", 1, None);
    tenant
        .apply(&over(&tenant, "undecided", &keys, &json!({"parallelism": 3})))
        .await;
    until_held(&calls, 3).await;
    let before = reads(&tenant, "undecided");
    let cancel = |yes: bool| json!({"spec": {"cancel": yes}});
    tenant.patch(JOB, "undecided", &cancel(true)).await;
    until("the operator to read the edit", PATIENCE, || async {
        (reads(&tenant, "undecided") > before).then_some(())
    })
    .await
    .unwrap();
    tenant.patch(JOB, "undecided", &cancel(false)).await;
    drop(calls);
    let job = until_finished(&tenant, "undecided").await;
    assert_eq!(outcome(&job), ["Failed", "Cancelled"]);
    // The first image, and the three calls in flight.
    assert_eq!(tenant.scores().len(), 4);
    assert_indexes(&results_of(&tenant, "undecided").await, 4);
    assert_counts(&tenant, &job);
}

// J19
pub async fn a_lowered_budget_also_limits_earlier_reservations(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "frugal", 60).await;
    // Calls are slow although the project's rate limit is high, so most of a second's reservation is unused.
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        concurrency: Some(2),
        latency_ms: 700,
        ..ProjectSeed::default()
    });
    tenant
        .apply(&over(
            &tenant,
            "frugal",
            &keys,
            &json!({"budget": {"maxRequests": 100}}),
        ))
        .await;
    let more = |job: &Value| job["status"]["requests"]["reserved"].as_u64() >= Some(20);
    let job = tenant.until(JOB, "frugal", "a large reservation", more).await;
    let sent = usize::try_from(job["status"]["requests"]["sent"].as_u64().unwrap()).unwrap();
    // Not reached when the operator reads the edit, and far below the reservation.
    let lowered = sent + 6;
    tenant
        .patch(
            JOB,
            "frugal",
            &json!({"spec": {"budget": {"maxRequests": lowered}}}),
        )
        .await;
    let over = |job: &Value| {
        condition(job, "Ready")[1] == "BudgetExceeded" || job["status"]["completionTime"].is_string()
    };
    let job = tenant.until(JOB, "frugal", "an exhausted budget", over).await;
    assert_eq!(condition(&job, "Ready")[1], "BudgetExceeded");
    let calls = tenant.scores().len();
    // Two more calls may be sent before the operator reads the edit.
    assert!((lowered..=lowered + 2).contains(&calls), "{calls} calls");
    assert_indexes(&results_of(&tenant, "frugal").await, calls);
    assert_counts(&tenant, &job);
}

// J24, J26
pub async fn a_cancelled_job_still_reports_the_denied_call(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "denied-anyway", 20).await;
    tenant.fault(
        "DetectImageScore",
        5,
        1_000,
        answer(400, "InvalidAccessKeyId.NotFound"),
    );
    let operator = json!({"credentials": {"source": "Operator", "secretRef": null}});
    tenant.apply(&over(&tenant, "rules", &keys, &operator)).await;
    let slow = json!({"parallelism": 1});
    tenant.apply(&over(&tenant, "keys", &keys, &slow)).await;
    let cases = [
        ("rules", "TenancyDenied", "Allowed", "TenancyDenied"),
        (
            "keys",
            "CredentialsUnavailable",
            "CredentialsValid",
            "CredentialsRejected",
        ),
    ];
    for (name, ready, kind, reason) in cases {
        let job = tenant.until_reason(JOB, name, ready).await;
        assert_eq!(condition(&job, kind)[..2], ["False", reason]);
        tenant.patch(JOB, name, &json!({"spec": {"cancel": true}})).await;
    }
    for (name, _, kind, reason) in cases {
        let job = until_finished(&tenant, name).await;
        assert_eq!(outcome(&job), ["Failed", "Cancelled"]);
        assert_eq!(condition(&job, kind)[..2], ["False", reason], "{name}");
    }
    assert_eq!(tenant.scores().len(), 6, "five images, and one denied call");
}

// J28, P2
pub async fn results_with_a_ttl_of_zero_are_deleted_and_the_edit_is_observed(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "afterthought", 3).await;
    tenant
        .apply(&over(&tenant, "afterthought", &keys, &json!({})))
        .await;
    tenant.until_true(JOB, "afterthought", "Complete").await;
    let change = json!({"spec": {"results": {"ttlSecondsAfterFinished": 0}}});
    let patched = tenant.patch(JOB, "afterthought", &change).await;
    let generation = &patched["metadata"]["generation"];
    assert_eq!(*generation, 2);
    let expired = |job: &Value| condition(job, "ResultsStored")[1] == "ResultsExpired";
    tenant
        .until(JOB, "afterthought", "its results to be deleted", expired)
        .await;
    let noted = |job: &Value| job["status"]["observedGeneration"] == *generation;
    let job = tenant
        .until(JOB, "afterthought", "the observed generation", noted)
        .await;
    assert_eq!(outcome(&job), ["Complete", "Completed"]);
    for condition in job["status"]["conditions"].as_array().unwrap() {
        assert_eq!(condition["observedGeneration"], *generation, "{condition}");
    }
    assert_eq!(job["status"]["summary"]["mean"], "0.727");
}

// J26
pub async fn a_reconcile_of_a_finished_job_is_echoed_and_changes_nothing_else(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "echoing", 2).await;
    let keep = json!({"results": {"ttlSecondsAfterFinished": 86_400}});
    for (name, changes) in [("at-rest", json!({})), ("kept-a-day", keep)] {
        tenant.apply(&over(&tenant, name, &keys, &changes)).await;
        let before = tenant.until_true(JOB, name, "Complete").await;
        let token = tenant.request_reconcile(JOB, name).await;
        let echoed = |job: &Value| job["status"]["lastHandledReconcileAt"] == *token;
        let after = tenant.until(JOB, name, "the echo", echoed).await;
        assert_eq!(
            without_reconcile_echo(&after),
            without_reconcile_echo(&before),
            "{name}"
        );
    }
    assert_eq!(tenant.scores().len(), 4);
}

// J28
pub async fn expired_results_are_deleted_although_a_report_has_lost_its_labels(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "unlabelled", 101).await;
    tenant
        .apply(&over(&tenant, "unlabelled", &keys, &json!({})))
        .await;
    tenant.until_true(JOB, "unlabelled", "Complete").await;
    let report = reports_of(&tenant, "unlabelled").await.remove(0);
    let name = report["metadata"]["name"].as_str().unwrap().to_owned();
    tenant
        .patch("ImageScoreReport", &name, &json!({"metadata": {"labels": null}}))
        .await;
    let change = json!({"spec": {"results": {"ttlSecondsAfterFinished": 0}}});
    tenant.patch(JOB, "unlabelled", &change).await;
    let expired = |job: &Value| condition(job, "ResultsStored")[1] == "ResultsExpired";
    tenant
        .until(JOB, "unlabelled", "its results to be deleted", expired)
        .await;
    let left = ["get", "isr", "-n", "unlabelled", "-o", "name"];
    assert_eq!(stage.kubectl(&left).await, "");
}
