//! The chart's rendered output, with both major versions of Helm and every value set in `ci/`: it lints without
//! warnings, is equal and reproducible, grants no unnecessary permissions, and rejects invalid values.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::collections::BTreeSet;
use std::process::Command;

use imm_harness::Helm;
use serde_json::Value;

mod rendering;

use rendering::{BOTH, chart, helm, names, objects, render};

fn value_sets() -> Vec<String> {
    let files = std::fs::read_dir(chart().join("ci")).unwrap();
    let mut files: Vec<String> = files
        .map(|file| file.unwrap().path().display().to_string())
        .collect();
    files.sort();
    assert!(files.len() >= 4, "value sets are missing: {files:?}");
    files
}

#[test]
fn both_majors_lint_every_value_set_without_warnings() {
    for values in value_sets() {
        for major in BOTH {
            let report = helm(major, &["lint", "--strict", "--values", &values]).unwrap();
            assert!(
                !report.contains("[WARNING]") && !report.contains("[ERROR]"),
                "{values}: {report}"
            );
        }
    }
}

#[test]
fn both_majors_render_equal_objects_on_the_oldest_and_the_newest_cluster() {
    for values in value_sets() {
        for version in ["1.33.0", "1.36.3"] {
            let set = ["--values", &values, "--kube-version", version];
            let [three, four] = BOTH.map(|major| objects(&render(major, &set).unwrap()));
            let key = |object: &Value| object.to_string();
            let (three, four) = (
                three.iter().map(key).collect::<BTreeSet<_>>(),
                four.iter().map(key).collect::<BTreeSet<_>>(),
            );
            assert!(three.len() >= 4, "{values} renders too few objects: {three:?}");
            assert_eq!(three, four, "{values} on {version}");
        }
    }
}

#[test]
fn rendering_again_changes_no_byte() {
    for values in value_sets() {
        let set = ["--values", &values];
        assert_eq!(
            render(Helm::Four, &set).unwrap(),
            render(Helm::Four, &set).unwrap(),
            "{values}"
        );
    }
}

#[test]
fn an_older_cluster_is_refused() {
    for major in BOTH {
        let refused = render(major, &["--kube-version", "1.32.9"]).unwrap_err();
        assert!(refused.contains("1.33.0"), "{refused}");
    }
}

#[test]
fn the_default_can_read_no_secret_and_names_no_wildcard() {
    let rendered = objects(&render(Helm::Four, &[]).unwrap());
    let roles = rendered
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().ends_with("Role"));
    let granted: Vec<&Value> = roles.flat_map(|role| role["rules"].as_array().unwrap()).collect();
    assert!(granted.len() >= 6, "{granted:?}");
    for rule in granted {
        let text = rule.to_string();
        assert!(!text.contains("secrets") && !text.contains("\"*\""), "{text}");
    }
}

#[test]
fn watched_namespaces_need_no_cluster_role() {
    let set = [
        "--set",
        "watchNamespaces={a,b}",
        "--set",
        "aggregatedRoles.enabled=false",
    ];
    let rendered = objects(&render(Helm::Four, &set).unwrap());
    assert!(
        names(&rendered)
            .iter()
            .all(|name| !name.starts_with("ClusterRole")),
        "{:?}",
        names(&rendered)
    );
    let places: BTreeSet<&str> = rendered
        .iter()
        .filter(|object| object["kind"] == "RoleBinding")
        .map(|object| object["metadata"]["namespace"].as_str().unwrap())
        .collect();
    // The operator's own namespace contains its lease and the policy backups.
    assert_eq!(places, BTreeSet::from(["a", "b", "imm-system"]));
}

#[test]
fn edit_may_create_jobs_and_only_admin_may_create_grants() {
    let rendered = objects(&render(Helm::Four, &[]).unwrap());
    for (role, makes_jobs, makes_grants) in [
        ("view", false, false),
        ("edit", true, false),
        ("admin", false, true),
    ] {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
        let role = rendered
            .iter()
            .find(|object| object["metadata"]["labels"][&label] == "true")
            .unwrap();
        let creates = |plural: &str| {
            let rules = role["rules"].as_array().unwrap().iter();
            let creating = |rule: &&Value| rule["verbs"].to_string().contains("create");
            rules
                .filter(creating)
                .any(|rule| rule["resources"].to_string().contains(plural))
        };
        assert_eq!(
            (creates("imagescorejobs"), creates("immbucketgrants")),
            (makes_jobs, makes_grants)
        );
    }
}

#[test]
fn a_digest_wins_over_the_tag() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let set = [
        "--set",
        "image.tag=v1",
        "--set",
        &format!("image.digest={digest}"),
    ];
    assert!(
        render(Helm::Four, &set)
            .unwrap()
            .contains(&format!("imm-operator@{digest}\""))
    );
}

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
            let words = ["args[]", "resourceNames[]", "namespaces[]"];
            for item in items {
                let word = words.iter().any(|end| place.ends_with(end));
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
        assert_eq!(pod["app.kubernetes.io/version"], "of the Pod");
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
    let page = std::fs::read_to_string(checkout().join("docs/operations.md")).unwrap();
    let command = page.split("helm install second").nth(1).unwrap();
    let command = command.split("```").next().unwrap().replace("\\\n", " ");
    let mut words = command.split_whitespace().skip_while(|word| *word != "--set");
    let mut set = Vec::new();
    while let (Some("--set"), Some(value)) = (words.next(), words.next()) {
        set.extend(["--set", value]);
    }
    assert!(set.len() >= 6, "{command}");
    let key = |object: &Value| {
        let meta = &object["metadata"];
        format!("{} {} {}", object["kind"], meta["namespace"], meta["name"])
    };
    for first in ["imm-operator", "second"] {
        let rendered = |namespace: &str, more: &[&str]| -> BTreeSet<String> {
            let name = if more.is_empty() { first } else { "second" };
            let args = [&["template", name, "--namespace", namespace], more].concat();
            objects(&helm(Helm::Four, &args).unwrap())
                .iter()
                .map(key)
                .collect()
        };
        let (one, two) = (rendered("imm-system", &[]), rendered("second-system", &set));
        assert!(two.len() >= 4, "{two:?}");
        let shared: Vec<&String> = one.intersection(&two).collect();
        assert!(shared.is_empty(), "{shared:?}");
    }
}

#[test]
fn invalid_values_are_rejected_by_name() {
    let wrong = [
        ("replicaCount=two", "replicaCount"),
        ("replicaCount=-1", "replicaCount"),
        ("image.tagg=v1", "tagg"),
        ("image.digest=abcdef", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("watchNamespaces={Upper}", "watchNamespaces"),
        ("watchNamespaces=media", "watchNamespaces"),
        ("secretAccess.namespaces={*}", "namespaces"),
        ("secretAccess.all=true", "all"),
        ("endpoints.oss=oss.example.com", "oss"),
        ("logging.level=loud", "level"),
        ("logging.format=xml", "format"),
        ("crds.keep=perhaps", "keep"),
        ("terminationGracePeriodSeconds=0", "terminationGracePeriodSeconds"),
        ("unknown=1", "unknown"),
    ];
    for (set, name) in wrong {
        for major in BOTH {
            let refused = render(major, &["--set", set]).expect_err(set);
            assert!(refused.contains(name), "{set}: {refused}");
        }
    }
}

#[test]
fn the_chart_can_be_a_dependency() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("charts");
    std::fs::create_dir(&place).unwrap();
    let dependency = "name: imm-operator, version: 0.1.0, condition: imm-operator.enabled";
    let head = format!("apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies: [{{{dependency}}}]\n");
    std::fs::write(parent.path().join("Chart.yaml"), head).unwrap();
    std::os::unix::fs::symlink(chart(), place.join("imm-operator")).unwrap();
    for major in BOTH {
        for (enabled, expected) in [("true", true), ("false", false)] {
            let output = Command::new(major.tool().path().unwrap())
                .args([
                    "template",
                    "p",
                    "--namespace",
                    "imm-system",
                    "--set",
                    "global.anything=1",
                    "--set",
                ])
                .arg(format!("imm-operator.enabled={enabled}"))
                .arg(parent.path())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert_eq!(text.contains("kind: Deployment"), expected, "{text}");
        }
    }
}

#[test]
fn every_value_is_described_as_its_comment_says() {
    let schema = std::fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let values = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let (mut path, mut comment, mut compared) = (Vec::new(), String::new(), 0);
    for line in values.lines() {
        let name = line.trim_start();
        if let Some(text) = name.strip_prefix("# ") {
            comment = if comment.is_empty() {
                text.to_owned()
            } else {
                format!("{comment} {text}")
            };
            continue;
        }
        if let Some((name, _)) = name.split_once(':').filter(|_| !comment.is_empty()) {
            path.truncate((line.len() - line.trim_start().len()) / 2);
            path.push(name.to_owned());
            let pointer = format!("/properties/{}", path.join("/properties/"));
            let described = schema.pointer(&pointer).map(|value| &value["description"]);
            assert_eq!(described, Some(&Value::from(comment.as_str())), "{pointer}");
            compared += 1;
        }
        comment.clear();
    }
    assert!(compared > 40, "only {compared} values were compared");
}
