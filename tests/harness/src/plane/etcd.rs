//! etcd with one member and no fsync, on ports chosen by the system. It requests port 0 and logs the port it got, so no
//! port is guessed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::error::Result;
use crate::process::Process;
use crate::tools::Tool;
use crate::wait::until;

const ANY_PORT: &str = "http://127.0.0.1:0";

/// A running etcd and its address.
pub(super) struct Etcd {
    pub(super) process: Process,
    pub(super) url: String,
}

pub(super) async fn start(folder: &Path) -> Result<Etcd> {
    let mut command = Command::new(Tool::Etcd.path()?);
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args([
            "--listen-client-urls",
            ANY_PORT,
            "--advertise-client-urls",
            ANY_PORT,
        ])
        .args([
            "--listen-peer-urls",
            ANY_PORT,
            "--initial-advertise-peer-urls",
            ANY_PORT,
        ])
        .args(["--initial-cluster", "default=http://127.0.0.1:0"])
        // The gateway would dial the advertised port 0 forever.
        .args(["--enable-grpc-gateway=false", "--unsafe-no-fsync"])
        // A single member needs no time to hear from others.
        .args(["--heartbeat-interval=10", "--election-timeout=100"]);
    let process = Process::spawn("etcd", &mut command, &folder.join("etcd.log"))?;
    let address = until("etcd to serve", Duration::from_secs(20), || {
        let poll = process.must_run().map(|()| serving(&process.log()));
        async move {
            match poll {
                // An etcd that has ended will never serve: stop waiting and return its own error.
                Err(ended) => Ok(Err(ended)),
                Ok(Some(address)) => Ok(Ok(address)),
                Ok(None) => Err("its log does not name its address yet"),
            }
        }
    })
    .await??;
    Ok(Etcd {
        process,
        url: format!("http://{address}"),
    })
}

/// Returns the client address from the log, or `None` before it is logged.
fn serving(log: &str) -> Option<String> {
    let line = log
        .lines()
        .find(|line| line.contains("\"serving client traffic insecurely"))?;
    let line: Value = serde_json::from_str(line).ok()?;
    line.get("address").and_then(Value::as_str).map(str::to_owned)
}
