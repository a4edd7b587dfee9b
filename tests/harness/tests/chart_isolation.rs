//! What the chart refuses, because others could use it, and what two releases do not share.

use imm_harness::{ControlPlane, Helm, Options};
use serde_json::{Value, json};

mod rendering;

use rendering::{BOTH, chart, helm, names, objects, render};

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
    let grants = json!({"namespaces": {"names": ["*"]}, "kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"], "ownerUIDs": ["12345"]});
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
        for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
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

/// Two releases of the same name, each with rules by labels for a namespace of its own.
#[tokio::test]
async fn releases_for_watched_namespaces_read_the_labels_of_these_alone() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let releases = [("one-system", "w1"), ("two-system", "w2")];
    for namespace in releases.iter().flat_map(|(own, watched)| [own, watched]) {
        plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
    }
    let chart = chart().display().to_string();
    let rules = r#"tenancy.rules=[{"namespaces": {"matchLabels": {"env": "prod"}}}]"#;
    for (own, watched) in releases {
        let set = format!("crds.enabled=false,aggregatedRoles.enabled=false,watchNamespaces={{{watched}}}");
        let install = [
            "install",
            "imm-operator",
            &chart,
            "-n",
            own,
            "--set",
            &set,
            "--set-json",
            rules,
        ];
        plane.helm(Helm::Four, &install).await.unwrap();
    }
    for (own, watched) in releases {
        let account = format!("--as=system:serviceaccount:{own}:imm-operator");
        for (_, namespace) in releases {
            let read = plane.kubectl(&["get", "namespace", namespace, &account]).await;
            assert_eq!(read.is_ok(), namespace == watched, "{own} {namespace}: {read:?}");
        }
        assert!(plane.kubectl(&["get", "namespaces", &account]).await.is_err());
    }
}

/// Helm creates the Deployment of the new name, with a Lease of its own, before it deletes the old one.
#[tokio::test]
async fn an_upgrade_to_another_name_waits_until_the_operator_is_stopped() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let chart = chart().display().to_string();
    for (major, namespace) in BOTH.into_iter().zip(["three-system", "four-system"]) {
        plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
        let run = async |verb, name| {
            let set = format!(
                "crds.enabled=false,aggregatedRoles.enabled=false,watchNamespaces={{{namespace}}},fullnameOverride={name}"
            );
            let command = [verb, "imm-operator", &chart, "-n", namespace, "--set", &set];
            plane
                .helm(major, &command)
                .await
                .map_err(|error| format!("{error:?}"))
        };
        let deployments = async || {
            let label = "app.kubernetes.io/name=imm-operator";
            let query = ["get", "deployments", "-n", namespace, "-l", label, "-o", "name"];
            plane.kubectl(&query).await.unwrap().trim().to_owned()
        };
        run("install", "").await.unwrap();
        // A Deployment of the same release that is not this chart's, as of a parent chart.
        let other = format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, namespace: {namespace}, annotations: \
             {{meta.helm.sh/release-name: imm-operator}}}}, spec: {{selector: {{matchLabels: {{app: web}}}}, template: \
             {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: web, image: web}}]}}}}}}}}"
        );
        plane.apply(&other).await.unwrap();
        run("upgrade", "").await.unwrap();
        let refused = run("upgrade", "renamed").await.unwrap_err();
        let remedy = format!("kubectl scale deployment imm-operator -n {namespace} --replicas=0");
        assert!(refused.contains(&remedy), "{refused}");
        assert_eq!(deployments().await, "deployment.apps/imm-operator");

        let stop = [
            "scale",
            "deployment",
            "imm-operator",
            "-n",
            namespace,
            "--replicas=0",
        ];
        plane.kubectl(&stop).await.unwrap();
        run("upgrade", "renamed").await.unwrap();
        assert_eq!(deployments().await, "deployment.apps/renamed");
        let refused = run("upgrade", "").await.unwrap_err();
        assert!(refused.contains("runs as Deployment renamed"), "{refused}");
    }
}
