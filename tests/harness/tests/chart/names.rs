//! Names and labels in the chart's output.

use std::collections::BTreeSet;

use imm_harness::Helm;
use imm_harness::environment::checkout;
use serde_json::Value;

use super::{BOTH, chart, helm, objects, render};
use crate::rendering::{helm_on, parent_with};

/// Checks that every name, namespace, label, annotation and argument is a string, as the API server requires.
fn assert_strings(value: &Value, path: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let texts = ["labels", "annotations", "matchLabels", "nodeSelector"].contains(&name.as_str());
                let one = [
                    "name",
                    "namespace",
                    "serviceAccountName",
                    "secretName",
                    "priorityClassName",
                ];
                let place = format!("{path}.{name}");
                if one.contains(&name.as_str()) {
                    assert!(member.is_string(), "{place}: {member}");
                } else if texts && let Some(all) = member.as_object() {
                    assert!(all.values().all(Value::is_string), "{place}: {member}");
                }
                assert_strings(member, &place);
            }
        }
        Value::Array(items) => {
            let place = format!("{path}[]");
            let lists = ["args[]", "resourceNames[]", "namespaces[]"];
            for item in items {
                let word = lists.iter().any(|end| place.ends_with(end));
                assert!(!word || item.is_string(), "{place}: {item}");
                assert_strings(item, &place);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn names_that_yaml_reads_as_numbers_or_booleans_stay_names() {
    let values = chart().join("ci/ambiguous-values.yaml").display().to_string();
    for major in BOTH {
        for (release, namespace) in [("1234", "no"), ("on", "1e3"), ("0x10", "true")] {
            let rendered = helm(
                major,
                &["template", release, "--namespace", namespace, "--values", &values],
            );
            let rendered = objects(&rendered.unwrap());
            assert!(rendered.len() > 15, "{}", rendered.len());
            for object in &rendered {
                let custom = object["kind"] == "CustomResourceDefinition";
                assert_strings(if custom { &object["metadata"] } else { object }, "");
            }
            let rendered = objects(&helm(major, &["template", release, "--namespace", namespace]).unwrap());
            rendered
                .iter()
                .filter(|object| object["kind"] != "CustomResourceDefinition")
                .for_each(|object| assert_strings(object, ""));
        }
    }
}

/// RFC 1035 labels, as the API server demands of the name of a Service.
#[test]
fn the_metrics_service_has_a_valid_name_whatever_the_release_is_called() {
    let long = "r".repeat(53);
    for major in BOTH {
        for release in ["imm", "1imm", "eu.imm-operator", "1.2", long.as_str()] {
            let set = ["--set", "metrics.service.enabled=true"];
            let rendered = helm(
                major,
                &[&["template", release, "--namespace", "n"][..], &set].concat(),
            );
            let rendered = objects(&rendered.unwrap());
            let service = rendered.iter().find(|object| object["kind"] == "Service");
            let name = service.unwrap()["metadata"]["name"].as_str().unwrap();
            assert!(name.len() <= 63 && name.ends_with("-metrics"), "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            assert!(!name.contains('.'), "{name}");
            let address = format!("--operator-address={name}.n.svc:");
            let addressed = rendered
                .iter()
                .any(|object| object.to_string().contains(&address));
            assert!(addressed, "helm test does not use {name}");
        }
    }
}

/// A YAML parser that accepts duplicate keys would hide them, so this test reads lines.
#[test]
fn a_label_of_the_chart_can_be_set_and_appears_once() {
    let values = chart().join("ci/ambiguous-values.yaml").display().to_string();
    for major in BOTH {
        let text = render(major, &["--values", &values]).unwrap();
        let mut keys = BTreeSet::new();
        for line in text.lines() {
            let label = line
                .trim()
                .split_once(": ")
                .map(|(key, _)| key)
                .unwrap_or_default();
            if !label.contains("kubernetes.io/") && !label.contains("helm.sh/") {
                keys.clear();
                continue;
            }
            assert!(keys.insert(label.to_owned()), "{label} appears twice: {line}");
        }
        let rendered = objects(&text);
        let deployment = rendered
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        let pod = &deployment["spec"]["template"]["metadata"]["labels"];
        assert_eq!(pod["app.kubernetes.io/version"], "of-the-Pod");
        assert_eq!(
            deployment["metadata"]["labels"]["app.kubernetes.io/version"],
            "1.0"
        );
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        for name in ["app.kubernetes.io/name", "app.kubernetes.io/instance"] {
            assert_eq!(pod[name], selector[name], "the selector must match");
        }
        assert_eq!(
            deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "Helm"
        );
    }
}

#[test]
fn a_second_release_as_documented_shares_no_object_with_the_first() {
    let page = std::fs::read_to_string(checkout().join("docs/src/operate/high-availability.md")).unwrap();
    let command = page.split("helm install second").nth(1).unwrap();
    let command = command.split("```").next().unwrap().replace("\\\n", " ");
    let mut arguments = command.split_whitespace().skip_while(|word| *word != "--set");
    let mut set = Vec::new();
    while let (Some("--set"), Some(value)) = (arguments.next(), arguments.next()) {
        set.extend(["--set", value.trim_matches('\'')]);
    }
    assert!(set.len() >= 6, "{command}");
    let key = |object: &Value| {
        let meta = &object["metadata"];
        format!("{} {} {}", object["kind"], meta["namespace"], meta["name"])
    };
    // What both have in namespaces of others, for which the page has no flags.
    let outside = "backups.namespace=copies,secretAccess.namespaces={keys},metrics.serviceMonitor.enabled=true,\
        metrics.serviceMonitor.renderMode=always,metrics.serviceMonitor.namespace=monitoring,\
        metrics.rules.enabled=true,metrics.rules.renderMode=always,metrics.rules.namespace=monitoring";
    for first in ["imm-operator", "second"] {
        let rendered = |namespace: &str, more: &[&str]| -> BTreeSet<String> {
            let name = if more.is_empty() { first } else { "second" };
            let args = ["template", name, "--namespace", namespace, "--set", outside];
            objects(&helm(Helm::Four, &[&args, more].concat()).unwrap())
                .iter()
                .map(key)
                .collect()
        };
        let (one, two) = (rendered("imm-system", &[]), rendered("second-system", &set));
        assert!(two.len() >= 10, "{two:?}");
        let shared: Vec<&String> = one.intersection(&two).collect();
        assert!(shared.is_empty(), "{shared:?}");
    }
}

/// Checks that names are RFC 1123 subdomains, and that label values start and end with a letter or a digit and have at
/// most 63 characters, as the API server demands.
fn assert_legal(objects: &[Value]) {
    assert!(objects.len() > 10, "{}", objects.len());
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let part = |text: &str| {
        !text.is_empty() && text.chars().all(inside) && !text.starts_with('-') && !text.ends_with('-')
    };
    let ends = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.split('.').all(part), "{}: {name}", object["kind"]);
        for (label, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap();
            assert!(value.len() <= 63 && ends(value), "{label}: {value}");
        }
    }
}

/// An alias may have any letters, digits, "_" and "-".
#[test]
fn names_are_valid_whatever_alias_a_parent_chart_uses() {
    for alias in ["immOperator", "Image_Scores", "_scores-"] {
        let parent = parent_with(&format!(", alias: {alias}"));
        for major in BOTH {
            let template = ["template", "release", "--namespace", "imm-system"];
            assert_legal(&objects(&helm_on(parent.path(), major, &template).unwrap()));
        }
    }
}

/// Between them, two releases have a dot in every place that the end of a shortened name can be in.
#[test]
fn names_are_valid_wherever_they_are_shortened() {
    let odd = format!("{}a", "a.".repeat(26));
    let even = format!("aa{}a", ".a".repeat(25));
    assert!(
        odd.len() == 53 && even.len() == 53,
        "the longest that Helm allows"
    );
    let mut number = 0;
    for name in ["", "abcdefg--x", "abcdefg-----x", "a--------------x"] {
        for release in [&odd, &even, &"r".repeat(53)] {
            number += 1;
            let set = format!("nameOverride={name},metrics.service.enabled=true,networkPolicy.enabled=true");
            let template = ["template", release, "--namespace", "imm-system", "--set", &set];
            assert_legal(&objects(&helm(BOTH[number % 2], &template).unwrap()));
        }
    }
}
