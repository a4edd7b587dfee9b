//! The connection to the API server, as kubeconfig files or the Pod describe it.

use super::run_error::RunError;
use crate::kubernetes::connect::{self, ConnectOptions, Connection};
use crate::runtime::panics::{Panicked, contain_call};

/// Connects to the API server. No request is sent.
///
/// # Errors
/// No configuration can be used.
pub(super) fn connect(options: &ConnectOptions) -> Result<Connection, RunError> {
    // kube runs the commands that print a credential, and panics if a header cannot have it.
    let connected = contain_call(|| connect::connect(options));
    Ok(connected.map_err(|Panicked| RunError::UnusableToken)??)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CONFIG: &str = "apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c, cluster: {server: 'https://api.example.com:6443'}}]
contexts: [{name: one, context: {cluster: c, user: u}}]
users: [{name: u, user: USER}]
";

    fn connected(folder: &Path, user: &str) -> Result<(), String> {
        let file = folder.join("config");
        std::fs::write(&file, CONFIG.replace("USER", user)).unwrap();
        let options = ConnectOptions {
            required: Some(file),
            ..ConnectOptions::default()
        };
        connect(&options).map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn no_credential_of_a_kubeconfig_panics() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        for user in [
            r#"{token: "abc\n"}"#,
            r#"{token: "\n"}"#,
            r#"{username: "a\nb", password: "c\u0001\n"}"#,
            r#"{username: "a", password: "b", token: "a\nb"}"#,
            r#"{auth-provider: {name: oidc, config: {id-token: "abc\n", refresh-token: "a\nb", access-token: "a\nb"}}}"#,
            r#"{auth-provider: {name: gcp, config: {id-token: "abc", access-token: "a\nb", expiry: "2026-01-01T00:00:00Z"}}}"#,
        ] {
            assert_eq!(connected(folder.path(), user), Ok(()), "{user}");
        }
        let exec = |token: &str| {
            let printed = serde_json::json!({"status": {"token": token}});
            let api = "apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never";
            format!("{{exec: {{{api}, command: echo, args: ['{printed}']}}}}")
        };
        assert_eq!(connected(folder.path(), &exec("abc")), Ok(()));
        for user in [
            r#"{token: "ab\nc"}"#,
            r#"{token: "ab\u0001c"}"#,
            r#"{auth-provider: {name: oidc, config: {id-token: "ab\nc"}}}"#,
            r#"{auth-provider: {name: gcp, config: {access-token: "ab\nc", expiry: "2026-01-01T00:00:00Z"}}}"#,
            r#"{auth-provider: {name: azure, config: {access-token: "ab\nc"}}}"#,
            "{auth-provider: {name: gcp, config: {cmd-path: echo, cmd-args: abc}}}",
            &exec("abc\n"),
            r#"{as: "a\nb"}"#,
        ] {
            let said = connected(folder.path(), user).unwrap_err();
            assert!(
                said.contains("kubeconfig cannot be used") || said.contains("the user of context one"),
                "{user}: {said}"
            );
            assert!(!said.contains("abc"), "{said}");
        }
    }
}
