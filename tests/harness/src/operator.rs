//! The operator under test as a plain process beside the control plane, with whatever rights its kubeconfig has:
//! a test that hands it a token of the chart's `ServiceAccount` proves the chart's rules and not an administrator's.

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

const READY_WITHIN: Duration = Duration::from_secs(30);
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// How the operator is started.
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    /// The `imm-operator` binary.
    pub binary: PathBuf,
    /// Whose rights it has.
    pub kubeconfig: PathBuf,
    /// Where OSS, IMM and STS are.
    pub cloud_url: String,
    /// The namespace of its `ServiceAccount`, where its lease and its copies of policies are.
    pub namespace: String,
    /// Takes its log; appended to, so that a restart keeps what was there.
    pub log_file: PathBuf,
    /// Whether it competes for the lease: after a kill, the next one waits the lease out.
    pub leader_election: bool,
    /// More flags of `imm-operator run`.
    pub extra_args: Vec<String>,
    /// More environment variables.
    pub extra_env: Vec<(String, String)>,
}

/// A running operator; dropping it kills it.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    admin: String,
}

impl Operator {
    /// Starts it and returns when its readiness probe says yes.
    pub async fn start(options: OperatorOptions) -> Result<Self> {
        let earlier = std::fs::metadata(&options.log_file).map_or(0, |data| data.len());
        let mut command = Command::new(&options.binary);
        command.arg("run").env("KUBECONFIG", &options.kubeconfig);
        for flag in ["--oss-endpoint", "--imm-endpoint", "--sts-endpoint"] {
            command.args([flag, &options.cloud_url]);
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
                let address = address.ok_or("no line in its log with the address of its probes")?;
                match get(&address, "/readyz").await {
                    Ok((200, _)) => Ok(Ok(address)),
                    Ok((code, body)) => Err(format!("/readyz answers {code}: {body}")),
                    Err(refused) => Err(refused.to_string()),
                }
            }
        })
        .await??;
        Ok(Self { process, admin })
    }

    /// Base address of its probes and metrics.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Fetches a page of its admin address: the status code and the body.
    pub async fn admin_get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.admin, path)
            .await
            .map_err(HarnessError::io(format!("asking the operator for {path}")))
    }

    /// Its log file so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// An error with the end of its log if it is no longer there.
    pub fn must_run(&self) -> Result<()> {
        self.process.must_run()
    }

    /// Freezes it where it is, as a machine that is moved or out of memory does.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on, unaware of the time that has passed.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Waits until it ends by itself.
    pub async fn end(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.end("without being asked to", limit).await
    }

    /// Asks it to stop, as Kubernetes does, and waits for work in flight to drain.
    pub async fn terminate(self) -> Result<ExitStatus> {
        self.process.terminate(DRAIN_WITHIN).await
    }

    /// Ends it at once, as a crash would.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }
}

/// The address in the line that the operator logs when its probes are served.
fn admin_address(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        // The fields of a log line may be nested below `fields` or stand beside the message.
        let fields = line.get("fields").unwrap_or(&line);
        let message = fields.get("message")?.as_str()?;
        let address = fields.get("address")?.as_str()?;
        (message == "admin server started").then(|| address.to_owned())
    })
}

/// One plain GET: an HTTP client crate would be a lot of code for a probe.
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
        let flat = r#"{"level":"INFO","message":"admin server started","address":"127.0.0.1:1"}"#;
        let nested = r#"{"fields":{"message":"admin server started","address":"127.0.0.1:2"}}"#;
        assert_eq!(admin_address(flat).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(
            admin_address(&format!("{flat}\nplain text\n{nested}\n")).as_deref(),
            Some("127.0.0.1:2")
        );
        assert_eq!(admin_address("{\"message\":\"something else\"}"), None);
    }
}
