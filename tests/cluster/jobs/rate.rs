//! Cost and rate: the budget, rate limits, and concurrency as the emulator measures them.

use std::sync::Arc;

use imm_emulator::{Call, ProjectSeed};
use imm_harness::until;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::fixtures::{
    assert_counts, call_count, prefix_job, project_count, put_images, set_speed, with_grant,
};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, condition};

const LATENCY_MS: u64 = 400;

// J19
pub async fn the_budget_pauses_the_job_until_it_is_raised(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "budget", 20).await;
    tenant
        .apply(&over(
            &tenant,
            "budget",
            &keys,
            &json!({"budget": {"maxRequests": 7}}),
        ))
        .await;
    let job = tenant.until_reason(JOB, "budget", "BudgetExceeded").await;
    assert_eq!(
        [condition(&job, "Suspended")[0], condition(&job, "Ready")[0]],
        ["True", "True"]
    );
    assert_eq!(job["status"]["progress"], "7/20");
    assert_eq!(tenant.scores().len(), 7);
    tenant.one_event("budget", "BudgetExceeded").await;
    let token = tenant.request_reconcile(JOB, "budget").await;
    tenant
        .until(JOB, "budget", "a reconcile", |job| {
            job["status"]["lastHandledReconcileAt"] == *token
        })
        .await;
    assert_eq!(tenant.scores().len(), 7, "a reconcile alone costs nothing");

    tenant
        .patch(JOB, "budget", &json!({"spec": {"budget": {"maxRequests": 20}}}))
        .await;
    let job = tenant.until_true(JOB, "budget", "Complete").await;
    assert_eq!(condition(&job, "Suspended")[0], "");
    assert_eq!(tenant.scores().len(), 20);
}

// J19
pub async fn a_job_with_an_exhausted_budget_makes_no_cloud_call(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "resting").await;
    put_images(&tenant, 20, Some("0.5"));
    let budget = json!({"budget": {"maxRequests": 7}, "activeDeadlineSeconds": 600});
    tenant
        .apply(&prefix_job(&tenant, "resting", &json!({}), &budget))
        .await;
    tenant.until_reason(JOB, "resting", "BudgetExceeded").await;
    let before = [
        call_count(&tenant, "ListObjectsV2"),
        call_count(&tenant, "DetectImageScore"),
    ];
    // The job's deadline does not run meanwhile.
    let shorter = json!({"spec": {"activeDeadlineSeconds": 1}});
    tenant.patch(JOB, "resting", &shorter).await;
    for _ in 0..3 {
        let token = tenant.request_reconcile(JOB, "resting").await;
        let echoed = |job: &Value| job["status"]["lastHandledReconcileAt"] == *token;
        let job = tenant.until(JOB, "resting", "a reconcile", echoed).await;
        assert_eq!(condition(&job, "Ready")[1], "BudgetExceeded");
    }
    let after = [
        call_count(&tenant, "ListObjectsV2"),
        call_count(&tenant, "DetectImageScore"),
    ];
    assert_eq!(after, before);
    tenant.one_event("resting", "BudgetExceeded").await;
    let more = json!({"spec": {"budget": {"maxRequests": 20}, "activeDeadlineSeconds": 600}});
    tenant.patch(JOB, "resting", &more).await;
    tenant.until_true(JOB, "resting", "Complete").await;
    assert_eq!(tenant.scores().len(), 20);
}

// J19
pub async fn an_exhausted_budget_fails_the_job_that_asks_for_it(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "strict", 10).await;
    let budget = json!({"budget": {"maxRequests": 4, "onExceeded": "Fail"}});
    tenant.apply(&over(&tenant, "strict", &keys, &budget)).await;
    let job = tenant.until_true(JOB, "strict", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "BudgetExceeded");
    assert!(message.contains("create another job"), "{message}");
    assert_eq!(job["status"]["items"]["succeeded"], 4);
    assert_eq!(tenant.scores().len(), 4);
}

/// Returns the most calls in flight at once, where each call takes at least the project's latency after it was received.
fn most_at_once(calls: &[Call]) -> usize {
    let mut times: Vec<i64> = calls
        .iter()
        .map(|call| call.time.parse::<Timestamp>().unwrap().as_millisecond())
        .collect();
    times.sort_unstable();
    let within = i64::try_from(LATENCY_MS).unwrap();
    let from = |start: &i64| {
        times
            .iter()
            .filter(|time| (*start..start + within).contains(*time))
            .count()
    };
    times.iter().map(from).max().unwrap_or_default()
}

// J30, D8
pub async fn parallelism_is_a_limit_and_can_be_raised_while_the_job_runs(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "ceiling", 60).await;
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        latency_ms: LATENCY_MS,
        ..ProjectSeed::default()
    });
    tenant
        .apply(&over(&tenant, "ceiling", &keys, &json!({"parallelism": 3})))
        .await;
    let slow = stage
        .until_calls("the first calls", &tenant.bucket, "DetectImageScore", 13)
        .await;
    assert_eq!(most_at_once(&slow), 3);
    assert!(most_at_once(&slow[..2]) == 1, "the canary call is sent alone");

    tenant
        .patch(JOB, "ceiling", &json!({"spec": {"parallelism": 12}}))
        .await;
    let before = slow.last().unwrap().seq;
    let job = tenant.until_true(JOB, "ceiling", "Complete").await;
    let fast: Vec<Call> = tenant
        .scores()
        .into_iter()
        .filter(|call| call.seq > before)
        .collect();
    let most = most_at_once(&fast);
    assert!((4..=12).contains(&most), "{most} calls at once");
    assert_eq!(job["status"]["items"]["succeeded"], 60);
    assert_eq!(tenant.scores().len(), 60);
}

fn limit_requests(stage: &Stage, project: &str) -> usize {
    let calls = stage.cloud.calls().into_iter();
    calls
        .filter(|call| call.action == "GetProject" && call.project.as_deref() == Some(project))
        .count()
}

// J12
pub async fn two_namespaces_of_one_account_share_the_rate_limit_of_a_project(stage: Arc<Stage>) {
    let (first, keys) = gallery(&stage, "share-one", 150).await;
    let (second, _) = gallery(&stage, "share-two", 150).await;
    let same = json!({"project": {"name": first.project}});
    tokio::join!(
        async { first.apply(&over(&first, "share", &keys, &json!({}))).await },
        async { second.apply(&over(&second, "share", &keys, &same)).await },
    );
    for tenant in [&first, &second] {
        let job = tenant.until_true(JOB, "share", "Complete").await;
        assert_counts(tenant, &job);
    }
    let seen = project_count(&first);
    // A busy machine sends requests in bursts; two separate rate limits would allow 196 requests per second.
    assert!(seen.highest_per_second <= 110, "{seen:?}");
    assert!(seen.throttled <= 10, "{seen:?}");
    assert_eq!(
        limit_requests(&stage, &first.project),
        1,
        "one request for the limits for both"
    );
    let own = |call: &Call| call.access_key_id.clone();
    assert_ne!(
        first.scores().first().and_then(own),
        second.scores().first().and_then(own)
    );
}

// J12
pub async fn the_reported_limits_of_a_project_are_kept(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "modest", 60).await;
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        queries_per_second: Some(20),
        concurrency: Some(5),
        latency_ms: 100,
        ..ProjectSeed::default()
    });
    tenant.apply(&over(&tenant, "modest", &keys, &json!({}))).await;
    let job = tenant.until_true(JOB, "modest", "Complete").await;
    let seen = project_count(&tenant);
    println!("a limit of 20 per second and 5 at once: {seen:?}");
    assert!(
        seen.highest_per_second <= 23 && seen.highest_in_flight <= 6,
        "{seen:?}"
    );
    assert_eq!(seen.throttled, 0, "{seen:?}");
    assert_eq!(limit_requests(&stage, &tenant.project), 1);
    assert_counts(&tenant, &job);
}

// J12
pub async fn unreadable_limits_of_a_project_are_requested_once(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "secretive", 40).await;
    tenant.set_permissions("caller", Some(&["imm:DetectImageScore", "sts:*"]));
    for name in ["one", "two"] {
        tenant.apply(&over(&tenant, name, &keys[..20], &json!({}))).await;
    }
    for name in ["one", "two"] {
        let job = tenant.until_true(JOB, name, "Complete").await;
        assert_eq!(job["status"]["requests"]["estimatedBillable"], 20);
    }
    assert_eq!(
        limit_requests(&stage, &tenant.project),
        1,
        "one request for the limits while the project is in use"
    );
    assert_eq!(tenant.scores().len(), 40);
}

// J12
pub async fn jobs_beyond_the_limit_of_a_namespace_are_queued(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "crowd", 1).await;
    set_speed(&tenant, 1_000, 0);
    // No job finishes before one had to wait, however long it takes to apply forty jobs.
    let calls = tenant.hold("DetectImageScore", 0, None);
    let job = |n| over(&tenant, &format!("job-{n}"), &keys, &json!({}));
    let manifests: Vec<String> = (0..40).map(job).collect();
    tenant.apply(&manifests.join("\n---\n")).await;
    let reasons = || async {
        let jobs = tenant.api(JOB).list(&ListParams::default()).await.unwrap();
        let jobs = jobs
            .items
            .into_iter()
            .map(|job| serde_json::to_value(job).unwrap());
        jobs.map(|job| condition(&job, "Ready")[1].to_owned())
            .collect::<Vec<_>>()
    };
    let number_with = |reasons: &[String], reason: &str| reasons.iter().filter(|one| *one == reason).count();
    until("some jobs to be queued", PATIENCE, || async {
        (number_with(&reasons().await, "Pending") > 0).then_some(())
    })
    .await
    .unwrap();
    drop(calls);
    until("all jobs to be complete", PATIENCE, || async {
        let complete = number_with(&reasons().await, "Completed");
        if complete == 40 {
            Ok(())
        } else {
            Err(format!("{complete} are"))
        }
    })
    .await
    .unwrap();
    assert_eq!(tenant.scores().len(), 40);
}
