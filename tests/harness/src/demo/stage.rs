//! What the demo plays on: the control plane, the stand-in cloud and the operator, with the few questions that the
//! steps ask them again and again.

use std::path::PathBuf;
use std::time::Duration;

use imm_emulator::{Call, Emulator, Seed};
use serde_json::Value;

use super::show::Show;
use crate::environment::checkout;
use crate::error::{HarnessError, Result};
use crate::operator::{Operator, OperatorOptions};
use crate::plane::{ControlPlane, Options};

pub(super) const BUCKET: &str = "test-bucket-2024";
pub(super) const SYSTEM: &str = "imm-system";
pub(super) const ACCOUNT: &str = "imm-operator";
/// Enough for every wait of the demo on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs during a demo. The operator is dropped before the cluster and the cloud it talks to.
pub(super) struct Stage {
    pub(super) show: Show,
    /// The operator's program.
    pub(super) binary: PathBuf,
    pub(super) operator: Option<Operator>,
    pub(super) plane: ControlPlane,
    pub(super) cloud: Emulator,
    /// Whether Block Public Access is on for the bucket.
    pub(super) public_access_blocked: bool,
}

impl Stage {
    /// Starts the cloud and the control plane.
    pub(super) async fn set(show: Show, binary: PathBuf) -> Result<Self> {
        let seed = checkout().join("tests/emulator/seeds/recipe.yaml");
        let seed = Seed::from_file(&seed).map_err(surprise)?;
        let bucket = seed.buckets.iter().find(|bucket| bucket.name == BUCKET);
        let bucket = bucket.ok_or_else(|| surprise(format!("the seed has no bucket {BUCKET}")))?;
        let public_access_blocked = bucket.block_public_access;
        let cloud = Emulator::start(seed, imm_emulator::Options::default())
            .await
            .map_err(surprise)?;
        show.line(&format!(
            "  a stand-in for OSS, IMM and STS listens on {}",
            cloud.url()
        ));
        show.line("  starting etcd and kube-apiserver ...");
        let plane = ControlPlane::start(Options::default()).await?;
        show.line(&format!("  kube-apiserver is ready on {}", plane.url()));
        Ok(Self {
            show,
            binary,
            operator: None,
            plane,
            cloud,
            public_access_blocked,
        })
    }

    /// Starts the operator with a token of the chart's `ServiceAccount`.
    pub(super) async fn start_operator(&mut self) -> Result<()> {
        let kubeconfig = self.plane.service_account_kubeconfig(SYSTEM, ACCOUNT).await?;
        let operator = Operator::start(OperatorOptions {
            binary: self.binary.clone(),
            kubeconfig,
            cloud_url: self.cloud.url(),
            namespace: SYSTEM.to_owned(),
            log_file: self.plane.folder().join("operator.log"),
            ..OperatorOptions::default()
        })
        .await?;
        self.operator = Some(operator);
        Ok(())
    }

    /// Runs kubectl and shows it as a user would type it.
    pub(super) async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let answer = self.plane.kubectl(args).await?;
        self.show.command(&format!("kubectl {}", shown(args)), &answer);
        Ok(answer)
    }

    /// Applies one of the samples and shows it.
    pub(super) async fn apply(&self, sample: &str) -> Result<String> {
        let path = checkout()
            .join("deploy/samples")
            .join(sample)
            .display()
            .to_string();
        let answer = self.plane.kubectl(&["apply", "-f", &path]).await?;
        self.show
            .command(&format!("kubectl apply -f deploy/samples/{sample}"), &answer);
        Ok(answer)
    }

    /// An object as the API server has it, not shown.
    pub(super) async fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let text = self
            .plane
            .kubectl(&["get", kind, name, "-n", namespace, "-o", "json"])
            .await?;
        serde_json::from_str(&text).map_err(surprise)
    }

    /// The reason of an object's condition if it has that status, else what it says.
    pub(super) async fn reason(
        &self,
        [kind, namespace, name]: [&str; 3],
        condition: &str,
    ) -> std::result::Result<String, String> {
        self.operator
            .as_ref()
            .map_or(Ok(()), Operator::must_run)
            .map_err(|error| error.to_string())?;
        let object = self
            .object(kind, namespace, name)
            .await
            .map_err(|error| error.to_string())?;
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let wanted = |entry: &&Value| entry.get("type").and_then(Value::as_str) == Some(condition);
        let found = conditions
            .and_then(|all| all.iter().find(wanted))
            .ok_or_else(|| status(&object))?;
        let reason = found.get("reason").and_then(Value::as_str);
        reason.map(str::to_owned).ok_or_else(|| status(&object))
    }

    /// The bucket's policy as the cloud has it.
    pub(super) fn policy(&self) -> Result<String> {
        self.cloud
            .policy(BUCKET)
            .ok_or_else(|| surprise(format!("bucket {BUCKET} has no policy")))
    }

    /// The calls of one action.
    pub(super) fn calls(&self, action: &str) -> Vec<Call> {
        self.cloud
            .calls()
            .into_iter()
            .filter(|call| call.action == action)
            .collect()
    }

    /// States a fact, or ends the demo with what was seen instead.
    pub(super) fn demand(&self, fact: &str, holds: bool, seen: impl FnOnce() -> String) -> Result<()> {
        if holds {
            self.show.fact(fact);
            return Ok(());
        }
        Err(surprise(format!("not so: {fact}; seen instead: {}", seen())))
    }
}

/// The conditions of an object in one line, for the message when a wait fails.
pub(super) fn status(object: &Value) -> String {
    let status = object.get("status").and_then(|status| status.get("conditions"));
    status.map_or_else(|| "no conditions".to_owned(), Value::to_string)
}

/// Arguments as they are typed: those with blanks or brackets quoted.
fn shown(args: &[&str]) -> String {
    let quote = |arg: &&str| {
        let plain = arg
            .chars()
            .all(|sign| sign.is_ascii_alphanumeric() || "-_./=:,@".contains(sign));
        if plain {
            (*arg).to_owned()
        } else {
            format!("'{arg}'")
        }
    };
    args.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// An error for something that should not be.
pub(super) fn surprise(error: impl std::fmt::Display) -> HarnessError {
    HarnessError::Surprise(error.to_string())
}
