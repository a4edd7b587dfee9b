//! The peers: programs that a user could run instead, each started with minimal settings.

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

/// Sufficient for kopf with ten thousand objects on a busy machine.
const SEEN_WITHIN: Duration = Duration::from_secs(180);

/// A program that watches grants and reports when it has seen all of them.
pub struct Watcher {
    pub process: Process,
    /// Seconds from the start until all grants were seen.
    pub seconds: f64,
}

/// Starts kopf with a handler that does nothing, and waits until it has seen all grants.
pub async fn kopf(arguments: &Arguments, kubeconfig: &Path, log: &Path, wanted: usize) -> Result<Watcher> {
    let mut command = Command::new(&arguments.python);
    command
        .args(["-m", "kopf", "run", "--all-namespaces", "--standalone", "--quiet"])
        .arg(checkout().join("tests/bench/peers/seen.py"))
        .env("BENCH_WANTED", wanted.to_string());
    watcher("kopf", command, kubeconfig, log, wanted).await
}

/// Starts kube's `Controller`, and waits until it has seen all grants.
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
        let observed = process.must_run().map(|()| {
            let log = process.log();
            let found = log
                .lines()
                .find_map(|l| l.strip_prefix(&line)?.parse::<f64>().ok());
            found.ok_or_else(|| imm_harness::error::last_lines(&log, 3))
        });
        std::future::ready(match observed {
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

/// A script with an official client: it reads one order per line and prints one line per order.
pub struct Script {
    // Killed on drop.
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// Starts the script that changes policies, with the given number of threads.
    pub fn policies(arguments: &Arguments, cloud: &Emulator, threads: usize) -> Result<Self> {
        let threads = ("BENCH_THREADS", threads.to_string());
        Self::start(arguments, "policy.py", OWNER, cloud, threads)
    }

    /// Starts the script that scores images.
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
        let orders = child.stdin.take().ok_or("the script has no standard input")?;
        let answers = child.stdout.take().ok_or("the script has no standard output")?;
        Ok(Self {
            _child: child,
            orders,
            answers: BufReader::new(answers).lines(),
        })
    }

    /// Runs an order and returns the result. The first lines of each script document both. Fails if the script ends.
    pub async fn run<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<T> {
        let line = serde_json::to_string(order)? + "\n";
        self.orders.write_all(line.as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        let answer = answer.ok_or("the script of the official client ended; see its output above")?;
        Ok(serde_json::from_str(&answer)?)
    }
}
