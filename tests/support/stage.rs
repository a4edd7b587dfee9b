//! One control plane with an audit log, one stand-in cloud, the chart installed by Helm, and the operator as a process
//! with a token of the chart's `ServiceAccount`.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imm_emulator::{Call, Emulator, ProjectSeed, Seed};
use imm_harness::environment::checkout;
use imm_harness::{ControlPlane, Helm, Operator, OperatorOptions, Options, until};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::sync::{Mutex, RwLock};

/// Account A, which scores.
pub const ACCOUNT_A: &str = "1234567890123456";
/// Account B, which owns the buckets.
pub const ACCOUNT_B: &str = "6543210987654321";
/// Where everything is.
pub const REGION: &str = "cn-hangzhou";
/// Enough for any wait on a busy machine; a wait that needs a delay of the operator's own adds it.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The operator's name at the API server.
pub const OPERATOR: &str = "system:serviceaccount:imm-system:imm-operator";

/// Everything that runs.
pub struct Stage {
    pub client: Client,
    pub cloud: Emulator,
    /// Held shared by tests that get on with each other, and alone by those that stop the operator.
    pub turn: RwLock<()>,
    operator: Mutex<Option<Operator>>,
    kubeconfig: PathBuf,
    tokens: AtomicU64,
    // Dropped last: the operator talks to it.
    pub plane: ControlPlane,
}

impl Stage {
    /// Starts everything.
    pub async fn set(options: Options) -> imm_harness::Result<Self> {
        let plane = ControlPlane::start(options).await?;
        let chart = checkout().join("charts/imm-operator").display().to_string();
        let install = [
            "install",
            "imm-operator",
            &chart,
            "-n",
            "imm-system",
            "--create-namespace",
        ];
        plane.helm(Helm::Four, &install).await?;
        let kubeconfig = plane
            .service_account_kubeconfig("imm-system", "imm-operator")
            .await?;
        let seed = Seed::from_yaml(&format!(
            "accounts: [{{uid: '{ACCOUNT_A}'}}, {{uid: '{ACCOUNT_B}'}}]"
        ));
        let cloud = Emulator::start(seed.unwrap(), imm_emulator::Options::default()).await;
        let admin = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await;
        let stage = Self {
            client: Client::try_from(config.unwrap()).unwrap(),
            cloud: cloud.unwrap(),
            turn: RwLock::new(()),
            operator: Mutex::new(None),
            kubeconfig,
            tokens: AtomicU64::new(0),
            plane,
        };
        stage.start_operator().await;
        Ok(stage)
    }

    /// Starts the operator and waits until it is ready.
    pub async fn start_operator(&self) {
        let started = Operator::start(OperatorOptions {
            binary: PathBuf::from(env!("CARGO_BIN_EXE_imm-operator")),
            kubeconfig: self.kubeconfig.clone(),
            cloud_url: self.cloud.url(),
            namespace: "imm-system".to_owned(),
            log_file: self.plane.folder().join("operator.log"),
            ..OperatorOptions::default()
        });
        let started = started.await.unwrap();
        assert!(self.operator.lock().await.replace(started).is_none());
    }

    /// Ends the operator as a crash would.
    pub async fn kill_operator(&self) {
        let operator = self.operator.lock().await.take().unwrap();
        operator.kill().unwrap();
    }

    /// Asks the operator to stop, as Kubernetes does.
    pub async fn stop_operator(&self) -> ExitStatus {
        let operator = self.operator.lock().await.take().unwrap();
        operator.terminate().await.unwrap()
    }

    /// Whether an operator was started and not stopped.
    pub async fn running(&self) -> bool {
        self.operator.lock().await.is_some()
    }

    /// A page of the operator's port: the status code and the text.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let operator = self.operator.lock().await;
        operator.as_ref().unwrap().admin_get(path).await.unwrap()
    }

    /// Everything that the operator, with all its restarts, has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.plane.folder().join("operator.log")).unwrap()
    }

    /// Sum of a metric's series whose line contains `part`.
    pub async fn metric(&self, name: &str, part: &str) -> f64 {
        let (_, text) = self.page("/metrics").await;
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(part));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Runs kubectl as the administrator.
    pub async fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(args).await.unwrap()
    }

    /// A text that no other call returns.
    pub fn token(&self) -> String {
        format!("token-{}", self.tokens.fetch_add(1, Ordering::Relaxed))
    }

    /// Calls of one action on one bucket.
    pub fn calls(&self, bucket: &str, action: &str) -> Vec<Call> {
        let calls = self.cloud.calls().into_iter();
        calls
            .filter(|call| call.action == action && call.bucket.as_deref() == Some(bucket))
            .collect()
    }

    /// Adds a project of account A.
    pub fn add_project(&self, project: ProjectSeed) {
        let project = ProjectSeed {
            account: ACCOUNT_A.to_owned(),
            region: if project.region.is_empty() {
                REGION.to_owned()
            } else {
                project.region
            },
            ..project
        };
        self.cloud.add_project(project).unwrap();
    }

    /// The operator's own requests in the audit log: verb, resource with subresource, namespace, name and code.
    pub fn audited(&self) -> Vec<Audited> {
        let log = self.plane.audit_log().unwrap();
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["user"]["username"] == OPERATOR)
            .map(|event| Audited::of(&event))
            .collect()
    }

    /// Waits until the cloud has seen something.
    pub async fn until_calls(&self, what: &str, bucket: &str, action: &str, count: usize) -> Vec<Call> {
        until(what, PATIENCE, || async {
            let calls = self.calls(bucket, action);
            if calls.len() >= count {
                Ok(calls)
            } else {
                Err(format!("{} calls", calls.len()))
            }
        })
        .await
        .unwrap()
    }
}

/// One request that the operator made to the API server.
#[derive(Debug)]
pub struct Audited {
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
}

impl Audited {
    fn of(event: &Value) -> Self {
        let object = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = match object["subresource"].as_str() {
            Some(part) => format!("{}/{part}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        Self {
            verb: text(&event["verb"]),
            resource,
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        }
    }
}
