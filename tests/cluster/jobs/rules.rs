//! Failure rules: what an error code means for an item and for the job.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fixtures::{add_score_fault, answer, assert_counts, item_counts, results_of};
use super::scoring::{gallery, over};
use crate::support::tenant::JOB;
use crate::support::{Stage, condition};

// J9
pub async fn rules_decide_which_items_fail_are_ignored_or_are_retried(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "ruling", 8).await;
    assert!(stage.cloud.delete_object(&tenant.bucket, &keys[1]));
    add_score_fault(&tenant, &keys[2], None, answer(400, "ResourceNotFound.Odd"));
    add_score_fault(&tenant, &keys[3], None, answer(400, "ResourceNotFoundElse"));
    add_score_fault(&tenant, &keys[4], None, answer(500, "InternalError"));
    add_score_fault(&tenant, &keys[5], Some(2), answer(400, "Flaky.Image"));
    add_score_fault(&tenant, &keys[6], None, answer(400, "Flaky.Always"));
    let rules = json!([
        {"codes": ["Never", "InternalError"], "action": "FailItem"},
        {"codes": ["ResourceNotFound"], "action": "IgnoreItem"},
        {"codes": ["Flaky"], "action": "Retry"},
        {"codes": ["Flaky", "ResourceNotFound"], "action": "FailJob"},
    ]);
    let changes = json!({"failureRules": rules, "backoffLimitPerItem": 1, "maxFailedItems": 3});
    tenant.apply(&over(&tenant, "ruling", &keys, &changes)).await;
    let job = tenant.until_true(JOB, "ruling", "Complete").await;
    assert_eq!(
        item_counts(&job, ["succeeded", "failed", "ignored", "skipped"]),
        [3, 3, 2, 0],
        "{job}"
    );
    let codes: Vec<Value> = results_of(&tenant, "ruling")
        .await
        .into_iter()
        .map(|result| result["code"].clone())
        .collect();
    assert_eq!(
        codes,
        [
            json!(null),
            json!("ResourceNotFound"),
            json!("ResourceNotFound.Odd"),
            json!("ResourceNotFoundElse"),
            json!("InternalError"),
            json!(null),
            json!("Flaky.Always"),
            json!(null)
        ]
    );
    // An item that fails immediately is requested once; an item that is retried is requested once more.
    let asked = |key: &String| {
        tenant
            .scores()
            .iter()
            .filter(|call| call.key.as_ref() == Some(key))
            .count()
    };
    let counts: Vec<usize> = keys.iter().map(asked).collect();
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 2, 1]);
    let [_, _, message] = condition(&job, "Complete");
    assert!(message.contains("2 ignored by a failure rule"), "{message}");
    assert_counts(&tenant, &job);
}

// J9
pub async fn a_rule_can_fail_the_whole_job_at_its_first_code(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "ruin", 30).await;
    add_score_fault(&tenant, &keys[4], None, answer(503, "ServiceUnavailable.Quota"));
    let rules = json!([{"codes": ["ServiceUnavailable"], "action": "FailJob"}]);
    let changes = json!({"failureRules": rules, "parallelism": 1, "maxFailedItems": "100%"});
    tenant.apply(&over(&tenant, "ruin", &keys, &changes)).await;
    let job = tenant.until_true(JOB, "ruin", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "FailureRule");
    assert!(
        message.contains("ServiceUnavailable.Quota") && message.contains("failureRules"),
        "{message}"
    );
    assert_eq!(condition(&job, "Complete")[0], "");
    assert_eq!(item_counts(&job, ["succeeded", "failed", "pending"]), [4, 1, 25]);
    assert_eq!(tenant.scores().len(), 5, "the other images are not requested");
    assert_counts(&tenant, &job);
    tenant.one_event("ruin", "Failed").await;
}
