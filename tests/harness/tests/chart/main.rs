//! The chart's rendered output, with both major versions of Helm and every value set in `ci/`: it lints without
//! warnings, is equal and reproducible, grants no unnecessary permissions, and rejects invalid values.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

mod absent_values;
mod arguments;
mod book;
mod cluster_kinds;
mod every_value;
mod fleet;
mod kubernetes_values;
mod kustomize;
mod metadata;
mod names;
mod notes;
mod options;
mod pod_values;
mod selftest;
mod wrong_values;

use std::collections::BTreeSet;
use std::process::Command;

use imm_harness::Helm;
use serde_json::Value;

#[path = "../rendering/mod.rs"]
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
fn check_1_both_majors_lint_every_value_set_without_warnings() {
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
fn check_1_both_majors_render_equal_objects_on_the_oldest_and_the_newest_cluster() {
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
fn check_2_rendering_again_changes_no_byte() {
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
fn check_2_the_place_and_the_environment_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-R")
        .args([chart(), folder.path().join("a copy")])
        .status();
    assert!(copied.unwrap().success());
    for values in value_sets() {
        for major in BOTH {
            let mut elsewhere = Command::new(major.tool().path().unwrap());
            elsewhere
                .args([
                    "template",
                    "release",
                    "--namespace",
                    "imm-system",
                    "--values",
                    &values,
                    "a copy",
                ])
                .current_dir(folder.path())
                .envs([
                    ("LC_ALL", "tr_TR.UTF-8"),
                    ("LANG", "tr_TR.UTF-8"),
                    ("TZ", "Asia/Kathmandu"),
                ])
                .envs([("HOME", folder.path()), ("TMPDIR", folder.path())]);
            let output = elsewhere.output().unwrap();
            let here = render(major, &["--values", &values]).unwrap();
            assert!(here.len() > 10_000, "{values}: {here}");
            assert!(output.stdout == here.as_bytes(), "{values}: {output:?}");
        }
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
fn check_7_the_default_can_read_no_secret_and_names_no_wildcard() {
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
fn check_7_watched_namespaces_need_no_cluster_role() {
    let rules = r#"tenancy.rules=[{"namespaces": {"matchLabels": {"env": "prod"}}}]"#;
    for (labels, set) in [
        (false, &["--set-json", "tenancy.rules=[]"]),
        (true, &["--set-json", rules]),
    ] {
        let watched = ["--set", "watchNamespaces={a,b},aggregatedRoles.enabled=false"];
        let rendered = objects(&render(Helm::Four, &[&watched, &set[..]].concat()).unwrap());
        assert!(
            names(&rendered)
                .iter()
                .all(|name| !name.starts_with("ClusterRole")),
            "{:?}",
            names(&rendered)
        );
        let places = |wanted: &dyn Fn(&&Value) -> bool| -> BTreeSet<&str> {
            let found = rendered.iter().filter(wanted);
            found
                .map(|object| object["metadata"]["namespace"].as_str().unwrap())
                .collect()
        };
        // The operator's own namespace contains its lease and the policy backups.
        assert_eq!(
            places(&|object| object["kind"] == "RoleBinding"),
            BTreeSet::from(["a", "b", "imm-system"])
        );
        let reads_labels =
            |object: &&Value| object["kind"] == "Role" && object.to_string().contains("[\"namespaces\"]");
        let expected: &[&str] = if labels { &["a", "b"] } else { &[] };
        assert_eq!(places(&reads_labels), expected.iter().copied().collect());
    }
}

#[test]
fn check_8_a_digest_wins_over_the_tag() {
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

/// Returns a copy of the chart as a release packs it.
fn released(digest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = std::process::Command::new("cp")
        .arg("-R")
        .arg(format!("{}/.", chart().display()))
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(copy.success());
    let metadata = folder.path().join("Chart.yaml");
    let text = std::fs::read_to_string(&metadata).unwrap();
    let filled = text.replace("image-digest: \"\"", &format!("image-digest: \"{digest}\""));
    assert_ne!(text, filled);
    std::fs::write(metadata, filled).unwrap();
    folder
}

#[test]
fn check_8_the_digest_of_a_release_holds_for_its_own_image_alone() {
    let (ours, other) = (
        format!("sha256:{}", "a".repeat(64)),
        format!("sha256:{}", "b".repeat(64)),
    );
    let chart = released(&ours);
    let name = "ghcr.io/imm-operator/imm-operator";
    let with_digest = format!("image.digest={other}");
    for (set, image) in [
        (None, format!("{name}@{ours}")),
        (Some("image.registry=ghcr.io"), format!("{name}@{ours}")),
        (Some("image.tag=0.2.0"), format!("{name}:0.2.0")),
        (Some(with_digest.as_str()), format!("{name}@{other}")),
        (
            Some("global.imageRegistry=mirror.example.com"),
            "mirror.example.com/imm-operator/imm-operator:0.1.0".to_owned(),
        ),
        (
            Some("image.repository=mine/imm-operator"),
            "ghcr.io/mine/imm-operator:0.1.0".to_owned(),
        ),
    ] {
        for major in BOTH {
            let mut args = vec!["template", "release", "--namespace", "imm-system"];
            args.extend(set.iter().flat_map(|set| ["--set", set]));
            let rendered = rendering::helm_on(chart.path(), major, &args).unwrap();
            let images: Vec<&str> = rendered
                .lines()
                .filter(|line| line.contains(" image: "))
                .collect();
            assert!(images.len() >= 2, "{images:?}");
            let named = format!("image: \"{image}\"");
            assert!(
                images
                    .iter()
                    .all(|line| line.trim_start_matches([' ', '-']) == named),
                "{set:?}: {images:?}"
            );
        }
    }
}

#[test]
fn endpoints_and_identity_become_flags_and_variables() {
    let values = chart()
        .join("ci/closed-network-values.yaml")
        .display()
        .to_string();
    for major in BOTH {
        let rendered = objects(&render(major, &["--values", &values]).unwrap());
        let deployment = rendered
            .iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let args: Vec<&str> = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for flag in [
            "--network=internal",
            "--region=cn-hangzhou",
            "--sts-endpoint=https://sts-vpc.{region}.aliyuncs.com",
            "--oss-endpoint=cn-beijing=http://oss-proxy.example.com:8080",
            "--imm-endpoint=cn-beijing=https://imm-proxy.example.com",
            "--own-identity=ecs",
        ] {
            assert!(args.contains(&flag), "{flag}: {args:?}");
        }
        let env = container["env"].as_array().unwrap();
        let label = "metadata.labels['topology.kubernetes.io/region']";
        assert_eq!(env[2]["valueFrom"]["fieldRef"]["fieldPath"], label);
        assert_eq!(env[3]["name"], "ALIBABA_CLOUD_ECS_METADATA");
        assert_eq!(env[3]["value"], "node-role");
        assert!(
            rendered
                .iter()
                .all(|object| !object["rules"].to_string().contains("nodes")),
            "the label of the Pod needs no right on Nodes"
        );
    }
}

#[test]
fn an_identity_is_configured_once() {
    let set = ["--set", "credentials.source=ecs,credentials.existingSecret=keys"];
    for major in BOTH {
        let refused = render(major, &set).unwrap_err();
        assert!(
            refused.contains("excludes credentials.existingSecret"),
            "{refused}"
        );
    }
}

#[test]
fn check_4_the_chart_can_be_a_dependency() {
    let parent = rendering::parent();
    for major in BOTH {
        for (enabled, expected) in [("true", true), ("false", false)] {
            let set =
                format!("imm-operator.enabled={enabled},global.imageRegistry=r.example.com,global.other=1");
            let text = rendering::helm_on(
                parent.path(),
                major,
                &["template", "p", "--namespace", "imm-system", "--set", &set],
            );
            let text = text.unwrap();
            assert_eq!(text.contains("kind: Deployment"), expected, "{text}");
            assert_eq!(text.contains("r.example.com/imm-operator"), expected, "{text}");
        }
    }
}
