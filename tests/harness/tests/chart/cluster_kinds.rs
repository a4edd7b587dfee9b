//! Objects of the Prometheus operator, whose kinds a cluster may not have.

use imm_harness::Helm;
use serde_json::{Value, json};

use super::{BOTH, objects, render};
use crate::rendering::only;

const KINDS: [(&str, &str); 3] = [
    ("serviceMonitor", "ServiceMonitor"),
    ("podMonitor", "PodMonitor"),
    ("rules", "PrometheusRule"),
];

fn with(block: &str, when: &str, more: &[&str]) -> Result<Vec<Value>, String> {
    let set = format!("metrics.{block}.enabled=true,metrics.{block}.renderMode={when}");
    render(Helm::Four, &[&["--set", &set], more].concat()).map(|text| objects(&text))
}

#[test]
fn check_9_a_missing_kind_is_left_out_or_refused_as_asked() {
    for (block, kind) in KINDS {
        let api = format!("monitoring.coreos.com/v1/{kind}");
        let here = ["--api-versions", api.as_str()];
        let has = |objects: &[Value]| objects.iter().any(|object| object["kind"] == kind);
        assert!(!has(&with(block, "skipIfMissing", &[]).unwrap()), "{kind}");
        assert!(has(&with(block, "skipIfMissing", &here).unwrap()), "{kind}");
        assert!(has(&with(block, "failIfMissing", &here).unwrap()), "{kind}");
        assert!(has(&with(block, "always", &[]).unwrap()), "{kind}");
        let refused = with(block, "failIfMissing", &[]).unwrap_err();
        assert!(refused.contains(kind) && refused.contains(block), "{refused}");
    }
}

#[test]
fn without_a_monitor_there_is_no_service() {
    for (set, expected) in [
        ("metrics.service.enabled=false", false),
        ("metrics.serviceMonitor.enabled=true", false),
        ("metrics.service.enabled=true", true),
        (
            "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.renderMode=always",
            true,
        ),
    ] {
        let rendered = objects(&render(Helm::Four, &["--set", set]).unwrap());
        assert_eq!(
            rendered.iter().any(|object| object["kind"] == "Service"),
            expected,
            "{set}"
        );
    }
}

#[test]
fn a_service_monitor_selects_the_service_and_names_the_release_as_job() {
    for major in BOTH {
        let set = "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.renderMode=always,metrics.serviceMonitor.labels.release=prometheus";
        let rendered = objects(&render(major, &["--set", set]).unwrap());
        let (monitor, service) = (only(&rendered, "ServiceMonitor"), only(&rendered, "Service"));
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
        for (name, value) in wanted {
            assert_eq!(&service["metadata"]["labels"][name], value, "{name}");
        }
        assert_eq!(
            monitor["spec"]["endpoints"][0]["port"],
            service["spec"]["ports"][0]["name"]
        );
        let label = monitor["spec"]["jobLabel"].as_str().unwrap();
        assert_eq!(service["metadata"]["labels"][label], "release");
        let pod = &only(&rendered, "Deployment")["spec"]["template"];
        assert_eq!(
            service["spec"]["ports"][0]["targetPort"],
            pod["spec"]["containers"][0]["ports"][0]["name"]
        );
        for (name, value) in service["spec"]["selector"].as_object().unwrap() {
            assert_eq!(&pod["metadata"]["labels"][name], value, "{name}");
        }
    }
}

#[test]
fn a_pod_monitor_selects_the_pod() {
    let rendered = with("podMonitor", "always", &[]).unwrap();
    let (monitor, pod) = (
        only(&rendered, "PodMonitor"),
        &only(&rendered, "Deployment")["spec"]["template"],
    );
    for (name, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&pod["metadata"]["labels"][name], value, "{name}");
    }
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    assert_eq!(port, &pod["spec"]["containers"][0]["ports"][0]["name"]);
    assert_eq!(
        monitor["spec"]["namespaceSelector"],
        json!({"matchNames": ["imm-system"]})
    );
}

#[test]
fn alerts_select_the_series_of_the_release_and_can_be_left_out() {
    let rendered = with(
        "rules",
        "always",
        &[
            "--set",
            "metrics.rules.disabled={ImmJobFailed},metrics.rules.alertLabels.team=media",
        ],
    )
    .unwrap();
    let rules = only(&rendered, "PrometheusRule")["spec"]["groups"][0]["rules"]
        .as_array()
        .unwrap();
    assert!(rules.len() > 10, "{}", rules.len());
    for rule in rules {
        assert_ne!(rule["alert"], "ImmJobFailed");
        assert_eq!(rule["labels"]["team"], "media");
        let expression = rule["expr"].as_str().unwrap();
        assert!(!expression.contains('$'), "{expression}");
        assert_eq!(rule["labels"]["namespace"], "imm-system");
        assert_eq!(rule["labels"]["release"], "release");
        let of = |prefix| expression.matches(prefix).count();
        let series = of("immops_") + of("process_") + of("(up{");
        let selected = expression
            .matches("{namespace=\"imm-system\", job=\"release\"")
            .count();
        assert_eq!(series, selected, "{expression}");
    }
}

#[test]
fn a_number_of_billable_requests_raises_an_alert_only_if_it_is_set() {
    let limit_in = |set: &[&str]| {
        let rendered = with("rules", "always", set).unwrap();
        let rules = &only(&rendered, "PrometheusRule")["spec"]["groups"][0]["rules"];
        let mut rules = rules.as_array().unwrap().iter();
        let rule = rules.find(|rule| rule["alert"] == "ImmBillableRequestsHigh");
        rule.map(|rule| {
            let expression = rule["expr"].as_str().unwrap();
            expression.rsplit_once("> ").unwrap().1.to_owned()
        })
    };
    assert_eq!(limit_in(&[]), None);
    for number in ["0", "250", "250000000"] {
        let set = format!("metrics.rules.maxBillableRequestsPerHour={number}");
        assert_eq!(limit_in(&["--set", &set]).as_deref(), Some(number));
        // A number of JSON is a floating-point number to Helm.
        assert_eq!(limit_in(&["--set-json", &set]).as_deref(), Some(number));
    }
    let null = ["--set", "metrics.rules.maxBillableRequestsPerHour=null"];
    assert_eq!(limit_in(&null), None);
}

#[test]
fn a_dashboard_has_the_label_of_the_sidecar() {
    let rendered = objects(&render(Helm::Four, &["--set", "metrics.dashboard.enabled=true"]).unwrap());
    let dashboard = rendered
        .iter()
        .find(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1");
    let text = dashboard.unwrap()["data"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    let parsed: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 10);
}
