//! The chart's alerts and dashboard on a real Prometheus that scrapes the operator while it works.

use std::sync::Arc;

use serde_json::json;

use super::expressions::{expressions, series};
use crate::support::prometheus::Prometheus;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{PATIENCE, Stage, Tenant};

const SELECTOR: &str = r#"namespace="imm-system", job="imm-operator""#;

/// Fills in the variables of the dashboard, with the times of a scrape interval of one second.
fn filled_in(expression: &str) -> String {
    expression
        .replace("$namespace", "imm-system")
        .replace("$job", "imm-operator")
        .replace("$__rate_interval", "1m")
        .replace("$__range", "15m")
}

/// A grant that is applied, a job that is scored, and a job that waits: each query finds something to show.
async fn work(stage: &Arc<Stage>) -> Tenant {
    let tenant = Tenant::new(stage, "monitored").await;
    tenant.granted("monitored", &json!({})).await;
    let bucket = &tenant.bucket;
    assert!(stage.cloud.put_object(bucket, "a.jpg", "pixels", Some("0.5")));
    let granted = json!({"grantRef": {"name": "monitored"}, "grantWait": {"settleSeconds": 0}});
    let held = tenant.hold("DetectImageScore", 0, None);
    tenant.apply(&tenant.job("scored", &["a.jpg"], &granted)).await;
    tenant.until_reason(JOB, "scored", "Scoring").await;
    drop(held);
    tenant.until_true(JOB, "scored", "Complete").await;
    let missing = json!({"grantRef": {"name": "missing"}});
    tenant.apply(&tenant.job("waits", &["a.jpg"], &missing)).await;
    tenant.until_reason(JOB, "waits", "WaitingForGrant").await;
    tenant
}

pub async fn check_10_prometheus_answers_every_query_of_alerts_and_dashboard(stage: Arc<Stage>) {
    let prometheus = Prometheus::start(&stage).await;
    let tenant = work(&stage).await;
    let mut queries = Vec::new();
    for (place, expression) in expressions() {
        // `label_values` is a function of Grafana.
        if expression.contains("$namespace") && !expression.starts_with("label_values") {
            queries.push((place.clone(), filled_in(&expression)));
        }
        for (name, _) in series(&expression) {
            queries.push((place.clone(), format!("{name}{{{SELECTOR}}}")));
        }
    }
    for (place, query) in queries {
        imm_harness::until(&format!("{place}: {query}"), PATIENCE, || async {
            let found = prometheus.query(&query).await;
            (!found.is_empty()).then_some(())
        })
        .await
        .unwrap();
    }
    for alert in prometheus.alerts().await {
        assert_eq!(alert["health"], "ok", "{alert}");
    }
    tenant.delete(JOB, "waits").await;
    tenant.delete(GRANT, "monitored").await;
}
