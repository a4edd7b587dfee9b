//! Which clusters are refused, before anything is written to them.

use std::process::Command;

use imm_harness::current::{CurrentCluster, created, guards};
use imm_harness::environment::{checkout, tools_folder};
use imm_harness::{ControlPlane, HarnessError, Helm, Options, Result};
use serde_json::json;

use super::{HARNESS, break_an_api, cluster, renamed, tools_with};

const NAMESPACES: [&str; 3] = ["imm-system", "media", "analytics"];

fn refusal(result: Result<()>) -> String {
    match result {
        Err(HarnessError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_context_is_refused_before_anything_is_sent_to_its_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    let unreachable = folder.path().join("config");
    std::fs::write(&unreachable, config.to_string()).unwrap();
    let open = async |name: &str, typed: Option<&str>| {
        let path = renamed(folder.path(), &unreachable, name);
        CurrentCluster::open(Some(&path), typed).await.map(|_| ())
    };
    assert!(refusal(open("prod", None).await).contains("CONTEXT=prod"));
    assert!(refusal(open("kind-dev", Some("kind-kind")).await).contains("CONTEXT=kind-dev"));
    open("prod", Some("prod")).await.unwrap();
    open("kind-dev", None).await.unwrap();

    // The check before anything is compiled says the same.
    let path = [tools_folder().unwrap(), "/usr/bin".into(), "/bin".into()];
    let path = std::env::join_paths(path).unwrap();
    for name in [
        "",
        "prod",
        "kind",
        "kind-",
        "kind-dev",
        "my-kind-prod",
        "minikube",
        "minikube-prod",
        "docker-desktop",
        "docker-desktop2",
        "K3D-dev",
        "k3d-dev",
    ] {
        for typed in [None, Some(name), Some("kind-kind")] {
            let typed = typed.filter(|typed| !typed.is_empty());
            let kubeconfig = renamed(folder.path(), &unreachable, name);
            let mut check = Command::new(checkout().join("tests/harness/context.sh"));
            check.args(typed).env("KUBECONFIG", kubeconfig).env("PATH", &path);
            let checked = check.output().unwrap();
            let said = String::from_utf8(checked.stderr).unwrap();
            match open(name, typed).await {
                Ok(()) => assert!(checked.status.success() && said.is_empty(), "{name}: {said}"),
                Err(error) => assert_eq!(said, format!("error: {error}\n")),
            }
        }
    }
}

#[tokio::test]
async fn a_cluster_that_has_the_operator_or_a_namespace_of_the_demo_is_refused() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let cluster = cluster(&plane).await;
    let check = async || guards::refuse_occupied(&cluster, &NAMESPACES).await;
    check().await.unwrap();

    plane.kubectl(&["create", "namespace", "media"]).await.unwrap();
    assert!(refusal(check().await).starts_with("namespace/media exists"));

    let deployment = ["create", "deployment", "renamed", "--image=none", "--replicas=0"];
    plane.kubectl(&deployment).await.unwrap();
    let labelled = [
        "label",
        "deployment",
        "renamed",
        "app.kubernetes.io/name=imm-operator",
    ];
    plane.kubectl(&labelled).await.unwrap();
    assert!(refusal(check().await).starts_with("Deployment renamed in namespace default"));

    // What Helm has begun to install and does not list.
    plane
        .kubectl(&["create", "secret", "generic", "begun"])
        .await
        .unwrap();
    let labels = ["label", "secret", "begun", "owner=helm", "name=imm-operator"];
    plane.kubectl(&labels).await.unwrap();
    assert!(refusal(check().await).starts_with("Secret begun in namespace default"));

    let chart = checkout().join("charts/imm-operator").display().to_string();
    let release = [
        "install",
        "other",
        &chart,
        "-n",
        "imm",
        "--create-namespace",
        "--set",
        "crds.enabled=false",
    ];
    plane.helm(Helm::Four, &release).await.unwrap();
    assert!(refusal(check().await).starts_with("the release other in namespace imm exists"));

    let definition = checkout().join("crds/immbucketgrants.yaml").display().to_string();
    plane.kubectl(&["create", "-f", &definition]).await.unwrap();
    let refused = refusal(check().await);
    assert!(
        refused.contains("immbucketgrants.immops.dev exists") && refused.contains("kind-demo"),
        "{refused}"
    );

    // A release of others with the demo's name, which came after this check, is not taken for the demo's.
    let release = [
        "install",
        "imm-operator",
        &chart,
        "-n",
        "imm-system",
        "--create-namespace",
        "--set",
        "crds.enabled=false",
    ];
    plane.helm(Helm::Four, &release).await.unwrap();
    let found = created::of_release(&cluster).await.unwrap();
    assert!(found.objects.is_empty() && found.failed.is_empty(), "{found:?}");
    plane.stop().unwrap();
}

#[tokio::test]
async fn a_cluster_is_refused_if_not_every_kind_can_be_listed() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let cluster = cluster(&plane).await;

    let some = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "some"},
        "rules": [{"apiGroups": ["", "apps", "apiextensions.k8s.io"], "resources": ["*"], "verbs": ["*"]}]}"#;
    plane.apply(some).await.unwrap();
    let account = ["create", "serviceaccount", "some", "-n", "default"];
    plane.kubectl(&account).await.unwrap();
    let bind = [
        "create",
        "clusterrolebinding",
        "some",
        "--clusterrole=some",
        "--serviceaccount=default:some",
    ];
    plane.kubectl(&bind).await.unwrap();
    let path = plane.service_account_kubeconfig("default", "some").await.unwrap();
    let path = renamed(plane.folder(), &path, "kind-some");
    let some = CurrentCluster::open(Some(&path), None).await.unwrap();
    let refused = refusal(guards::refuse_occupied(&some, &NAMESPACES).await);
    assert!(refused.contains("is forbidden"), "{refused}");
    // What can be listed is seen nevertheless.
    let left = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "left", "namespace": "default",
        "labels": {"imm-demo": "imm-demo-left"}}}"#;
    plane.apply(left).await.unwrap();
    let refused = refusal(guards::refuse_occupied(&some, &NAMESPACES).await);
    assert!(refused.contains("REMOVE=imm-demo-left`"), "{refused}");
    plane
        .kubectl(&["delete", "configmap", "left", "-n", "default"])
        .await
        .unwrap();

    break_an_api(&plane).await;
    let refused = refusal(guards::refuse_occupied(&cluster, &NAMESPACES).await);
    assert!(
        refused.contains("metrics.k8s.io/v1beta1") && refused.contains("kind-demo"),
        "{refused}"
    );
    plane.stop().unwrap();
}

#[tokio::test]
async fn a_release_is_found_among_any_number_of_others() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let path = renamed(plane.folder(), plane.kubeconfig(), "kind-demo");
    // By default, Helm lists the first 256 releases only.
    let helm = r#"
case "$* " in
  "list "*"--max 0 "*) echo '[{"name": "z", "namespace": "last", "chart": "imm-operator-0.1.0"}]'; exit ;;
  "list "*) echo '[]'; exit ;;
esac"#;
    let mut demo = Command::new(HARNESS);
    demo.args(["demo", "--cluster", "current"])
        .env("KUBECONFIG", &path)
        .env("TOOLS_DIR", tools_with(plane.folder(), "helm4", helm));
    let said = String::from_utf8(demo.output().unwrap().stderr).unwrap();
    assert!(said.contains("the release z in namespace last exists"), "{said}");
    plane.stop().unwrap();
}
