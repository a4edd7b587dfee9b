//! The demo's environment: the control plane, the emulated cloud and the operator, with the queries shared by several
//! steps.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use imm_emulator::{Call, Emulator, Seed};
use serde_json::Value;

use super::cluster::Cluster;
use super::show::Show;
use crate::current::created::{self, CreatedObject};
use crate::current::{CurrentCluster, guards};
use crate::environment::checkout;
use crate::error::{HarnessError, Result};
use crate::operator::{Operator, OperatorOptions};
use crate::plane::{ControlPlane, Options};

pub(super) const BUCKET: &str = "test-bucket-2024";
pub(super) const SYSTEM: &str = "imm-system";
/// The names of the release and of its `ServiceAccount`.
pub(super) const ACCOUNT: &str = "imm-operator";
/// The namespaces of the sample manifests.
const TENANTS: [&str; 2] = ["media", "analytics"];
/// The time limit of every wait, sufficient on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs during a demo. The operator is dropped before the control plane and the emulator.
pub(super) struct Stage {
    pub(super) show: Show,
    /// The operator's binary.
    pub(super) binary: PathBuf,
    pub(super) operator: Option<Operator>,
    pub(super) cluster: Cluster,
    pub(super) cloud: Emulator,
    /// Whether Block Public Access is on for the bucket.
    pub(super) public_access_blocked: bool,
    /// What the demo created in the user's cluster.
    created: Mutex<Vec<CreatedObject>>,
}

impl Stage {
    /// Starts the emulator, and a control plane unless the demo uses the cluster of the user. Fails if that cluster
    /// has the operator already.
    pub(super) async fn start(show: Show, binary: PathBuf, current: Option<CurrentCluster>) -> Result<Self> {
        let seed = checkout().join("tests/emulator/seeds/cross-account.yaml");
        let seed = Seed::from_file(&seed).map_err(unexpected)?;
        let bucket = seed.buckets.iter().find(|bucket| bucket.name == BUCKET);
        let bucket = bucket.ok_or_else(|| unexpected(format!("the seed has no bucket {BUCKET}")))?;
        let public_access_blocked = bucket.block_public_access;
        let cloud = Emulator::start(seed, imm_emulator::Options::default())
            .await
            .map_err(unexpected)?;
        show.line(&format!(
            "  the emulator of OSS, IMM and STS listens on {}",
            cloud.url()
        ));
        let cluster = if let Some(current) = current {
            let namespaces: Vec<&str> = [SYSTEM].into_iter().chain(TENANTS).collect();
            guards::refuse_occupied(&current, &namespaces).await?;
            show.line(&format!(
                "  the cluster of context {} has no imm-operator; the demo's mark there is {}",
                current.context(),
                current.mark()
            ));
            Cluster::Current(current)
        } else {
            show.line("  starting etcd and kube-apiserver ...");
            let plane = ControlPlane::start(Options::default()).await?;
            show.line(&format!("  kube-apiserver is ready on {}", plane.url()));
            Cluster::Own(Box::new(plane))
        };
        Ok(Self {
            show,
            binary,
            operator: None,
            cluster,
            cloud,
            public_access_blocked,
            created: Mutex::default(),
        })
    }

    /// Starts the operator with a token of the chart's `ServiceAccount`.
    pub(super) async fn start_operator(&mut self) -> Result<()> {
        let kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT).await?;
        let operator = Operator::start(OperatorOptions {
            binary: self.binary.clone(),
            kubeconfig,
            cloud_url: self.cloud.url(),
            namespace: SYSTEM.to_owned(),
            log_file: self.cluster.folder().join("operator.log"),
            ..OperatorOptions::default()
        })
        .await?;
        self.operator = Some(operator);
        Ok(())
    }

    /// Runs kubectl and prints the command and its output.
    pub(super) async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let answer = self.cluster.kubectl(args).await?;
        self.show.command(&format!("kubectl {}", shown(args)), &answer);
        Ok(answer)
    }

    /// Applies a sample manifest and prints the command and its output.
    pub(super) async fn apply(&self, name: &str) -> Result<String> {
        let path = sample(name).display().to_string();
        let answer = self.cluster.kubectl(&["apply", "-f", &path]).await?;
        self.show
            .command(&format!("kubectl apply -f deploy/samples/{name}"), &answer);
        Ok(answer)
    }

    /// Creates the objects of a sample manifest. On the user's cluster, this fails if one exists, and they are noted.
    pub(super) async fn create(&self, name: &str) -> Result<()> {
        let Some(cluster) = self.cluster.current() else {
            return self.apply(name).await.map(|_| ());
        };
        let made = created::create(cluster, &sample(name)).await?;
        let line = format!("kubectl create --save-config -f deploy/samples/{name}");
        self.note(&line, made);
        Ok(())
    }

    /// Creates the operator's namespace on the user's cluster; otherwise Helm creates it.
    pub(super) async fn create_system_namespace(&self) -> Result<()> {
        if let Some(cluster) = self.cluster.current() {
            let made = created::create_namespace(cluster, SYSTEM).await?;
            self.note(&format!("kubectl create namespace {SYSTEM}"), made);
        }
        Ok(())
    }

    /// Notes the objects of the chart on the user's cluster.
    pub(super) async fn note_release(&self) -> Result<()> {
        if let Some(cluster) = self.cluster.current() {
            // What this lookup does not find, the removal looks for again.
            let made = created::of_release(cluster).await?;
            self.created
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(made.objects);
        }
        Ok(())
    }

    /// Fails if an object of a sample manifest is not the one that the demo created in the user's cluster.
    pub(super) async fn must_be_own(&self, name: &str) -> Result<()> {
        match self.cluster.current() {
            None => Ok(()),
            Some(cluster) => created::must_be_own(cluster, &sample(name), &self.created()).await,
        }
    }

    fn note(&self, line: &str, made: Vec<CreatedObject>) {
        let shown: Vec<String> = made
            .iter()
            .map(|object| format!("{} created", object.place()))
            .collect();
        self.show.command(line, &shown.join("\n"));
        self.created
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(made);
    }

    /// Returns what the demo created in the user's cluster, as far as it was noted.
    pub(super) fn created(&self) -> Vec<CreatedObject> {
        self.created
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns an object from the API server without printing it.
    pub(super) async fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let text = self
            .cluster
            .kubectl(&["get", kind, name, "-n", namespace, "-o", "json"])
            .await?;
        serde_json::from_str(&text).map_err(unexpected)
    }

    /// Returns the reason of an object's condition, or an error that describes the status if the condition is missing.
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

    /// Returns the current policy of the bucket. Fails if there is none.
    pub(super) fn policy(&self) -> Result<String> {
        self.cloud
            .policy(BUCKET)
            .ok_or_else(|| unexpected(format!("bucket {BUCKET} has no policy")))
    }

    /// Returns the recorded calls of one action.
    pub(super) fn calls(&self, action: &str) -> Vec<Call> {
        self.cloud
            .calls()
            .into_iter()
            .filter(|call| call.action == action)
            .collect()
    }

    /// Prints the fact if it holds; otherwise fails with the observed value.
    pub(super) fn check_fact(&self, fact: &str, holds: bool, seen: impl FnOnce() -> String) -> Result<()> {
        if holds {
            self.show.fact(fact);
            return Ok(());
        }
        Err(unexpected(format!("expected: {fact}; observed: {}", seen())))
    }
}

/// Returns the path of a sample manifest.
pub(super) fn sample(name: &str) -> PathBuf {
    checkout().join("deploy/samples").join(name)
}

/// Returns an object's conditions in one line, for the error message of a failed wait.
pub(super) fn status(object: &Value) -> String {
    let status = object.get("status").and_then(|status| status.get("conditions"));
    status.map_or_else(|| "no conditions".to_owned(), Value::to_string)
}

/// Returns the arguments as a user would type them, quoted where needed.
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

/// Returns an error for an unexpected result.
pub(super) fn unexpected(error: impl std::fmt::Display) -> HarnessError {
    HarnessError::Surprise(error.to_string())
}
