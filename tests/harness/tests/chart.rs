//! The chart's rendered output, with both major versions of Helm and every value set in `ci/`: it lints without
//! warnings, is equal and reproducible, grants no unnecessary permissions, and rejects invalid values.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use imm_harness::Helm;
use imm_harness::environment::checkout;
use serde_json::{Value, json};

const BOTH: [Helm; 2] = [Helm::Three, Helm::Four];

fn chart() -> PathBuf {
    checkout().join("charts/imm-operator")
}

fn helm(helm: Helm, args: &[&str]) -> Result<String, String> {
    let output = Command::new(helm.tool().path().unwrap())
        .args(args)
        .arg(chart())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

fn render(major: Helm, more: &[&str]) -> Result<String, String> {
    helm(
        major,
        &[&["template", "release", "--namespace", "imm-system"], more].concat(),
    )
}

/// Parses the rendered objects, so that formatting does not matter.
fn objects(rendered: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(rendered).unwrap();
    all.into_iter().filter(|object| !object.is_null()).collect()
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    let name = |object: &Value| {
        format!(
            "{} {}",
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"]
        )
    };
    objects.iter().map(name).collect()
}

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

/// Returns whether each major accepts these tenancy rules, given as JSON.
fn accepts_rules(rules: &Value) -> [bool; 2] {
    let set = format!("tenancy.rules={rules}");
    BOTH.map(|major| render(major, &["--set-json", &set]).is_ok())
}

#[test]
fn a_rule_for_the_operators_identity_must_say_what_it_is_for() {
    let complete = json!({"namespaces": {"names": ["a"]}, "credentialSources": ["Secret", "Operator"],
        "kinds": ["ImmBucketGrant", "ImageScoreJob"], "ownerUIDs": ["*"], "projects": ["*"], "buckets": ["*"],
        "granteeUIDs": ["*"]});
    assert_eq!(accepts_rules(&json!([complete])), [true, true]);
    for field in ["kinds", "ownerUIDs", "projects", "buckets", "granteeUIDs"] {
        let mut absent = complete.clone();
        absent.as_object_mut().unwrap().remove(field);
        let mut empty = complete.clone();
        empty[field] = json!([]);
        for mut rule in [absent, empty] {
            assert_eq!(accepts_rules(&json!([rule])), [false, false], "{rule}");
            rule["credentialSources"] = json!(["Secret"]);
            assert_eq!(accepts_rules(&json!([rule])), [true, true], "{rule}");
        }
    }
    let grants = json!({"namespaces": {}, "kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"], "ownerUIDs": ["1"]});
    assert_eq!(accepts_rules(&json!([grants])), [true, true]);
}

#[test]
fn the_rules_cannot_be_removed_from_the_file() {
    for set in ["tenancy=null", "tenancy.rules=null", "tenancy.strict=null"] {
        for major in BOTH {
            let refused = render(major, &["--set", set]).expect_err(set);
            assert!(refused.contains("tenancy"), "{set}: {refused}");
        }
    }
}

#[test]
fn a_service_account_of_others_must_be_named() {
    for major in BOTH {
        let unnamed = ["--set", "serviceAccount.create=false"];
        let refused = render(major, &unnamed).expect_err("bound to the namespace's default account");
        assert!(refused.contains("serviceAccount"), "{refused}");
        let named = [&unnamed[..], &["--set", "serviceAccount.name=theirs"]].concat();
        let rendered = objects(&render(major, &named).unwrap());
        assert!(
            !names(&rendered)
                .iter()
                .any(|name| name.starts_with("ServiceAccount "))
        );
        let bindings = rendered.iter().filter(|object| !object["subjects"].is_null());
        assert!(
            bindings
                .into_iter()
                .all(|binding| binding["subjects"][0]["name"] == "theirs")
        );
    }
}

#[test]
fn shared_namespaces_are_refused() {
    for major in BOTH {
        for namespace in ["default", "kube-system"] {
            let refused =
                helm(major, &["template", "release", "--namespace", namespace]).expect_err(namespace);
            assert!(refused.contains(namespace), "{refused}");
            let set = format!("backups.namespace={namespace}");
            let refused = render(major, &["--set", &set]).expect_err(namespace);
            assert!(refused.contains("backups.namespace"), "{refused}");
        }
    }
}

#[test]
fn each_release_has_a_lease_of_its_own() {
    let lease = |release: &str| {
        let rendered = helm(Helm::Four, &["template", release, "--namespace", "imm-system"]).unwrap();
        let rendered = objects(&rendered);
        let arguments = rendered
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        let arguments = arguments["spec"]["template"]["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap();
        let name = arguments
            .iter()
            .find_map(|argument| argument.as_str().unwrap().strip_prefix("--lease-name="))
            .unwrap();
        let rules = rendered
            .iter()
            .filter_map(|object| object["rules"].as_array())
            .flatten();
        for rule in rules.filter(|rule| rule["resources"] == json!(["leases"])) {
            let created = rule["verbs"] == json!(["create"]);
            assert!(created || rule["resourceNames"] == json!([name]), "{rule}");
        }
        name.to_owned()
    };
    assert_eq!(lease("imm-operator"), "imm-operator");
    assert_ne!(lease("first"), lease("second"));
}

#[test]
fn backups_have_a_namespace_of_choice() {
    let places = |set: &[&str]| -> Vec<String> {
        let rendered = objects(&render(Helm::Four, set).unwrap());
        let roles = rendered.iter().filter(|object| {
            let rules = object["rules"].as_array().into_iter().flatten();
            rules
                .into_iter()
                .any(|rule| rule["resources"] == json!(["configmaps"]))
        });
        roles
            .map(|role| role["metadata"]["namespace"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(places(&[]), ["imm-system"]);
    assert_eq!(places(&["--set", "backups.namespace=copies"]), ["copies"]);
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
