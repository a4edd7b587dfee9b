//! Clock skew. No other test runs at the same time, because the emulator has one clock for all tests.

use std::process::Command;
use std::sync::Arc;

use imm_harness::until;
use serde_json::{Value, json};

use super::fixtures::{assert_indexes, outcome, results_of, set_speed, until_finished};
use super::scoring::{gallery, over};
use crate::support::tenant::{GRANT, JOB};
use crate::support::{ACCOUNT_B, PATIENCE, Stage, Tenant, condition};

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
    // Calls that were sent before the first rejection, and one for each reconcile: requested, or automatic after a
    // minute.
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

// P9
pub async fn every_message_about_a_wrong_time_names_the_clock(stage: Arc<Stage>) {
    let (tenant, _) = gallery(&stage, "named-clock", 1).await;
    let ahead = Ahead::of(&stage);
    let role = format!("acs:ram::{ACCOUNT_B}:role/writer");
    let changes = [
        ("direct", json!({"access": {"prefixes": ["a/"]}})),
        (
            "assumed",
            json!({"credentials": {"assumeRole": {"roleARN": role}}}),
        ),
    ];
    for (name, changes) in changes {
        tenant.apply(&tenant.grant(name, &changes)).await;
    }
    let secret = json!({"source": "Secret", "secretRef": {"name": "owner"}});
    let prefix = json!({"bucket": tenant.bucket, "credentials": secret});
    let changes = json!({"grantRef": null, "budget": {"maxRequests": 1},
        "source": {"uris": null, "prefix": prefix}});
    tenant.apply(&tenant.job("listing", &["x"], &changes)).await;
    for (kind, name, part) in [
        (GRANT, "direct", "OSS rejects"),
        (GRANT, "assumed", "STS rejects"),
        (JOB, "listing", "OSS rejects"),
    ] {
        let named = |object: &Value| {
            let message = &condition(object, "Ready")[2];
            message.contains(part) && message.contains("synchronize the clock")
        };
        tenant.until(kind, name, "a message about the clock", named).await;
    }

    let file = stage.plane.folder().join("clock.json");
    std::fs::write(&file, tenant.grant("direct", &json!({}))).unwrap();
    let mut plan = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
    plan.args(["plan", "--live", "--oss-endpoint", &stage.cloud.url(), "--file"])
        .arg(&file)
        .env("ALIBABA_CLOUD_ACCESS_KEY_ID", tenant.key_id("owner"))
        .env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "canary-owner-named-clock");
    let output = tokio::task::spawn_blocking(move || plan.output().unwrap());
    let said = String::from_utf8(output.await.unwrap().stderr).unwrap();
    assert!(said.contains("correct the clock"), "{said}");
    drop(ahead);
    tenant.request_reconcile(GRANT, "direct").await;
    tenant.until_reason(GRANT, "direct", "Applied").await;
}
