//! Values of the Pod that contradict each other, or that the API server would refuse: each is refused with its name
//! in the message.

use super::wrong_values::{assert_accepted, assert_refused};

/// Values as YAML, and a part of the message.
const WRONG: &[(&str, &str)] = &[
    ("podSecurityContext: {runAsUser: -1}", "runAsUser"),
    (
        "podSecurityContext: {supplementalGroups: [-1]}",
        "supplementalGroups",
    ),
    ("securityContext: {runAsGroup: 4294967296}", "runAsGroup"),
    ("podSecurityContext: {runAsUser: 0}", "contradicts runAsNonRoot"),
    ("securityContext: {runAsUser: 0}", "contradicts runAsNonRoot"),
    (
        "{podSecurityContext: {runAsUser: 1000}, securityContext: {runAsUser: 0}}",
        "contradicts runAsNonRoot",
    ),
    ("dnsPolicy: None", "needs dnsConfig.nameservers"),
    (
        "{dnsPolicy: None, dnsConfig: {searches: [a]}}",
        "needs dnsConfig.nameservers",
    ),
    (
        "updateStrategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}",
        "excludes updateStrategy.rollingUpdate",
    ),
    (
        "extraVolumes: [{name: tenancy, emptyDir: {}}]",
        "extraVolumes: there is a volume named tenancy",
    ),
    (
        "{extraVolumes: [{name: credentials, emptyDir: {}}], credentials: {existingSecret: a}}",
        "extraVolumes: there is a volume named credentials",
    ),
    (
        "extraVolumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]",
        "extraVolumes: there is a volume named a",
    ),
    (
        "extraVolumeMounts: [{name: a, mountPath: /etc/imm-operator/tenancy}]",
        "the chart's own volume tenancy",
    ),
    (
        "extraVolumeMounts: [{name: a, mountPath: /etc//imm-operator/tenancy/b}]",
        "the chart's own volume tenancy",
    ),
    (
        "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /}]}",
        "mountPath / hides the program of the image",
    ),
    (
        "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /etc, readOnly: true}]}",
        "mountPath /etc/ is above the folder /etc/imm-operator/tenancy/ of the chart's own volume tenancy, which cannot be created",
    ),
    (
        "{extraVolumes: [{name: a, image: {reference: b}}], extraVolumeMounts: [{name: a, mountPath: //etc/imm-operator}]}",
        "mountPath /etc/imm-operator/ is above",
    ),
    (
        "{extraVolumes: [{name: a, persistentVolumeClaim: {claimName: b, readOnly: true}}], extraVolumeMounts: [{name: a, mountPath: /etc}]}",
        "in the read-only volume a",
    ),
    (
        "extraVolumeMounts: [{name: a, mountPath: /b}, {name: c, mountPath: /b/}]",
        "appears twice",
    ),
    (
        "extraEnv: [{name: A, value: b}, {name: A, value: c}]",
        "extraEnv: there is a variable named A already",
    ),
    (
        "hostAliases: [{ip: 10.0.0.1, hostnames: [a]}, {ip: 10.0.0.1, hostnames: [b]}]",
        "hostAliases: there is an entry with ip 10.0.0.1 already",
    ),
    (
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, \
         {maxSkew: 2, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]",
        "there is a constraint with topologyKey a and whenUnsatisfiable DoNotSchedule already",
    ),
    (
        "automountServiceAccountToken: false",
        "automountServiceAccountToken false needs a token",
    ),
    (
        "{hostNetwork: true, hostUsers: false}",
        "hostNetwork true excludes hostUsers false",
    ),
    (
        "{hostNetwork: true, adminPort: 80, securityContext: {runAsNonRoot: false, runAsUser: 0}}",
        "and the capability NET_BIND_SERVICE",
    ),
    (
        "{hostNetwork: true, adminPort: 1023}",
        "hostNetwork true excludes adminPort 1023",
    ),
    (
        "resources: {requests: {memory: 1Gi}, limits: {memory: 512Mi}}",
        "resources.requests.memory 1Gi is above resources.limits.memory 512Mi",
    ),
    (
        "resources: {requests: {memory: 257Mi}}",
        "resources.requests.memory 257Mi is above",
    ),
    (
        "resources: {requests: {cpu: 1}, limits: {cpu: 900m}}",
        "resources.requests.cpu 1 is above",
    ),
    (
        "resources: {requests: {ephemeral-storage: 2Gi}, limits: {ephemeral-storage: 1Gi}}",
        "resources.requests.ephemeral-storage 2Gi is above resources.limits.ephemeral-storage 1Gi",
    ),
    (
        "extraVolumeMounts: [{name: company-ca, mountPath: /a}]",
        "there is no volume named company-ca, only tenancy: add it to extraVolumes",
    ),
    (
        "{extraVolumes: [{name: company-ca, emptyDir: {}}], extraVolumeMounts: [{name: company-cas, mountPath: /a}]}",
        "there is no volume named company-cas, only tenancy, company-ca",
    ),
    (
        "updateStrategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}",
        "maxSurge 0 excludes maxUnavailable 0, because no Pod could be replaced",
    ),
    (
        "updateStrategy: {rollingUpdate: {maxSurge: 0%, maxUnavailable: 0}}",
        "maxSurge 0 excludes maxUnavailable 0",
    ),
    ("updateStrategy: {rollingUpdate: {maxSurge: -1}}", "maxSurge"),
    (
        "updateStrategy: {rollingUpdate: {maxUnavailable: 101%}}",
        "maxUnavailable",
    ),
    ("updateStrategy: {rollingUpdate: {maxSurge: one}}", "maxSurge"),
    (
        "tolerations: [{key: a, operator: Exists, value: b}]",
        "operator Exists excludes value b: remove the value, or set operator Equal",
    ),
    (
        "tolerations: [{effect: NoSchedule}]",
        "without key needs operator Exists",
    ),
    (
        "tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]",
        "tolerationSeconds needs effect NoExecute",
    ),
    (
        "hostAliases: [{ip: 10.0.0.300}]",
        "hostAliases[0].ip \"10.0.0.300\" is no IP address: write one such as",
    ),
    ("hostAliases: [{ip: 10.0.0.1}, {ip: 10.0.0}]", "hostAliases[1].ip"),
    ("hostAliases: [{ip: 'fd00::1::2'}]", "hostAliases[0].ip"),
    ("hostAliases: [{ip: '::ffff:10.0.0.1'}]", "hostAliases[0].ip"),
    (
        "hostAliases: [{ip: 10.0.0.1, hostnames: [a_b]}]",
        "/hostAliases/0/hostnames/0",
    ),
    (
        "dnsConfig: {nameservers: [10.0.0.300]}",
        "dnsConfig.nameservers[0] \"10.0.0.300\" is no IP address",
    ),
    (
        "securityContext: {privileged: true}",
        "securityContext.privileged true excludes securityContext.allowPrivilegeEscalation false",
    ),
    (
        "securityContext: {capabilities: {add: [CAP_SYS_ADMIN]}}",
        "CAP_SYS_ADMIN excludes securityContext.allowPrivilegeEscalation false",
    ),
    (
        "resources: {claims: [{name: a}]}",
        "resources.claims needs resourceClaims of the Pod, which this chart does not set",
    ),
];

/// Values that are close to wrong ones.
const RIGHT: &[&str] = &[
    "hostAliases: [{ip: 10.0.0.1, hostnames: [a]}, {ip: 10.0.0.2, hostnames: [a]}]",
    "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, \
     {maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]",
    "{automountServiceAccountToken: false, extraVolumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: token}}]}}], \
     extraVolumeMounts: [{name: a, mountPath: /var/run/secrets/kubernetes.io/serviceaccount/}]}",
    "{automountServiceAccountToken: false, extraEnv: [{name: KUBECONFIG, value: /a}]}",
    "{hostNetwork: true, hostUsers: true}",
    "{hostNetwork: true, adminPort: 1024}",
    "adminPort: 80",
    "{hostNetwork: true, adminPort: 80, securityContext: {runAsNonRoot: false, runAsUser: 0, capabilities: {add: [NET_BIND_SERVICE]}}}",
    "{hostNetwork: true, adminPort: 80, securityContext: {runAsNonRoot: false, runAsUser: 0, capabilities: {drop: null}}}",
    "resources: {requests: {memory: 1Gi, cpu: 1}, limits: {memory: 1024Mi, cpu: 1000m}}",
    "resources: {requests: {memory: 1.5e8, cpu: 0.5}, limits: {memory: 0.15G, cpu: '1'}}",
    "resources: {requests: {memory: 1Ti}, limits: null}",
    "extraVolumeMounts: [{name: tenancy, mountPath: /a}, {name: tenancy, mountPath: /etc, readOnly: true}]",
    "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /etc/imm-operator-keys, readOnly: true}]}",
    "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /etc}]}",
    "{extraVolumes: [{name: a, configMap: {name: b}}], extraVolumeMounts: [{name: a, mountPath: /etc, readOnly: true}]}",
    "updateStrategy: {rollingUpdate: {maxSurge: 0}}",
    "updateStrategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 100%}}",
    "updateStrategy: {rollingUpdate: {maxSurge: 200%, maxUnavailable: 0}}",
    "tolerations: [{operator: Exists}, {key: a, value: b}, {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 0}]",
    "hostAliases: [{ip: 255.0.0.1, hostnames: [a.b-c]}, {ip: '::1'}, {ip: 'fd00:1::2:3'}, {ip: '1:2:3:4:5:6:7:8'}]",
    "securityContext: {privileged: true, allowPrivilegeEscalation: true}",
];

#[test]
fn check_3_wrong_values_of_the_pod_are_refused_by_name() {
    assert_refused(WRONG);
}

#[test]
fn values_of_the_pod_that_are_close_to_wrong_ones_are_accepted() {
    assert_accepted(RIGHT);
}
