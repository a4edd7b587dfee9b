//! One control plane with an audit log, one emulator, the chart installed by Helm, and the operator as a process with a
//! token of the chart's `ServiceAccount`.

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

/// The grantee account, which scores.
pub const ACCOUNT_A: &str = "1234567890123456";
/// The bucket owner account.
pub const ACCOUNT_B: &str = "6543210987654321";
/// The region of all buckets and projects.
pub const REGION: &str = "cn-hangzhou";
/// Enough for any wait on a busy machine; a wait that includes a delay of the operator adds that delay.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The operator's user name at the API server.
pub const OPERATOR: &str = "system:serviceaccount:imm-system:imm-operator";
/// The AccessKey id of the operator's own identity.
pub const OWN_KEY: &str = "LTAI-operator-own";
const OWN_KEYS: &str = "own-keys";
const RULES: &str = "tenancy.yaml";

/// Returns the path of the chart as released.
pub fn chart() -> PathBuf {
    checkout().join("charts/imm-operator")
}

/// Everything that runs.
pub struct Stage {
    pub client: Client,
    /// The emulator, shared with other clusters of a test.
    pub cloud: Arc<Emulator>,
    /// Read-locked by tests that run together, and write-locked by a test that runs alone.
    pub turn: RwLock<()>,
    operator: Mutex<Option<Operator>>,
    pub kubeconfig: PathBuf,
    tokens: AtomicU64,
    /// The tenancy rules that tests have added.
    rules: std::sync::Mutex<Vec<Value>>,
    // Dropped last, because the operator connects to it.
    pub plane: ControlPlane,
}

impl Stage {
    /// Starts everything.
    pub async fn start(options: Options) -> imm_harness::Result<Self> {
        let seed = Seed::from_yaml(&format!(
            "accounts: [{{uid: '{ACCOUNT_A}'}}, {{uid: '{ACCOUNT_B}'}}]"
        ));
        let cloud = Emulator::start(seed.unwrap(), imm_emulator::Options::default()).await;
        let stage = Self::install(options, Helm::Four, &chart(), &[], Arc::new(cloud.unwrap())).await?;
        stage.start_operator().await;
        Ok(stage)
    }

    /// Starts another cluster on the same emulator, with an operator of its own; the caller must call `finish`.
    pub async fn another(&self, helm: Helm, chart: &Path) -> Arc<Self> {
        self.another_on(Options::default(), helm, chart).await
    }

    /// Like `another`, with the controllers of Kubernetes, which complete the built-in roles.
    pub async fn another_with_controllers(&self, helm: Helm, chart: &Path) -> Arc<Self> {
        let options = Options {
            controllers: true,
            ..Options::default()
        };
        self.another_on(options, helm, chart).await
    }

    /// Like `another`, without an operator; `values` are arguments of Helm.
    pub async fn another_without_operator(&self, chart: &Path, values: &[&str]) -> Arc<Self> {
        self.installed(Options::default(), Helm::Four, chart, values)
            .await
    }

    /// Starts a cluster with an emulator of its own, without an operator.
    pub async fn on_cloud(cloud: Emulator) -> Arc<Self> {
        let options = Options {
            audit: true,
            ..Options::default()
        };
        let stage = Self::install(options, Helm::Four, &chart(), &[], Arc::new(cloud)).await;
        Arc::new(stage.unwrap())
    }

    async fn another_on(&self, options: Options, helm: Helm, chart: &Path) -> Arc<Self> {
        let stage = self.installed(options, helm, chart, &[]).await;
        stage.start_operator().await;
        stage
    }

    async fn installed(&self, options: Options, helm: Helm, chart: &Path, values: &[&str]) -> Arc<Self> {
        let options = Options {
            audit: true,
            ..options
        };
        let stage = Self::install(options, helm, chart, values, Arc::clone(&self.cloud)).await;
        Arc::new(stage.unwrap())
    }

    async fn install(
        options: Options,
        helm: Helm,
        chart: &Path,
        values: &[&str],
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
        plane.helm(helm, &[&install, values].concat()).await?;
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
        Ok(stage)
    }

    /// Ends the stage: no secret was shown, no reconcile has panicked, and the operator stops cleanly.
    pub async fn finish(&self) -> Result<(), String> {
        leaks::search(self).await?;
        // A key whose reconcile panicked is never reconciled again; a test may end before that shows.
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

    /// Returns the options of an operator; each log whose name begins with `operator` is searched at the end.
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

    /// Adds a tenancy rule to the file, which the operator reads within seconds.
    pub fn allow(&self, rule: Value) {
        let mut rules = self.rules.lock().unwrap();
        rules.push(rule);
        self.write_rules(&json!({ "rules": *rules }).to_string());
    }

    /// Restores the rules that were added by `allow`, and removes all others.
    pub fn restore_rules(&self) {
        let rules = self.rules.lock().unwrap();
        self.write_rules(&json!({ "rules": *rules }).to_string());
    }

    /// Replaces the file of tenancy rules atomically, as Kubernetes does with a mounted ConfigMap.
    pub fn write_rules(&self, text: &str) {
        let (new, file) = (
            self.plane.folder().join("rules.new"),
            self.plane.folder().join(RULES),
        );
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    }

    /// Gives the operator an identity of its own in the bucket owner account, in a folder like a mounted Secret.
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

    /// Kills the operator, as a crash would.
    pub async fn kill_operator(&self) {
        let operator = self.operator.lock().await.take().unwrap();
        operator.kill().unwrap();
    }

    /// Stops the operator by SIGTERM, as Kubernetes does.
    pub async fn stop_operator(&self) -> ExitStatus {
        let operator = self.operator.lock().await.take().unwrap();
        operator.terminate().await.unwrap()
    }

    /// Returns whether the operator is running.
    pub async fn running(&self) -> bool {
        self.operator.lock().await.is_some()
    }

    /// Returns the process id of the operator.
    pub async fn operator_process(&self) -> u32 {
        self.operator.lock().await.as_ref().unwrap().id()
    }

    /// Returns the address of the operator's admin port.
    pub async fn admin_address(&self) -> String {
        let url = self.operator.lock().await.as_ref().unwrap().admin_url();
        url.trim_start_matches("http://").to_owned()
    }

    /// Requests a page of the operator's admin port; returns the status code and the text.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let operator = self.operator.lock().await;
        operator.as_ref().unwrap().admin_get(path).await.unwrap()
    }

    /// Returns the logs of all operators of the stage, including earlier runs.
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

    /// Returns the sum of a metric's series whose line contains `part`.
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

    /// Returns a unique text.
    pub fn token(&self) -> String {
        format!("token-{}", self.tokens.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the calls of one action on one bucket.
    pub fn calls(&self, bucket: &str, action: &str) -> Vec<Call> {
        let calls = self.cloud.calls().into_iter();
        calls
            .filter(|call| call.action == action && call.bucket.as_deref() == Some(bucket))
            .collect()
    }

    /// Adds a project of the grantee account.
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

    /// Returns the operator's own requests in the audit log.
    pub fn audited(&self) -> Vec<Audited> {
        let events = self.plane.audit_events().unwrap().into_iter();
        events
            .filter(|event| event["user"]["username"] == OPERATOR)
            .map(|event| Audited::of(&event))
            .collect()
    }

    /// Waits until the emulator has seen `count` calls of one action on one bucket.
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

/// One request of the operator to the API server.
#[derive(Debug)]
pub struct Audited {
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
}

impl Audited {
    /// Returns verb and resource, as a rule grants them.
    pub fn permission(&self) -> String {
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
