//! Tests of the harness: control planes are real and isolated, and leave nothing behind.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use imm_harness::{ControlPlane, Options, until};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn two_planes_run_at_once_and_do_not_see_each_other() {
    let (one, two) = tokio::join!(
        ControlPlane::start(Options::default()),
        ControlPlane::start(Options::default())
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    one.kubectl(&["create", "namespace", "only-here"]).await.unwrap();
    assert!(one.kubectl(&["get", "namespace", "only-here"]).await.is_ok());
    let refused = two
        .kubectl(&["get", "namespace", "only-here"])
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("NotFound"), "{refused}");
    let folder = one.folder().to_path_buf();
    one.stop().unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_service_account_has_only_its_own_permissions_and_is_audited() {
    let plane = ControlPlane::start(Options {
        audit: true,
        ..Options::default()
    })
    .await
    .unwrap();
    plane
        .apply(
            "{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: default}}\n---\n\
             {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: read, namespace: default},\n \
              rules: [{apiGroups: [''], resources: [configmaps], verbs: [list]}]}\n---\n\
             {apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding,\n \
              metadata: {name: read, namespace: default},\n \
              roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: read},\n \
              subjects: [{kind: ServiceAccount, name: reader, namespace: default}]}\n",
        )
        .await
        .unwrap();
    let reader = plane
        .service_account_kubeconfig("default", "reader")
        .await
        .unwrap();
    plane.kubectl_as(&reader, &["get", "configmaps"]).await.unwrap();
    let denied = plane
        .kubectl_as(&reader, &["get", "secrets"])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        denied.contains("system:serviceaccount:default:reader"),
        "{denied}"
    );
    let refused = plane.audit_events().unwrap().into_iter().filter(|event| {
        event["user"]["username"] == "system:serviceaccount:default:reader"
            && event["responseStatus"]["code"] == 403
    });
    assert!(refused.count() >= 1);
}

#[tokio::test]
async fn pods_appear_to_run_and_namespaces_are_deleted() {
    let options = Options {
        controllers: true,
        nodes: true,
        audit: false,
    };
    let plane = ControlPlane::start(options).await.unwrap();
    plane.kubectl(&["create", "namespace", "short"]).await.unwrap();
    plane
        .kubectl(&["create", "deployment", "-n", "short", "idle", "--image=none"])
        .await
        .unwrap();
    plane
        .kubectl(&[
            "rollout",
            "status",
            "-n",
            "short",
            "deployment/idle",
            "--timeout=600s",
        ])
        .await
        .unwrap();
    plane
        .kubectl(&["delete", "namespace", "short", "--timeout=600s"])
        .await
        .unwrap();
    assert!(plane.kubectl(&["get", "namespace", "short"]).await.is_err());
}

#[tokio::test]
async fn a_killed_harness_leaves_no_process_and_no_folder() {
    let mut harness = Command::new(env!("CARGO_BIN_EXE_imm-harness"))
        .arg("plane")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(harness.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let kubeconfig = PathBuf::from(line.trim().strip_prefix("export KUBECONFIG=").unwrap());
    let folder = kubeconfig.parent().unwrap().to_path_buf();
    let config = std::fs::read_to_string(&kubeconfig).unwrap();
    let (_, rest) = config.split_once("https://").unwrap();
    let address = rest.split('"').next().unwrap().to_owned();
    assert!(
        std::net::TcpStream::connect(&address).is_ok(),
        "the API server does not listen"
    );

    // SIGKILL: no destructor of the harness runs.
    harness.kill().unwrap();
    harness.wait().unwrap();
    until("the API server and the folder to be removed", SOON, || async {
        let (served, kept) = (std::net::TcpStream::connect(&address).is_ok(), folder.exists());
        if served || kept {
            Err(format!("served: {served}, folder kept: {kept}"))
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
}
