//! The controllers: kube-controller-manager and, for Pods that "run", the scheduler with kwok, which simulates the
//! kubelet of one Node that does not exist. None of them listens on a port.

use std::path::Path;
use std::process::Command;

use super::keys::Keys;
use crate::error::Result;
use crate::process::Process;
use crate::tools::{self, Tool};

/// The only Node. The annotation makes kwok manage it.
pub(super) const NODE: &str = r#"{
  "apiVersion": "v1", "kind": "Node",
  "metadata": {
    "name": "fake",
    "annotations": {"kwok.x-k8s.io/node": "fake"},
    "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": "fake"}
  },
  "status": {
    "allocatable": {"cpu": "16", "memory": "32Gi", "pods": "110"},
    "capacity": {"cpu": "16", "memory": "32Gi", "pods": "110"}
  }
}"#;

pub(super) fn controller_manager(folder: &Path, kubeconfig: &Path, keys: &Keys) -> Result<Process> {
    let mut command = Command::new(Tool::ControllerManager.path()?);
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!(
            "--service-account-private-key-file={}",
            keys.account_key.display()
        ))
        .arg(format!("--root-ca-file={}", keys.authority.display()))
        .args([
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
        ]);
    Process::spawn(
        "kube-controller-manager",
        &mut command,
        &folder.join("controller-manager.log"),
    )
}

pub(super) fn scheduler(folder: &Path, kubeconfig: &Path) -> Result<Process> {
    let mut command = Command::new(Tool::Scheduler.path()?);
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args(["--leader-elect=false", "--secure-port=0"]);
    Process::spawn("kube-scheduler", &mut command, &folder.join("scheduler.log"))
}

pub(super) fn kwok(folder: &Path, kubeconfig: &Path) -> Result<Process> {
    let mut command = Command::new(Tool::Kwok.path()?);
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg("--config")
        .arg(tools::kwok_stages()?)
        // Without a lease, the controllers take the Node for lost after 40 s.
        .args(["--manage-all-nodes=true", "--node-lease-duration-seconds=40"]);
    Process::spawn("kwok", &mut command, &folder.join("kwok.log"))
}
