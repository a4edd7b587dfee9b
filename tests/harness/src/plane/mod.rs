//! A real control plane in a folder of its own: etcd and kube-apiserver always, the controllers and a Node that runs
//! Pods when asked for. Several can run at once; each has its own ports, keys and caches.

mod apiserver;
pub(crate) mod clients;
mod etcd;
mod keys;
pub(crate) mod kubeconfig;
mod nodes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::error::{HarnessError, Result};
use crate::process::{Process, guard};
use crate::tools::Tool;
use crate::wait::until;
pub use clients::Helm;
use keys::Keys;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a control plane is made of, besides etcd and the API server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Runs kube-controller-manager: role aggregation, garbage collection, namespace deletion, default
    /// `ServiceAccounts`, Deployments.
    pub controllers: bool,
    /// Runs the scheduler and one Node whose Pods seem to run; needs `controllers` to be of use.
    pub nodes: bool,
    /// Keeps an audit log of every request.
    pub audit: bool,
}

/// A running control plane; dropping it ends all of it and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: clients of the API server first, the store after it, the folder last.
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
    /// Starts everything and returns when the API server is ready (and, with nodes, the Node is).
    pub async fn start(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("imm-plane-").tempdir();
        let folder = folder.map_err(HarnessError::io("making a folder for the control plane"))?;
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
                .kubectl(&["wait", "node/fake", "--for=condition=Ready", "--timeout=30s"])
                .await?;
        }
        if options.controllers {
            let what = "the controllers to make the default ServiceAccount";
            until(what, READY_WITHIN, || {
                plane.kubectl(&["get", "serviceaccount", "default"])
            })
            .await?;
        }
        plane.must_run()?;
        Ok(plane)
    }

    async fn ready(&self) -> Result<()> {
        // A missing kubectl is reported before a minute of waiting.
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

    /// An error with the end of the log of whichever part has ended.
    pub fn must_run(&self) -> Result<()> {
        self.store.must_run()?;
        self.server.must_run()?;
        self.actors.iter().try_for_each(Process::must_run)
    }

    /// Freezes the API server: it takes connections and answers nothing, as one behind a broken network does.
    pub fn freeze(&self) -> Result<()> {
        self.server.signal(Signal::STOP)
    }

    /// Lets the API server go on.
    pub fn thaw(&self) -> Result<()> {
        self.server.signal(Signal::CONT)
    }

    /// Address of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of this plane, free for files that shall go with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl as the administrator and returns what it printed.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_as(&self.kubeconfig, args).await
    }

    /// Runs kubectl as whoever that kubeconfig names.
    pub async fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<String> {
        let command = clients::command(Tool::Kubectl, kubeconfig, self.folder.path())?;
        clients::run(command, "kubectl", args, None).await
    }

    /// Applies manifests as the administrator, server-side and with strict field checks.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let command = clients::command(Tool::Kubectl, &self.kubeconfig, self.folder.path())?;
        let args = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        clients::run(command, "kubectl", &args, Some(yaml)).await
    }

    /// Runs Helm as the administrator and returns what it printed.
    pub async fn helm(&self, helm: Helm, args: &[&str]) -> Result<String> {
        let command = clients::command(helm.tool(), &self.kubeconfig, self.folder.path())?;
        clients::run(command, helm.tool().name(), args, None).await
    }

    /// A kubeconfig with a token of that `ServiceAccount`, good for an hour: its rights and no others.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let args = ["create", "token", name, "--namespace", namespace, "--duration=1h"];
        let token = self.kubectl(&args).await?;
        let path = self.folder.path().join(format!("{namespace}.{name}.kubeconfig"));
        kubeconfig::write(path, &self.url, &self.authority, token.trim())
    }

    /// The audit log so far, one JSON object a line.
    pub fn audit_log(&self) -> Result<String> {
        let path = self.audit_log.as_ref();
        let path =
            path.ok_or_else(|| HarnessError::Surprise("this plane was started without audit".to_owned()))?;
        std::fs::read_to_string(path).map_err(HarnessError::io("reading the audit log"))
    }

    /// Ends everything, and says so when something cannot be ended.
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
