//! One stage of `make test`: runs commands in sequence or in parallel, prints every line as it arrives, and reads test
//! counts from it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::counts::Counts;
use crate::CANARY;
use crate::cargo_program::CargoProgram;
use crate::error::{HarnessError, Result};
use crate::process::describe;
use crate::tools::can_start;

/// The longest time without a line of output, more than twice that of the slowest test. It keeps a hanging command from
/// blocking the whole run, however long the machine takes.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// The result of a stage.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The stage's name.
    pub(super) name: &'static str,
    /// The duration in whole seconds.
    pub(super) seconds: u64,
    /// The stage's test counts.
    pub(super) counts: Counts,
    /// What the stage could not check on this machine.
    pub(super) gaps: Vec<String>,
}

/// A running stage, with the checkout and the counts so far.
pub(super) struct Stage<'a> {
    root: &'a Path,
    counts: Vec<Counts>,
    gaps: Vec<String>,
}

impl<'a> Stage<'a> {
    /// Runs a whole stage. An error is printed and counted as a failure.
    pub(super) async fn run<F>(name: &'static str, root: &'a Path, work: F) -> Outcome
    where
        F: AsyncFnOnce(&mut Stage<'a>) -> Result<()>,
    {
        println!("\n=== {name}");
        let started = Instant::now();
        let mut stage = Stage {
            root,
            counts: Vec::new(),
            gaps: Vec::new(),
        };
        let ended = work(&mut stage).await;
        if let Err(error) = &ended {
            println!("=== {name} failed: {error}");
        }
        let counts = Counts::of_stage(stage.counts.into_iter(), ended.is_ok());
        let seconds = started.elapsed().as_secs();
        println!(
            "=== {name}: {} passed, {} failed in {seconds} s",
            counts.passed, counts.failed
        );
        Outcome {
            name,
            seconds,
            counts,
            gaps: stage.gaps,
        }
    }

    /// Returns the checkout under test.
    pub(super) fn root(&self) -> &'a Path {
        self.root
    }

    /// Prints and counts a check made by the stage itself.
    pub(super) fn check(&mut self, what: &str, outcome: std::result::Result<(), String>) {
        let (passed, failed) = match &outcome {
            Ok(()) => (1, 0),
            Err(_) => (0, 1),
        };
        match outcome {
            Ok(()) => println!("ok {what}"),
            Err(reason) => println!("FAIL {what}: {reason}"),
        }
        self.counts.push(Counts { passed, failed });
    }

    /// Prints what this machine cannot check. It is no failure, and is printed once more at the end.
    pub(super) fn gap(&mut self, what: &str) {
        println!("NOT CHECKED: {what}");
        self.gaps.push(what.to_owned());
    }

    /// Runs a command in the checkout. Fails if the command fails.
    pub(super) async fn command<S: AsRef<OsStr>>(&mut self, program: S, args: &[&str]) -> Result<()> {
        let mut command = Command::new(&program);
        command.args(args);
        self.prepared(command).await
    }

    /// Runs a prepared command, in the checkout unless it has another working directory. Fails if the command fails.
    pub(super) async fn prepared(&mut self, command: Command) -> Result<()> {
        self.side_by_side(vec![command]).await
    }

    /// Installs Debian packages if running as root with apt-get; otherwise fails and names them.
    pub(super) async fn install(&mut self, missing: &[&str]) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        if !rustix::process::geteuid().is_root() || !can_start("apt-get") {
            let text = format!(
                "this stage needs the Debian packages {}: install them and run the stage again",
                missing.join(" ")
            );
            return Err(HarnessError::Surprise(text));
        }
        self.command("apt-get", &["update", "-qq"]).await?;
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(missing);
        self.prepared(command).await
    }

    /// Compiles a program of crates.io, once for its version, and returns its path.
    pub(super) async fn installed(&mut self, program: CargoProgram) -> Result<PathBuf> {
        if let Some(install) = program.missing()? {
            self.prepared(install).await?;
        }
        program.path()
    }

    /// Runs prepared commands in parallel with interleaved output and waits for all. Fails if one of them fails, or if
    /// all are silent for too long.
    pub(super) async fn side_by_side(&mut self, commands: Vec<Command>) -> Result<()> {
        let (lines, mut arrived) = mpsc::channel(64);
        let mut children = Vec::new();
        for mut command in commands {
            if command.as_std().get_current_dir().is_none() {
                command.current_dir(self.root);
            }
            let line = shown(&command);
            println!("--- {line}");
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true);
            let mut child = command
                .spawn()
                .map_err(HarnessError::io(format!("running `{line}`")))?;
            tokio::spawn(forward(child.stdout.take(), lines.clone()));
            tokio::spawn(forward(child.stderr.take(), lines.clone()));
            children.push((line, child));
        }
        drop(lines);
        let late = || HarnessError::Late {
            what: children
                .iter()
                .map(|(line, _)| line.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            waited: SILENCE,
            seen: "no further output".to_owned(),
        };
        loop {
            let next = tokio::time::timeout(SILENCE, arrived.recv()).await;
            let Some(line) = next.map_err(|_| late())? else {
                break;
            };
            if line.contains(CANARY) {
                self.check(
                    "the output contains no secret",
                    Err("a line with a secret was suppressed".to_owned()),
                );
                continue;
            }
            println!("{line}");
            self.counts.extend(Counts::in_line(&line));
        }
        let mut failed = None;
        for (line, mut child) in children {
            let status = child
                .wait()
                .await
                .map_err(HarnessError::io(format!("running `{line}`")))?;
            if !status.success() {
                let output = "see above".to_owned();
                failed = Some(HarnessError::Command {
                    command: line,
                    status: describe(status),
                    output,
                });
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Returns a run of tests that does not end at the first program that fails.
pub(super) fn cargo_test(what: Vec<String>) -> Command {
    let mut command = Command::new("cargo");
    command.args(["test", "--locked", "--no-fail-fast"]).args(what);
    command
}

/// Forwards the lines of a pipe. Invalid UTF-8 is replaced.
async fn forward(pipe: Option<impl AsyncRead + Unpin>, lines: mpsc::Sender<String>) {
    let Some(pipe) = pipe else { return };
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if lines.send(text).await.is_err() {
            return;
        }
        line.clear();
    }
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program());
    let program = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .display()
        .to_string();
    command
        .get_args()
        .fold(program, |line, arg| format!("{line} {}", arg.display()))
}
