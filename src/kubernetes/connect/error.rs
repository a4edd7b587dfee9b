//! Why no connection can be configured. No text has a credential.

use std::path::PathBuf;

use http::header::InvalidHeaderValue;
use http::uri::InvalidUri;
use kube::config::{InClusterError, KubeconfigError};
use rustls::pki_types::pem;
use thiserror::Error;

use crate::core::error::error_chain;

/// Why no configuration of a cluster can be used.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// A part of a kubeconfig is named, and there is no kubeconfig.
    #[error("no kubeconfig file exists, so there is no context, cluster or user: set KUBECONFIG")]
    NoKubeconfig,
    /// There is neither a kubeconfig nor the ServiceAccount of a Pod.
    #[error("no kubeconfig file exists, and this is no Pod ({}): set KUBECONFIG", error_chain(.0))]
    NoPod(#[source] InClusterError),
    /// A kubeconfig file cannot be read or merged.
    #[error("{}: {}", file.display(), error_chain(source))]
    File {
        /// The file.
        file: PathBuf,
        /// Cause.
        source: KubeconfigError,
    },
    /// No context is selected.
    #[error("the kubeconfig has no current context: set one with kubectl config use-context")]
    NoContext,
    /// What is selected does not exist.
    #[error("{kind} {name} does not exist in the kubeconfig")]
    Absent {
        /// `context`, `cluster` or `user`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The context names a cluster that does not exist.
    #[error("context {context} names cluster {cluster}, which does not exist")]
    NoCluster {
        /// Name of the context.
        context: String,
        /// Name of the cluster.
        cluster: String,
    },
    /// A part of the context cannot be used.
    #[error("{part} of context {context} is invalid: {source}")]
    Invalid {
        /// The part, with its article.
        part: &'static str,
        /// Name of the context.
        context: String,
        /// Cause.
        source: PartError,
    },
    /// The token file of the user cannot be used, and there is no other token.
    #[error(transparent)]
    Token(PartError),
    /// No client can be created.
    #[error("the kubeconfig cannot be used: {}", error_chain(.0))]
    Client(#[source] kube::Error),
}

/// What is wrong with a part of a kubeconfig.
#[derive(Debug, Error)]
pub enum PartError {
    /// The server is no URL.
    #[error("{server:?} is no URL: {source}")]
    ServerUrl {
        /// The server.
        server: String,
        /// Cause.
        source: InvalidUri,
    },
    /// The server is a URL without a host, or a path without a scheme.
    #[error("{0:?} must be a URL, or HOST:PORT for http without TLS")]
    Server(String),
    /// The proxy is no URL.
    #[error(transparent)]
    Proxy(#[from] InvalidUri),
    /// The certificates are not in base64.
    #[error(transparent)]
    Base64(#[from] serde_json::Error),
    /// The file with the certificates cannot be read.
    #[error("{file}: {source}")]
    AuthorityFile {
        /// The file.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The certificates are not in PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// The exec plugin asks for the cluster, which cannot be described to it.
    #[error("{}", error_chain(.0))]
    Described(#[from] KubeconfigError),
    /// The exec plugin always needs a terminal, and there is none.
    #[error(
        "its exec plugin {0} has interactiveMode Always, and standard input is not a terminal: run the command in a terminal"
    )]
    NoTerminal(String),
    /// No header can have the token.
    #[error("{whose} has characters that a token cannot have")]
    Token {
        /// What has the token.
        whose: String,
        /// Cause.
        source: InvalidHeaderValue,
    },
    /// The token file cannot be read.
    #[error("token file {} cannot be read: {source}", file.display())]
    TokenFile {
        /// The file.
        file: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The token file is empty.
    #[error("token file {} is empty", .0.display())]
    EmptyTokenFile(PathBuf),
}
