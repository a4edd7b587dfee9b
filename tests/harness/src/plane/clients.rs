//! The command-line clients of one control plane: its kubeconfig, and caches in its folder. kubectl caches discovery
//! data by address, and a later control plane may get the same address. What the user has set for clients of other
//! clusters does not apply.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::environment;
use crate::error::{HarnessError, Result, last_lines};
use crate::process::describe;
use crate::tools::Tool;

/// Turns off the user's preferences for kubectl, which change the flags of commands.
pub(crate) const NO_PREFERENCES: (&str, &str) = ("KUBERC", "off");

/// The major version of Helm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    /// Helm 3.
    Three,
    /// Helm 4.
    Four,
}

impl Helm {
    /// Returns the binary of that version.
    pub fn tool(self) -> Tool {
        match self {
            Self::Three => Tool::Helm3,
            Self::Four => Tool::Helm4,
        }
    }
}

/// Returns a client command with its environment set and no arguments. Fails if the client was not built.
pub(crate) fn command(tool: Tool, kubeconfig: &Path, folder: &Path) -> Result<Command> {
    let mut command = Command::new(tool.path()?);
    let caches: [(&str, PathBuf); 4] = [
        ("KUBECACHEDIR", folder.join("kube-cache")),
        ("HELM_CACHE_HOME", folder.join("helm-cache")),
        ("HELM_CONFIG_HOME", folder.join("helm-config")),
        ("HELM_DATA_HOME", folder.join("helm-data")),
    ];
    // Helm's variables can name another cluster, user, namespace or place of the releases.
    for name in environment::names("HELM_") {
        command.env_remove(name);
    }
    command
        .env("KUBECONFIG", kubeconfig)
        .envs(caches)
        .env("HELM_DRIVER", "secret")
        .env(NO_PREFERENCES.0, NO_PREFERENCES.1)
        .kill_on_drop(true);
    Ok(command)
}

/// What a client printed before it ended.
#[derive(Debug)]
pub(crate) struct ClientOutput {
    line: String,
    status: ExitStatus,
    /// The standard output.
    pub(crate) text: String,
    /// The standard error.
    pub(crate) errors: String,
}

impl ClientOutput {
    /// Returns whether the client reported success.
    pub(crate) fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Returns whether a signal ended the client.
    pub(crate) fn was_killed(&self) -> bool {
        self.status.signal().is_some()
    }

    /// Returns the standard output. A failure carries both outputs.
    pub(crate) fn into_text(self) -> Result<String> {
        if self.succeeded() {
            return Ok(self.text);
        }
        Err(HarnessError::Command {
            command: self.line,
            status: describe(self.status),
            output: last_lines(&format!("{}{}", self.text, self.errors), 40),
        })
    }
}

/// Runs a client to completion and returns its standard output. A failure carries both outputs.
pub(crate) async fn run<S: AsRef<OsStr>>(
    command: Command,
    name: &str,
    args: &[S],
    input: Option<&str>,
) -> Result<String> {
    output(command, name, args, input).await?.into_text()
}

/// Runs a client to completion, also to its failure.
pub(crate) async fn output<S: AsRef<OsStr>>(
    mut command: Command,
    name: &str,
    args: &[S],
    input: Option<&str>,
) -> Result<ClientOutput> {
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let line = args.iter().fold(name.to_owned(), |line, arg| {
        format!("{line} {}", arg.as_ref().display())
    });
    let doing = || HarnessError::io(format!("running `{line}`"));
    let mut child = command.spawn().map_err(doing())?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A client that rejects its arguments closes the pipe early; its own message is the better error.
        let _ = pipe.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(doing())?;
    Ok(ClientOutput {
        line,
        status: output.status,
        text: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
