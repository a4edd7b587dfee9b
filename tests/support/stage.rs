//! One control plane with an audit log, one stand-in cloud, the chart installed by Helm, and the operator as a process
//! with a token of the chart's `ServiceAccount`.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imm_emulator::{Call, Emulator, ProjectSeed, Seed};
use imm_harness::environment::checkout;
use imm_harness::{ControlPlane, Helm, Operator, OperatorOptions, Options, until};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock};

use super::leaks;

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
/// The key of the operator's own identity.
pub const OWN_KEY: &str = "LTAI-operator-own";
const OWN_KEYS: &str = "own-keys";
const RULES: &str = "tenancy.yaml";

/// The chart as it is released.
pub fn chart() -> PathBuf {
    checkout().join("charts/imm-operator")
}

/// Everything that runs.
pub struct Stage {
    pub client: Client,
    /// Shared with other clusters, if a test has any.
    pub cloud: Arc<Emulator>,
    /// Held shared by tests that get on with each other, and alone by those that stop the operator.
    pub turn: RwLock<()>,
    operator: Mutex<Option<Operator>>,
    pub kubeconfig: PathBuf,
    tokens: AtomicU64,
    /// The tenancy rules that tests have asked for.
    rules: std::sync::Mutex<Vec<Value>>,
    // Dropped last: the operator talks to it.
    pub plane: ControlPlane,
}

impl Stage {
    /// Starts everything.
    pub async fn set(options: Options) -> imm_harness::Result<Self> {
        let seed = Seed::from_yaml(&format!(
            "accounts: [{{uid: '{ACCOUNT_A}'}}, {{uid: '{ACCOUNT_B}'}}]"
        ));
        let cloud = Emulator::start(seed.unwrap(), imm_emulator::Options::default()).await;
        Self::install(options, Helm::Four, &chart(), Arc::new(cloud.unwrap())).await
    }

    /// Another cluster on the same cloud, with an operator of its own; whoever asks for it calls `finish`.
    pub async fn another(&self, helm: Helm, chart: &Path) -> Arc<Self> {
        let options = Options {
            audit: true,
            ..Options::default()
        };
        Arc::new(
            Self::install(options, helm, chart, Arc::clone(&self.cloud))
                .await
                .unwrap(),
        )
    }

    async fn install(
        options: Options,
        helm: Helm,
        chart: &Path,
        cloud: Arc<Emulator>,
    ) -> imm_harness::Result<Self> {
        let plane = ControlPlane::start(options).await?;
        let chart = chart.display().to_string();
        let install = [
            "install",
            "imm-operator",
            &chart,
            "-n",
            "imm-system",
            "--create-namespace",
        ];
        plane.helm(helm, &install).await?;
        let kubeconfig = plane
            .service_account_kubeconfig("imm-system", "imm-operator")
            .await?;
        let admin = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await;
        let stage = Self {
            client: Client::try_from(config.unwrap()).unwrap(),
            cloud,
            turn: RwLock::new(()),
            operator: Mutex::new(None),
            kubeconfig,
            tokens: AtomicU64::new(0),
            rules: std::sync::Mutex::default(),
            plane,
        };
        stage.write_rules("rules: []");
        stage.own_identity();
        stage.start_operator().await;
        Ok(stage)
    }

    /// The end: nothing secret was told, no pass has panicked, and the operator stops as it should.
    pub async fn finish(&self) -> Result<(), String> {
        leaks::search(self).await?;
        // A pass that panics leaves its key alone for good; a test may be over before that shows.
        if let Some(line) = self.log().lines().find(|line| line.contains("panicked at")) {
            return Err(format!("the operator has a bug: {line}"));
        }
        if !self.running().await {
            return Ok(());
        }
        let status = self.stop_operator().await;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the operator ended with {status} after SIGTERM"))
        }
    }

    /// How an operator is started here; each log that begins with `operator` is searched at the end.
    pub fn options(&self, log: &str) -> OperatorOptions {
        let file = |name: &str| self.plane.folder().join(name).display().to_string();
        OperatorOptions {
            binary: PathBuf::from(env!("CARGO_BIN_EXE_imm-operator")),
            kubeconfig: self.kubeconfig.clone(),
            cloud_url: self.cloud.url(),
            namespace: "imm-system".to_owned(),
            log_file: self.plane.folder().join(log),
            extra_args: vec![
                "--tenancy-rules".to_owned(),
                file(RULES),
                "--credentials-folder".to_owned(),
                file(OWN_KEYS),
            ],
            ..OperatorOptions::default()
        }
    }

    /// Adds a tenancy rule to the file; the operator sees it within seconds, and only if it did not know it yet.
    pub fn allow(&self, rule: Value) {
        let mut rules = self.rules.lock().unwrap();
        rules.push(rule);
        self.write_rules(&json!({ "rules": *rules }).to_string());
    }

    /// Forgets what was not asked for by `allow`.
    pub fn restore_rules(&self) {
        let rules = self.rules.lock().unwrap();
        self.write_rules(&json!({ "rules": *rules }).to_string());
    }

    /// Replaces the file of tenancy rules, at once and whole as Kubernetes does with a mounted ConfigMap.
    pub fn write_rules(&self, text: &str) {
        let (new, file) = (
            self.plane.folder().join("rules.new"),
            self.plane.folder().join(RULES),
        );
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    }

    /// Gives the operator an identity of its own in account B, in a folder as a mounted Secret has it.
    fn own_identity(&self) {
        let folder = self.plane.folder().join(OWN_KEYS);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("accessKeyId"), OWN_KEY).unwrap();
        std::fs::write(folder.join("accessKeySecret"), "canary-own\n").unwrap();
        let seed =
            format!("accounts: [{{uid: '{ACCOUNT_B}', keys: [{{id: {OWN_KEY}, secret: canary-own}}]}}]");
        self.cloud.add(Seed::from_yaml(&seed).unwrap()).unwrap();
    }

    /// Starts the operator and waits until it is ready.
    pub async fn start_operator(&self) {
        let started = Operator::start(self.options("operator.log")).await.unwrap();
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

    /// Everything that operators, with all their restarts, have logged.
    pub fn log(&self) -> String {
        let entries = std::fs::read_dir(self.plane.folder()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.starts_with("operator") && name.ends_with(".log")
            })
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect()
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
    /// Verb and resource, as a rule grants them.
    pub fn right(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }

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
