//! Values that are null or missing: a key without a value, an empty block of a parent chart, and the values of an older
//! release with `--reuse-values` mean the defaults.

use serde_json::{Map, Value, json};

use super::{BOTH, chart, objects, render};
use crate::rendering::{helm_on, only, parent, render_values};

/// Returns the default values without the tenancy rules, which must not be null.
fn defaults() -> Map<String, Value> {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let mut values = values.as_object().unwrap().clone();
    for kept in ["tenancy", "replicaCount"] {
        values.remove(kept).unwrap();
    }
    values
}

/// Replaces everything by null that is at this depth or ends above it. Members of free maps are left alone: null removes
/// them.
fn nulls(values: &Map<String, Value>, depth: usize) -> Value {
    let free = ["resources", "podSecurityContext", "securityContext", "labels"];
    let null = |(name, value): (&String, &Value)| {
        let inner = value
            .as_object()
            .filter(|_| depth > 0 && !free.contains(&name.as_str()));
        (
            name.clone(),
            inner.map_or(Value::Null, |inner| nulls(inner, depth - 1)),
        )
    };
    Value::Object(values.iter().map(null).collect())
}

#[test]
fn null_means_the_default_at_every_level() {
    let parent = parent();
    for major in BOTH {
        let expected = objects(&render(major, &[]).unwrap());
        for depth in 0..4 {
            let values = nulls(&defaults(), depth);
            let rendered = render_values(major, &values.to_string(), &[]).unwrap();
            assert_eq!(objects(&rendered), expected, "{values}");
            let file = parent.path().join("nulls.json");
            std::fs::write(&file, json!({ "imm-operator": values }).to_string()).unwrap();
            let file = file.display().to_string();
            let template = [
                "template",
                "release",
                "--namespace",
                "imm-system",
                "--values",
                &file,
            ];
            let rendered = helm_on(parent.path(), major, &template).unwrap();
            assert_eq!(objects(&rendered), expected, "as a dependency: {values}");
        }
    }
}

#[test]
fn values_of_an_older_release_need_no_newer_block() {
    // `--reuse-values` renders the new chart with the old values alone: an old chart's copy of them stands for that.
    let old = tempfile::tempdir().unwrap();
    let copy = std::process::Command::new("cp")
        .arg("-R")
        .arg(chart())
        .arg(old.path().join("imm-operator"))
        .status();
    assert!(copy.unwrap().success());
    let place = old.path().join("imm-operator");
    std::fs::write(
        place.join("values.yaml"),
        "tenancy: {strict: false, rules: []}\nreplicaCount: 1\n",
    )
    .unwrap();
    for major in BOTH {
        let rendered = helm_on(
            &place,
            major,
            &["template", "release", "--namespace", "imm-system"],
        )
        .unwrap();
        assert_eq!(objects(&rendered), objects(&render(major, &[]).unwrap()));
    }
}

#[test]
fn no_number_of_replicas_is_written_if_it_is_null() {
    for major in BOTH {
        let rendered = render_values(major, "replicaCount: null", &[]).unwrap();
        assert!(!rendered.contains("replicas:"), "{rendered}");
        let rendered = objects(&rendered);
        assert!(only(&rendered, "Deployment")["spec"].get("replicas").is_none());
        assert!(
            !rendered
                .iter()
                .any(|object| object["kind"] == "PodDisruptionBudget")
        );
    }
}

#[test]
fn the_pod_names_no_user_so_that_openshift_can_choose_one() {
    for major in BOTH {
        let rendered = objects(&render(major, &[]).unwrap());
        let pod = &only(&rendered, "Deployment")["spec"]["template"]["spec"];
        let text = format!(
            "{}{}",
            pod["securityContext"], pod["containers"][0]["securityContext"]
        );
        assert!(
            text.contains("\"runAsNonRoot\":true") && !text.contains("runAsUser"),
            "{text}"
        );
        assert!(
            !text.contains("runAsGroup") && !text.contains("fsGroup"),
            "{text}"
        );
    }
}

#[test]
fn a_member_of_a_free_map_can_be_removed() {
    for major in BOTH {
        let values = "resources: {limits: null}\npodSecurityContext: {seccompProfile: null}";
        let rendered = objects(&render_values(major, values, &[]).unwrap());
        let pod = &only(&rendered, "Deployment")["spec"]["template"]["spec"];
        assert!(pod["containers"][0]["resources"].get("limits").is_none(), "{pod}");
        assert_eq!(pod["securityContext"], json!({"runAsNonRoot": true}));
    }
}

/// Values with null in typed blocks and maps, and the same without the members that are null.
const NULLS: &[(&str, &str)] = &[
    (
        "resources: {limits: {cpu: null, memory: 1Gi}, requests: null, claims: null}",
        "resources: {limits: {memory: 1Gi}, requests: null}",
    ),
    (
        "podSecurityContext: {runAsUser: null, fsGroup: null, supplementalGroups: null, seLinuxOptions: {level: null}}",
        "podSecurityContext: {seLinuxOptions: {}}",
    ),
    (
        "securityContext: {runAsUser: null, capabilities: {add: null}, appArmorProfile: null}",
        "{}",
    ),
    (
        "updateStrategy: {type: Recreate, rollingUpdate: null}",
        "updateStrategy: {type: Recreate}",
    ),
    ("updateStrategy: {type: null}", "{}"),
    (
        "podAnnotations: {a: null, b: c}\npodLabels: {a: null}\ncommonLabels: {a: null, b: c}\ncommonAnnotations: {a: null}",
        "podAnnotations: {b: c}\ncommonLabels: {b: c}",
    ),
    (
        "nodeSelector: {a: null}\ndeploymentAnnotations: {a: null}\ncrds: {annotations: {a: null}}\nserviceAccount: {annotations: {a: null}}",
        "{}",
    ),
    (
        "endpoints: {regions: {oss: {cn-hangzhou: null}, imm: {cn-hangzhou: 'https://a.example.com'}}}",
        "endpoints: {regions: {imm: {cn-hangzhou: 'https://a.example.com'}}}",
    ),
    (
        "tolerations: [{key: a, operator: Exists, effect: null, tolerationSeconds: null}]",
        "tolerations: [{key: a, operator: Exists}]",
    ),
    (
        "affinity: {podAffinity: null, nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: null}}",
        "affinity: {nodeAffinity: {}}",
    ),
    (
        "extraEnv: [{name: a, value: b, valueFrom: null}]\ndnsConfig: {nameservers: null, options: [{name: a, value: null}]}",
        "extraEnv: [{name: a, value: b}]\ndnsConfig: {options: [{name: a}]}",
    ),
    (
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, labelSelector: null, minDomains: null}]",
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]",
    ),
    (
        "networkPolicy: {enabled: true, extraEgress: [{ports: [{port: 1, endPort: null}]}]}",
        "networkPolicy: {enabled: true, extraEgress: [{ports: [{port: 1}]}]}",
    ),
    (
        "extraVolumes: [{name: a, secret: {secretName: b, defaultMode: null}}]\nextraVolumeMounts: [{name: a, mountPath: /a, subPath: null}]",
        "extraVolumes: [{name: a, secret: {secretName: b}}]\nextraVolumeMounts: [{name: a, mountPath: /a}]",
    ),
    (
        "metrics: {podMonitor: {enabled: true, renderMode: always, labels: {a: null}, relabelings: [{action: drop, regex: null}]}, \
          rules: {enabled: true, renderMode: always, alertLabels: {a: null}}}",
        "metrics: {podMonitor: {enabled: true, renderMode: always, relabelings: [{action: drop}]}, rules: {enabled: true, renderMode: always}}",
    ),
];

#[test]
fn null_leaves_out_an_optional_member_of_a_typed_block_and_of_a_map() {
    for (with, without) in NULLS {
        let [three, four] = BOTH.map(|major| objects(&render_values(major, with, &[]).unwrap()));
        assert_eq!(
            three,
            objects(&render_values(BOTH[1], without, &[]).unwrap()),
            "{with}"
        );
        assert_eq!(three, four, "{with}");
        assert!(
            !four.iter().any(|object| object.to_string().contains("null")),
            "{with}"
        );
    }
    // Objects of the user are the user's.
    let values = "extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: own}, data: null}]";
    let rendered = objects(&render_values(BOTH[1], values, &[]).unwrap());
    let own = rendered
        .iter()
        .find(|object| object["metadata"]["name"] == "own")
        .unwrap();
    assert_eq!(own.get("data"), Some(&Value::Null));
}

#[test]
fn null_is_refused_where_a_value_is_needed() {
    for (values, name) in [
        (
            "topologySpreadConstraints: [{maxSkew: null, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]",
            "maxSkew",
        ),
        (
            "podSecurityContext: {seccompProfile: {type: null}}",
            "seccompProfile",
        ),
        ("extraVolumes: [{name: a, secret: null}]", "extraVolumes"),
        ("extraEnv: [null]", "extraEnv"),
        ("tolerations: [null]", "tolerations"),
        (
            "networkPolicy: {metricsFrom: [{podSelector: null}]}",
            "metricsFrom",
        ),
        ("watchNamespaces: [null]", "watchNamespaces"),
    ] {
        for major in BOTH {
            let refused = render_values(major, values, &[]).expect_err(values);
            assert!(refused.contains(name), "{values}: {refused}");
        }
    }
}
