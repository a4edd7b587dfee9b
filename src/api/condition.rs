//! The condition type that both kinds share, and the names of the condition types.
//! Bounds and patterns are those of Kubernetes' own `Condition` in Go, which the schema of k8s-openapi lacks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a condition holds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The operator could not determine whether the condition holds.
    Unknown,
}

/// One observed fact about the object. kubectl wait --for=condition=TYPE waits for it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition, for example Ready, Granted or Complete. One entry for each type.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Whether the condition holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// The metadata.generation for which the condition was computed, for example 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time of the last change of status (RFC 3339, whole seconds, UTC).
    pub last_transition_time: Time,
    /// Reason of the current status, for example AccessDenied. docs/src/reference/reasons.md lists all reasons.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z][A-Za-z0-9]*$"))]
    pub reason: String,
    /// What happened and what to do; at most 1,024 characters.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Names of the condition types.
pub mod kinds {
    /// The desired state of this generation is reached, or the object is suspended or in preview.
    pub const READY: &str = "Ready";
    /// The operator is working towards the desired state (kstatus); absent otherwise.
    pub const RECONCILING: &str = "Reconciling";
    /// Action is required before the operator can continue (kstatus); absent otherwise.
    pub const STALLED: &str = "Stalled";
    /// The statements of the grant were present in the policy at the last read.
    pub const GRANTED: &str = "Granted";
    /// The last call to the cloud was authenticated.
    pub const CREDENTIALS_VALID: &str = "CredentialsValid";
    /// The object is suspended, or the job has used its budget; absent otherwise.
    pub const SUSPENDED: &str = "Suspended";
    /// No Deny in the same policy covers what the grant allows; a hint, because RAM policies are not visible.
    pub const EFFECTIVE: &str = "Effective";
    /// A tenancy rule permits the object.
    pub const ALLOWED: &str = "Allowed";
    /// Another writer keeps removing the statements; absent otherwise.
    pub const REPEATED_DRIFT: &str = "RepeatedDrift";
    /// Unmanaged statements still name this grantee; absent otherwise.
    pub const RESIDUAL_ACCESS: &str = "ResidualAccess";
    /// The job has finished, and its results are stored.
    pub const COMPLETE: &str = "Complete";
    /// The job has failed.
    pub const FAILED: &str = "Failed";
    /// The grant that the job depends on is live and covers every item; absent without `grantRef`.
    pub const GRANT_READY: &str = "GrantReady";
    /// The items of the source are counted; absent for a list of uris.
    pub const SOURCE_READY: &str = "SourceReady";
    /// No more scores are below the threshold than thresholds.maxBelow allows; absent without thresholds.
    pub const THRESHOLD_MET: &str = "ThresholdMet";
    /// Every result that status counts is stored, in status or in reports.
    pub const RESULTS_STORED: &str = "ResultsStored";
}
