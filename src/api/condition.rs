//! The condition type that both kinds share, and the types of condition that users see.
//! Bounds and patterns are those that Kubernetes' own `Condition` has in Go and that k8s-openapi's schema lacks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a condition holds. `Unknown` means that it could not be found out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It could not be found out.
    Unknown,
}

/// One observed fact about the object, in the form that `kubectl wait --for=condition=...` understands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is observed, for example Ready, Granted or Complete. One entry a type.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// True, False or Unknown: whether the observation named by `type` holds.
    pub status: ConditionStatus,
    /// The metadata.generation that this condition was computed from, for example 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed (RFC 3339, whole seconds, UTC).
    pub last_transition_time: Time,
    /// Why, as one word of the reason reference in docs/reasons.md, for example AccessDenied.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z][A-Za-z0-9]*$"))]
    pub reason: String,
    /// Why and what to do next, as one or two sentences for a person; at most 1,024 characters.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Condition types, spelled as users see them.
pub mod kinds {
    /// Nothing is left to do for this generation.
    pub const READY: &str = "Ready";
    /// Work is under way (kstatus); absent otherwise.
    pub const RECONCILING: &str = "Reconciling";
    /// A person must act (kstatus); absent otherwise.
    pub const STALLED: &str = "Stalled";
    /// Our statements were seen in the policy at the last read.
    pub const GRANTED: &str = "Granted";
    /// The last call to the cloud was authenticated.
    pub const CREDENTIALS_VALID: &str = "CredentialsValid";
    /// The object is paused by `spec.suspend`; absent otherwise.
    pub const SUSPENDED: &str = "Suspended";
    /// No Deny in the same policy covers what is granted; a hint, because RAM policies are not visible.
    pub const EFFECTIVE: &str = "Effective";
    /// The tenancy rules permit the object.
    pub const ALLOWED: &str = "Allowed";
    /// Somebody keeps removing our statements; absent otherwise.
    pub const CONTESTED: &str = "Contested";
    /// Foreign statements still name this grantee; absent otherwise.
    pub const RESIDUAL_ACCESS: &str = "ResidualAccess";
    /// The job has ended and its results are stored.
    pub const COMPLETE: &str = "Complete";
    /// The job has ended without reaching its goal.
    pub const FAILED: &str = "Failed";
    /// The grant that the job depends on is live and covers every item; absent without `grantRef`.
    pub const GRANT_READY: &str = "GrantReady";
    /// The source was read and its items counted; absent for a list of uris.
    pub const SOURCE_READY: &str = "SourceReady";
    /// No more scores are below the threshold than it allows; absent without thresholds.
    pub const THRESHOLD_MET: &str = "ThresholdMet";
    /// Every result counted in status is stored, in status or in reports.
    pub const RESULTS_STORED: &str = "ResultsStored";
}
