//! Why there is no report, or why a probe ends.

use std::path::PathBuf;
use std::string::FromUtf8Error;

use thiserror::Error;

use crate::app::RunError;
use crate::cli::cloud_args::IdentityError;
use crate::cli::manifest::ManifestError;
use crate::cloud::ClientError;
use crate::core::policy::PolicyParseError;
use crate::core::validate::ValidationError;
use crate::ports::{CloudError, CredentialsError};

/// Why there is no report, or why a probe ends.
#[derive(Debug, Error)]
pub enum DoctorError {
    /// What was asked for cannot be done, because of nothing that failed. The text says what to change.
    #[error("{0}")]
    Refused(String),
    /// Somebody ended the probe.
    #[error("interrupted")]
    Interrupted,
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The cluster or an endpoint cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A name does not follow its grammar.
    #[error(transparent)]
    Name(#[from] ValidationError),
    /// The name in a flag does not follow its grammar.
    #[error("{flag}: {source}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Cause.
        source: ValidationError,
    },
    /// A folder of manifests cannot be used.
    #[error(transparent)]
    Folder(ManifestError),
    /// A manifest cannot be used.
    #[error("{file}: {source}")]
    Manifest {
        /// Path of the manifest.
        file: PathBuf,
        /// Cause.
        source: ManifestError,
    },
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A file was not written by a probe.
    #[error("{file} is not the file of a probe")]
    NotOfProbe {
        /// Path of the file.
        file: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// The policy from before, or what is about to be written, cannot be stored.
    #[error("the policy cannot be stored in {file}: {source}")]
    Store {
        /// Path of the file.
        file: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Signals cannot be handled.
    #[error("signals cannot be handled: {0}")]
    Signals(#[source] std::io::Error),
    /// A call failed on which the rest of a probe depends.
    #[error("{what} ({source})")]
    Call {
        /// What failed.
        what: &'static str,
        /// Cause.
        source: CloudError,
    },
    /// The policy of the probe bucket is no text.
    #[error("the policy of the probe bucket is not UTF-8 text")]
    PolicyNotText(#[from] FromUtf8Error),
    /// The policy of the probe bucket cannot be edited.
    #[error("the policy of the probe bucket cannot be edited because {0}")]
    Policy(#[from] PolicyParseError),
    /// There are no credentials.
    #[error("{why}")]
    NoKeys {
        /// Why, and what to do about that.
        why: String,
        /// Cause.
        source: Box<CredentialsError>,
    },
    /// There are no credentials to put the policy back, and no object names any.
    #[error(
        "{0}; if the probe used other credentials, name its grant with -f or as ibg/NAME, and the same --keys"
    )]
    NoKeysOfGrant(#[source] Box<DoctorError>),
    /// The cluster does not let the caller see whether a grant names the bucket.
    #[error(
        "{source}; whether a grant of it names bucket {bucket} must be known before a probe writes: use a kubeconfig that may list immbucketgrants in all namespaces, or none, with --i-own {bucket}, if no cluster has a grant of the bucket"
    )]
    GrantsHidden {
        /// The bucket.
        bucket: String,
        /// Cause.
        source: RunError,
    },
    /// No cluster says whether a grant names the bucket.
    #[error("{source}; without a cluster, add --i-own {bucket} to say that no grant names the bucket")]
    GrantsUnknown {
        /// The bucket.
        bucket: String,
        /// Cause.
        source: RunError,
    },
}

impl DoctorError {
    /// Returns the conversion of the error of a call.
    pub(super) fn of_call(what: &'static str) -> impl FnOnce(CloudError) -> Self {
        move |source| Self::Call { what, source }
    }
}

/// Only for fixed texts, in which no cause can be lost.
impl From<&'static str> for DoctorError {
    fn from(why: &'static str) -> Self {
        Self::Refused(why.to_owned())
    }
}
