//! Scores, failed items, and retries.

use std::sync::Arc;

use imm_emulator::{FaultAnswer, FaultEffect, ProjectSeed};
use imm_harness::until;
use serde_json::{Value, json};

use super::fixtures::without_reconcile_echo;
use crate::support::tenant::JOB;
use crate::support::{PATIENCE, Stage, Tenant, condition};

/// Returns a tenant whose bucket the service role can read, with that many images of the same score.
pub async fn gallery(stage: &Arc<Stage>, name: &str, images: usize) -> (Tenant, Vec<String>) {
    let tenant = Tenant::new(stage, name).await;
    let keys: Vec<String> = (0..images).map(|n| format!("image-{n:03}.jpg")).collect();
    for key in &keys {
        assert!(
            stage
                .cloud
                .put_object(&tenant.bucket, key, "pixels", Some("0.727"))
        );
    }
    tenant.granted("open", &json!({})).await;
    (tenant, keys)
}

/// Returns a job over the images that depends on the tenant's grant and skips the wait for propagation.
pub fn over(tenant: &Tenant, name: &str, keys: &[String], changes: &Value) -> String {
    let mut spec = json!({"grantRef": {"name": "open"}, "grantWait": {"settleSeconds": 0}});
    crate::support::tenant::merge(&mut spec, changes);
    tenant.job(name, &keys.iter().map(String::as_str).collect::<Vec<_>>(), &spec)
}

fn answer(status: u16, code: &str) -> FaultEffect {
    FaultEffect::Answer(FaultAnswer {
        status,
        code: code.to_owned(),
        ..FaultAnswer::default()
    })
}

// J1
pub async fn the_documented_request_scores_one_image(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "single", 1).await;
    tenant.apply(&over(&tenant, "one", &keys, &json!({}))).await;
    stage
        .kubectl(&[
            "wait",
            "--for=condition=Complete",
            "isj/one",
            "-n",
            "single",
            "--timeout=600s",
        ])
        .await;
    let shown = stage.kubectl(&["get", "isj", "-n", "single"]).await;
    let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row[..7],
        ["one", "True", "Completed", "1/1", "0", "0.727", "1"],
        "{shown}"
    );
    let job = tenant.object(JOB, "one").await;
    assert_eq!(job["status"]["results"][0]["score"], "0.727");
    assert_eq!(job["status"]["requests"]["estimatedBillable"], 1);
    let scores = tenant.scores();
    assert_eq!(scores.len(), 1);
    assert!(scores[0].billed && scores[0].status == Some(200));
    for reason in ["Started", "Completed"] {
        tenant.one_event("one", reason).await;
    }
}

// J26, P13
pub async fn a_finished_job_is_not_changed(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "ended", 3).await;
    tenant.apply(&over(&tenant, "ended", &keys, &json!({}))).await;
    let before = tenant.until_true(JOB, "ended", "Complete").await;
    let writes = || {
        let asked = stage.audited().into_iter();
        asked
            .filter(|one| one.namespace == "ended" && one.resource == "imagescorejobs/status")
            .count()
    };
    let of_scores = writes();
    assert!(of_scores <= 5, "{of_scores} writes of status for three images");
    for _ in 0..3 {
        let reads = || {
            let asked = stage.audited().into_iter();
            asked
                .filter(|one| {
                    one.verb == "get" && one.resource == "imagescorejobs" && one.namespace == "ended"
                })
                .count()
        };
        let earlier = reads();
        tenant.request_reconcile(JOB, "ended").await;
        until("a reconcile of the finished job", PATIENCE, || async {
            (reads() > earlier).then_some(())
        })
        .await
        .unwrap();
    }
    let after = tenant.object(JOB, "ended").await;
    assert_eq!(without_reconcile_echo(&after), without_reconcile_echo(&before));
    assert_eq!(tenant.scores().len(), 3);
    tenant.apply(&over(&tenant, "ended", &keys, &json!({}))).await;
    assert_eq!(
        without_reconcile_echo(&tenant.object(JOB, "ended").await),
        without_reconcile_echo(&before)
    );
    // Each requested reconcile is echoed once.
    assert!(writes() <= of_scores + 3);
}

// J7
pub async fn a_few_failed_items_do_not_fail_the_job(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "few", 100).await;
    for index in [3, 50, 99] {
        assert!(
            stage
                .cloud
                .put_object(&tenant.bucket, &keys[index], "no picture", None)
        );
    }
    tenant
        .apply(&over(&tenant, "few", &keys, &json!({"maxFailedItems": "10%"})))
        .await;
    let job = tenant.until_true(JOB, "few", "Complete").await;
    assert_eq!(condition(&job, "Complete")[1], "CompletedWithFailures");
    let status = &job["status"];
    assert_eq!(
        [&status["items"]["failed"], &status["items"]["succeeded"]],
        [&json!(3), &json!(97)]
    );
    assert_eq!(
        status["failures"],
        json!([{"code": "InvalidArgument", "count": 3, "sampleIndex": 3}])
    );
    let failed = status["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|result| !result["code"].is_null());
    let failed: Vec<&Value> = failed.map(|result| &result["index"]).collect();
    assert_eq!(failed, [3, 50, 99]);
    assert_eq!(
        tenant.scores().len(),
        100,
        "one request for each image, including failed ones"
    );
}

// J8
pub async fn more_failed_items_than_allowed_fail_the_job(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "many", 20).await;
    for key in &keys[..10] {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "no picture", None));
    }
    tenant
        .apply(&over(
            &tenant,
            "many",
            &keys,
            &json!({"maxFailedItems": 2, "parallelism": 1}),
        ))
        .await;
    let job = tenant.until_true(JOB, "many", "Failed").await;
    assert_eq!(condition(&job, "Failed")[1], "MaxFailedItems");
    assert_eq!(job["status"]["items"]["active"], 0);
    assert_eq!(tenant.scores().len(), 3, "the other images are not requested");
}

// J10
pub async fn an_item_that_fails_temporarily_is_retried(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "flaky", 1).await;
    tenant.fault("DetectImageScore", 0, 2, answer(500, "InternalError"));
    tenant.apply(&over(&tenant, "flaky", &keys, &json!({}))).await;
    let job = tenant.until_true(JOB, "flaky", "Complete").await;
    assert_eq!(condition(&job, "Complete")[1], "Completed");
    let requests = &job["status"]["requests"];
    let counts = [
        "sent",
        "retried",
        "serverErrors",
        "clientErrors",
        "estimatedBillable",
    ]
    .map(|name| &requests[name]);
    assert_eq!(counts, [3, 2, 2, 0, 1], "{requests}");
    assert_eq!(tenant.scores().iter().filter(|call| call.billed).count(), 1);
}

// J11
pub async fn throttling_slows_down_and_fails_nothing(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "busy", 20).await;
    // Answers are slow, so that a retry is still in flight when its next due time has passed.
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        latency_ms: 500,
        ..ProjectSeed::default()
    });
    tenant.fault("DetectImageScore", 3, 6, answer(400, "Throttling.User"));
    tenant
        .apply(&over(&tenant, "busy", &keys, &json!({"backoffLimitPerItem": 0})))
        .await;
    let job = tenant.until_true(JOB, "busy", "Complete").await;
    assert_eq!(condition(&job, "Complete")[1], "Completed");
    assert_eq!(job["status"]["requests"]["throttled"], 6);
    assert_eq!(job["status"]["items"]["succeeded"], 20);
    assert_eq!(
        tenant.scores().len(),
        26,
        "one call for each image, and one for each throttled call"
    );
    tenant.one_event("busy", "Throttled").await;
}
