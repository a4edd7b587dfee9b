//! Connects to the API server as kubectl does: from kubeconfig files, or from the ServiceAccount of the Pod.
//!
//! kube's own loader fails on a missing file of a list, compares NO_PROXY with the proxy instead of the server, and sends
//! a token with the line break of its file.

pub(super) mod error;
mod exec_plugin;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri};
use k8s_openapi::ByteString;
use kube::client::{Body, ClientBuilder};
use kube::config::{AuthInfo, Cluster, Context, ExecAuthCluster, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::util::MapRequestLayer;

pub use self::error::ConnectError;
use self::error::PartError;
use self::exec_plugin::{PATIENCE, check_terminal, described, tell_if_slow};
use super::token_file::{TokenFile, TokenSource, token_source};
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
    /// Cluster of the kubeconfig; `None` means that of the context.
    pub cluster: Option<String>,
    /// User of the kubeconfig; `None` means that of the context.
    pub user: Option<String>,
    /// User to impersonate instead of the one of the kubeconfig.
    pub impersonate: Option<String>,
    /// Groups to impersonate.
    pub impersonate_groups: Vec<String>,
    /// The proxy variables of the environment.
    pub proxies: ProxyVariables,
    /// Whether standard input is a terminal.
    pub is_terminal: bool,
    /// Tells the user what is waited for.
    pub tell: Option<fn(&str)>,
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
/// [`ConnectError`] if no configuration can be used.
pub fn connect(options: &ConnectOptions) -> Result<Connection, ConnectError> {
    let (mut config, token) = match read_kubeconfigs(options)? {
        Some(kubeconfig) => config_of(kubeconfig, options)?,
        None if options.context.is_some() || options.cluster.is_some() || options.user.is_some() => {
            return Err(ConnectError::NoKubeconfig);
        }
        // The files of the Pod need no proxy: the API server is in the same network.
        None => (Config::incluster().map_err(ConnectError::NoPod)?, None),
    };
    if options.impersonate.is_some() {
        config.auth_info.impersonate.clone_from(&options.impersonate);
        config.auth_info.impersonate_groups = Some(options.impersonate_groups.clone());
    }
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    let namespace = config.default_namespace.clone();
    let waiting = config.auth_info.exec.as_ref().map(described);
    // The plugin runs here.
    let builder = match (waiting, options.tell) {
        (Some(waiting), Some(tell)) => {
            tell_if_slow(&waiting, PATIENCE, tell, || ClientBuilder::try_from(config))
        }
        (Some(_) | None, _) => ClientBuilder::try_from(config),
    };
    let builder = builder.map_err(ConnectError::Client)?;
    let client = match token {
        None => builder.build(),
        Some((file, other)) => {
            let token = Arc::new(TokenFile::new(file, other.as_ref()).map_err(ConnectError::Token)?);
            let authorize = move |request: Request<Body>| token.authorize(request);
            builder.with_layer(&MapRequestLayer::new(authorize)).build()
        }
    };
    Ok(Connection { client, namespace })
}

/// Reads and merges the kubeconfig files. `None` if none exists.
fn read_kubeconfigs(options: &ConnectOptions) -> Result<Option<Kubeconfig>, ConnectError> {
    let files = options
        .required
        .as_ref()
        .map_or(options.kubeconfigs.as_slice(), std::slice::from_ref);
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        let failed = |source| ConnectError::File {
            file: file.clone(),
            source,
        };
        let mut next = match Kubeconfig::read_from(file) {
            Ok(next) => next,
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == ErrorKind::NotFound && options.required.is_none() =>
            {
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        // An empty value is no value: a later file may have one.
        next.current_context = next.current_context.filter(|name| !name.is_empty());
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).map_err(failed)?,
        });
    }
    Ok(merged)
}

/// Returns the namespace for objects without one, as [`connect`] does. No credential is used, so no plugin runs.
/// `None` if no cluster is configured.
///
/// # Errors
/// [`ConnectError`] if a kubeconfig file cannot be read, or the context does not exist.
pub fn namespace_of_context(options: &ConnectOptions) -> Result<Option<String>, ConnectError> {
    match read_kubeconfigs(options)? {
        Some(kubeconfig) => Ok(Some(namespace_of(context_of(&kubeconfig, options)?.1))),
        None => Ok(Config::incluster().ok().map(|config| config.default_namespace)),
    }
}

/// Returns the name of the context in use, and the context.
fn context_of(kubeconfig: &Kubeconfig, options: &ConnectOptions) -> Result<(String, Context), ConnectError> {
    let name = options.context.clone().or(kubeconfig.current_context.clone());
    let name = name.ok_or(ConnectError::NoContext)?;
    let found = kubeconfig.contexts.iter().find(|c| c.name == name);
    let context = found
        .and_then(|c| c.context.clone())
        .ok_or_else(|| absent("context", &name))?;
    Ok((name, context))
}

fn absent(kind: &'static str, name: &str) -> ConnectError {
    ConnectError::Absent {
        kind,
        name: name.to_owned(),
    }
}

fn namespace_of(context: Context) -> String {
    let own = context.namespace.filter(|n| !n.is_empty());
    own.unwrap_or_else(|| "default".to_owned())
}

/// Builds the configuration of a context. Returns also the file with the token, if the user has one.
fn config_of(
    kubeconfig: Kubeconfig,
    options: &ConnectOptions,
) -> Result<(Config, Option<TokenSource>), ConnectError> {
    let (name, context) = context_of(&kubeconfig, options)?;
    let wanted = options.cluster.as_ref().unwrap_or(&context.cluster);
    let found = kubeconfig.clusters.into_iter().find(|c| c.name == *wanted);
    let cluster = found
        .and_then(|c| c.cluster)
        .ok_or_else(|| match &options.cluster {
            Some(wanted) => absent("cluster", wanted),
            None => ConnectError::NoCluster {
                context: name.clone(),
                cluster: wanted.clone(),
            },
        })?;
    // Like kubectl: without a user, requests are anonymous.
    let wanted = options.user.as_ref().or(context.user.as_ref());
    let found = kubeconfig
        .auth_infos
        .into_iter()
        .find(|u| Some(&u.name) == wanted);
    if let (Some(missing), None) = (&options.user, &found) {
        return Err(absent("user", missing));
    }
    let mut user = found.and_then(|u| u.auth_info).unwrap_or_default();
    let invalid = |part, source| ConnectError::Invalid {
        part,
        context: name.clone(),
        source,
    };

    let url = server_url(&cluster).map_err(|error| invalid("the server", error))?;
    // Like kubectl: without TLS, anyone on the way could read the credentials, so none is sent.
    if url.scheme_str() == Some("http") {
        user = AuthInfo {
            impersonate: user.impersonate,
            impersonate_groups: user.impersonate_groups,
            ..AuthInfo::default()
        };
    }
    check_terminal(user.exec.as_ref(), options.is_terminal).map_err(|error| invalid("the user", error))?;
    let mut config = Config::new(url.clone());
    config.default_namespace = namespace_of(context);
    config.root_cert = authority(&cluster).map_err(|error| invalid("the certificate authority", error))?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name.clone_from(&cluster.tls_server_name);
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        let shown = ExecAuthCluster::try_from(&cluster);
        exec.cluster = Some(shown.map_err(|error| invalid("the cluster", error.into()))?);
    }
    config.proxy_url = proxy(&cluster, &url, &options.proxies)
        .map(|proxy| {
            with_scheme(&proxy)
                .parse()
                .map_err(|error: http::uri::InvalidUri| invalid("the proxy", error.into()))
        })
        .transpose()?;
    let token = token_source(&mut user).map_err(|error| invalid("the user", error))?;
    config.auth_info = user;
    Ok((config, token))
}

/// Returns the URL of a cluster's server. Like kubectl, a host or `host:port` without a scheme is reached over http.
fn server_url(cluster: &Cluster) -> Result<Uri, PartError> {
    let server = cluster.server.as_deref().unwrap_or_default();
    let has_scheme = server.contains("://");
    let complete = if has_scheme {
        server.to_owned()
    } else {
        with_scheme(server)
    };
    let url: Uri = complete.parse().map_err(|source| PartError::ServerUrl {
        server: server.to_owned(),
        source,
    })?;
    if url.host().is_none_or(str::is_empty) || !(has_scheme || matches!(url.path(), "" | "/")) {
        return Err(PartError::Server(server.to_owned()));
    }
    Ok(url)
}

/// Returns the certificate authority of a cluster, as DER.
fn authority(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, PartError> {
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
            let decoded: ByteString = serde_json::from_value(data.as_str().into())?;
            decoded.0
        }
        (None, Some(file)) => std::fs::read(file).map_err(|source| PartError::AuthorityFile {
            file: file.clone(),
            source,
        })?,
        (None, None) => return Ok(None),
    };
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    Ok(Some(found?.into_iter().map(|der| der.to_vec()).collect()))
}

/// Returns the proxy for the server of a cluster. `proxy-url` has no exceptions, as in kubectl.
fn proxy(cluster: &Cluster, server: &Uri, variables: &ProxyVariables) -> Option<String> {
    let own = cluster.proxy_url.clone().filter(|proxy| !proxy.is_empty());
    own.or_else(|| variables.proxy_of(server).map(ToOwned::to_owned))
}

#[cfg(test)]
mod tests;
