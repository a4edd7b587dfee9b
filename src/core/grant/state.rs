//! What a reconcile has found out about a grant: its state, and what was observed.

use super::{GrantOutcome, PassRoleDecision};
use crate::api::{LedgerEntry, ObservedBucket, ObservedPolicy, PlannedChange, RepeatedDrift};
use crate::core::error::{CloudError, CredentialsError};
use crate::core::policy::{Denies, PlanFault, PolicyParseError};

/// State of a grant at the end of a reconcile, or before a write.
#[derive(Clone, Debug, PartialEq)]
pub enum GrantState {
    /// The outcome of the plan.
    Planned(GrantOutcome),
    /// Suspended by spec.suspend.
    Suspended,
    /// Computed only, because spec.mode is Preview.
    Preview,
    /// A field of the spec is invalid: the message.
    Invalid(String),
    /// No tenancy rule permits the grant: the message.
    Denied(String),
    /// The namespace could not be read, so the tenancy rules cannot be evaluated.
    NamespaceUnknown,
    /// The bucket belongs to this other account.
    WrongOwner(String),
    /// The bucket is in this other region.
    WrongRegion(String),
    /// The operator's own identity cannot read the owner of the bucket.
    OwnerUnverified,
    /// Statements are missing and driftPolicy is Report.
    DriftReported,
    /// Statements are missing and restoring backs off, because another writer keeps removing them.
    RepeatedDrift,
    /// The credentials cannot be used.
    CredentialsFailed(CredentialsError),
    /// A call to the cloud failed.
    CloudFailed(CloudError),
    /// The policy cannot be edited safely.
    PolicyUnreadable(PolicyParseError),
    /// Another writer changed the policy between each read and write.
    WriteConflict,
    /// The planned policy failed the check before its write.
    InvalidPlan(PlanFault),
    /// Block Public Access forbids the requested `ram:PassRole` statement; the other statement is applied.
    PassRoleBlocked,
}

impl GrantState {
    /// Returns the number of equal statements that stay in the policy when the grant is released.
    pub fn residual(&self) -> usize {
        if let Self::Planned(GrantOutcome::Released { residual }) = self {
            *residual
        } else {
            0
        }
    }

    /// Whether the policy could not be read, for a cause that will not pass: what was planned for it may be wrong.
    pub fn ends_preview(&self) -> bool {
        match self {
            Self::CredentialsFailed(error) => !error.is_transient(),
            Self::CloudFailed(error) => !error.is_transient(),
            Self::PolicyUnreadable(_) => true,
            Self::Planned(_)
            | Self::Suspended
            | Self::Preview
            | Self::Invalid(_)
            | Self::Denied(_)
            | Self::NamespaceUnknown
            | Self::WrongOwner(_)
            | Self::WrongRegion(_)
            | Self::OwnerUnverified
            | Self::DriftReported
            | Self::RepeatedDrift
            | Self::WriteConflict
            | Self::InvalidPlan(_)
            | Self::PassRoleBlocked => false,
        }
    }
}

/// What the reconcile observed, besides the state; a `None` keeps the value of the previous status.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The policy at the last read.
    pub policy: Option<ObservedPolicy>,
    /// The ledger.
    pub ledger: Vec<LedgerEntry>,
    /// The decision about the `ram:PassRole` statement.
    pub pass_role: Option<PassRoleDecision>,
    /// Whether every applied entry of the ledger is in the policy; `None` when the read does not prove it.
    pub all_present: Option<bool>,
    /// Number of foreign statements that name the same principal.
    pub overlaps: Option<i32>,
    /// Number of statements found missing in this reconcile.
    pub missing: usize,
    /// Owner and region of the bucket.
    pub bucket: Option<ObservedBucket>,
    /// Effect of the Deny statements in the policy on the grant.
    pub denies: Option<Denies>,
    /// The change that Enforce or Correct would make.
    pub plan: Option<PlannedChange>,
    /// Repeated removals after this reconcile.
    pub repeated_drift: Option<RepeatedDrift>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::CloudErrorKind;

    #[test]
    fn a_plan_ends_if_the_policy_could_not_be_read_for_a_cause_that_will_not_pass() {
        let failed = |kind| GrantState::CloudFailed(CloudError::new(kind, "Code"));
        for (state, expected) in [
            (GrantState::CredentialsFailed(CredentialsError::NotFound), true),
            (
                GrantState::CredentialsFailed(CredentialsError::Unavailable),
                false,
            ),
            (failed(CloudErrorKind::AccessDenied), true),
            (failed(CloudErrorKind::Throttled), false),
            (GrantState::PolicyUnreadable(PolicyParseError::NotUtf8), true),
            (GrantState::WriteConflict, false),
            (GrantState::Suspended, false),
        ] {
            assert_eq!(state.ends_preview(), expected, "{state:?}");
        }
    }

    #[test]
    fn only_a_released_grant_leaves_statements() {
        let released = GrantState::Planned(GrantOutcome::Released { residual: 2 });
        assert_eq!(released.residual(), 2);
        assert_eq!(GrantState::Planned(GrantOutcome::Applied).residual(), 0);
    }
}
