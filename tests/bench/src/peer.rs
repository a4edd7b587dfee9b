//! The peers: programs that a user would run instead, each started with what it needs and nothing else.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use imm_harness::environment::checkout;
use imm_harness::process::Process;
use imm_harness::until;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::stage::{KEY, REGION, SECRET};
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
    let started = imm_operator::runtime::now().as_duration().as_secs_f64();
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

/// The script that changes policies with the official client.
pub struct Script {
    // Ended when dropped.
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// Starts it with that many threads.
    pub fn start(arguments: &Arguments, cloud_url: &str, threads: usize) -> Result<Self> {
        let mut child = tokio::process::Command::new(&arguments.python)
            .arg(checkout().join("tests/bench/peers/policy.py"))
            .envs([
                ("BENCH_KEY", KEY),
                ("BENCH_SECRET", SECRET),
                ("BENCH_REGION", REGION),
            ])
            .envs([("BENCH_URL", cloud_url), ("BENCH_THREADS", &threads.to_string())])
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

    /// Has orders carried out at once; gives the seconds that each took.
    pub async fn obey(&mut self, orders: &[Value]) -> Result<Vec<f64>> {
        let line = serde_json::to_string(orders)? + "\n";
        self.orders.write_all(line.as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        let answer = answer.ok_or("the script of the official client ended; its words are above")?;
        Ok(serde_json::from_str(&answer)?)
    }
}
