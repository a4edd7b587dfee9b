//! The operator under test, as a plain process beside the control plane with the permissions of its kubeconfig. A test
//! that uses a token of the chart's `ServiceAccount` verifies the chart's RBAC rules.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{HarnessError, Result};
use crate::process::Process;
use crate::wait::until;

/// Without progress. Reading hundreds of the largest objects takes a debug build a minute beside compilers.
const READY_WITHIN: Duration = Duration::from_secs(180);
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// The start options of the operator.
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    /// The `imm-operator` binary.
    pub binary: PathBuf,
    /// The kubeconfig, which determines the operator's permissions.
    pub kubeconfig: PathBuf,
    /// The URL of OSS, IMM and STS. Empty means the official names.
    pub cloud_url: String,
    /// The namespace of the operator's `ServiceAccount`, lease and policy backups.
    pub namespace: String,
    /// The log file. Appended to, so that a restart keeps the earlier log.
    pub log_file: PathBuf,
    /// Whether the operator takes part in leader election. After a kill, the next process waits until the lease
    /// expires.
    pub leader_election: bool,
    /// Additional flags of `imm-operator run`.
    pub extra_args: Vec<String>,
    /// Additional environment variables.
    pub extra_env: Vec<(String, String)>,
}

/// A running operator. Dropping the value kills the process.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    admin: String,
}

impl Operator {
    /// Starts the operator and waits until its readiness probe succeeds. Fails if the process ends or is not ready
    /// within 30 s.
    pub async fn start(options: OperatorOptions) -> Result<Self> {
        let earlier = std::fs::metadata(&options.log_file).map_or(0, |data| data.len());
        let mut command = Command::new(&options.binary);
        command.arg("run").env("KUBECONFIG", &options.kubeconfig);
        if !options.cloud_url.is_empty() {
            for flag in ["--oss-endpoint", "--imm-endpoint", "--sts-endpoint"] {
                command.args([flag, &options.cloud_url]);
            }
        }
        command
            .args(["--admin-address", "127.0.0.1:0"])
            .args(["--namespace", &options.namespace])
            .args(["--log-format", "json"])
            .args(if options.leader_election {
                &[][..]
            } else {
                &["--no-leader-election"]
            })
            .args(&options.extra_args)
            .envs(options.extra_env);
        let process = Process::spawn("imm-operator", &mut command, &options.log_file)?;
        let earlier = usize::try_from(earlier).unwrap_or(usize::MAX);
        let admin = until("the operator to be ready", READY_WITHIN, || {
            let running = process.must_run();
            let address = process.log().get(earlier..).and_then(admin_address);
            async move {
                if let Err(ended) = running {
                    return Ok(Err(ended));
                }
                let address = address.ok_or("the log does not name the probe address yet")?;
                match get(&address, "/readyz").await {
                    Ok((200, _)) => Ok(Ok(address)),
                    Ok((code, body)) => Err(format!("/readyz returned {code}: {body}")),
                    Err(refused) => Err(refused.to_string()),
                }
            }
        })
        .await??;
        Ok(Self { process, admin })
    }

    /// Returns the base URL of the operator's probes and metrics.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fetches a page from the admin address. Returns status code and body. Fails if the operator does not answer.
    pub async fn admin_get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.admin, path)
            .await
            .map_err(HarnessError::io(format!("requesting {path} from the operator")))
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Fails with the last lines of the log if the process has ended.
    pub fn must_run(&self) -> Result<()> {
        self.process.must_run()
    }

    /// Stops the process with SIGSTOP, like a machine that is migrated or out of memory.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Resumes the process, which does not notice the pause.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Waits until the process ends without a signal.
    pub async fn end(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.end("without a signal", limit).await
    }

    /// Sends SIGTERM, as Kubernetes does, and waits up to 60 s for work in flight to finish.
    pub async fn terminate(self) -> Result<ExitStatus> {
        self.process.terminate(DRAIN_WITHIN).await
    }

    /// Kills the process, as a crash would.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }
}

/// Returns the address that the operator logs when it starts to serve its probes.
fn admin_address(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        // The fields of a log line are either nested under `fields` or beside the message.
        let fields = line.get("fields").unwrap_or(&line);
        let message = fields.get("message")?.as_str()?;
        let address = fields.get("address")?.as_str()?;
        (message == "HTTP server started").then(|| address.to_owned())
    })
}

/// Sends one plain GET; a probe does not justify an HTTP client crate.
async fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| std::io::Error::other(format!("no HTTP status in {head:?}")))?;
    Ok((code, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::admin_address;

    #[test]
    fn finds_the_latest_address_in_either_shape_of_log_line() {
        let flat = r#"{"level":"INFO","message":"HTTP server started","address":"127.0.0.1:1"}"#;
        let nested = r#"{"fields":{"message":"HTTP server started","address":"127.0.0.1:2"}}"#;
        assert_eq!(admin_address(flat).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(
            admin_address(&format!("{flat}\nplain text\n{nested}\n")).as_deref(),
            Some("127.0.0.1:2")
        );
        assert_eq!(admin_address("{\"message\":\"something else\"}"), None);
    }
}
