//! The two versions, and the change from one to the other.

use std::path::PathBuf;

use imm_harness::environment::checkout;
use imm_harness::{Helm, Operator};
use serde_json::Value;

use crate::support::Stage;

/// Values for CRDs that are applied with kubectl.
pub const CRDS_APART: [&str; 2] = ["--set", "crds.enabled=false"];
/// Flags of the Deployment that the test sets itself: a process on this machine has no mounts and no fixed port.
const REPLACED: [&str; 4] = [
    "--admin-address=",
    "--namespace=",
    "--log-format=",
    "--tenancy-rules=",
];

/// A version: its checkout and its program.
pub struct Version {
    sources: PathBuf,
    program: PathBuf,
}

impl Version {
    /// Returns the version before.
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment names the version before"
    )]
    pub fn earlier() -> Self {
        let sources = std::env::var_os("IMM_EARLIER").map(PathBuf::from);
        let sources = sources.expect("IMM_EARLIER is not set: run `make test-release STAGES=upgrade`");
        let program = sources.join("imm-operator");
        assert!(program.is_file(), "{} is missing", program.display());
        Self { sources, program }
    }

    /// Returns this version.
    pub fn this() -> Self {
        Self {
            sources: checkout(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_imm-operator")),
        }
    }

    pub fn chart(&self) -> PathBuf {
        self.sources.join("charts/imm-operator")
    }

    /// Applies the CRDs of this version, as a user who does not leave them to Helm does.
    pub async fn apply_crds(&self, stage: &Stage) {
        let folder = self.sources.join("crds").display().to_string();
        stage.kubectl(&["apply", "--server-side", "-f", &folder]).await;
    }

    /// Starts the program with the arguments of the Deployment in the cluster, and waits until it is ready.
    pub async fn start(&self, stage: &Stage) -> Operator {
        let query = ["get", "deployment/imm-operator", "-n", "imm-system", "-o", "json"];
        let deployment: Value = serde_json::from_str(&stage.kubectl(&query).await).unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap().iter();
        let mut arguments = arguments.map(|argument| argument.as_str().unwrap());
        assert_eq!(arguments.next(), Some("run"));
        let kept: Vec<String> = arguments
            .filter(|argument| !REPLACED.iter().any(|flag| argument.starts_with(flag)))
            .map(str::to_owned)
            .collect();
        assert!(
            kept.contains(&"--lease-name=imm-operator".to_owned()),
            "both versions use one Lease: {kept:?}"
        );
        let mut options = stage.options("operator.log");
        options.binary.clone_from(&self.program);
        options.leader_election = true;
        options.extra_args.extend(kept);
        Operator::start(options).await.unwrap()
    }
}

/// Upgrades the release to the chart of a version, as the documentation says.
pub async fn upgrade(stage: &Stage, to: &Version, values: &[&str]) {
    let chart = to.chart().display().to_string();
    let upgrade = ["upgrade", "imm-operator", &chart, "-n", "imm-system"];
    let all = [&upgrade, &["--reset-then-reuse-values"][..], values].concat();
    stage.plane.helm(Helm::Four, &all).await.unwrap();
}

/// Rolls the release back to its first revision.
pub async fn roll_back(stage: &Stage) {
    let rollback = ["rollback", "imm-operator", "1", "-n", "imm-system"];
    stage.plane.helm(Helm::Four, &rollback).await.unwrap();
}

/// Returns the versions of every CRD as stored.
pub async fn stored_crds(stage: &Stage) -> Vec<Value> {
    let mut found = Vec::new();
    for name in ["immbucketgrants", "imagescorejobs", "imagescorereports"] {
        let crd = format!("crd/{name}.immops.dev");
        let stored = stage.kubectl(&["get", &crd, "-o", "json"]).await;
        let stored: Value = serde_json::from_str(&stored).unwrap();
        found.push(stored["spec"]["versions"].clone());
    }
    found
}
