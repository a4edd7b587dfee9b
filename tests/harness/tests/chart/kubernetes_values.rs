//! Values that hold types of Kubernetes: what the API server would refuse, as far as the schema can express it, is
//! refused with its place in the message.

use super::wrong_values::{assert_accepted, assert_refused};

/// Values as YAML, and a part of the message.
const WRONG: &[(&str, &str)] = &[
    ("extraEnv: [{name: a, valueFrom: {}}]", "/extraEnv/0/valueFrom"),
    (
        "extraEnv: [{name: a, valueFrom: {fieldRef: {fieldPath: a}, secretKeyRef: {name: b, key: c}}}]",
        "/extraEnv/0/valueFrom",
    ),
    (
        "extraEnv: [{name: a, value: b, valueFrom: {fieldRef: {fieldPath: c}}}]",
        "/extraEnv/0/value",
    ),
    (
        "extraEnv: [{name: a, valueFrom: {secretKeyRef: {key: b}}}]",
        "/extraEnv/0/valueFrom/secretKeyRef",
    ),
    (
        "extraEnv: [{name: a, valueFrom: {configMapKeyRef: {name: '', key: b}}}]",
        "/extraEnv/0/valueFrom/configMapKeyRef/name",
    ),
    ("extraEnvFrom: [{}]", "/extraEnvFrom/0"),
    ("extraEnvFrom: [{secretRef: {}}]", "/extraEnvFrom/0/secretRef"),
    ("extraEnvFrom: [{prefix: A_}]", "/extraEnvFrom/0"),
    (
        "extraEnvFrom: [{secretRef: {name: a}, configMapRef: {name: b}}]",
        "/extraEnvFrom/0",
    ),
    (
        "extraVolumes: [{name: a, configMap: {}}]",
        "/extraVolumes/0/configMap",
    ),
    (
        "extraVolumes: [{name: a, secret: {secretName: a_b}}]",
        "/extraVolumes/0/secret/secretName",
    ),
    (
        "extraVolumes: [{name: a, secret: {secretName: b, defaultMode: 600}}]",
        "defaultMode",
    ),
    (
        "extraVolumes: [{name: a, projected: {sources: [{}]}}]",
        "/extraVolumes/0/projected/sources/0",
    ),
    (
        "extraVolumes: [{name: a, projected: {sources: [{secret: {}}]}}]",
        "/extraVolumes/0/projected/sources/0/secret",
    ),
    (
        "extraVolumes: [{name: a, hostPath: {path: /a, type: Folder}}]",
        "/extraVolumes/0/hostPath/type",
    ),
    (
        "extraVolumeMounts: [{name: a, mountPath: /a, mountPropagation: Both}]",
        "mountPropagation",
    ),
    (
        "extraVolumes: [{name: a, ephemeral: {}}]",
        "/extraVolumes/0/ephemeral",
    ),
    (
        "extraVolumes: [{name: a, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [Once], resources: {requests: {storage: 1Gi}}}}}}]",
        "/extraVolumes/0/ephemeral/volumeClaimTemplate/spec/accessModes/0",
    ),
    (
        "extraVolumes: [{name: a, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {}}}}}}]",
        "/extraVolumes/0/ephemeral/volumeClaimTemplate/spec/resources/requests",
    ),
    ("extraVolumes: [{name: a, image: {}}]", "/extraVolumes/0/image"),
    (
        "extraVolumes: [{name: a, secret: {secretName: b, items: [{key: c, path: /d}]}}]",
        "/extraVolumes/0/secret/items/0/path",
    ),
    (
        "extraVolumes: [{name: a, secret: {secretName: b, items: [{key: c, path: ../d}]}}]",
        "extraVolumes: path ../d has a part ..",
    ),
    (
        "extraVolumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: b/../c}}]}}]",
        "extraVolumes: path b/../c has a part ..",
    ),
    (
        "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /a, subPath: b/..}]}",
        "extraVolumeMounts: subPath b/.. has a part ..",
    ),
    (
        "podSecurityContext: {seccompProfile: {type: Localhost, localhostProfile: ../a.json}}",
        "podSecurityContext: localhostProfile ../a.json has a part ..",
    ),
    (
        "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /a, mountPropagation: Bidirectional}]}",
        "mountPropagation Bidirectional needs securityContext.privileged true",
    ),
    (
        "topologySpreadConstraints: [{maxSkew: 1, minDomains: 2, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]",
        "minDomains needs whenUnsatisfiable DoNotSchedule",
    ),
    (
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a b, whenUnsatisfiable: ScheduleAnyway}]",
        "/topologySpreadConstraints/0/topologyKey",
    ),
    (
        "tolerations: [{key: a b, operator: Exists}]",
        "/tolerations/0/key",
    ),
    ("tolerations: [{key: a, value: b c}]", "/tolerations/0/value"),
    (
        "networkPolicy: {metricsFrom: [{podSelector: {matchLabels: {a b: c}}}]}",
        "/networkPolicy/metricsFrom/0/podSelector/matchLabels",
    ),
    (
        "networkPolicy: {metricsFrom: [{podSelector: {matchLabels: {a: b c}}}]}",
        "/networkPolicy/metricsFrom/0/podSelector/matchLabels/a",
    ),
    (
        "networkPolicy: {metricsFrom: [{podSelector: {matchExpressions: [{key: a b, operator: Exists}]}}]}",
        "/networkPolicy/metricsFrom/0/podSelector/matchExpressions/0/key",
    ),
    (
        "extraVolumes: [{name: a, image: {reference: b, pullPolicy: Sometimes}}]",
        "/extraVolumes/0/image/pullPolicy",
    ),
    (
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Is}]}]}}}",
        "operator",
    ),
    (
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}",
        "values",
    ),
    (
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: ['1', '2']}]}]}}}",
        "values",
    ),
    (
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}",
        "nodeSelectorTerms",
    ),
    (
        "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {}}]}}",
        "weight",
    ),
    (
        "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: a}}]}}",
        "weight",
    ),
    (
        "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]}}",
        "values",
    ),
    ("securityContext: {procMount: Foo}", "/securityContext/procMount"),
    (
        "podSecurityContext: {fsGroupChangePolicy: Foo}",
        "/podSecurityContext/fsGroupChangePolicy",
    ),
    (
        "podSecurityContext: {seccompProfile: {type: Localhost}}",
        "/podSecurityContext/seccompProfile",
    ),
    (
        "podSecurityContext: {seccompProfile: {localhostProfile: a}}",
        "/podSecurityContext/seccompProfile/localhostProfile",
    ),
    (
        "securityContext: {appArmorProfile: {type: Localhost}}",
        "/securityContext/appArmorProfile",
    ),
    (
        "securityContext: {appArmorProfile: {type: Foo}}",
        "/securityContext/appArmorProfile/type",
    ),
    ("resources: {limits: {a b: 1}}", "/resources/limits"),
    ("resources: {requests: {cores: 1}}", "/resources/requests"),
    (
        "networkPolicy: {extraEgress: [{ports: [{port: https, endPort: 500}]}]}",
        "/networkPolicy/extraEgress/0/ports/0/port",
    ),
    (
        "networkPolicy: {extraEgress: [{ports: [{endPort: 500}]}]}",
        "/networkPolicy/extraEgress/0/ports/0",
    ),
    (
        "networkPolicy: {extraEgress: [{ports: [{port: 500, endPort: 499}]}]}",
        "networkPolicy: endPort 499 is below port 500",
    ),
    (
        "networkPolicy: {extraIngress: [{ports: [{port: 500, endPort: 499}]}]}",
        "networkPolicy: endPort 499 is below port 500",
    ),
    (
        "networkPolicy: {metricsFrom: [{ipBlock: {cidr: ':::::/8'}}]}",
        "networkPolicy.metricsFrom[0].ipBlock.cidr \":::::/8\" is no network: write ADDRESS/BITS",
    ),
    (
        "networkPolicy: {metricsFrom: [{ipBlock: {cidr: '::/129'}}]}",
        "networkPolicy.metricsFrom[0].ipBlock.cidr",
    ),
    (
        "networkPolicy: {metricsFrom: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0]}}]}",
        "networkPolicy.metricsFrom[0].ipBlock.except \"10.1.0.0\" is no network",
    ),
    (
        "networkPolicy: {extraIngress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0}}]}]}",
        "networkPolicy.extraIngress[0].from[1].ipBlock.cidr \"10.0.0.0\" is no network",
    ),
];

/// Values that are close to wrong ones.
const RIGHT: &[&str] = &[
    "extraEnv: [{name: a, value: '', valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: b}]",
    "extraEnv: [{name: a, valueFrom: {secretKeyRef: {name: b.c, key: .d_e, optional: true}}}]",
    "extraEnvFrom: [{secretRef: {name: a}}, {prefix: A_, configMapRef: {name: b, optional: true}}]",
    "extraVolumes: [{name: a, projected: {defaultMode: 0o440, sources: [{serviceAccountToken: {path: a, expirationSeconds: 600}}, {configMap: {name: b}}]}}]",
    "extraVolumes: [{name: a, hostPath: {path: /a, type: ''}}, {name: b, emptyDir: {medium: Memory}}]",
    "extraVolumes: [{name: a, ephemeral: {volumeClaimTemplate: {metadata: {labels: {b: c}}, spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}}}}]",
    "extraVolumes: [{name: a, secret: {secretName: b, items: [{key: c, path: d/..e}]}}, {name: f, csi: {driver: g, volumeAttributes: {path: ../h}}}]",
    "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /a, mountPropagation: Bidirectional}], securityContext: {privileged: true, allowPrivilegeEscalation: true}}",
    "topologySpreadConstraints: [{maxSkew: 1, minDomains: 2, topologyKey: a.b/c, whenUnsatisfiable: DoNotSchedule}]",
    "tolerations: [{key: a.b/c, value: '', effect: NoSchedule}, {key: '', operator: Exists}]",
    "networkPolicy: {enabled: true, metricsFrom: [{podSelector: {matchLabels: {a.b/c: ''}}}]}",
    "extraVolumes: [{name: a, image: {reference: 'r.example.com/ca:1', pullPolicy: IfNotPresent}}]",
    "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: ['1']}, {key: b, operator: Exists}, {key: c, operator: DoesNotExist, values: []}]}]}}}",
    "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, podAffinityTerm: {topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: NotIn, values: [b]}]}}}]}}",
    "{podSecurityContext: {fsGroupChangePolicy: OnRootMismatch, seccompProfile: {type: Localhost, localhostProfile: a.json}}, securityContext: {procMount: Default}}",
    "resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 1, hugepages-2Mi: 4Mi, ephemeral-storage: 1Gi}}",
    "networkPolicy: {enabled: true, extraEgress: [{ports: [{port: 500, endPort: 500}, {port: 1, endPort: 65535, protocol: UDP}]}]}",
    "networkPolicy: {enabled: true, metricsFrom: [{ipBlock: {cidr: '::/0'}}, {ipBlock: {cidr: 'fd00:1::2/128'}}, {ipBlock: {cidr: '1:2:3:4:5:6:7:8/64'}}]}",
];

#[test]
fn check_3_what_the_api_server_would_refuse_is_refused_by_name() {
    assert_refused(WRONG);
}

#[test]
fn values_of_kubernetes_that_are_close_to_wrong_ones_are_accepted() {
    assert_accepted(RIGHT);
}

#[test]
fn the_prefix_of_a_label_has_at_most_253_characters() {
    for (length, accepted) in [(253, true), (254, false)] {
        let prefix = "a".repeat(length);
        let labels = format!("podLabels: {{{prefix}/b: c}}");
        let annotations = format!("podAnnotations: {{{prefix}/b: c}}");
        let rule = format!("tenancy: {{rules: [{{namespaces: {{matchLabels: {{{prefix}/b: c}}}}}}]}}");
        for (values, name) in [
            (labels, "/podLabels"),
            (annotations, "/podAnnotations"),
            (rule, "/tenancy/rules/0/namespaces/matchLabels"),
        ] {
            if accepted {
                assert_accepted(&[&values]);
            } else {
                assert_refused(&[(&values, name)]);
            }
        }
    }
}
