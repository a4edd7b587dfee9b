//! What can go wrong with a call to the cloud, as closed sets. Cloud text never gets past the adapter that makes
//! these: a code, a request id and our own words are all that a user sees.

use std::time::Duration;

use super::identity::{CredentialOrigin, Identity};

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudErrorKind {
    /// The caller lacks a permission.
    AccessDenied,
    /// Block Public Access refuses the policy.
    PublicAccessBlocked,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The IMM project does not exist.
    NoSuchProject,
    /// The bucket must be addressed in another region.
    WrongRegion,
    /// The keys are unknown, disabled or wrong.
    CredentialsRejected,
    /// The temporary keys have expired.
    CredentialsExpired,
    /// Asked to slow down.
    Throttled,
    /// The policy document is refused because of its content.
    PolicyRejected,
    /// The request is refused for another reason, which repeating does not change.
    RequestRejected,
    /// The service failed (5xx).
    Unavailable,
    /// No answer: time-out, reset, or an answer that makes no sense.
    Unanswered,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudError {
    /// What kind of failure it was.
    pub kind: CloudErrorKind,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The cloud's error code, cut to 64 of `[A-Za-z0-9._-]`; our own word when there was none.
    pub code: String,
    /// The cloud's request id, cut to 64 of `[A-Za-z0-9-]`.
    pub request_id: Option<String>,
    /// How long the cloud asks to wait.
    pub retry_after: Option<Duration>,
}

/// How the codes begin with which OSS, IMM and STS refuse a request whose time is not theirs.
pub const CLOCK_SKEW_CODES: [&str; 3] = ["RequestTimeTooSkewed", "InvalidTimeStamp", "IllegalTimestamp"];

impl CloudError {
    /// Whether the clock of this machine is to blame: every request is refused until it is right.
    pub fn is_clock_skew(&self) -> bool {
        CLOCK_SKEW_CODES.iter().any(|code| self.code.starts_with(code))
    }

    /// Whether the same request may be served in a moment.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Unanswered
        )
    }

    /// Whether it is certain that the request had no effect: an answer refused it.
    pub fn had_no_effect(&self) -> bool {
        let refused = !matches!(
            self.kind,
            CloudErrorKind::Unanswered | CloudErrorKind::Unavailable
        );
        // An answer without the service's own code may be a proxy's, which knows nothing of the effect.
        refused && !self.code.starts_with("OSSHttp")
    }

    /// The code and the request id, for a message.
    pub fn code_and_request_id(&self) -> String {
        match &self.request_id {
            Some(id) => format!("{}, request id {id}", self.code),
            None => self.code.clone(),
        }
    }
}

/// Why credentials cannot be used before any call with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// The Secret or ServiceAccount does not exist.
    NotFound,
    /// The Secret lacks a key, or a value is not printable text.
    Invalid(&'static str),
    /// The operator may not read the Secret; its own ServiceAccount as NAMESPACE:NAME when known.
    SecretAccessDenied {
        /// The operator's ServiceAccount, for the message.
        account: Option<String>,
    },
    /// The operator may not mint a token of the ServiceAccount.
    TokenRequestDenied {
        /// The operator's ServiceAccount, for the message.
        account: Option<String>,
    },
    /// STS refused the role.
    AssumeRoleDenied(CloudError),
    /// The keys belong to another account than the job names.
    OtherAccount {
        /// The account that they belong to.
        account: String,
        /// The account that the job names.
        expected: String,
    },
    /// The operator has no identity of its own.
    NotConfigured,
    /// The API server or STS could not be asked.
    Unavailable,
}

impl CredentialsError {
    /// Whether it may pass by itself, so that nobody must act.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// What to do about it.
    pub fn message(&self, identity: &Identity) -> String {
        let (namespace, name) = match &identity.origin {
            CredentialOrigin::Secret { namespace, name }
            | CredentialOrigin::ServiceAccount { namespace, name, .. } => (namespace.as_str(), name.as_str()),
            CredentialOrigin::Operator => ("", ""),
        };
        let whose = identity.describe();
        match self {
            Self::NotFound => format!("{whose} does not exist in namespace {namespace}: create it (docs/credentials.md)"),
            Self::Invalid(key) => format!("{whose} has no usable {key}: give it accessKeyId and accessKeySecret as printable text without line breaks"),
            Self::SecretAccessDenied { account } => grant_access_commands("read", &whose, namespace, name, "get", "secrets", account.as_deref()),
            Self::TokenRequestDenied { account } => grant_access_commands("mint a token of", &whose, namespace, name, "create", "serviceaccounts/token", account.as_deref()),
            Self::AssumeRoleDenied(error) => format!("STS refused to let {whose} assume its role ({}): check the role's ARN and its trust policy (deploy/ram)", error.code_and_request_id()),
            Self::OtherAccount { account, expected: wanted } => format!("the keys of {whose} belong to account {account}, and spec.project.accountUID is {wanted}: use keys of that account"),
            Self::NotConfigured => "the operator has no identity of its own: ask whoever runs it, or use credentials.source Secret or ServiceAccount".to_owned(),
            Self::Unavailable => format!("{whose} could not be read or exchanged just now; trying again"),
        }
    }
}

/// Two lines ready to paste that open one object to the operator and nothing else.
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
        "the operator may not {what} {whose}; open it with: \
         kubectl create role imm-operator-{name} -n {namespace} --verb={verb} --resource={resource} --resource-name={name} && \
         kubectl create rolebinding imm-operator-{name} -n {namespace} --role=imm-operator-{name} --serviceaccount={account} \
         (docs/credentials.md)"
    )
}
