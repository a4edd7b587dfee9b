//! Output for users and tools: probes, metrics, logs, kubectl explain and kubectl get.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant};

/// Columns of a plain terminal.
const WIDTH: usize = 120;

pub async fn probes_and_metrics_answer(stage: Arc<Stage>) {
    for path in ["/livez", "/readyz"] {
        assert_eq!(stage.page(path).await, (200, "ok\n".to_owned()), "{path}");
    }
    let tenant = Tenant::new(&stage, "measured").await;
    let before = stage.metric("immops_policy_writes_total", "").await;
    tenant.granted("measured", &json!({})).await;
    assert!(stage.metric("immops_policy_writes_total", "added").await >= before + 1.0);
    let (code, text) = stage.page("/metrics").await;
    assert_eq!(code, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    for name in [
        "immops_reconcile_total",
        "immops_reconcile_duration_seconds_bucket",
        "immops_queue_depth",
        "immops_cloud_requests_total",
        "immops_cloud_request_duration_seconds_bucket",
        "immops_lost_update_window_seconds_count",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
    }
    assert!(stage.metric("immops_watches_failing", "").await < 1.0, "{text}");
    for name in ["measured-bucket", "measured"] {
        assert!(!text.contains(name), "no object name is a label: {name}");
    }
    assert_eq!(stage.page("/nothing-here").await.0, 404);
}

/// Collects every field below a schema whose description has fewer than twenty characters.
fn unexplained(path: &str, schema: &Value, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // The API server describes these fields.
        if [".apiVersion", ".kind", ".metadata"].contains(&path.as_str()) {
            continue;
        }
        if property["description"]
            .as_str()
            .unwrap_or_default()
            .chars()
            .count()
            < 20
        {
            found.push(path.clone());
        }
        unexplained(&path, property, found);
        unexplained(&path, &property["items"], found);
    }
}

pub async fn check_13_every_field_is_explained(stage: Arc<Stage>) {
    for plural in ["immbucketgrants", "imagescorejobs"] {
        let name = format!("{plural}.immops.dev");
        let text = stage
            .kubectl(&["get", "customresourcedefinition", &name, "-o", "json"])
            .await;
        let definition: Value = serde_json::from_str(&text).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(
            schema["properties"]["spec"]["properties"]
                .as_object()
                .unwrap()
                .len()
                > 5
        );
        let mut found = Vec::new();
        unexplained("", schema, &mut found);
        assert!(found.is_empty(), "{plural}: {found:?}");
        let shown = stage
            .kubectl(&["explain", &format!("{plural}.spec"), "--recursive"])
            .await;
        for field in schema["properties"]["spec"]["properties"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert!(shown.contains(field.as_str()), "{field}: {shown}");
        }
    }
    let shown = stage.kubectl(&["explain", "ibg.spec.access.prefixes"]).await;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shown.contains("photos/2024/") && shown.contains("At most 50"),
        "{shown}"
    );
}

pub async fn check_22_columns_fit_a_terminal_and_both_kinds_are_one_category(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "columns").await;
    let (grant, job) = ("photos-to-analytics-2024", "nightly-2024-10-31");
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant.granted(grant, &json!({})).await;
    let wait = json!({"grantRef": {"name": grant}, "grantWait": {"settleSeconds": 0}});
    tenant.apply(&tenant.job(job, &["a.jpg"], &wait)).await;
    tenant.until_true(JOB, job, "Complete").await;
    let heads = [
        ("ibg", "NAME READY REASON BUCKET EFFECTIVE AGE"),
        ("isj", "NAME READY REASON PROGRESS FAILED MEAN REQUESTS AGE"),
    ];
    for (kind, columns) in heads {
        let shown = stage.kubectl(&["get", kind, "-n", "columns"]).await;
        let head: Vec<&str> = shown.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(head.join(" "), columns);
        assert!(shown.lines().all(|line| line.len() <= WIDTH), "{shown}");
    }
    let wide = stage
        .kubectl(&["get", "isj", "-n", "columns", "-o", "wide"])
        .await;
    for column in [
        "BELOW", "PROJECT", "BUDGET", "GRANT", "FINISHED", "SINCE", "MESSAGE",
    ] {
        assert!(wide.contains(column), "{wide}");
    }
    assert!(wide.contains("1 of 1 item scored"), "{wide}");
    let all = stage
        .kubectl(&["get", "imm", "-n", "columns", "-o", "name"])
        .await;
    let lines: Vec<&str> = all.lines().collect();
    let expected = [
        format!("imagescorejob.immops.dev/{job}"),
        format!("immbucketgrant.immops.dev/{grant}"),
    ];
    assert_eq!(lines, expected);
    // The API server can select the grants of one bucket.
    let selector = format!("--field-selector=spec.bucket.name={}", tenant.bucket);
    let found = stage
        .kubectl(&["get", "ibg", "-A", &selector, "-o", "name"])
        .await;
    assert_eq!(
        found.trim(),
        format!("{}.immops.dev/{grant}", GRANT.to_lowercase())
    );
}

// SIGTERM, and every line that was ever logged.
pub async fn the_operator_stops_cleanly_and_logs_json_lines(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "logged").await;
    tenant.granted("logged", &json!({})).await;
    let status = stage.stop_operator().await;
    assert_eq!(status.code(), Some(0), "{status}");
    let log = stage.log();
    // Nothing is in flight, so the operator does not wait for the shutdown deadline.
    assert!(!log.contains("failed to finish calls in flight"), "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        for member in ["timestamp", "level", "message", "target"] {
            assert!(line[member].is_string(), "{member}: {line}");
        }
        // The only errors here are an unreachable API server, which the client library logs, and CRDs that were created
        // just before the operator has started, and that the API server does not serve yet.
        let outage = line["target"].as_str().unwrap().starts_with("kube_client");
        let too_early = line["message"]
            .as_str()
            .unwrap()
            .starts_with("failed to use CRDs");
        assert!(outage || too_early || line["level"] != "ERROR", "{line}");
    }
    assert!(log.lines().last().unwrap().contains("stopped"), "{log}");
    stage.start_operator().await;
    assert_eq!(stage.page("/readyz").await.0, 200);
}
