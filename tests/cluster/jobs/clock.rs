//! Clock skew. No other test runs at the same time, because the emulator has one clock for all tests.

use std::sync::Arc;

use imm_harness::until;
use serde_json::{Value, json};

use super::fixtures::{assert_indexes, outcome, results_of, set_speed, until_finished};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, Tenant, condition};

/// Sets the cloud's clock one hour ahead of the operator's until it is dropped.
struct Ahead<'a>(&'a Stage);

impl<'a> Ahead<'a> {
    fn of(stage: &'a Stage) -> Self {
        stage.cloud.set_clock_offset(3_600);
        Self(stage)
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.0.cloud.set_clock_offset(0);
    }
}

/// Waits until the job reports clock skew; fails if the job has finished because of it.
async fn until_clock_skew(tenant: &Tenant, name: &str) -> Value {
    let reported = |job: &Value| {
        condition(job, "Ready")[2].contains("clock") || job["status"]["completionTime"].is_string()
    };
    let job = tenant.until(JOB, name, "clock skew, or its end", reported).await;
    assert_eq!(outcome(&job), ["", ""], "{name}: {}", condition(&job, "Ready")[2]);
    assert_eq!(condition(&job, "Ready")[0], "False");
    job
}

/// Returns the number of calls about some images that were rejected because of clock skew.
fn refused(tenant: &Tenant, keys: &[String]) -> usize {
    let of_keys = |key: &Option<String>| key.as_ref().is_some_and(|key| keys.contains(key));
    let calls = tenant.scores().into_iter();
    calls
        .filter(|call| call.code.as_deref() == Some("InvalidTimeStamp.Expired") && of_keys(&call.key))
        .count()
}

// P9
pub async fn clock_skew_fails_no_job_and_costs_few_calls(stage: Arc<Stage>) {
    const PARALLELISM: usize = 4;
    let (tenant, keys) = gallery(&stage, "skewed", 50).await;
    set_speed(&tenant, 100, 200);
    let (early, late) = keys.split_at(40);
    let changes = json!({"parallelism": PARALLELISM});
    tenant.apply(&over(&tenant, "early", early, &changes)).await;
    stage
        .until_calls("some calls", &tenant.bucket, "DetectImageScore", 9)
        .await;
    let ahead = Ahead::of(&stage);
    tenant.apply(&over(&tenant, "late", late, &changes)).await;
    for name in ["early", "late"] {
        until_clock_skew(&tenant, name).await;
        let token = tenant.request_reconcile(JOB, name).await;
        until("the requested reconcile", PATIENCE, || async {
            let job = until_clock_skew(&tenant, name).await;
            (job["status"]["lastHandledReconcileAt"] == *token).then_some(())
        })
        .await
        .unwrap();
    }
    // Calls that were sent before the first rejection, and one for each reconcile: requested, or automatic after a minute.
    let costs = [refused(&tenant, early), refused(&tenant, late)];
    assert!(
        costs[0] <= PARALLELISM + 3 && costs[1] <= 3,
        "{costs:?} calls are billed"
    );

    drop(ahead);
    for (name, images) in [("early", 40), ("late", 10)] {
        tenant.request_reconcile(JOB, name).await;
        let job = until_finished(&tenant, name).await;
        assert_eq!(outcome(&job), ["Complete", "Completed"]);
        let results = results_of(&tenant, name).await;
        assert_indexes(&results, images);
        assert!(results.iter().all(|result| result["score"] == "0.727"));
    }
}
