//! Errors of calls to the cloud, of credentials and of requests to the API server, as closed sets. Text of the cloud
//! never leaves the adapter that builds these errors: users see a code, a request id, values of closed sets, and
//! messages of the operator.

use std::time::Duration;

use thiserror::Error;

use super::identity::{CredentialOrigin, Identity};
use super::refusal::Refusal;

/// Kind of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudErrorKind {
    /// The caller lacks a permission.
    AccessDenied,
    /// Block Public Access rejects the policy.
    PublicAccessBlocked,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The IMM project does not exist.
    NoSuchProject,
    /// The bucket is in another region.
    WrongRegion,
    /// The AccessKey pair is unknown, disabled or wrong.
    CredentialsRejected,
    /// The temporary credentials have expired.
    CredentialsExpired,
    /// The service throttles the caller.
    Throttled,
    /// Another request changes the settings of the bucket at the moment, and OSS locks them meanwhile.
    BucketLocked,
    /// The policy document is rejected because of its content.
    PolicyRejected,
    /// The request is rejected with another code; a retry would be rejected as well.
    RequestRejected,
    /// The service failed (HTTP 5xx).
    Unavailable,
    /// No usable response: timeout, reset, or a body that cannot be read.
    Unanswered,
}

/// Why a request to the API server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KubeError {
    /// HTTP 409: another writer changed or created the object first.
    #[error("the object was changed by another writer")]
    Conflict,
    /// HTTP 404: the object does not exist.
    #[error("the object does not exist")]
    NotFound,
    /// HTTP 403: the operator lacks a permission, a quota is exceeded, or an admission policy denies the request.
    #[error("a missing permission, an exceeded quota or an admission policy forbids it")]
    Forbidden,
    /// HTTP 400 or 422, a failed `test` of a JSON patch, or a stored object that cannot be decoded.
    #[error("the request or the stored object is invalid")]
    Invalid,
    /// No response within the deadline, a connection error, or any other HTTP status, for example 401, 429 or 503.
    #[error("the API server is unavailable")]
    Unavailable,
}

impl KubeError {
    /// Whether the request certainly had no effect: one that was not answered can have had it.
    pub fn had_no_effect(self) -> bool {
        self != Self::Unavailable
    }

    /// Whether a retry cannot help.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Forbidden | Self::Invalid)
    }
}

/// A failed call. Its text has the code, the request id and who refused the call, and no other text of the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", self.code_and_refusal())]
pub struct CloudError {
    /// Kind of the failure.
    pub kind: CloudErrorKind,
    /// HTTP status; `None` without a response.
    pub status: Option<u16>,
    /// Error code of the cloud, at most 64 characters of `[A-Za-z0-9._-]`; a word of the operator without one.
    pub code: String,
    /// Request id of the cloud, at most 64 characters of `[A-Za-z0-9-]`.
    pub request_id: Option<String>,
    /// Delay that the cloud requests before a retry.
    pub retry_after: Option<Duration>,
    /// Which side refused the call, as far as the cloud says.
    pub refusal: Refusal,
}

/// Prefixes of the codes with which OSS, IMM and STS reject a request whose time differs too much from theirs.
pub const CLOCK_SKEW_CODES: [&str; 3] = ["RequestTimeTooSkewed", "InvalidTimeStamp", "IllegalTimestamp"];

/// Code of a connection that was not made.
pub const CONNECTION_FAILED: &str = "ConnectionFailed";
/// Code of a certificate whose time is over, by the clock of this machine.
pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";
/// Code of a certificate whose time has not begun, by the clock of this machine.
pub const CERTIFICATE_NOT_YET_VALID: &str = "CertificateNotYetValid";
/// Code of a certificate of an authority that is not trusted.
pub const CERTIFICATE_UNKNOWN_ISSUER: &str = "CertificateUnknownIssuer";
/// Code of a certificate for another name.
pub const CERTIFICATE_FOR_OTHER_NAME: &str = "CertificateForOtherName";

/// What to do about a clock that is off, in every message about it.
pub const CORRECT_CLOCK: &str = "synchronize the clock of the operator's node";

impl CloudError {
    /// Returns an error that no answer of the cloud describes; `code` is a word of the operator.
    pub fn new(kind: CloudErrorKind, code: &str) -> Self {
        Self {
            kind,
            status: None,
            code: code.to_owned(),
            request_id: None,
            retry_after: None,
            refusal: Refusal::default(),
        }
    }

    /// Whether the clock of this machine is wrong: every request is rejected until it is corrected.
    pub fn is_clock_skew(&self) -> bool {
        CLOCK_SKEW_CODES.iter().any(|code| self.code.starts_with(code))
    }

    /// Whether no connection was made, so that the request was certainly not sent.
    fn is_unconnected(&self) -> bool {
        self.code == CONNECTION_FAILED || self.certificate_advice().is_some()
    }

    /// What to do about a certificate of the server that was not accepted; `None` if another cause failed the call.
    pub fn certificate_advice(&self) -> Option<&'static str> {
        match self.code.as_str() {
            _ if self.kind != CloudErrorKind::Unanswered => None,
            CERTIFICATE_EXPIRED => Some(
                "the certificate has expired by the clock of this machine: correct the clock, or renew the certificate of a proxy on the way",
            ),
            CERTIFICATE_NOT_YET_VALID => {
                Some("the certificate is not valid yet by the clock of this machine: correct the clock")
            }
            CERTIFICATE_UNKNOWN_ISSUER => Some(
                "the certificate is of an unknown authority: trust it (SSL_CERT_FILE), or exempt the host from the proxy that decrypts (NO_PROXY)",
            ),
            CERTIFICATE_FOR_OTHER_NAME => Some(
                "the certificate is for another name: correct the endpoint, or the DNS entry that leads to another server",
            ),
            _ => None,
        }
    }

    /// Whether a success arrived, in which the operator cannot find what it asked for.
    pub fn is_unreadable(&self) -> bool {
        self.kind == CloudErrorKind::Unanswered && self.code.ends_with("InAnswer")
    }

    /// Whether a retry of the same request may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            CloudErrorKind::Throttled
                | CloudErrorKind::Unavailable
                | CloudErrorKind::Unanswered
                | CloudErrorKind::BucketLocked
        )
    }

    /// Whether the credentials of the call are rejected or have expired.
    pub fn rejects_credentials(&self) -> bool {
        matches!(
            self.kind,
            CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
        )
    }

    /// Whether the service rejected what the request contains: without a part of it, it may accept the rest.
    pub fn rejects_content(&self) -> bool {
        matches!(
            self.kind,
            CloudErrorKind::PolicyRejected
                | CloudErrorKind::RequestRejected
                | CloudErrorKind::PublicAccessBlocked
        )
    }

    /// Whether IMM may bill the request: billing follows the HTTP status, so each one that neither failed in the
    /// service nor failed to reach it. One without an answer may have been executed.
    pub fn may_be_billed(&self) -> bool {
        match self.status {
            Some(status) => status < 500,
            None => !self.is_unconnected(),
        }
    }

    /// Whether the request certainly had no effect, because the service itself rejected it.
    pub fn had_no_effect(&self) -> bool {
        let rejected = !matches!(
            self.kind,
            CloudErrorKind::Unanswered | CloudErrorKind::Unavailable
        );
        // A response without a code of the service may come from a proxy, which does not know the effect.
        rejected && !self.code.starts_with("OSSHttp")
    }

    /// The code and the request id, as messages show them.
    pub fn code_and_request_id(&self) -> String {
        match &self.request_id {
            Some(id) => format!("{}, request id {id}", self.code),
            None => self.code.clone(),
        }
    }

    /// The code, the request id, and which side refused the call, as messages about refusals show them.
    pub fn code_and_refusal(&self) -> String {
        let code = self.code_and_request_id();
        match self.refusal.describe() {
            Some(refusal) => format!("{code}, {refusal}"),
            None => code,
        }
    }
}

/// Why credentials cannot be used, found before any call with them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// The Secret or ServiceAccount does not exist.
    #[error("the Secret or ServiceAccount does not exist")]
    NotFound,
    /// The Secret lacks this key, or its value is not printable text.
    #[error("{0} is missing or not printable text")]
    Invalid(&'static str),
    /// The operator has no permission to read the Secret.
    #[error("no permission to read the Secret")]
    SecretAccessDenied {
        /// ServiceAccount of the operator as NAMESPACE:NAME, when known.
        account: Option<String>,
    },
    /// The operator has no permission to request a token of the ServiceAccount.
    #[error("no permission to request a token of the ServiceAccount")]
    TokenRequestDenied {
        /// ServiceAccount of the operator as NAMESPACE:NAME, when known.
        account: Option<String>,
    },
    /// STS rejected the role assumption.
    #[error("STS rejected the role assumption ({0})")]
    AssumeRoleDenied(#[source] CloudError),
    /// The credentials belong to another account than the job names.
    #[error("the credentials belong to account {account}, not to {expected}")]
    OtherAccount {
        /// Account of the credentials.
        account: String,
        /// Account that the job names.
        expected: String,
    },
    /// STS does not say which account the credentials belong to, and the operator's own identity scores with them or
    /// reads the source: the project could be that of another account.
    #[error("STS does not say which account the credentials belong to ({0})")]
    AccountUnverified(#[source] CloudError),
    /// The operator has no identity of its own.
    #[error("the operator has no identity of its own")]
    NotConfigured,
    /// STS did not answer, failed, or rejected the time of the request.
    #[error("STS gave no session ({0})")]
    StsUnavailable(#[source] CloudError),
    /// The source of the operator's own credentials gave none: a file, the metadata service or the credentials URI.
    #[error("the source of the operator's own credentials gave none ({0})")]
    OwnSourceFailed(#[source] CloudError),
    /// The API server did not answer.
    #[error("the API server did not answer")]
    Unavailable,
}

impl CredentialsError {
    /// Returns the error for a role assumption that failed: STS rejected it, or did not answer.
    pub fn of_sts(error: CloudError) -> Self {
        if error.is_transient() {
            Self::StsUnavailable(error)
        } else {
            Self::AssumeRoleDenied(error)
        }
    }

    /// Whether a retry may succeed without any action.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::StsUnavailable(_) | Self::OwnSourceFailed(_)
        )
    }

    /// Whether the reference is closed to the operator: it does not exist, contains no usable credentials any more,
    /// or the operator has no access to it.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::NotFound
            | Self::Invalid(_)
            | Self::SecretAccessDenied { .. }
            | Self::TokenRequestDenied { .. } => true,
            Self::AssumeRoleDenied(_)
            | Self::OtherAccount { .. }
            | Self::AccountUnverified(_)
            | Self::NotConfigured
            | Self::StsUnavailable(_)
            | Self::OwnSourceFailed(_)
            | Self::Unavailable => false,
        }
    }

    /// What happened and what to do, as the Ready condition shows it.
    pub fn message(&self, identity: &Identity) -> String {
        let (namespace, name) = match &identity.origin {
            CredentialOrigin::Secret { namespace, name }
            | CredentialOrigin::ServiceAccount { namespace, name, .. } => (namespace.as_str(), name.as_str()),
            CredentialOrigin::Operator { .. } => ("", ""),
        };
        let whose = identity.describe();
        match self {
            Self::NotFound => format!("{} does not exist in namespace {namespace}: create it", capitalized(&whose)),
            Self::Invalid(key) => format!("{} has no usable {key}: set accessKeyId and accessKeySecret to printable text without line breaks", capitalized(&whose)),
            Self::SecretAccessDenied { account } => grant_access_commands("read", &whose, namespace, name, "get", "secrets", account.as_deref()),
            Self::TokenRequestDenied { account } => grant_access_commands("request a token of", &whose, namespace, name, "create", "serviceaccounts/token", account.as_deref()),
            Self::AssumeRoleDenied(error) => format!("STS rejected the role assumption of {whose} ({}): check the ARN of the role, its trust policy and the external ID (deploy/ram)", error.code_and_refusal()),
            Self::OtherAccount { account, expected } => format!("The credentials of {whose} belong to account {account}, and spec.project.accountUID is {expected}: use credentials of that account"),
            Self::AccountUnverified(error) if !identity.is_operator() => format!("STS does not say which account {whose} belongs to ({}), and without that the operator's own identity does not read the source: correct the credentials, or let the job read its source with its own", error.code_and_refusal()),
            Self::AccountUnverified(error) => format!("STS does not say which account {whose} belongs to ({}), and without that no call is made with it: ask the cluster operator to check its credentials, or set credentials.source to Secret or ServiceAccount", error.code_and_refusal()),
            Self::NotConfigured => "The operator has no identity of its own: ask the cluster operator to configure one, or set credentials.source to Secret or ServiceAccount".to_owned(),
            Self::StsUnavailable(error) if error.is_clock_skew() => format!("STS rejects the requests for {whose}, because their time is wrong ({}): {CORRECT_CLOCK}", error.code_and_request_id()),
            Self::StsUnavailable(error) if error.is_unreadable() => format!("The answer to the request for a session of {whose} contains no session that the operator can read ({}); retrying: if it persists, check that --sts-endpoint of the operator leads to STS, and any proxy on the way", error.code_and_request_id()),
            Self::StsUnavailable(error) if error.certificate_advice().is_some() => format!("No connection to STS could be made for {whose} ({}); retrying: {}", error.code, error.certificate_advice().unwrap_or_default()),
            Self::StsUnavailable(error) => format!("STS did not answer the request for a session of {whose}, or returned a server error ({}); retrying: if it persists, check the network and --sts-endpoint of the operator", error.code_and_request_id()),
            Self::OwnSourceFailed(error) => format!("The source of the operator's own credentials gave none ({}); retrying, and no other source is used instead: if it persists, ask the cluster operator to check --own-identity, the RAM role of the ECS instance, or the credentials URI", error.code),
            Self::Unavailable => format!("The credentials of {whose} could not be obtained, because the API server did not answer; retrying"),
        }
    }
}

/// The kubectl commands that give the operator access to one object and nothing else.
fn grant_access_commands(
    what: &str,
    whose: &str,
    namespace: &str,
    name: &str,
    verb: &str,
    resource: &str,
    account: Option<&str>,
) -> String {
    let account = account.unwrap_or("OPERATOR_NAMESPACE:OPERATOR_SERVICEACCOUNT");
    format!(
        "The operator has no permission to {what} {whose}: if the name is correct, run \
         kubectl create role imm-operator-{name} -n {namespace} --verb={verb} --resource={resource} --resource-name={name} && \
         kubectl create rolebinding imm-operator-{name} -n {namespace} --role=imm-operator-{name} --serviceaccount={account}"
    )
}

/// Returns the texts of an error and its causes. A cause whose text the error already has is left out.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text
}

/// The text with its first letter in upper case.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}

#[cfg(test)]
mod tests;
