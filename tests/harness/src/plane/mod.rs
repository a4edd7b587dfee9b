//! A real control plane in a folder of its own: always etcd and kube-apiserver, optionally the controllers and a Node
//! that appears to run Pods. Several can run at once; each has its own ports, keys and caches.

mod apiserver;
pub(crate) mod clients;
mod etcd;
mod keys;
pub(crate) mod kubeconfig;
mod nodes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::error::{HarnessError, Result};
use crate::process::{Process, guard};
use crate::tools::Tool;
use crate::wait::until;
pub use clients::Helm;
use keys::Keys;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// The optional parts of a control plane.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Runs kube-controller-manager: role aggregation, garbage collection, namespace deletion, default
    /// `ServiceAccounts`, Deployments.
    pub controllers: bool,
    /// Runs the scheduler and one Node whose Pods appear to run. Useful only together with `controllers`.
    pub nodes: bool,
    /// Writes an audit log of every request.
    pub audit: bool,
}

/// A running control plane. Dropping the value kills its processes and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: clients of the API server first, then etcd, then the folder.
    actors: Vec<Process>,
    server: Process,
    store: Process,
    url: String,
    authority: PathBuf,
    kubeconfig: PathBuf,
    audit_log: Option<PathBuf>,
    port: tokio::net::TcpSocket,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts all parts and waits until the API server (and the Node, if requested) is ready. Fails if a part ends or
    /// is not ready in time.
    pub async fn start(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("imm-plane-").tempdir();
        let folder = folder.map_err(HarnessError::io("creating a folder for the control plane"))?;
        guard::watch_folder(folder.path())?;
        let home = folder.path();

        let keys = Keys::make(home)?;
        let store = etcd::start(home).await?;
        let audit_log = options.audit.then(|| home.join("audit.log"));
        let server = apiserver::start(home, &store.url, &keys, audit_log.as_deref())?;
        let config =
            |name: &str, token: &str| kubeconfig::write(home.join(name), &server.url, &keys.authority, token);
        let kubeconfig = config("admin.kubeconfig", &keys.admin)?;
        let for_controllers = config("controller-manager.kubeconfig", &keys.controller_manager)?;
        let for_scheduler = config("scheduler.kubeconfig", &keys.scheduler)?;

        let mut plane = Self {
            actors: Vec::new(),
            server: server.process,
            store: store.process,
            url: server.url,
            authority: keys.authority.clone(),
            kubeconfig,
            audit_log,
            port: server.port,
            folder,
        };
        plane.ready().await?;
        let home = plane.folder.path();
        if options.controllers {
            plane
                .actors
                .push(nodes::controller_manager(home, &for_controllers, &keys)?);
        }
        if options.nodes {
            plane.actors.push(nodes::scheduler(home, &for_scheduler)?);
            plane.actors.push(nodes::kwok(home, &plane.kubeconfig)?);
            plane.apply(nodes::NODE).await?;
            plane
                .kubectl(&["wait", "node/fake", "--for=condition=Ready", "--timeout=600s"])
                .await?;
        }
        if options.controllers {
            let what = "the controllers to create the default ServiceAccount";
            until(what, READY_WITHIN, || {
                plane.kubectl(&["get", "serviceaccount", "default"])
            })
            .await?;
        }
        plane.must_run()?;
        Ok(plane)
    }

    async fn ready(&self) -> Result<()> {
        // Reports a missing kubectl before a minute of waiting.
        Tool::Kubectl.path()?;
        until("the API server to be ready", READY_WITHIN, || async {
            if let Err(ended) = self.must_run() {
                return Ok(Err(ended));
            }
            self.kubectl(&["get", "--raw", "/readyz"]).await?;
            self.kubectl(&["get", "namespace", "default", "kube-system"])
                .await
                .map(|_| Ok(()))
        })
        .await?
    }

    /// Fails with the last lines of the log of a part that has ended.
    pub fn must_run(&self) -> Result<()> {
        self.store.must_run()?;
        self.server.must_run()?;
        self.actors.iter().try_for_each(Process::must_run)
    }

    /// Stops the API server with SIGSTOP: it accepts connections and never responds, as behind a broken network.
    pub fn freeze(&self) -> Result<()> {
        self.server.signal(Signal::STOP)
    }

    /// Resumes the API server.
    pub fn thaw(&self) -> Result<()> {
        self.server.signal(Signal::CONT)
    }

    /// Returns the URL of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the folder of this control plane. Files placed in it are removed with the control plane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl as the administrator and returns its output. Fails if kubectl fails.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_as(&self.kubeconfig, args).await
    }

    /// Runs kubectl with the given kubeconfig and returns its output. Fails if kubectl fails.
    pub async fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<String> {
        let command = clients::command(Tool::Kubectl, kubeconfig, self.folder.path())?;
        clients::run(command, "kubectl", args, None).await
    }

    /// Applies manifests as the administrator, server-side with strict field validation. Fails if kubectl fails.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let command = clients::command(Tool::Kubectl, &self.kubeconfig, self.folder.path())?;
        let args = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        clients::run(command, "kubectl", &args, Some(yaml)).await
    }

    /// Runs Helm as the administrator and returns its output. Fails if Helm fails.
    pub async fn helm(&self, helm: Helm, args: &[&str]) -> Result<String> {
        let command = clients::command(helm.tool(), &self.kubeconfig, self.folder.path())?;
        clients::run(command, helm.tool().name(), args, None).await
    }

    /// Writes a kubeconfig with a token of the `ServiceAccount` (valid for one hour), which has only its permissions.
    /// Fails if the `ServiceAccount` does not exist.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let args = ["create", "token", name, "--namespace", namespace, "--duration=1h"];
        let token = self.kubectl(&args).await?;
        let path = self.folder.path().join(format!("{namespace}.{name}.kubeconfig"));
        kubeconfig::write(path, &self.url, &self.authority, token.trim())
    }

    /// Returns the latest audit event of every request so far, in the order in which the requests were received. A
    /// request is recorded before it is handled, so one whose effect was seen is here, perhaps without an answer yet:
    /// the API server records the answer only after it was sent. Fails if auditing is off.
    pub fn audit_events(&self) -> Result<Vec<Value>> {
        let path = self.audit_log.as_ref();
        let path = path.ok_or_else(|| {
            HarnessError::Surprise("this control plane was started without an audit log".to_owned())
        })?;
        let log = std::fs::read_to_string(path).map_err(HarnessError::io("reading the audit log"))?;
        let mut requests: HashMap<String, (usize, Value)> = HashMap::new();
        // The last line may be half written.
        for event in log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            let id = event
                .get("auditID")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let next = requests.len();
            requests.entry(id).or_insert((next, Value::Null)).1 = event;
        }
        let mut requests: Vec<_> = requests.into_values().collect();
        requests.sort_unstable_by_key(|(place, _)| *place);
        Ok(requests.into_iter().map(|(_, event)| event).collect())
    }

    /// Kills all parts and removes the folder. Fails if a part cannot be killed or the folder cannot be removed.
    pub fn stop(self) -> Result<()> {
        for actor in &self.actors {
            actor.kill()?;
        }
        self.server.kill()?;
        self.store.kill()?;
        drop(self.port);
        self.folder
            .close()
            .map_err(HarnessError::io("removing the folder of the control plane"))
    }
}
