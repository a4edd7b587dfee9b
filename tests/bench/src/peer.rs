//! The peers: programs that a user would run instead, each started with what it needs and nothing else.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use imm_emulator::Emulator;
use imm_harness::environment::checkout;
use imm_harness::process::Process;
use imm_harness::until;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::stage::{CALLER, OWNER, REGION};
use crate::{Arguments, Result};

/// kopf at ten thousand objects, on a machine that does other things as well.
const SEEN_WITHIN: Duration = Duration::from_secs(180);

/// Something that watches grants and says when it has seen all of them.
pub struct Watcher {
    pub process: Process,
    /// Seconds from its start until it had seen all.
    pub seconds: f64,
}

/// Starts kopf with a handler that does nothing.
pub async fn kopf(arguments: &Arguments, kubeconfig: &Path, log: &Path, wanted: usize) -> Result<Watcher> {
    let mut command = Command::new(&arguments.python);
    command
        .args(["-m", "kopf", "run", "--all-namespaces", "--standalone", "--quiet"])
        .arg(checkout().join("tests/bench/peers/seen.py"))
        .env("BENCH_WANTED", wanted.to_string());
    watcher("kopf", command, kubeconfig, log, wanted).await
}

/// Starts kube's own `Controller`.
pub async fn stock(kubeconfig: &Path, log: &Path, wanted: usize) -> Result<Watcher> {
    let mut command = Command::new(Arguments::beside("stock")?);
    command.arg(wanted.to_string());
    watcher("stock Controller", command, kubeconfig, log, wanted).await
}

async fn watcher(
    name: &str,
    mut command: Command,
    kubeconfig: &Path,
    log: &Path,
    wanted: usize,
) -> Result<Watcher> {
    if log.exists() {
        std::fs::remove_file(log)?;
    }
    let started = imm_operator::kubernetes::now().as_duration().as_secs_f64();
    let process = Process::spawn(name, command.env("KUBECONFIG", kubeconfig), log)?;
    let line = format!("seen {wanted} at ");
    let seen = until(&format!("{name} to see {wanted} grants"), SEEN_WITHIN, || {
        let said = process.must_run().map(|()| {
            let log = process.log();
            let found = log
                .lines()
                .find_map(|l| l.strip_prefix(&line)?.parse::<f64>().ok());
            found.ok_or_else(|| imm_harness::error::last_lines(&log, 3))
        });
        std::future::ready(match said {
            Err(ended) => Ok(Err(ended)),
            Ok(found) => found.map(Ok),
        })
    })
    .await??;
    Ok(Watcher {
        process,
        seconds: seen - started,
    })
}

/// A script with an official client: it reads an order a line, and answers each with a line.
pub struct Script {
    // Ended when dropped.
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// Starts the one that changes policies, with that many threads.
    pub fn policies(arguments: &Arguments, cloud: &Emulator, threads: usize) -> Result<Self> {
        let threads = ("BENCH_THREADS", threads.to_string());
        Self::start(arguments, "policy.py", OWNER, cloud, threads)
    }

    /// Starts the one that scores.
    pub fn scores(arguments: &Arguments, cloud: &Emulator) -> Result<Self> {
        let host = ("BENCH_HOST", cloud.address().to_string());
        Self::start(arguments, "score.py", CALLER, cloud, host)
    }

    fn start(
        arguments: &Arguments,
        file: &str,
        [key, secret]: [&str; 2],
        cloud: &Emulator,
        more: (&str, String),
    ) -> Result<Self> {
        let mut child = tokio::process::Command::new(&arguments.python)
            .arg(checkout().join("tests/bench/peers").join(file))
            .envs([
                ("BENCH_KEY", key),
                ("BENCH_SECRET", secret),
                ("BENCH_REGION", REGION),
            ])
            .envs([("BENCH_URL", cloud.url()), more])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("starting {}: {error}", arguments.python.display()))?;
        let orders = child.stdin.take().ok_or("the script has no input")?;
        let answers = child.stdout.take().ok_or("the script has no output")?;
        Ok(Self {
            _child: child,
            orders,
            answers: BufReader::new(answers).lines(),
        })
    }

    /// Has an order carried out. What the two scripts take and answer is in their first lines.
    pub async fn obey<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<T> {
        let line = serde_json::to_string(order)? + "\n";
        self.orders.write_all(line.as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        let answer = answer.ok_or("the script of the official client ended; its words are above")?;
        Ok(serde_json::from_str(&answer)?)
    }
}
