//! Thresholds: which scores are sufficient.

use std::sync::Arc;

use serde_json::json;

use super::fixtures::{assert_counts, item_counts, with_grant};
use crate::support::tenant::JOB;
use crate::support::{Stage, condition};

// J27
pub async fn a_score_equal_to_the_threshold_passes_and_one_just_below_does_not(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "edge").await;
    let scores = ["0.6", "0.60", "0.599999", "0.7", "1"];
    let keys: Vec<String> = (0..scores.len()).map(|n| format!("{n}.jpg")).collect();
    for (key, score) in keys.iter().zip(scores) {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some(score)));
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let cases = [
        ("report", json!({"minScore": "0.60"}), 1, "Complete", "False"),
        (
            "fail",
            json!({"minScore": "0.6", "onBelow": "FailJob"}),
            1,
            "Failed",
            "False",
        ),
        (
            "count",
            json!({"minScore": "0.600000", "onBelow": "FailJob", "maxBelow": 1}),
            1,
            "Complete",
            "True",
        ),
        (
            "percent",
            json!({"minScore": "0.6", "onBelow": "FailJob", "maxBelow": "20%"}),
            1,
            "Complete",
            "True",
        ),
        (
            "rounded",
            json!({"minScore": "0.6", "onBelow": "FailJob", "maxBelow": "19%"}),
            1,
            "Failed",
            "False",
        ),
        (
            "lower",
            json!({"minScore": "0.599999", "onBelow": "FailJob"}),
            0,
            "Complete",
            "True",
        ),
        (
            "all",
            json!({"minScore": "1", "maxBelow": "100%"}),
            4,
            "Complete",
            "True",
        ),
    ];
    for (name, thresholds, below, end, met) in cases {
        // One call at a time, so that the low score comes in order and the calls can be counted.
        let changes = json!({"thresholds": thresholds, "parallelism": 1});
        let before = tenant.scores().len();
        tenant.apply(&tenant.job(name, &keys, &changes)).await;
        let job = tenant.until_true(JOB, name, end).await;
        assert_eq!(item_counts(&job, ["belowThreshold"]), [below], "{name}");
        let [status, reason, message] = condition(&job, "ThresholdMet");
        let expected = if met == "True" {
            "WithinThreshold"
        } else {
            "BelowThreshold"
        };
        assert_eq!([status, reason], [met, expected], "{name}: {message}");
        assert!(message.contains(&format!("{below} of ")), "{name}: {message}");
        let calls = tenant.scores().len() - before;
        assert_eq!(job["status"]["requests"]["sent"], calls, "{name}");
        if end == "Failed" {
            assert_eq!(condition(&job, "Failed")[1], "BelowThreshold", "{name}");
            assert_eq!(calls, 3, "{name}: the other images are not requested");
        } else {
            assert_eq!(calls, scores.len(), "{name}");
        }
        let shown = stage
            .kubectl(&["get", "isj", name, "-n", "edge", "--no-headers", "-o", "wide"])
            .await;
        let row: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(row[8], below.to_string(), "{shown}");
    }
    let fresh = with_grant(&stage, "plain").await;
    assert!(
        stage
            .cloud
            .put_object(&fresh.bucket, "a.jpg", "pixels", Some("0.1"))
    );
    fresh.apply(&fresh.job("plain", &["a.jpg"], &json!({}))).await;
    let job = fresh.until_true(JOB, "plain", "Complete").await;
    assert_eq!(
        condition(&job, "ThresholdMet")[0],
        "",
        "without a threshold there is no ThresholdMet condition"
    );
    assert_counts(&fresh, &job);
}
