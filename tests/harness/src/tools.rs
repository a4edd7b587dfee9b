//! The binaries that `tests/tools/build.sh` builds from their Go modules or downloads. A missing binary is an error
//! that names the build command. Other binaries on the machine are used only if that script took them after a look at
//! their version: a `kubectl` on the PATH may be of another one.

use std::path::PathBuf;

use crate::environment;
use crate::error::{HarnessError, Result};

/// A binary of the control plane or of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The API server's database.
    Etcd,
    /// The API server.
    ApiServer,
    /// kube-controller-manager: role aggregation, garbage collection, namespaces, Deployments.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// Simulates the kubelet of a Node that does not exist.
    Kwok,
    /// The command-line client.
    Kubectl,
    /// Helm, third major version.
    Helm3,
    /// Helm, fourth major version.
    Helm4,
    /// Scrapes metrics, answers queries and evaluates alert rules.
    Prometheus,
    /// Checks and tests alert rules.
    Promtool,
}

impl Tool {
    /// Returns the name in `tests/tools/build.sh`, which is also the file name.
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
            Self::Prometheus => "prometheus",
            Self::Promtool => "promtool",
        }
    }

    /// Returns the path of the built binary. Fails with `MissingTool` if it was not built.
    pub fn path(self) -> Result<PathBuf> {
        existing(self.name(), self.name())
    }
}

/// Returns the path of kwok's stages, which the build stores beside its binary. Fails with `MissingTool` if they are
/// missing.
pub fn kwok_stages() -> Result<PathBuf> {
    existing("kwok", "kwok-stages.yaml")
}

/// Returns whether a program on the PATH can be started, regardless of its exit code.
pub(crate) fn can_start(program: &str) -> bool {
    let quiet = std::process::Stdio::null;
    let started = std::process::Command::new(program)
        .arg("--version")
        .stdout(quiet())
        .stderr(quiet())
        .status();
    started.is_ok()
}

fn existing(tool: &'static str, file: &str) -> Result<PathBuf> {
    let path = environment::tools_folder()?.join(file);
    if path.is_file() {
        Ok(path)
    } else {
        Err(HarnessError::MissingTool { tool, path })
    }
}
