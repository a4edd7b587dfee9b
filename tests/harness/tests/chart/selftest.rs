//! The Pod of `helm test`: the operator's image, ServiceAccount and flags, and no label by which an object selects
//! the operator.

use std::collections::BTreeSet;

use imm_harness::Helm;
use serde_json::{Map, Value, json};

use super::{BOTH, objects, value_sets};
use crate::rendering::{only, render, render_values};

fn test_pod(objects: &[Value]) -> &Value {
    let pod = only(objects, "Pod");
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    pod
}

fn texts(list: &Value) -> BTreeSet<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

/// Returns the labels that an object selects Pods by, from wherever its kind has them.
fn selector(object: &Value) -> Option<&Map<String, Value>> {
    let spec = &object["spec"];
    let place = match object["kind"].as_str().unwrap() {
        "Deployment" | "PodDisruptionBudget" | "PodMonitor" => &spec["selector"]["matchLabels"],
        "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
        "Service" => &spec["selector"],
        _ => return None,
    };
    place.as_object()
}

#[test]
fn check_24_the_test_pod_is_the_operators_in_all_but_its_labels() {
    for values in value_sets() {
        for major in BOTH {
            let rendered = objects(&render(major, &["--values", &values]).unwrap());
            let (test, pod) = (
                test_pod(&rendered),
                &only(&rendered, "Deployment")["spec"]["template"]["spec"],
            );
            let spec = &test["spec"];
            assert_eq!(spec["restartPolicy"], "Never");
            for field in [
                "serviceAccountName",
                "automountServiceAccountToken",
                "imagePullSecrets",
                "securityContext",
                "nodeSelector",
                "tolerations",
                "priorityClassName",
                "runtimeClassName",
                "hostUsers",
                "dnsPolicy",
            ] {
                assert_eq!(spec[field], pod[field], "{values}: {field}");
            }
            let nodes = &pod["affinity"]["nodeAffinity"];
            assert_eq!(&spec["affinity"]["nodeAffinity"], nodes, "{values}");
            let beside = ["podAffinity", "podAntiAffinity"];
            assert!(
                beside.iter().all(|place| spec["affinity"][place].is_null()),
                "{values}"
            );
            let (own, operator) = (&spec["containers"][0], &pod["containers"][0]);
            for field in ["image", "imagePullPolicy", "securityContext", "resources"] {
                assert_eq!(own[field], operator[field], "{values}: {field}");
            }
            // Its flags are those of the operator: it tests the lease and the namespaces that the operator uses.
            let (own, operator) = (texts(&own["args"]), texts(&operator["args"]));
            let other: Vec<&&str> = own.difference(&operator).collect();
            assert!(
                other
                    .iter()
                    .all(|flag| **flag == "selftest" || flag.starts_with("--operator-address=")),
                "{values}: {other:?}"
            );
            for flag in operator.difference(&own) {
                let scope = [
                    "--lease-name",
                    "--backup-namespace",
                    "--watch-namespaces",
                    "--tenancy-rules",
                ];
                assert!(
                    !scope.iter().any(|name| flag.starts_with(name)),
                    "{values}: {flag}"
                );
            }
            // It gets no credentials.
            let printed = spec.to_string();
            assert!(
                !printed.contains("secretName") && !printed.contains("envFrom"),
                "{values}: {printed}"
            );
            let labels = test["metadata"]["labels"].as_object().unwrap();
            let mut selectors = 0;
            for object in &rendered {
                let Some(wanted) = selector(object) else { continue };
                selectors += 1;
                let its_own = object["metadata"]["name"]
                    .as_str()
                    .unwrap()
                    .ends_with("-selftest");
                let matches = wanted.iter().all(|(name, value)| labels.get(name) == Some(value));
                assert_eq!(
                    matches, its_own,
                    "{values}: {} selects the Pod of the test, or its own does not",
                    object["kind"]
                );
            }
            assert!(selectors > 0, "{values}");
        }
    }
}

#[test]
fn check_24_the_test_pod_can_be_left_out() {
    for major in BOTH {
        let rendered = render_values(major, "selftest: {enabled: false}", &[]).unwrap();
        assert!(!rendered.contains("kind: Pod\n"), "{rendered}");
        let rendered = render(major, &["--skip-tests"]).unwrap();
        assert!(!rendered.contains("kind: Pod\n"), "{rendered}");
    }
}

/// Returns the name of the test's Pod with these values.
fn name(values: &str) -> String {
    let rendered = objects(&render_values(Helm::Four, values, &[]).unwrap());
    test_pod(&rendered)["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn another_spec_has_another_name() {
    let default = name("{}");
    let (start, digest) = default.rsplit_once('-').unwrap();
    assert_eq!((start, digest.len()), ("release-imm-operator-selftest", 8));
    // What can change in place, or is no part of the Pod, changes no name.
    for values in [
        "{podAnnotations: {a: b}, podLabels: {a: b}, commonLabels: {c: d}}",
        "replicaCount: 2",
        "extraArgs: [--leader-name=a]",
    ] {
        assert_eq!(name(values), default, "{values}");
    }
    let mut names = BTreeSet::from([default]);
    for values in [
        "image: {tag: v2}",
        "watchNamespaces: [a]",
        "resources: {limits: {memory: 512Mi}}",
        "nodeSelector: {a: b}",
        "serviceAccount: {name: other}",
    ] {
        assert!(names.insert(name(values)), "{values}");
    }
    let long = name(&format!("fullnameOverride: {}", "a".repeat(63)));
    assert!(long.len() <= 63, "{long}");
}

#[test]
fn metrics_are_tested_where_a_service_reaches_them() {
    let address = |values: &str| {
        let rendered = objects(&render_values(Helm::Four, values, &[]).unwrap());
        let flags = test_pod(&rendered)["spec"]["containers"][0]["args"].clone();
        let flag = texts(&flags)
            .into_iter()
            .find_map(|flag| flag.strip_prefix("--operator-address="));
        flag.map(ToOwned::to_owned)
    };
    assert_eq!(address("{}"), None);
    let service = "adminPort: 9000\nmetrics: {service: {enabled: true}}\n";
    let expected = Some("release-imm-operator-metrics.imm-system.svc:9000".to_owned());
    assert_eq!(address(service), expected);
    // The name is looked up in the DNS of the cluster.
    for (more, known) in [
        ("dnsPolicy: ClusterFirst", true),
        ("hostNetwork: true", true),
        ("dnsPolicy: Default", false),
        ("dnsPolicy: None\ndnsConfig: {nameservers: [10.0.0.10]}", false),
        ("hostNetwork: true\ndnsPolicy: ClusterFirst", false),
    ] {
        assert_eq!(address(&format!("{service}{more}")).is_some(), known, "{more}");
    }
    // Where only some peers may read metrics, the Pod of the test is none of them.
    let peers = "networkPolicy: {enabled: true, metricsFrom: [{podSelector: {}}]}";
    assert_eq!(address(&format!("{service}{peers}")), None);
}

#[test]
fn a_token_that_is_mounted_by_hand_reaches_the_test() {
    let values = "automountServiceAccountToken: false\n\
        extraVolumes: [{name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}]\n\
        extraVolumeMounts: [{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}]\n";
    for (values, expected) in [(values.to_owned(), 2), (values.replace("false", "true"), 1)] {
        let rendered = objects(&render_values(Helm::Four, &values, &[]).unwrap());
        let spec = &test_pod(&rendered)["spec"];
        assert_eq!(spec["volumes"].as_array().unwrap().len(), expected, "{spec}");
        let mounts = &spec["containers"][0]["volumeMounts"];
        assert_eq!(mounts.as_array().unwrap().len(), expected, "{spec}");
    }
    // The file that KUBECONFIG names is in a volume too; no other variable reaches the Pod.
    let kubeconfig = "extraEnv: [{name: A, value: b}, {name: KUBECONFIG, value: /keys/config}]\n\
        extraVolumes: [{name: keys, secret: {secretName: a}}]\n\
        extraVolumeMounts: [{name: keys, mountPath: /keys}]\n";
    for token in ["true", "false"] {
        let values = format!("automountServiceAccountToken: {token}\n{kubeconfig}");
        let rendered = objects(&render_values(Helm::Four, &values, &[]).unwrap());
        let spec = &test_pod(&rendered)["spec"];
        let container = &spec["containers"][0];
        assert_eq!(container["env"].as_array().unwrap().len(), 2, "{container}");
        assert_eq!(
            container["env"][1],
            json!({"name": "KUBECONFIG", "value": "/keys/config"})
        );
        assert_eq!(container["volumeMounts"][1]["mountPath"], "/keys");
        assert_eq!(spec["volumes"][1]["name"], "keys");
    }
    let mesh =
        "{podAnnotations: {inject: 'false'}, podLabels: {inject: 'false', app.kubernetes.io/component: x}}";
    let rendered = objects(&render_values(Helm::Four, mesh, &[]).unwrap());
    let metadata = &test_pod(&rendered)["metadata"];
    assert_eq!(metadata["annotations"]["inject"], "false");
    assert_eq!(metadata["labels"]["inject"], "false");
    assert_eq!(
        metadata["labels"]["app.kubernetes.io/component"],
        json!("selftest")
    );
}
