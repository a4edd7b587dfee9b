//! A Prometheus that scrapes the operator of a stage every second, as the chart's PodMonitor does, and evaluates the
//! alerts of the chart.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use imm_harness::process::Process;
use imm_harness::tools::Tool;
use imm_harness::{Helm, until};
use serde_json::{Value, json};

use super::{PATIENCE, Stage, chart};

/// A running Prometheus. Dropping the value kills the process.
pub struct Prometheus {
    process: Process,
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts Prometheus, and waits until it has scraped the operator.
    pub async fn start(stage: &Stage) -> Self {
        let folder = stage.plane.folder().join("prometheus");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("rules.json"), rules(stage).await.to_string()).unwrap();
        let target = json!({"targets": [stage.admin_address().await],
            "labels": {"namespace": "imm-system", "job": "imm-operator", "pod": "imm-operator-0"}});
        let config = json!({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.json"],
            "scrape_configs": [{"job_name": "operator", "static_configs": [target]}]});
        std::fs::write(folder.join("prometheus.json"), config.to_string()).unwrap();
        let prometheus = Self::listening(&folder).await;
        until("Prometheus to scrape the operator", PATIENCE, || async {
            let up = prometheus.query("up == 1").await;
            (!up.is_empty()).then_some(())
        })
        .await
        .unwrap();
        prometheus
    }

    async fn listening(folder: &Path) -> Self {
        let mut command = Command::new(Tool::Prometheus.path().unwrap());
        command
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.json").display()
            ))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let process = Process::spawn("prometheus", &mut command, &folder.join("prometheus.log")).unwrap();
        let address = until("Prometheus to listen", Duration::from_secs(60), || {
            process.must_run().unwrap();
            let address = listening(&process.log());
            async move { address }
        })
        .await
        .unwrap();
        Self {
            process,
            url: format!("http://{address}/api/v1"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// Returns the series of an instant query.
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.get("query", &[("query", expression)]).await;
        answer["result"].as_array().unwrap().clone()
    }

    /// Returns the alert rules with their state and health.
    pub async fn alerts(&self) -> Vec<Value> {
        let answer = self.get("rules", &[]).await;
        let groups = answer["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        self.process.must_run().unwrap();
        let url = reqwest::Url::parse_with_params(&format!("{}/{path}", self.url), parameters).unwrap();
        let answer = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }
}

/// Returns the rules of the chart's PrometheusRule.
async fn rules(stage: &Stage) -> Value {
    let chart = chart().display().to_string();
    let values = "metrics.rules.enabled=true,metrics.rules.renderMode=always,metrics.rules.maxBillableRequestsPerHour=1000";
    let template = [
        "template",
        "imm-operator",
        &chart,
        "--namespace",
        "imm-system",
        "--set",
        values,
    ];
    let only = ["--show-only", "templates/monitoring/prometheusrule.yaml"];
    let rendered = stage
        .plane
        .helm(Helm::Four, &[&template[..], &only].concat())
        .await
        .unwrap();
    let rendered: Value = serde_saphyr::from_str(&rendered).unwrap();
    rendered["spec"].clone()
}

/// Returns the address from the log, or `None` before it is logged.
fn listening(log: &str) -> Option<String> {
    log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let found = line["msg"] == "Listening on";
        found.then(|| line["address"].as_str().map(ToOwned::to_owned))?
    })
}
