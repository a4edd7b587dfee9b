//! The condition type that both kinds share, and the condition types of each.
//! Bounds and patterns are those of Kubernetes' own `Condition` in Go, which the schema of k8s-openapi lacks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reason::{GrantReason, JobReason, documented_names};

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

impl Condition {
    /// Whether it has a type.
    pub fn is(&self, kind: impl ConditionType) -> bool {
        self.kind == kind.as_ref()
    }
}

documented_names! {
    /// Types of an `ImmBucketGrant`'s conditions.
    GrantCondition {
        Ready: "The desired state of this generation is reached, or the grant is suspended or in preview.",
        Reconciling: "The operator is working towards the desired state (kstatus); absent otherwise.",
        Stalled: "Action is required before the operator can continue (kstatus); absent otherwise.",
        Granted: "The statements of the grant were present in the policy at the last read.",
        CredentialsValid: "The last call to the cloud was authenticated.",
        Suspended: "The grant is suspended; absent otherwise.",
        Effective: "No Deny in the same policy covers what the grant allows; a hint, because RAM policies are not visible.",
        Allowed: "A tenancy rule permits the object.",
        RepeatedDrift: "Another writer keeps removing the statements; absent otherwise.",
        ResidualAccess: "Unmanaged statements still name this grantee; absent otherwise.",
    }
}

documented_names! {
    /// Types of an `ImageScoreJob`'s conditions.
    JobCondition {
        Ready: "The job of this generation is complete, suspended or out of budget.",
        Reconciling: "The operator is working on the job (kstatus); absent otherwise.",
        Stalled: "Action is required before the operator can continue (kstatus); absent otherwise.",
        CredentialsValid: "The last call to the cloud was authenticated.",
        Suspended: "The job is suspended, or has used its budget; absent otherwise.",
        Allowed: "A tenancy rule permits the object.",
        Complete: "The job has finished, and its results are stored.",
        Failed: "The job has failed.",
        GrantReady: "The grant that the job depends on is live and covers every item; absent without grantRef.",
        SourceReady: "The items of the source are counted; absent for a list of uris.",
        ThresholdMet: "No more scores are below the threshold than thresholds.maxBelow allows; absent without thresholds.",
        ResultsStored: "Every result that status counts is stored, in status or in reports.",
    }
}

/// The condition types of one kind of object.
pub trait ConditionType: AsRef<str> + Copy {
    /// The reasons that its conditions can have.
    type Reason: AsRef<str> + Copy;
    /// Ready, which both kinds have, as Reconciling and Stalled.
    const READY: Self;
    /// Reconciling.
    const RECONCILING: Self;
    /// Stalled.
    const STALLED: Self;
}

impl ConditionType for GrantCondition {
    type Reason = GrantReason;
    const READY: Self = Self::Ready;
    const RECONCILING: Self = Self::Reconciling;
    const STALLED: Self = Self::Stalled;
}

impl ConditionType for JobCondition {
    type Reason = JobReason;
    const READY: Self = Self::Ready;
    const RECONCILING: Self = Self::Reconciling;
    const STALLED: Self = Self::Stalled;
}
