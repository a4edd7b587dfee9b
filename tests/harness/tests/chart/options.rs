//! What values change in the Pod and in the objects around it.

use imm_harness::Helm;
use imm_harness::release::IMAGE;
use serde_json::{Value, json};

use super::{BOTH, chart, objects, render};
use crate::rendering::{only, render_values};

fn rendered(values: &str) -> Vec<Value> {
    objects(&render_values(Helm::Four, values, &[]).unwrap())
}

fn everything() -> Vec<Value> {
    rendered(&std::fs::read_to_string(chart().join("ci/everything-values.yaml")).unwrap())
}

fn pod(objects: &[Value]) -> &Value {
    &only(objects, "Deployment")["spec"]["template"]["spec"]
}

#[test]
fn the_namespace_follows_the_pod() {
    let rendered = rendered("{}");
    let container = &pod(&rendered)["containers"][0];
    assert!(
        !container["args"].to_string().contains("--namespace"),
        "{}",
        container["args"]
    );
    let env = json!({"name": "IMM_OPERATOR_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}});
    assert_eq!(container["env"][0], env);
}

/// The host name is that of the node with `hostNetwork`, and is cut at 63 characters.
#[test]
fn the_holder_of_the_lease_has_the_name_of_the_pod() {
    let rendered = rendered("hostNetwork: true");
    let env = json!({"name": "IMM_OPERATOR_LEADER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}});
    let all = pod(&rendered)["containers"][0]["env"].as_array().unwrap();
    assert!(all.contains(&env), "{all:?}");
}

#[test]
fn a_variable_of_the_user_replaces_the_charts_own() {
    let rendered = rendered("extraEnv: [{name: IMM_OPERATOR_POD_REGION, value: cn-beijing}]");
    let env = pod(&rendered)["containers"][0]["env"].as_array().unwrap();
    let named: Vec<&Value> = env
        .iter()
        .filter(|v| v["name"] == "IMM_OPERATOR_POD_REGION")
        .collect();
    assert_eq!(
        named,
        [&json!({"name": "IMM_OPERATOR_POD_REGION", "value": "cn-beijing"})]
    );
}

#[test]
fn check_24_a_disruption_budget_needs_two_pods() {
    let budget = |values: &str| {
        let rendered = rendered(values);
        let found = rendered
            .iter()
            .find(|object| object["kind"] == "PodDisruptionBudget");
        found.map(|object| object["spec"].clone())
    };
    assert_eq!(budget("{}"), None);
    assert_eq!(
        budget("{replicaCount: 2, podDisruptionBudget: {enabled: false}}"),
        None
    );
    let selector = json!({"matchLabels": {"app.kubernetes.io/name": "imm-operator", "app.kubernetes.io/instance": "release"}});
    for (values, field, expected) in [
        ("", "maxUnavailable", json!(1)),
        ("minAvailable: 50%", "minAvailable", json!("50%")),
        // An empty number would be null, which allows no disruption.
        ("maxUnavailable: ''", "maxUnavailable", json!(1)),
        ("maxUnavailable: 0", "maxUnavailable", json!(0)),
    ] {
        let mut spec = json!({"selector": selector, "unhealthyPodEvictionPolicy": "AlwaysAllow"});
        spec[field] = expected;
        let found = budget(&format!("{{replicaCount: 2, podDisruptionBudget: {{{values}}}}}"));
        assert_eq!(found, Some(spec), "{values}");
    }
}

#[test]
fn a_spread_constraint_selects_the_pods_of_the_release_unless_it_says_otherwise() {
    let own = "{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}";
    let other = "{maxSkew: 1, topologyKey: b, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {x: z}}}";
    let rendered = rendered(&format!("topologySpreadConstraints: [{own}, {other}]"));
    let spread = &pod(&rendered)["topologySpreadConstraints"];
    assert_eq!(
        spread[0]["labelSelector"]["matchLabels"],
        only(&rendered, "Deployment")["spec"]["selector"]["matchLabels"]
    );
    assert_eq!(spread[1]["labelSelector"], json!({"matchLabels": {"x": "z"}}));
}

/// Returns the NetworkPolicy of the operator, and that of the Pod of `helm test`.
fn policies(objects: &[Value]) -> [&Value; 2] {
    let found = objects.iter().filter(|object| object["kind"] == "NetworkPolicy");
    found.collect::<Vec<_>>().try_into().unwrap()
}

/// The ports of DNS, each with UDP and TCP.
const DNS: [i64; 4] = [53, 53, 5353, 5353];

/// Returns the ports of the egress rules, and the addresses of the rules that name some.
fn egress(values: &str) -> (Vec<i64>, Vec<String>) {
    let rendered = rendered(values);
    let policy = &policies(&rendered)[0]["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    let rules = policy["egress"].as_array().unwrap();
    let ports = |rule: &Value| -> Vec<i64> {
        let ports = rule["ports"].as_array().unwrap();
        ports.iter().map(|port| port["port"].as_i64().unwrap()).collect()
    };
    let (to, anywhere): (Vec<&Value>, Vec<&Value>) = rules.iter().partition(|rule| rule["to"].is_array());
    let address = |rule: &&Value| format!("{}:{:?}", rule["to"][0]["ipBlock"]["cidr"], ports(rule));
    (
        anywhere.into_iter().flat_map(ports).collect(),
        to.iter().map(address).collect(),
    )
}

#[test]
fn the_network_policy_leaves_the_operator_working() {
    let on = "networkPolicy: {enabled: true}";
    let usual = [&DNS[..], &[443, 6443]].concat();
    assert_eq!(egress(on), (usual.clone(), Vec::new()));
    let metadata = "\"100.100.100.200/32\":[80]".to_owned();
    for (node, found) in [
        ("credentials: {source: ecs}", true),
        ("credentials: {source: none}", false),
    ] {
        let expected = (
            usual.clone(),
            found.then(|| metadata.clone()).into_iter().collect(),
        );
        assert_eq!(egress(&format!("{on}\n{node}")), expected, "{node}");
    }
    for uri in [
        "credentials: {source: uri, uri: 'https://keys.example.com:8443/x?y=:1'}",
        "credentials: {source: uri}\nextraEnv: [{name: ALIBABA_CLOUD_CREDENTIALS_URI, value: 'https://keys.example.com:8443'}]",
    ] {
        let ports = [&DNS[..], &[443, 8443, 6443]].concat();
        assert_eq!(egress(&format!("{on}\n{uri}")).0, ports, "{uri}");
    }
    let proxies = format!(
        "{on}\nendpoints: {{oss: 'https://oss.{{region}}.example.com:8443/', imm: 'https://imm.example.com', sts: 'http://[fd00::1]', regions: {{oss: {{cn-beijing: 'http://a:8080'}}}}}}"
    );
    assert_eq!(
        egress(&proxies).0,
        [&DNS[..], &[443, 8443, 80, 8080, 6443]].concat()
    );
}

#[test]
fn the_network_policy_admits_probes_and_metrics() {
    let ingress = |values: &str| policies(&rendered(values))[0]["spec"]["ingress"].clone();
    let port = json!([{"port": 8080, "protocol": "TCP"}]);
    assert_eq!(
        ingress("networkPolicy: {enabled: true}"),
        json!([{"ports": port}])
    );
    let peer = "{podSelector: {matchLabels: {a: b}}}";
    let values = format!("networkPolicy: {{enabled: true, metricsFrom: [{peer}]}}");
    assert_eq!(
        ingress(&values),
        json!([{"ports": port, "from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}])
    );
}

#[test]
fn the_pod_of_the_test_has_a_network_policy_of_its_own() {
    let rules = |values: &str| -> Vec<Vec<i64>> {
        let rendered = rendered(&format!("networkPolicy: {{enabled: true}}\n{values}"));
        let spec = &policies(&rendered)[1]["spec"];
        assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(spec["ingress"], Value::Null);
        let labels = &only(&rendered, "Pod")["metadata"]["labels"];
        for (name, value) in spec["podSelector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[name], value, "{name}");
        }
        let ports = |rule: &Value| {
            let ports = rule["ports"].as_array().unwrap().iter();
            ports.map(|port| port["port"].as_i64().unwrap()).collect()
        };
        spec["egress"].as_array().unwrap().iter().map(ports).collect()
    };
    let usual = [DNS.to_vec(), vec![443, 6443]];
    assert_eq!(rules(""), usual);
    assert_eq!(rules("credentials: {source: ecs}"), usual);
    let metrics = "adminPort: 9000\nmetrics: {service: {enabled: true}}";
    assert_eq!(rules(metrics), [&usual[..], &[vec![9000]]].concat());
    let without = rendered("{networkPolicy: {enabled: true}, selftest: {enabled: false}}");
    only(&without, "NetworkPolicy");
}

#[test]
fn check_8_registry_and_pull_secrets_of_all_charts_count() {
    let image = |values: &str| pod(&rendered(values))["containers"][0]["image"].clone();
    assert_eq!(
        image("global: {imageRegistry: g.example.com}"),
        "g.example.com/imm-operator/imm-operator:0.1.0"
    );
    // Other charts of the same parent may want the slash.
    assert_eq!(
        image("global: {imageRegistry: g.example.com/a/}"),
        "g.example.com/a/imm-operator/imm-operator:0.1.0"
    );
    assert_eq!(image("{}"), format!("{IMAGE}:0.1.0"));
    let both = "{global: {imageRegistry: g.example.com}, image: {registry: own.example.com}}";
    assert_eq!(image(both), "own.example.com/imm-operator/imm-operator:0.1.0");
    let values = "{global: {imagePullSecrets: [a, {name: b}]}, imagePullSecrets: [{name: a}, c]}";
    assert_eq!(
        pod(&rendered(values))["imagePullSecrets"],
        json!([{"name": "a"}, {"name": "c"}, {"name": "b"}])
    );
}

#[test]
fn every_field_of_the_pod_that_can_be_set_is_set() {
    let rendered = everything();
    let deployment = only(&rendered, "Deployment");
    assert_eq!(deployment["spec"]["revisionHistoryLimit"], 1);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], 0);
    assert_eq!(
        deployment["metadata"]["annotations"]["example.com/reload"],
        "true"
    );
    assert!(
        deployment["spec"]["template"]["metadata"]["annotations"]
            .get("example.com/reload")
            .is_none()
    );
    let pod = pod(&rendered);
    for (field, expected) in [
        ("hostUsers", json!(false)),
        ("dnsPolicy", json!("None")),
        ("runtimeClassName", json!("gvisor")),
        ("schedulerName", json!("second")),
        ("priorityClassName", json!("system-cluster-critical")),
        ("terminationGracePeriodSeconds", json!(120)),
        ("automountServiceAccountToken", json!(true)),
    ] {
        assert_eq!(pod[field], expected, "{field}");
    }
    for field in [
        "dnsConfig",
        "hostAliases",
        "nodeSelector",
        "tolerations",
        "affinity",
    ] {
        assert!(!pod[field].is_null(), "{field}");
    }
    let container = &pod["containers"][0];
    for (probe, period) in [("startupProbe", 3), ("livenessProbe", 20), ("readinessProbe", 15)] {
        assert_eq!(container[probe]["periodSeconds"], period);
        assert!(
            container[probe]["initialDelaySeconds"].as_i64().unwrap() > 0,
            "{probe}"
        );
    }
    assert_eq!(container["ports"][0]["containerPort"], 9443);
    let args = container["args"].as_array().unwrap();
    assert!(args.contains(&json!("--admin-address=[::]:9443")), "{args:?}");
    assert_eq!(args.last().unwrap(), "--leader-name=scores");
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], "proxy");
    let mounted = |list: &Value| list.as_array().unwrap().iter().any(|v| v["name"] == "company-ca");
    assert!(mounted(&container["volumeMounts"]) && mounted(&pod["volumes"]));
    assert_eq!(
        only(&rendered, "ServiceAccount")["automountServiceAccountToken"],
        false
    );
}

#[test]
fn on_the_network_of_the_node_the_pod_keeps_the_dns_of_the_cluster() {
    let on_node = rendered("hostNetwork: true");
    assert_eq!(pod(&on_node)["hostNetwork"], true);
    assert_eq!(pod(&on_node)["dnsPolicy"], "ClusterFirstWithHostNet");
    assert_eq!(
        pod(&rendered("{hostNetwork: true, dnsPolicy: Default}"))["dnsPolicy"],
        "Default"
    );
    assert!(pod(&rendered("{}")).get("dnsPolicy").is_none());
}

#[test]
fn on_the_network_of_the_node_an_update_waits_for_the_port() {
    let strategy = |values: &str| only(&rendered(values), "Deployment")["spec"]["strategy"].clone();
    let one_by_one = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    assert_eq!(strategy("hostNetwork: true"), one_by_one);
    assert_eq!(strategy("{hostNetwork: true, updateStrategy: null}"), one_by_one);
    let own = "{hostNetwork: true, updateStrategy: {type: Recreate}}";
    assert_eq!(strategy(own), json!({"type": "Recreate"}));
    assert_eq!(strategy("{}"), Value::Null);
}

#[test]
fn further_objects_are_templates() {
    let rendered = everything();
    let named = |name: &str| rendered.iter().any(|object| object["metadata"]["name"] == name);
    assert!(named("release-extra") && named("image-scores-text"));
}

#[test]
fn values_of_the_pod_win_over_those_of_all_objects() {
    let values = "{commonLabels: {x: all}, podLabels: {x: pod}, commonAnnotations: {z: all}, podAnnotations: {z: pod}, \
                  deploymentAnnotations: {z: deployment}}";
    let rendered = rendered(values);
    let deployment = only(&rendered, "Deployment");
    let (own, pod) = (
        &deployment["metadata"],
        &deployment["spec"]["template"]["metadata"],
    );
    assert_eq!(
        (&own["labels"]["x"], &pod["labels"]["x"]),
        (&json!("all"), &json!("pod"))
    );
    assert_eq!(
        (&own["annotations"]["z"], &pod["annotations"]["z"]),
        (&json!("deployment"), &json!("pod"))
    );
    let others = |object: &&Value| object["kind"] != "Deployment" && object["kind"] != "Pod";
    for object in rendered.iter().filter(others) {
        assert_eq!(object["metadata"]["labels"]["x"], "all", "{}", object["kind"]);
        assert_eq!(
            object["metadata"]["annotations"]["z"], "all",
            "{}",
            object["kind"]
        );
    }
}

#[test]
fn a_role_of_rrsa_is_an_annotation_of_the_account() {
    let annotations = |values: &str| {
        let rendered = rendered(values);
        only(&rendered, "ServiceAccount")["metadata"]["annotations"].clone()
    };
    let role = "pod-identity.alibabacloud.com/role-name";
    assert_eq!(annotations("{}"), Value::Null);
    let own = "{rrsa: {roleName: scores}, serviceAccount: {annotations: {a: b}}}";
    assert_eq!(annotations(own), json!({role: "scores", "a": "b"}));
}

#[test]
fn deleting_the_crds_must_be_asked_for() {
    for major in BOTH {
        let refused = render(major, &["--set", "crds.enabled=false,crds.keep=false"]).unwrap_err();
        assert!(
            refused.contains("every grant and job") && refused.contains("crds.allowDeletion"),
            "{refused}"
        );
        let set = "crds.enabled=false,crds.keep=false,crds.allowDeletion=true";
        assert!(render(major, &["--set", set]).is_ok());
        assert!(render(major, &["--set", "crds.enabled=false"]).is_ok());
    }
}
