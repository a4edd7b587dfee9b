//! What kubectl shows of jobs and reports.

use std::sync::Arc;

use serde_json::json;

use super::scoring::{gallery, over};
use crate::support::Stage;
use crate::support::tenant::JOB;

fn header(shown: &str) -> Vec<&str> {
    shown.lines().next().unwrap().split_whitespace().collect()
}

// J1, J21
pub async fn columns_and_messages_are_readable(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "columns", 101).await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, &keys[7], "no picture", None)
    );
    let changes = json!({"thresholds": {"minScore": "0.9", "maxBelow": "100%"}});
    tenant.apply(&over(&tenant, "done", &keys, &changes)).await;
    tenant
        .apply(&over(
            &tenant,
            "waits",
            &keys,
            &json!({"grantRef": {"name": "none"}}),
        ))
        .await;
    tenant.until_true(JOB, "done", "Complete").await;
    tenant.until_reason(JOB, "waits", "WaitingForGrant").await;
    let shown = stage.kubectl(&["get", "isj", "-n", "columns"]).await;
    let columns = [
        "NAME", "READY", "REASON", "PROGRESS", "FAILED", "MEAN", "REQUESTS", "AGE",
    ];
    assert_eq!(header(&shown), columns, "{shown}");
    assert!(shown.lines().all(|line| line.len() <= 120), "{shown}");
    let wide = stage
        .kubectl(&["get", "isj", "-n", "columns", "-o", "wide"])
        .await;
    let more = [
        "BELOW", "PROJECT", "BUDGET", "GRANT", "FINISHED", "SINCE", "MESSAGE",
    ];
    assert_eq!(header(&wide), [&columns[..], &more[..]].concat(), "{wide}");
    assert_eq!(wide.lines().count(), 3, "one line for each job: {wide}");
    assert!(wide.lines().all(|line| line.chars().count() <= 320), "{wide}");
    assert!(
        wide.contains("100 of 101 items scored, 1 failed: see status.failures, 100 below the threshold"),
        "{wide}"
    );
    let reports = stage.kubectl(&["get", "isr", "-n", "columns"]).await;
    let of_reports = [
        "NAME", "JOB", "FIRST", "LAST", "ITEMS", "FAILED", "MIN", "MEAN", "MAX", "AGE",
    ];
    assert_eq!(header(&reports), of_reports, "{reports}");
    let row: Vec<&str> = reports.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row[1..9],
        ["done", "0", "100", "101", "1", "0.727", "0.727", "0.727"],
        "{reports}"
    );
    let described = stage.kubectl(&["describe", "isj", "done", "-n", "columns"]).await;
    for part in [
        "Events:",
        "Completed",
        "Below Threshold:",
        "Estimated Billable:  101",
    ] {
        assert!(described.contains(part), "{part}: {described}");
    }
}
