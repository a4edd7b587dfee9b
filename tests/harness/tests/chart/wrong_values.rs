//! Wrong values, and values that exclude each other: each is refused with its name in the message.

use imm_harness::Helm;

use super::{BOTH, helm, render};
use crate::rendering::render_values;

/// Values as YAML, and a part of the message.
const WRONG: &[(&str, &str)] = &[
    ("replicaCount: two", "replicaCount"),
    ("replicaCount: \"2\"", "replicaCount"),
    ("replicaCount: -1", "replicaCount"),
    ("revisionHistoryLimit: -1", "revisionHistoryLimit"),
    ("updateStrategy: {type: Rolling}", "updateStrategy"),
    ("updateStrategy: {rolling: {}}", "rolling"),
    ("image: {tagg: v1}", "tagg"),
    ("image: {digest: abcdef}", "digest"),
    ("image: {pullPolicy: Sometimes}", "pullPolicy"),
    (
        "image: {registry: 'https://registry.example.com'}",
        "write HOST, HOST:PORT or HOST/FOLDER",
    ),
    (
        "image: {registry: registry.example.com/}",
        "image.registry \"registry.example.com/\" is no registry",
    ),
    ("image: {repository: Org/x}", "repository"),
    (
        "image: {repository: r.example.com/a/x}",
        "set image.registry=r.example.com and image.repository=a/x",
    ),
    ("image: {repository: a//b}", "repository"),
    ("image: {tag: 'a b'}", "tag"),
    ("imagePullSecrets: [{nam: a}]", "imagePullSecrets"),
    ("imagePullSecrets: ['']", "imagePullSecrets"),
    (
        "global: {imageRegistry: 'https://a'}",
        "global.imageRegistry \"https://a\" is no registry",
    ),
    ("enabled: yes please", "enabled"),
    ("nameOverride: Upper", "nameOverride"),
    ("crds: {keep: perhaps}", "keep"),
    ("crds: {keey: true}", "keey"),
    ("watchNamespaces: [Upper]", "watchNamespaces"),
    ("watchNamespaces: [team-*]", "watchNamespaces"),
    ("watchNamespaces: media", "watchNamespaces"),
    ("serviceAccount: {name: 'a b'}", "name"),
    ("serviceAccount: {annotations: {a: 1}}", "annotations"),
    ("secretAccess: {namespaces: ['*']}", "namespaces"),
    ("secretAccess: {all: true}", "all"),
    (
        "endpoints: {oss: oss.example.com}",
        "endpoints.oss \"oss.example.com\" is no URL of an endpoint: write https://HOST",
    ),
    ("endpoints: {sts: 'https://sts.example.com/path'}", "sts"),
    ("endpoints: {oss: 'https://x?y=1'}", "oss"),
    ("endpoints: {oss: 'https://:443'}", "oss"),
    ("endpoints: {imm: 'https://imm.{Region}.example.com'}", "imm"),
    ("endpoints: {oss: 'https://user@oss.example.com'}", "oss"),
    (
        "endpoints: {regions: {oss: {hangzhou: 'https://a.example.com'}}}",
        "hangzhou",
    ),
    (
        "endpoints: {regions: {oss: {cn-hangzhou: ''}}}",
        "endpoints.regions.oss.cn-hangzhou \"\" is no URL",
    ),
    ("endpoints: {regions: {ots: {}}}", "ots"),
    ("network: vpc", "network"),
    ("region: hangzhou", "region"),
    ("credentials: {source: imds}", "source"),
    (
        "credentials: {uri: 'http://keys.example.com/'}",
        "credentials.uri \"http://keys.example.com/\" is no credentials URI: write https://HOST/PATH",
    ),
    ("credentials: {source: uri}", "credentials.uri"),
    ("credentials: {source: folder}", "existingSecret"),
    ("credentials: {ecsRole: node}", "credentials.source ecs"),
    (
        "credentials: {source: ecs, existingSecret: keys}",
        "excludes credentials.existingSecret",
    ),
    ("logging: {level: loud}", "level"),
    ("logging: {format: xml}", "format"),
    (
        "terminationGracePeriodSeconds: 0",
        "terminationGracePeriodSeconds",
    ),
    ("adminPort: 70000", "adminPort"),
    ("resources: {limits: {memory: lots}}", "memory"),
    ("resources: {limit: {}}", "limit"),
    ("securityContext: {privilegd: true}", "privilegd"),
    ("podSecurityContext: {runAsUser: root}", "runAsUser"),
    (
        "podSecurityContext: {seccompProfile: {type: Default}}",
        "seccompProfile",
    ),
    ("hostUsers: maybe", "hostUsers"),
    ("dnsPolicy: Cluster", "dnsPolicy"),
    ("dnsConfig: {nameserver: []}", "nameserver"),
    ("hostAliases: [{ip: host}]", "hostAliases"),
    ("livenessProbe: {periodSeconds: 0}", "periodSeconds"),
    ("livenessProbe: {path: /}", "path"),
    ("podLabels: {a: 'b c'}", "podLabels"),
    ("commonLabels: {'a b': c}", "commonLabels"),
    ("podAnnotations: {a: true}", "podAnnotations"),
    ("priorityClassName: High", "priorityClassName"),
    ("tolerations: [{operator: Is}]", "tolerations"),
    ("affinity: {node: {}}", "affinity"),
    (
        "topologySpreadConstraints: [{topologyKey: a}]",
        "topologySpreadConstraints",
    ),
    ("extraArgs: ['']", "extraArgs"),
    ("extraEnv: [{nam: a}]", "extraEnv"),
    ("extraEnv: [{name: a, valueFrom: {secretRef: {}}}]", "secretRef"),
    ("extraEnvFrom: [{secret: a}]", "extraEnvFrom"),
    ("extraVolumes: [{name: a}]", "extraVolumes"),
    ("extraVolumes: [{name: a, configMp: {}}]", "extraVolumes"),
    ("extraVolumeMounts: [{name: a, mountPath: relative}]", "mountPath"),
    ("extraObjects: [{kind: ConfigMap}]", "extraObjects"),
    ("podDisruptionBudget: {maxUnavailable: most}", "maxUnavailable"),
    ("networkPolicy: {metricsFrom: [{pods: {}}]}", "metricsFrom"),
    ("networkPolicy: {apiServerPorts: [0]}", "apiServerPorts"),
    ("metrics: {serviceMonitor: {renderMode: sometimes}}", "renderMode"),
    (
        "metrics: {rules: {alertLabels: {severity: page}}}",
        "metrics.rules.alertLabels.severity would replace",
    ),
    (
        "metrics: {rules: {alertLabels: {team: media, release: media}}}",
        "metrics.rules.alertLabels.release would replace",
    ),
    ("metrics: {serviceMonitor: {interval: soon}}", "interval"),
    (
        "metrics: {podMonitor: {relabelings: [{source: []}]}}",
        "relabelings",
    ),
    ("metrics: {rules: {disabled: [NoSuchAlert]}}", "disabled"),
    ("metrics: {rules: {selector: 'a=b'}}", "selector"),
    (r#"metrics: {rules: {selector: 'a="b"c="d"'}}"#, "selector"),
    (r#"metrics: {rules: {selector: 'a="b", '}}"#, "selector"),
    (r#"metrics: {rules: {selector: 'a="\d"'}}"#, "selector"),
    (r#"metrics: {rules: {selector: '__name__="a"'}}"#, "selector"),
    (
        r#"metrics: {rules: {selector: 'a=~"("'}}"#,
        "metrics.rules.selector",
    ),
    ("metrics: {rules: {runbookURL: docs}}", "runbookURL"),
    (
        "metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}",
        "excludes metrics.podMonitor",
    ),
    ("crds: {enabled: false, keep: false}", "crds.allowDeletion"),
    ("endpoints: {oss: 'https://x:70000'}", "oss"),
    ("endpoints: {oss: 'https://x:0'}", "oss"),
    ("endpoints: {imm: 'https://a..b'}", "imm"),
    ("endpoints: {sts: 'https://x-.y'}", "sts"),
    (
        "endpoints: {regions: {oss: {cn-hangzhou: 'https://.a'}}}",
        "cn-hangzhou",
    ),
    ("credentials: {source: uri, uri: 'https://a:70000/'}", "uri"),
    ("runtimeClassName: a..b", "runtimeClassName"),
    ("schedulerName: a..b", "schedulerName"),
    ("priorityClassName: a..b", "priorityClassName"),
    ("serviceAccount: {name: a..b}", "name"),
    ("imagePullSecrets: [a..b]", "imagePullSecrets"),
    ("imagePullSecrets: [{name: a.-b}]", "imagePullSecrets"),
    ("global: {imagePullSecrets: [a..b]}", "imagePullSecrets"),
    ("global: {imageRegistry: a..b}", "imageRegistry"),
    ("image: {registry: 'a:70000'}", "registry"),
    ("credentials: {existingSecret: a..b}", "existingSecret"),
    ("podLabels: {a..b/c: d}", "podLabels"),
    ("networkPolicy: {metricsFrom: [{}]}", "metricsFrom"),
    (
        "networkPolicy: {metricsFrom: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}",
        "metricsFrom",
    ),
    (
        "networkPolicy: {metricsFrom: [{ipBlock: {cidr: 10.0.0.1}}]}",
        "networkPolicy.metricsFrom[0].ipBlock.cidr",
    ),
    (
        "networkPolicy: {extraEgress: [{to: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}",
        "networkPolicy.extraEgress[0].to[0].ipBlock.cidr",
    ),
    (
        "networkPolicy: {extraEgress: [{ports: [{port: 0}]}]}",
        "extraEgress",
    ),
    // Without the member that is null, these would allow more.
    (
        "networkPolicy: {metricsFrom: [{podSelector: {matchLabels: {app: null}}}]}",
        "metricsFrom",
    ),
    ("networkPolicy: {extraIngress: [{from: null}]}", "extraIngress"),
    (
        "networkPolicy: {extraEgress: [{to: null, ports: [{port: 1}]}]}",
        "extraEgress",
    ),
    ("networkPolicy: {extraEgress: [{ports: null}]}", "extraEgress"),
    (
        "metrics: {serviceMonitor: {enabled: true, interval: 30s, scrapeTimeout: 1m}}",
        "scrapeTimeout 1m is above metrics.serviceMonitor.interval 30s",
    ),
    (
        "metrics: {podMonitor: {enabled: true, interval: 1m, scrapeTimeout: 1m1ms}}",
        "scrapeTimeout 1m1ms is above",
    ),
    ("metrics: {podMonitor: {interval: 1s1m}}", "interval"),
    (
        "metrics: {rules: {enabled: true}, serviceMonitor: {enabled: true, interval: 2m1s}}",
        "metrics.serviceMonitor.interval 2m1s is above 2m",
    ),
    (
        "metrics: {rules: {enabled: true}, podMonitor: {enabled: true, interval: 1h}}",
        "metrics.podMonitor.interval 1h is above 2m",
    ),
    (
        "metrics: {rules: {maxBillableRequestsPerHour: many}}",
        "maxBillableRequestsPerHour",
    ),
    (
        "metrics: {rules: {maxBillableRequestsPerHour: -1}}",
        "maxBillableRequestsPerHour",
    ),
    (
        "metrics: {rules: {maxBillableRequestsPerHour: 1.5}}",
        "maxBillableRequestsPerHour",
    ),
    ("metrics: {rules: {disabled: [ImmNoSuchAlert]}}", "disabled"),
    ("allowSharedNamespace: default", "allowSharedNamespace"),
    ("backups: {namespace: default}", "set allowSharedNamespace=true"),
    (
        "secretAccess: {namespaces: [media, kube-system]}",
        "secretAccess.namespaces must not have namespace kube-system",
    ),
    (
        "secretAccess: {namespaces: [default]}",
        "set allowSharedNamespace=true",
    ),
    (
        "{rrsa: {roleName: a}, serviceAccount: {create: false, name: own}}",
        "pod-identity.alibabacloud.com/role-name=a of ServiceAccount own yourself",
    ),
    (
        "{rrsa: {roleName: a}, serviceAccount: {annotations: {pod-identity.alibabacloud.com/role-name: b}}}",
        "rrsa.roleName a contradicts role b in serviceAccount.annotations",
    ),
    (
        "{rrsa: {roleName: a}, credentials: {source: ecs}}",
        "rrsa.roleName excludes another identity",
    ),
    (
        "{rrsa: {roleName: a}, credentials: {existingSecret: b}}",
        "rrsa.roleName excludes another identity",
    ),
    ("rrsa: {roleName: 'acs:ram::1:role/a'}", "roleName"),
    ("unknown: 1", "unknown"),
];

/// Entries of tenancy rules that nothing can match.
const IMPOSSIBLE: &[&str] = &[
    "ownerUIDs: ['12a']",
    "granteeUIDs: ['']",
    "namespaces: {names: [Media]}",
    "namespaces: {names: ['a b']}",
    "namespaces: {}",
    "namespaces: {names: []}",
    "namespaces: {names: [], matchLabels: {}}",
    "namespaces: {matchLabels: {'a b': c}}",
    "buckets: ['oss://a']",
    "roleNames: ['acs:ram::12345:role/a']",
    "projects: ['a b']",
    "chainRoleARNs: ['arn:aws:iam::123456789012:role/a']",
    "assumeRoleARNs: ['*']",
    "kinds: [Grant]",
    "presets: [All]",
    "owner: ['12345']",
];

/// Checks that both majors of Helm, in turn, refuse each of the values with its part of the message.
pub(super) fn assert_refused(wrong: &[(&str, &str)]) {
    for (number, (values, name)) in wrong.iter().enumerate() {
        let rendered = render_values(BOTH[number % 2], values, &[]);
        let refused = rendered.as_ref().is_err_and(|text| text.contains(name));
        assert!(refused, "{values}: {rendered:?}");
    }
}

/// Checks that both majors of Helm, in turn, render each of the values.
pub(super) fn assert_accepted(right: &[&str]) {
    for (number, values) in right.iter().enumerate() {
        let rendered = render_values(BOTH[number % 2], values, &[]);
        assert!(rendered.is_ok(), "{values}: {rendered:?}");
    }
}

#[test]
fn check_3_wrong_values_are_refused_by_name() {
    assert_refused(WRONG);
}

#[test]
fn a_shared_namespace_must_be_accepted() {
    for major in BOTH {
        for namespace in ["default", "kube-system"] {
            let place = ["template", "release", "--namespace", namespace];
            let refused = helm(major, &place).unwrap_err();
            assert!(
                refused.contains(&format!("must not be in namespace {namespace}"))
                    && refused.contains("set allowSharedNamespace=true"),
                "{refused}"
            );
            let set = ["--set", "allowSharedNamespace=true"];
            assert!(helm(major, &[&place[..], &set].concat()).is_ok());
        }
    }
}

/// Values that are close to wrong ones.
const RIGHT: &[&str] = &[
    "endpoints: {oss: 'https://{region}.a_b.example.com:65535/', imm: 'https://imm-{region}-x.c', sts: 'http://[::1]:1'}",
    "credentials: {source: uri, uri: 'https://keys.example.com:8443?a=b'}",
    "credentials: {source: uri, uri: 'http://[::1]:6666/'}",
    "{runtimeClassName: a.b-c, schedulerName: '1', priorityClassName: a.b, serviceAccount: {name: a.b}}",
    "podLabels: {a.b-c/d: e}",
    "networkPolicy: {enabled: true, metricsFrom: [{podSelector: {}, namespaceSelector: {}}]}",
    "networkPolicy: {enabled: true, metricsFrom: [{ipBlock: {cidr: 'fd00::/8', except: ['fd00:1::/32']}}]}",
    "networkPolicy: {enabled: true, extraEgress: [{ports: [{port: https, protocol: TCP}]}]}",
    "{podSecurityContext: {runAsUser: 0}, securityContext: {runAsUser: 1000}}",
    "{podSecurityContext: {runAsNonRoot: false, runAsUser: 0}}",
    "securityContext: {runAsNonRoot: false, runAsUser: 0}",
    "{dnsPolicy: None, dnsConfig: {nameservers: [10.0.0.10]}}",
    "updateStrategy: {type: Recreate}",
    "{extraVolumes: [{name: credentials, emptyDir: {}}], extraVolumeMounts: [{name: credentials, mountPath: /etc/imm-operator/credentials}]}",
    "global: {imageRegistry: registry.example.com/}",
    "metrics: {serviceMonitor: {enabled: true, interval: 1m, scrapeTimeout: 60s}}",
    "metrics: {serviceMonitor: {enabled: true, interval: '', scrapeTimeout: 1h}}",
    "metrics: {serviceMonitor: {enabled: true, interval: 1m60s}}",
    "metrics: {podMonitor: {enabled: true, interval: 120000ms}}",
    "metrics: {podMonitor: {enabled: false, interval: 5m}}",
    "metrics: {rules: {maxBillableRequestsPerHour: 0}}",
    "metrics: {rules: {maxBillableRequestsPerHour: null}}",
    "metrics: {serviceMonitor: {enabled: true, interval: 1m30s, scrapeTimeout: 1m29s999ms}}",
    "{allowSharedNamespace: true, backups: {namespace: default}}",
    "{allowSharedNamespace: true, secretAccess: {namespaces: [kube-system]}}",
    "{rrsa: {roleName: a}, serviceAccount: {annotations: {pod-identity.alibabacloud.com/role-name: a}}, credentials: {source: rrsa}}",
    "{rrsa: {roleName: null}, credentials: {source: ecs}}",
];

#[test]
fn values_that_are_close_to_wrong_ones_are_accepted() {
    assert_accepted(RIGHT);
}

#[test]
fn entries_of_rules_that_nothing_can_match_are_refused() {
    for (number, entry) in IMPOSSIBLE.iter().enumerate() {
        let rule = if entry.starts_with("namespaces") {
            (*entry).to_owned()
        } else {
            format!("namespaces: {{names: [a]}}, {entry}")
        };
        let values = format!("tenancy: {{rules: [{{{rule}}}]}}");
        let refused = render_values(BOTH[number % 2], &values, &[]).expect_err(entry);
        let field = entry.split(':').next().unwrap();
        assert!(refused.contains(field), "{entry}: {refused}");
    }
}

#[test]
fn a_message_names_the_value_and_nothing_else() {
    let refused = render(Helm::Four, &["--set", "podLabels.tier=a b"]).unwrap_err();
    assert!(
        refused.contains("/podLabels/tier") && !refused.contains("want null"),
        "{refused}"
    );
}
