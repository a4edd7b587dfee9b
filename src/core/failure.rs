//! What can go wrong with a call to the cloud, as closed sets. Cloud text never gets past the adapter that makes
//! these: a code, a request id and our own words are all that a user sees.

use std::time::Duration;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The caller lacks a permission.
    Denied,
    /// Block Public Access refuses the policy.
    PublicBlocked,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The IMM project does not exist.
    NoSuchProject,
    /// The bucket must be addressed in another region.
    WrongRegion,
    /// The keys are unknown, disabled or wrong.
    KeysRejected,
    /// The temporary keys have expired.
    KeysExpired,
    /// Asked to slow down.
    Throttled,
    /// The policy document is refused because of its content.
    DocumentRefused,
    /// The request is refused for another reason, which repeating does not change.
    Refused,
    /// The service failed (5xx).
    Unavailable,
    /// No answer: time-out, reset, or an answer that makes no sense.
    Unanswered,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The cloud's error code, cut to 64 of `[A-Za-z0-9._-]`; our own word when there was none.
    pub code: String,
    /// The cloud's request id, cut to 64 of `[A-Za-z0-9-]`.
    pub request_id: Option<String>,
    /// How long the cloud asks to wait.
    pub retry_after: Option<Duration>,
}

impl CallFailure {
    /// Whether it is certain that the request had no effect: an answer refused it.
    pub fn certain(&self) -> bool {
        !matches!(self.kind, FailureKind::Unanswered | FailureKind::Unavailable)
            || self.code == "MetaOperationQpsLimitExceeded"
    }

    /// The code and the request id, for a message.
    pub fn reference(&self) -> String {
        match &self.request_id {
            Some(id) => format!("{}, request id {id}", self.code),
            None => self.code.clone(),
        }
    }
}

/// Why credentials cannot be used before any call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysProblem {
    /// The Secret does not exist.
    Missing,
    /// The Secret lacks a key, or a value is not printable text.
    Invalid(&'static str),
    /// The operator may not read the Secret; its own ServiceAccount as NAMESPACE:NAME when known.
    Denied {
        /// The operator's ServiceAccount, for the message.
        account: Option<String>,
    },
    /// The API server could not be asked.
    Unreachable,
}

impl KeysProblem {
    /// What to do about it, naming the Secret.
    pub fn message(&self, namespace: &str, secret: &str) -> String {
        match self {
            Self::Missing => format!(
                "secret {secret} does not exist in namespace {namespace}: create it with accessKeyId and accessKeySecret"
            ),
            Self::Invalid(key) => format!(
                "secret {secret} has no usable {key}: give it accessKeyId and accessKeySecret as printable text without line breaks"
            ),
            Self::Denied { account } => {
                let account = account
                    .as_deref()
                    .unwrap_or("OPERATOR_NAMESPACE:OPERATOR_SERVICEACCOUNT");
                format!(
                    "the operator may not read secret {secret}; open it with: \
                     kubectl create role imm-operator-{secret} -n {namespace} --verb=get --resource=secrets --resource-name={secret} && \
                     kubectl create rolebinding imm-operator-{secret} -n {namespace} --role=imm-operator-{secret} --serviceaccount={account} \
                     (docs/credentials.md)"
                )
            }
            Self::Unreachable => {
                format!("secret {secret} could not be read from the API server; trying again")
            }
        }
    }
}
