//! What the notes of a release say about its values.

use imm_harness::Helm;

use super::{BOTH, helm};
use crate::rendering::{helm_on, parent, render_values};

/// Returns the notes of an installation with these values, on one line. Helm 4 asks no cluster for them.
fn notes(values: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    let path = file.path().display().to_string();
    let install = [
        "install",
        "release",
        "--namespace",
        "imm-system",
        "--dry-run=client",
        "--values",
        &path,
    ];
    let output = helm(Helm::Four, &install).unwrap();
    let (_, notes) = output.split_once("\nNOTES:\n").unwrap();
    notes.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Checks that the notes have a text exactly with the first values.
fn assert_says(text: &str, with: &[&str], without: &[&str]) {
    for (number, values) in with.iter().chain(without).enumerate() {
        let said = notes(values);
        assert_eq!(said.contains(text), number < with.len(), "{values}: {said}");
    }
}

#[test]
fn the_default_image_is_named_until_another_is_set() {
    let default =
        "the nodes pull ghcr.io/imm-operator/imm-operator:0.1.0, which the release of version 0.1.0 pushes";
    let own = "image: {registry: r.example.com}";
    assert_says(
        default,
        &["{}", "image: {registry: null}"],
        &[own, "image: {repository: a/b}"],
    );
}

#[test]
fn the_image_that_was_installed_is_named() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (values, name) in [
        ("{}", "0.1.0"),
        ("image: {tag: '9.9'}", "9.9"),
        (
            &format!("image: {{tag: '9.9', digest: '{digest}'}}"),
            digest.as_str(),
        ),
    ] {
        let start = format!("imm-operator {name} is installed in namespace imm-system.");
        let said = notes(values);
        assert!(said.starts_with(&start), "{said}");
    }
}

#[test]
fn a_budget_that_allows_no_disruption_is_named() {
    let budget = |replicas: u8, values: &str| {
        format!("{{replicaCount: {replicas}, podDisruptionBudget: {{{values}}}}}")
    };
    let with = [
        budget(2, "maxUnavailable: 0"),
        budget(2, "maxUnavailable: 0%"),
        budget(2, "minAvailable: 2"),
        budget(2, "minAvailable: 51%"),
        budget(3, "minAvailable: 100%, maxUnavailable: 1"),
    ];
    let without = [
        budget(2, ""),
        budget(2, "minAvailable: 50%, maxUnavailable: 0"),
        budget(2, "maxUnavailable: ''"),
        budget(2, "enabled: false, maxUnavailable: 0"),
        budget(1, "maxUnavailable: 0"),
        budget(3, "minAvailable: 2"),
        budget(2, "minAvailable: 0"),
    ];
    assert_says(
        "allow no disruption",
        &with.each_ref().map(String::as_str),
        &without.each_ref().map(String::as_str),
    );
}

#[test]
fn an_address_that_the_network_policy_cannot_know_is_named() {
    let on = |more: &str| format!("networkPolicy: {{enabled: true}}\n{more}");
    let with = [
        on("extraEnv: [{name: HTTPS_PROXY, value: 'http://p:3128'}]"),
        on("extraEnv: [{name: all_proxy, value: 'http://p:3128'}]"),
        on("extraEnv: [{name: IMM_OPERATOR_OSS_ENDPOINT, valueFrom: {configMapKeyRef: {name: a, key: b}}}]"),
        on("extraEnvFrom: [{configMapRef: {name: a}}]"),
    ];
    let without = [
        on(""),
        on("extraEnv: [{name: NO_PROXY, value: a}]"),
        "networkPolicy: {enabled: true, extraEgress: [{ports: [{port: 1}]}]}\nextraEnvFrom: [{configMapRef: {name: a}}]".into(),
        "extraEnvFrom: [{configMapRef: {name: a}}]".into(),
    ];
    assert_says(
        "can name another address",
        &with.each_ref().map(String::as_str),
        &without.each_ref().map(String::as_str),
    );
}

#[test]
fn a_grace_period_below_the_time_of_a_call_is_named() {
    let period = "terminationGracePeriodSeconds";
    assert_says(
        "terminationGracePeriodSeconds is",
        &[&format!("{period}: 5"), &format!("{period}: 69")],
        &["{}", &format!("{period}: 70")],
    );
}

#[test]
fn what_the_webhook_of_ack_needs_is_named() {
    let source = "credentials: {source: rrsa}";
    let role = "serviceAccount: {annotations: {pod-identity.alibabacloud.com/role-name: operator}}";
    let name = "rrsa: {roleName: operator}";
    let both = format!("{source}\n{role}");
    let with_name = format!("{source}\n{name}");
    // The account that others made says nothing about the annotation.
    let other =
        "serviceAccount: {create: false, name: a, annotations: {pod-identity.alibabacloud.com/role-name: b}}";
    assert_says(
        "kubectl label namespace imm-system pod-identity.alibabacloud.com/injection=on",
        &[source, &both, role, name],
        &["{}", "rrsa: {roleName: null}", other],
    );
    assert_says(
        "names no RAM role: set rrsa.roleName",
        &[source],
        &[&both, &with_name, "{}"],
    );
}

#[test]
fn what_deletes_the_crds_is_named() {
    assert_says(
        "So does an upgrade of a parent chart that switches this one off",
        &["crds: {keep: false}"],
        &["{}", "crds: {enabled: false}"],
    );
}

#[test]
fn nodes_that_two_pods_with_the_network_of_the_node_need_are_named() {
    assert_says(
        "hostNetwork is true: a node runs one Pod of the operator at a time",
        &["{hostNetwork: true, replicaCount: 2}"],
        &[
            "replicaCount: 2",
            "hostNetwork: true",
            "{hostNetwork: true, replicaCount: null}",
        ],
    );
}

#[test]
fn an_update_on_the_network_of_the_node_is_named() {
    assert_says(
        "an update stops a Pod before it starts the next one (maxSurge 0)",
        &["hostNetwork: true", "{hostNetwork: true, replicaCount: 2}"],
        &["{}", "{hostNetwork: true, updateStrategy: {type: Recreate}}"],
    );
}

/// Helm renders notes for the version of the cluster alone, and templates for any: an object asks what the notes ask.
#[test]
fn internal_names_without_a_region_are_named_where_no_label_names_it() {
    let object = r#"extraObjects: ['{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {missing: "{{ include "imm-operator.missingRegion" . }}"}}']"#;
    let missing = |number: usize, values: &str, version: &str| {
        let values = format!("{object}\n{values}");
        let rendered = render_values(BOTH[number % 2], &values, &["--kube-version", version]).unwrap();
        rendered.contains(r#"data: {missing: "yes"}"#)
    };
    let internal = "network: internal\n";
    for (number, values) in [
        internal,
        "endpoints: {sts: 'https://sts-vpc.{region}.aliyuncs.com'}",
        "endpoints: {regions: {sts: {cn-hangzhou: 'https://a.example.com'}}}",
        &format!("{internal}credentials: {{existingSecret: a}}"),
        &format!("{internal}serviceAccount: {{create: false, name: a}}"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(missing(number, values, "1.34.9"), "{values}");
        assert!(!missing(number, values, "1.35.0-aliyun.1"), "{values}");
    }
    for (number, more) in [
        "region: cn-hangzhou",
        "rrsa: {roleName: a}",
        "credentials: {source: rrsa}",
        "credentials: {source: ecs}",
        "podLabels: {topology.kubernetes.io/region: cn-hangzhou}",
        "extraEnv: [{name: ALIBABA_CLOUD_STS_REGION, value: cn-hangzhou}]",
        "extraEnv: [{name: IMM_OPERATOR_REGION, valueFrom: {configMapKeyRef: {name: a, key: b}}}]",
        "extraEnvFrom: [{configMapRef: {name: a}}]",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(!missing(number, &format!("{internal}{more}"), "1.34.9"), "{more}");
    }
    assert!(!missing(0, "network: public", "1.34.9"));
    // The notes have it; the cluster that Helm assumes is newer.
    assert_says("set region.", &[], &["network: internal"]);
}

#[test]
fn alerts_without_a_monitor_are_named() {
    let with = |more: &str| format!("metrics: {{rules: {{enabled: true}}{more}}}");
    let scraped = with(", serviceMonitor: {enabled: true}");
    let by_pod = with(", podMonitor: {enabled: true}");
    let selected = "metrics: {rules: {enabled: true, selector: 'job=\"a\"'}}";
    assert_says(
        "ImmOperatorNoLeader never stops firing",
        &[&with(""), &with(", service: {enabled: true}")],
        &["{}", &scraped, &by_pod, selected],
    );
}

/// The README of the chart says so.
#[test]
fn as_a_dependency_the_chart_prints_notes_only_if_helm_is_asked() {
    let parent = parent();
    let install = ["install", "release", "-n", "imm-system", "--dry-run=client"];
    for (more, printed) in [(&[][..], false), (&["--render-subchart-notes"], true)] {
        let output = helm_on(parent.path(), Helm::Four, &[&install, more].concat()).unwrap();
        let said = output.contains("is installed in namespace imm-system.");
        assert_eq!(said, printed, "{more:?}: {output}");
    }
}
