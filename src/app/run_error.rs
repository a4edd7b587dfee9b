//! Why the process, or a command in the cluster, ends.

use std::net::SocketAddr;

use thiserror::Error;

use crate::cloud::ClientError;
use crate::core::endpoints::EndpointError;
use crate::core::grant::ObjectKey;
use crate::core::validate::ValidationError;
use crate::kubernetes::connect::ConnectError;
use crate::kubernetes::request::RequestError;
use crate::ports::CloudError;
use crate::runtime::tenancy_file::RulesError;

/// Reasons why the process cannot start or has to end, or why a command failed in the cluster.
#[derive(Debug, Error)]
pub enum RunError {
    /// The cluster is not configured.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// kube has panicked with a credential.
    #[error(
        "the kubeconfig cannot be used: the token that the exec plugin or the command of auth-provider prints probably has characters that a token cannot have, such as a line break at its end"
    )]
    UnusableToken,
    /// The API server cannot be reached, or rejects a request.
    #[error("request to the cluster failed: {}", source.describe(permissions))]
    Cluster {
        /// The permissions that the caller needs.
        permissions: String,
        /// Cause.
        source: RequestError,
    },
    /// The API server answers, and does not let the caller do that.
    #[error("the cluster refused the request: {}", source.describe(permissions))]
    Refused {
        /// The permissions that the caller needs.
        permissions: String,
        /// Cause.
        source: RequestError,
    },
    /// The API server did not answer for a long time.
    #[error("request to the cluster failed: the cluster does not answer")]
    Silent,
    /// No object can have the given name.
    #[error(transparent)]
    Name(#[from] ValidationError),
    /// The cluster does not have an object.
    #[error("there is no {kind} {key}; name its namespace with -n")]
    NoObject {
        /// Kind of the object.
        kind: String,
        /// Namespace and name of the object.
        key: ObjectKey,
    },
    /// The cluster does not have a kind.
    #[error("the cluster has no CRD of {0}: install the operator, or select another context")]
    NoCrd(String),
    /// The listen address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The listen address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// An endpoint is invalid.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The metadata service does not name the region.
    #[error("cannot learn the region from the metadata service ({}): set --region (Helm value region)", .0.code)]
    Region(#[source] CloudError),
    /// The tenancy rules cannot be loaded.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The lease is lost; another process may hold it.
    #[error("lost the lease; exiting, so that the restarted process can acquire it again")]
    LeaseLost,
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl RunError {
    /// Returns the conversion of the error of a request, for which the caller needs permissions.
    pub(super) fn cluster(permissions: &str) -> impl Fn(RequestError) -> Self {
        move |source| Self::Cluster {
            permissions: permissions.to_owned(),
            source,
        }
    }
}
