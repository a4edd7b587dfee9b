//! A cluster that the user has: the one of the current context. The demo is refused if the cluster may not be the
//! right one or has the operator already, and removes exactly what it created.

mod context;
pub mod created;
pub mod guards;
mod listing;
pub mod removal;
mod strangers;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::error::{HarnessError, Result};
use crate::plane::clients::ClientOutput;
use crate::plane::kubeconfig::write_private;
use crate::plane::{Helm, clients};
use crate::process::guard;
use crate::tools::Tool;

/// How long one call of kubectl or Helm may take while the demo removes what it created.
const CALL_OF_REMOVAL: Duration = Duration::from_secs(120);
/// How often a call is made meanwhile if a signal ends the client.
const ATTEMPTS_OF_REMOVAL: u32 = 5;

/// The cluster of the current context. Its kubeconfig is copied at the start, so that `kubectl config use-context` in
/// another terminal changes nothing. Dropping the value removes the copy.
#[derive(Debug)]
pub struct CurrentCluster {
    context: String,
    mark: String,
    config: Value,
    kubeconfig: PathBuf,
    folder: TempDir,
    apart: AtomicBool,
}

impl CurrentCluster {
    /// Reads a kubeconfig, by default the one that kubectl uses, and sends nothing to the cluster. `typed` is the
    /// name of the context that the user typed out. Fails with `Refused` if the current context has another name, or
    /// if none is typed and it is not that of a local cluster.
    pub async fn open(kubeconfig: Option<&Path>, typed: Option<&str>) -> Result<Self> {
        let view = async |more: &[&str]| {
            let mut kubectl = Command::new(Tool::Kubectl.path()?);
            let (name, value) = clients::NO_PREFERENCES;
            kubectl.env(name, value);
            if let Some(path) = kubeconfig {
                kubectl.env("KUBECONFIG", path);
            }
            let args = [&["config", "view", "--raw", "--flatten", "-o", "json"], more].concat();
            let text = clients::run(kubectl, "kubectl", &args, None).await?;
            serde_json::from_str::<Value>(&text)
                .map_err(|error| HarnessError::Surprise(format!("kubectl config view: {error}")))
        };
        let all = view(&[]).await?;
        let current = all.get("current-context").and_then(Value::as_str);
        let context = current.unwrap_or_default().to_owned();
        context::allowed(&context, typed).map_err(HarnessError::Refused)?;
        let config = view(&["--minify", "--context", &context]).await?;

        let folder = tempfile::Builder::new().prefix(created::MARK).tempdir();
        let folder = folder.map_err(HarnessError::io("creating a folder for the demo"))?;
        guard::watch_folder(folder.path())?;
        let kubeconfig = folder.path().join("current.kubeconfig");
        write_private(&kubeconfig, &config.to_string())?;
        let mark = folder.path().file_name().unwrap_or_default();
        Ok(Self {
            context,
            mark: mark.to_string_lossy().into_owned(),
            config,
            kubeconfig,
            folder,
            apart: AtomicBool::new(false),
        })
    }

    /// Takes the mark of an earlier demo, whose objects are then found as if this demo had created them. Fails if no
    /// demo has such a mark.
    pub fn with_mark(mut self, mark: &str) -> Result<Self> {
        let rest = mark.strip_prefix(created::MARK).unwrap_or_default();
        if rest.is_empty() || !rest.chars().all(|sign| sign.is_ascii_alphanumeric()) {
            return Err(HarnessError::Surprise(format!(
                "{mark} is no mark of a demo, such as {}AbC123",
                created::MARK
            )));
        }
        mark.clone_into(&mut self.mark);
        Ok(self)
    }

    /// Returns the name of the context.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Returns a name that no other demo has. What this demo creates carries it.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Returns the command that removes what the demo with a mark created.
    pub fn removal_command(&self, mark: &str) -> String {
        format!("make demo CLUSTER=current CONTEXT={} REMOVE={mark}", self.context)
    }

    /// Returns the copy of the kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns the folder of this demo, which is removed with the value.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has the clients that are started from now on survive the keys of the terminal, such as Ctrl-C: they go to its
    /// process group only.
    pub fn outlive_terminal(&self) {
        self.apart.store(true, Ordering::Relaxed);
    }

    fn client(&self, tool: Tool) -> Result<Command> {
        let mut command = clients::command(tool, &self.kubeconfig, self.folder())?;
        if self.apart.load(Ordering::Relaxed) {
            command.as_std_mut().process_group(0);
        }
        Ok(command)
    }

    /// Runs kubectl and returns its output. Fails if kubectl fails.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_output(args).await?.into_text()
    }

    /// Runs kubectl and returns what it printed, also if it fails.
    pub(super) async fn kubectl_output(&self, args: &[&str]) -> Result<ClientOutput> {
        self.output(Tool::Kubectl, args, None).await
    }

    /// Runs kubectl with an input and returns its output. Fails if kubectl fails.
    pub async fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String> {
        self.output(Tool::Kubectl, args, Some(input)).await?.into_text()
    }

    /// Runs Helm and returns its output. Fails if Helm fails.
    pub async fn helm(&self, args: &[&str]) -> Result<String> {
        self.output(Helm::Four.tool(), args, None).await?.into_text()
    }

    async fn output(&self, tool: Tool, args: &[&str], input: Option<&str>) -> Result<ClientOutput> {
        let mut attempt = 1;
        loop {
            let work = clients::output(self.client(tool)?, tool.name(), args, input);
            let output = self.bounded(tool.name(), work).await?;
            // A key of the terminal also ends a client that has not left the group of the demo yet.
            let again = self.apart.load(Ordering::Relaxed) && output.was_killed();
            if !again || attempt == ATTEMPTS_OF_REMOVAL {
                return Ok(output);
            }
            attempt += 1;
        }
    }

    /// Waits for a client, but for a limited time while the demo removes what it created: no signal ends it then, so a
    /// connection that is dead must not keep it.
    async fn bounded<T>(&self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        if !self.apart.load(Ordering::Relaxed) {
            return work.await;
        }
        let late = |_| HarnessError::Late {
            what: format!("the end of {name}"),
            waited: CALL_OF_REMOVAL,
            seen: "it was still running".to_owned(),
        };
        tokio::time::timeout(CALL_OF_REMOVAL, work).await.map_err(late)?
    }

    /// Writes a kubeconfig with a token of the `ServiceAccount` (valid for one hour), which has only its permissions.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let args = ["create", "token", name, "--namespace", namespace, "--duration=1h"];
        let token = self.kubectl(&args).await?;
        let mut config = self.config.clone();
        let user = config.pointer("/contexts/0/context/user").cloned();
        if let Some(users) = config.get_mut("users") {
            *users = json!([{"name": user, "user": {"token": token.trim()}}]);
        }
        let path = self.folder().join(format!("{namespace}.{name}.kubeconfig"));
        write_private(&path, &config.to_string())?;
        Ok(path)
    }
}
