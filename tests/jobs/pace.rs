//! How much and how fast: the budget, and calls at once as the cloud sees them.

use std::sync::Arc;

use imm_emulator::{Call, ProjectSeed};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{Stage, condition};

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
    let token = tenant.ask_for_pass(JOB, "budget").await;
    tenant
        .until(JOB, "budget", "a pass", |job| {
            job["status"]["lastHandledReconcileAt"] == *token
        })
        .await;
    assert_eq!(tenant.scores().len(), 7, "a pass alone spends nothing");

    tenant
        .patch(JOB, "budget", &json!({"spec": {"budget": {"maxRequests": 20}}}))
        .await;
    let job = tenant.until_true(JOB, "budget", "Complete").await;
    assert_eq!(condition(&job, "Suspended")[0], "");
    assert_eq!(tenant.scores().len(), 20);
}

// J19
pub async fn the_budget_fails_the_job_that_asks_for_it(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "strict", 10).await;
    let budget = json!({"budget": {"maxRequests": 4, "onExceeded": "Fail"}});
    tenant.apply(&over(&tenant, "strict", &keys, &budget)).await;
    let job = tenant.until_true(JOB, "strict", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "BudgetExceeded");
    assert_eq!(job["status"]["items"]["succeeded"], 4);
    assert_eq!(tenant.scores().len(), 4);
}

/// Most calls under way at once, when each takes at least the project's latency from when it was taken in.
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
pub async fn parallelism_is_a_ceiling_and_can_be_raised_meanwhile(stage: Arc<Stage>) {
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
    assert!(most_at_once(&slow[..2]) == 1, "the first item goes alone");

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
    assert!((4..=12).contains(&most), "{most} at once");
    assert_eq!(job["status"]["items"]["succeeded"], 60);
    assert_eq!(tenant.scores().len(), 60);
}
