//! The API server. It cannot choose a free port, so the harness reserves one: a socket that is bound but never listens
//! blocks the port for other processes, while `--permit-port-sharing` lets the API server listen on it.

use std::path::Path;
use std::process::Command;

use tokio::net::TcpSocket;

use super::keys::Keys;
use crate::error::{HarnessError, Result};
use crate::process::Process;
use crate::tools::Tool;

/// Logs verb, resource and response status of every request, but no bodies, because requests carry Secrets.
const AUDIT_POLICY: &str =
    r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}"#;

/// A running API server and its address.
pub(super) struct ApiServer {
    pub(super) process: Process,
    pub(super) url: String,
    /// Reserves the port for the lifetime of the server.
    pub(super) port: TcpSocket,
}

pub(super) fn start(folder: &Path, store: &str, keys: &Keys, audit: Option<&Path>) -> Result<ApiServer> {
    let (socket, port) = hold_port().map_err(HarnessError::io("reserving a free port"))?;
    let mut command = Command::new(Tool::ApiServer.path()?);
    command
        .arg(format!("--etcd-servers={store}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        // A loopback address is not a valid endpoint of the Service `kubernetes`, which nothing here uses.
        .args(["--endpoint-reconciler-type=none", "--permit-port-sharing=true"])
        .arg(format!("--secure-port={port}"))
        .arg(file("tls-cert-file", &keys.certificate))
        .arg(file("tls-private-key-file", &keys.key))
        .arg(file("cert-dir", folder))
        .args([
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--profiling=false",
        ])
        .arg(file("token-auth-file", &keys.tokens))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(file("service-account-key-file", &keys.account_public_key))
        .arg(file("service-account-signing-key-file", &keys.account_key))
        .arg("--service-cluster-ip-range=10.0.0.0/24");
    if let Some(log) = audit {
        let policy = folder.join("audit-policy.json");
        std::fs::write(&policy, AUDIT_POLICY).map_err(HarnessError::io("writing the audit policy"))?;
        command
            .arg(file("audit-policy-file", &policy))
            .arg(file("audit-log-path", log));
    }
    let process = Process::spawn("kube-apiserver", &mut command, &folder.join("apiserver.log"))?;
    Ok(ApiServer {
        process,
        url: format!("https://127.0.0.1:{port}"),
        port: socket,
    })
}

fn file(flag: &str, path: &Path) -> String {
    format!("--{flag}={}", path.display())
}

fn hold_port() -> std::io::Result<(TcpSocket, u16)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}
