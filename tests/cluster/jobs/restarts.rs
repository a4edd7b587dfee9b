//! The operator ends in the middle of a job, by SIGTERM or by a crash. No other test runs at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;

use imm_emulator::ProjectSeed;
use serde_json::{Value, json};

use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{Stage, Tenant, reason};

const IMAGES: usize = 100;

/// Starts a job of a hundred images and waits until part of it is scored.
async fn under_way(stage: &Arc<Stage>, name: &str) -> Tenant {
    let (tenant, keys) = gallery(stage, name, IMAGES).await;
    let project = tenant.project.clone();
    stage.add_project(ProjectSeed {
        name: project,
        latency_ms: 200,
        ..ProjectSeed::default()
    });
    tenant
        .apply(&over(&tenant, "long", &keys, &json!({"parallelism": 6})))
        .await;
    stage
        .until_calls("some calls", &tenant.bucket, "DetectImageScore", 25)
        .await;
    tenant
}

fn each_index_once(job: &Value) {
    let results = job["status"]["results"].as_array().unwrap();
    let indexes: BTreeSet<u64> = results
        .iter()
        .map(|result| result["index"].as_u64().unwrap())
        .collect();
    assert_eq!((results.len(), indexes.len()), (IMAGES, IMAGES));
    assert!(results.iter().all(|result| result["score"] == "0.727"));
}

// SIGTERM: calls in flight are awaited and their results stored, and no call is billed twice.
pub async fn a_job_stopped_by_a_shutdown_scores_each_image_once(stage: Arc<Stage>) {
    let tenant = under_way(&stage, "drained").await;
    let status = stage.stop_operator().await;
    assert!(status.success(), "{status}");
    let job = tenant.object(JOB, "long").await;
    let (calls, requests) = (tenant.scores().len(), &job["status"]["requests"]);
    assert!(calls < IMAGES, "the job was stopped in the middle");
    assert_eq!(
        [&requests["sent"], &requests["reserved"]],
        [calls, calls],
        "no unused reservation is left"
    );
    assert_eq!(job["status"]["results"].as_array().unwrap().len(), calls);

    stage.start_operator().await;
    let job = tenant.until_true(JOB, "long", "Complete").await;
    each_index_once(&job);
    let scores = tenant.scores();
    assert_eq!(scores.iter().filter(|call| call.billed).count(), IMAGES);
    assert_eq!(job["status"]["requests"]["sent"], IMAGES);
}

// J22, J19: a crash repeats few calls, and every reserved request still counts as sent.
pub async fn a_killed_job_has_each_image_once_and_counts_every_request(stage: Arc<Stage>) {
    let tenant = under_way(&stage, "killed").await;
    for more in [20, 40] {
        stage.kill_operator().await;
        let job = tenant.object(JOB, "long").await;
        let spent = job["status"]["requests"]["reserved"].as_u64().unwrap();
        let calls = u64::try_from(tenant.scores().len()).unwrap();
        assert!(spent >= calls, "{spent} recorded, {calls} made");
        stage.start_operator().await;
        let calls = usize::try_from(calls).unwrap();
        if more == 20 {
            stage
                .until_calls("more calls", &tenant.bucket, "DetectImageScore", calls + more)
                .await;
        }
    }
    let job = tenant.until_true(JOB, "long", "Complete").await;
    each_index_once(&job);
    let calls = tenant.scores().len();
    let sent = job["status"]["requests"]["sent"].as_u64().unwrap();
    assert!(
        sent >= u64::try_from(calls).unwrap(),
        "{sent} recorded, {calls} made"
    );
    // Each crash repeats at most the calls in flight and the results since the last store, up to a second before.
    assert!(
        calls <= IMAGES + 2 * (6 + 6 * 6),
        "{calls} calls for {IMAGES} images"
    );
}

// J19: requests that were reserved before a crash count as sent, so repeated crashes cannot exceed the budget.
pub async fn crashes_do_not_exceed_the_budget(stage: Arc<Stage>) {
    const BUDGET: usize = 200;
    let (tenant, keys) = gallery(&stage, "spent", IMAGES).await;
    let project = tenant.project.clone();
    stage.add_project(ProjectSeed {
        name: project,
        latency_ms: 300,
        ..ProjectSeed::default()
    });
    let changes = json!({"parallelism": 2, "budget": {"maxRequests": BUDGET}});
    tenant.apply(&over(&tenant, "spent", &keys, &changes)).await;
    let mut crashes = 0;
    loop {
        let before = tenant.scores().len();
        let next = tenant.until(JOB, "spent", "one more call, or an exhausted budget", |job| {
            tenant.scores().len() > before || reason(job) == "BudgetExceeded"
        });
        if reason(&next.await) == "BudgetExceeded" {
            break;
        }
        stage.kill_operator().await;
        crashes += 1;
        stage.start_operator().await;
    }
    assert!(crashes > 2, "{crashes} crashes only");
    let job = tenant.object(JOB, "spent").await;
    let calls = tenant.scores().len();
    let requests = &job["status"]["requests"];
    assert_eq!(
        [&requests["reserved"], &requests["sent"]],
        [BUDGET, BUDGET],
        "{requests}"
    );
    assert!(calls <= BUDGET, "{calls} calls for a budget of {BUDGET}");
    println!("{crashes} crashes, {calls} calls for a budget of {BUDGET}");

    // With a higher budget the job continues and completes.
    let raised = json!({"spec": {"budget": {"maxRequests": 1000}, "parallelism": 50}});
    tenant.patch(JOB, "spent", &raised).await;
    each_index_once(&tenant.until_true(JOB, "spent", "Complete").await);
}
