//! The binaries that `tests/tools/build.sh` builds from their Go modules. One that is missing is an error that
//! names the command which makes it; whatever else is on the machine is never used in its place, because a
//! `kubectl` found on a PATH may be a wrapper or of another version.

use std::path::PathBuf;

use crate::environment;
use crate::error::{HarnessError, Result};

/// One binary of the control plane, or one of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The store behind the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// Role aggregation, garbage collection, namespaces, Deployments.
    ControllerManager,
    /// Gives Pods to Nodes.
    Scheduler,
    /// Plays the kubelet of a Node that does not exist.
    Kwok,
    /// The command line client.
    Kubectl,
    /// Helm, third major version.
    Helm3,
    /// Helm, fourth major version.
    Helm4,
}

impl Tool {
    /// The name that `tests/tools/build.sh` takes, which is also the file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Kubectl => "kubectl",
            Self::Helm3 => "helm3",
            Self::Helm4 => "helm4",
        }
    }

    /// The built binary.
    pub fn path(self) -> Result<PathBuf> {
        existing(self.name(), self.name())
    }
}

/// The stages that kwok plays, which the build keeps beside its binary.
pub fn kwok_stages() -> Result<PathBuf> {
    existing("kwok", "kwok-stages.yaml")
}

fn existing(tool: &'static str, file: &str) -> Result<PathBuf> {
    let path = environment::tools_folder()?.join(file);
    if path.is_file() {
        Ok(path)
    } else {
        Err(HarnessError::MissingTool { tool, path })
    }
}
