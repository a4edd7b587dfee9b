//! The demo on a cluster of the user: which clusters are refused, and that nothing is removed but what the demo created.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test panics"
)]

mod refusals;
mod removal;
mod whole;

use std::path::{Path, PathBuf};

use imm_harness::current::CurrentCluster;
use imm_harness::environment::{checkout, tools_folder};
use imm_harness::{ControlPlane, Options};
use serde_json::{Value, json};

const HARNESS: &str = env!("CARGO_BIN_EXE_imm-harness");

/// Writes a copy of a kubeconfig whose context has another name.
fn renamed(folder: &Path, kubeconfig: &Path, name: &str) -> PathBuf {
    let mut config: Value = serde_json::from_slice(&std::fs::read(kubeconfig).unwrap()).unwrap();
    config["contexts"][0]["name"] = json!(name);
    config["current-context"] = json!(name);
    let path = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// Starts a control plane with controllers, and writes a kubeconfig that the demo accepts.
async fn plane() -> (ControlPlane, PathBuf) {
    let options = Options {
        controllers: true,
        ..Options::default()
    };
    let plane = ControlPlane::start(options).await.unwrap();
    let path = renamed(plane.folder(), plane.kubeconfig(), "kind-demo");
    (plane, path)
}

async fn cluster(plane: &ControlPlane) -> CurrentCluster {
    let path = renamed(plane.folder(), plane.kubeconfig(), "kind-demo");
    CurrentCluster::open(Some(&path), None).await.unwrap()
}

fn sample(name: &str) -> PathBuf {
    checkout().join("deploy/samples").join(name)
}

/// Makes a folder of tools in which one begins with a script of its own, before it is the real one.
fn tools_with(folder: &Path, name: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (real, tools) = (tools_folder().unwrap(), folder.join(format!("tools-{name}")));
    std::fs::create_dir(&tools).unwrap();
    for tool in ["kubectl", "helm4"] {
        if tool != name {
            symlink(real.join(tool), tools.join(tool)).unwrap();
        }
    }
    let (path, real) = (tools.join(name), real.join(name));
    let real = real.display();
    std::fs::write(&path, format!("#!/bin/sh\n{script}\nexec {real} \"$@\"\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    tools
}

/// Makes an API group that nothing serves.
async fn break_an_api(plane: &ControlPlane) {
    let broken = r#"{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"}, "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": "metrics-server", "namespace": "kube-system"}}}"#;
    plane.apply(broken).await.unwrap();
    let condition = [
        "wait",
        "apiservice/v1beta1.metrics.k8s.io",
        "--for=condition=Available=False",
        "--timeout=60s",
    ];
    plane.kubectl(&condition).await.unwrap();
}
