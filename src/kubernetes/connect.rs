//! Connects to the API server as kubectl does: from kubeconfig files, or from the ServiceAccount of the Pod.
//!
//! kube's own loader fails on a missing file of a list, compares NO_PROXY with the proxy instead of the server, and sends
//! a token with the line break of its file.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri};
use k8s_openapi::ByteString;
use kube::client::{Body, ClientBuilder};
use kube::config::{AuthInfo, Cluster, ExecAuthCluster, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::util::MapRequestLayer;

use super::token_file::{TokenFile, TokenSource, token_source};
use crate::core::error::error_chain;
use crate::core::proxy::{ProxyVariables, with_scheme};

/// Where the cluster is configured.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// A kubeconfig file that must exist; takes precedence over `kubeconfigs`.
    pub required: Option<PathBuf>,
    /// Kubeconfig files; the first one with a value wins, and files that do not exist are skipped.
    pub kubeconfigs: Vec<PathBuf>,
    /// Context of the kubeconfig; `None` means its current context.
    pub context: Option<String>,
    /// The proxy variables of the environment.
    pub proxies: ProxyVariables,
}

/// A client, and the namespace for objects without one.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// Namespace of the context, or of the Pod.
    pub namespace: String,
}

/// Creates a client without built-in retries: a request must not outlive the reconcile that made it. No request is sent.
///
/// # Errors
/// Returns the message for people if no configuration can be used.
pub fn connect(options: &ConnectOptions) -> Result<Connection, String> {
    let (mut config, token) = match read_kubeconfigs(options)? {
        Some(kubeconfig) => config_of(kubeconfig, options)?,
        None if options.context.is_some() => {
            return Err("no kubeconfig file exists, so there is no context: set KUBECONFIG".to_owned());
        }
        // The files of the Pod need no proxy: the API server is in the same network.
        None => {
            let config = Config::incluster().map_err(|error| {
                format!(
                    "no kubeconfig file exists, and this is no Pod ({}): set KUBECONFIG",
                    error_chain(&error)
                )
            })?;
            (config, None)
        }
    };
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    let namespace = config.default_namespace.clone();
    let unusable = |error: kube::Error| format!("the kubeconfig cannot be used: {}", error_chain(&error));
    let builder = ClientBuilder::try_from(config).map_err(unusable)?;
    let client = match token {
        None => builder.build(),
        Some((file, other)) => {
            let token = Arc::new(TokenFile::new(file, other.as_ref())?);
            let authorize = move |request: Request<Body>| token.authorize(request);
            builder.with_layer(&MapRequestLayer::new(authorize)).build()
        }
    };
    Ok(Connection { client, namespace })
}

/// Reads and merges the kubeconfig files. `None` if none exists.
fn read_kubeconfigs(options: &ConnectOptions) -> Result<Option<Kubeconfig>, String> {
    let files = options
        .required
        .as_ref()
        .map_or(options.kubeconfigs.as_slice(), std::slice::from_ref);
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        let mut next = match Kubeconfig::read_from(file) {
            Ok(next) => next,
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == ErrorKind::NotFound && options.required.is_none() =>
            {
                continue;
            }
            Err(error) => return Err(format!("{}: {}", file.display(), error_chain(&error))),
        };
        // An empty value is no value: a later file may have one.
        next.current_context = next.current_context.filter(|name| !name.is_empty());
        merged = Some(match merged {
            None => next,
            Some(first) => first
                .merge(next)
                .map_err(|error| format!("{}: {}", file.display(), error_chain(&error)))?,
        });
    }
    Ok(merged)
}

/// Builds the configuration of a context. Returns also the file with the token, if the user has one.
fn config_of(
    kubeconfig: Kubeconfig,
    options: &ConnectOptions,
) -> Result<(Config, Option<TokenSource>), String> {
    let name = options.context.clone().or(kubeconfig.current_context);
    let name =
        name.ok_or("the kubeconfig has no current context: set one with kubectl config use-context")?;
    let found = kubeconfig.contexts.into_iter().find(|c| c.name == name);
    let context = found
        .and_then(|c| c.context)
        .ok_or_else(|| format!("context {name} does not exist in the kubeconfig"))?;
    let found = kubeconfig
        .clusters
        .into_iter()
        .find(|c| c.name == context.cluster);
    let cluster = found.and_then(|c| c.cluster).ok_or_else(|| {
        format!(
            "context {name} names cluster {}, which does not exist",
            context.cluster
        )
    })?;
    // Like kubectl: without a user, requests are anonymous.
    let found = kubeconfig
        .auth_infos
        .into_iter()
        .find(|u| Some(&u.name) == context.user.as_ref());
    let mut user = found.and_then(|u| u.auth_info).unwrap_or_default();
    let invalid =
        |what: &str, error: &dyn std::fmt::Display| format!("{what} of context {name} is invalid: {error}");

    let url = server_url(&cluster).map_err(|error| invalid("the server", &error))?;
    // Like kubectl: without TLS, anyone on the way could read the credentials, so none is sent.
    if url.scheme_str() == Some("http") {
        user = AuthInfo {
            impersonate: user.impersonate,
            impersonate_groups: user.impersonate_groups,
            ..AuthInfo::default()
        };
    }
    let mut config = Config::new(url.clone());
    config.default_namespace = context
        .namespace
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "default".to_owned());
    config.root_cert = authority(&cluster).map_err(|error| invalid("the certificate authority", &error))?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        let shown = ExecAuthCluster::try_from(&cluster);
        exec.cluster = Some(shown.map_err(|error| invalid("the cluster", &error_chain(&error)))?);
    }
    config.proxy_url = proxy(&cluster, &url, &options.proxies)
        .map(|proxy| {
            with_scheme(&proxy)
                .parse()
                .map_err(|error: http::uri::InvalidUri| invalid("the proxy", &error))
        })
        .transpose()?;
    let token = token_source(&mut user).map_err(|error| invalid("the user", &error))?;
    config.auth_info = user;
    Ok((config, token))
}

/// Returns the URL of a cluster's server. Like kubectl, a host or `host:port` without a scheme is reached over http.
fn server_url(cluster: &Cluster) -> Result<Uri, String> {
    let server = cluster.server.as_deref().unwrap_or_default();
    let has_scheme = server.contains("://");
    let complete = if has_scheme {
        server.to_owned()
    } else {
        with_scheme(server)
    };
    let url: Uri = complete
        .parse()
        .map_err(|error| format!("{server:?} is no URL: {error}"))?;
    if url.host().is_none_or(str::is_empty) || !(has_scheme || matches!(url.path(), "" | "/")) {
        return Err(format!(
            "{server:?} must be a URL, or HOST:PORT for http without TLS"
        ));
    }
    Ok(url)
}

/// Returns the certificate authority of a cluster, as DER.
fn authority(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, String> {
    let data = cluster
        .certificate_authority_data
        .as_ref()
        .filter(|data| !data.is_empty());
    let pem = match (
        data,
        cluster
            .certificate_authority
            .as_ref()
            .filter(|file| !file.is_empty()),
    ) {
        (Some(data), _) => {
            let decoded: ByteString =
                serde_json::from_value(data.as_str().into()).map_err(|e| e.to_string())?;
            decoded.0
        }
        (None, Some(file)) => std::fs::read(file).map_err(|error| format!("{file}: {error}"))?,
        (None, None) => return Ok(None),
    };
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| error.to_string())?;
    Ok(Some(found.into_iter().map(|der| der.to_vec()).collect()))
}

/// Returns the proxy for the server of a cluster. `proxy-url` has no exceptions, as in kubectl.
fn proxy(cluster: &Cluster, server: &Uri, variables: &ProxyVariables) -> Option<String> {
    let own = cluster.proxy_url.clone().filter(|proxy| !proxy.is_empty());
    own.or_else(|| variables.proxy_of(server).map(ToOwned::to_owned))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const CONFIG: &str = "apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: c, cluster: {server: 'https://api.example.com:6443'}}
- {name: p, cluster: {server: 'https://api.example.com', proxy-url: 'socks5://proxy.example.com'}}
contexts:
- {name: one, context: {cluster: c, user: u, namespace: media}}
- {name: two, context: {cluster: p, user: nobody}}
users:
- {name: u, user: {tokenFile: token}}
";

    fn options(folder: &std::path::Path, files: &[&str]) -> ConnectOptions {
        ConnectOptions {
            kubeconfigs: files.iter().map(|file| folder.join(file)).collect(),
            ..ConnectOptions::default()
        }
    }

    fn loaded(options: &ConnectOptions) -> Result<(Config, Option<TokenSource>), String> {
        config_of(read_kubeconfigs(options)?.ok_or("none")?, options)
    }

    #[test]
    fn missing_files_of_a_list_are_skipped_and_the_first_value_wins() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("good"), CONFIG).unwrap();
        let second = "current-context: two\ncontexts: []\n";
        std::fs::write(folder.path().join("second"), second).unwrap();
        std::fs::write(folder.path().join("empty"), "current-context: ''\n").unwrap();
        for (files, namespace) in [
            (["missing", "good"], "media"),
            (["good", "second"], "media"),
            (["second", "good"], "default"),
            (["empty", "good"], "media"),
        ] {
            let (config, _) = loaded(&options(folder.path(), &files)).unwrap();
            assert_eq!(config.default_namespace, namespace, "{files:?}");
        }
        assert_eq!(loaded(&options(folder.path(), &["missing"])).unwrap_err(), "none");
        let mut required = options(folder.path(), &["good"]);
        required.required = Some(folder.path().join("missing"));
        assert!(loaded(&required).unwrap_err().contains("missing"));
        let mut other = options(folder.path(), &["good"]);
        other.context = Some("three".to_owned());
        assert_eq!(
            loaded(&other).unwrap_err(),
            "context three does not exist in the kubeconfig"
        );
    }

    #[test]
    fn a_server_without_a_scheme_is_reached_over_http_as_in_kubectl() {
        let url = |server: &str| {
            server_url(&Cluster {
                server: Some(server.to_owned()),
                ..Cluster::default()
            })
            .map(|url| url.to_string())
        };
        for (server, used) in [
            ("127.0.0.1:6443", "http://127.0.0.1:6443/"),
            ("localhost:6443", "http://localhost:6443/"),
            ("localhost", "http://localhost/"),
            ("[::1]:6443/", "http://[::1]:6443/"),
            ("https://api.example.com", "https://api.example.com/"),
            ("https://api.example.com/k8s/c1", "https://api.example.com/k8s/c1"),
        ] {
            assert_eq!(url(server).as_deref(), Ok(used), "{server}");
        }
        for server in [
            "",
            "/",
            "https://",
            "//api",
            "api.example.com/k8s",
            "a b",
            "https:/api",
        ] {
            assert!(url(server).is_err(), "{server}");
        }
    }

    #[test]
    fn the_proxy_is_that_of_the_cluster_or_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config"), CONFIG).unwrap();
        let mut options = options(folder.path(), &["config"]);
        options.proxies.https = Some("proxy:3128".to_owned());
        let proxy =
            |options: &ConnectOptions| loaded(options).unwrap().0.proxy_url.map(|url| url.to_string());
        assert_eq!(proxy(&options).as_deref(), Some("http://proxy:3128/"));
        options.proxies.no_proxy = Some("localhost, .example.com,".to_owned());
        assert_eq!(proxy(&options), None);
        options.context = Some("two".to_owned());
        assert_eq!(proxy(&options).as_deref(), Some("socks5://proxy.example.com/"));
    }

    #[test]
    fn a_token_file_takes_precedence_over_a_token_and_nothing_is_sent_without_tls() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let named = file.display().to_string();
        // What the user has, the content of the file, and the token that is sent from the file and by kube.
        for (user, content, from_file, inline) in [
            (
                format!("token: a, tokenFile: {named}"),
                Some("b"),
                Some("Bearer b"),
                None,
            ),
            (
                format!("token: a, tokenFile: {named}"),
                None,
                Some("Bearer a"),
                None,
            ),
            (
                format!("token: a, tokenFile: {named}"),
                Some("\n"),
                Some("Bearer a"),
                None,
            ),
            (
                format!("token: '', tokenFile: {named}"),
                Some("b"),
                Some("Bearer b"),
                None,
            ),
            ("token: a, tokenFile: ''".to_owned(), None, None, Some("a")),
            ("token: ''".to_owned(), None, None, None),
        ] {
            let _ = std::fs::remove_file(&file);
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let config = CONFIG.replace("tokenFile: token", &user);
            std::fs::write(folder.path().join("config"), &config).unwrap();
            let options = options(folder.path(), &["config"]);
            let (loaded_config, source) = loaded(&options).unwrap();
            let sent = source.map(|(file, other)| TokenFile::new(file, other.as_ref()).unwrap());
            let sent = sent.map(|token| {
                let request = token.authorize(Request::new(Body::empty()));
                request.headers()["authorization"].to_str().unwrap().to_owned()
            });
            assert_eq!(sent.as_deref(), from_file, "{user}");
            let token = loaded_config
                .auth_info
                .token
                .as_ref()
                .map(ExposeSecret::expose_secret);
            assert_eq!(token, inline, "{user}");
            let plain = config.replace("https://api.example.com:6443", "http://api.example.com");
            std::fs::write(folder.path().join("config"), plain).unwrap();
            let (loaded_config, source) = loaded(&options).unwrap();
            assert!(
                source.is_none() && loaded_config.auth_info.token.is_none(),
                "{user}"
            );
        }
    }
}
