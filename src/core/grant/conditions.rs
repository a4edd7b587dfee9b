//! The conditions of a grant besides Ready, computed from its state.

use super::ready_summary::repeated_drift;
use super::state::{GrantState, Observation};
use super::{GrantObject, GrantOutcome, drift};
use crate::api::{ConditionStatus, EntryState, GrantCondition, GrantReason};
use crate::core::condition_builder::{ConditionsBuilder, ReadySummary, condition_status, credentials_reason};
use crate::core::error::{CloudErrorKind, CredentialsError};
use crate::core::policy::{DenyVerdict, SECURITY_DENY};
use crate::core::text::counted;

const PRESENT: &str = "All statements present in the policy at the last read";
const MISSING: &str = "At least one statement is missing from the policy";

/// Sets Granted: whether the statements were present in the policy at the last read.
pub(super) fn set_granted(
    conditions: &mut ConditionsBuilder<'_, GrantCondition>,
    grant: &GrantObject,
    state: &GrantState,
    observation: &Observation,
    summary: &ReadySummary<GrantReason>,
) {
    let mut set = |status, reason: GrantReason, message: &str| {
        conditions.set(GrantCondition::Granted, status, reason, message);
    };
    let known = condition_status(&grant.status.conditions, GrantCondition::Granted).is_some();
    let (yes, no, unknown) = (
        ConditionStatus::True,
        ConditionStatus::False,
        ConditionStatus::Unknown,
    );
    let there =
        !observation.ledger.is_empty() && observation.ledger.iter().all(|e| e.state == EntryState::Applied);
    match state {
        GrantState::Planned(GrantOutcome::Applied) | GrantState::PassRoleBlocked => {
            set(yes, GrantReason::Applied, PRESENT);
        }
        GrantState::Preview if there && observation.all_present == Some(true) => {
            set(yes, GrantReason::Applied, PRESENT);
        }
        GrantState::Preview if there && known && observation.all_present.is_none() => {
            conditions.carry(GrantCondition::Granted);
        }
        // A preview restores nothing; the ledger keeps the entry.
        GrantState::Preview if there && observation.all_present == Some(false) => {
            set(no, GrantReason::Missing, MISSING);
        }
        GrantState::Preview => set(no, GrantReason::Preview, "The policy is not written in preview"),
        GrantState::Planned(GrantOutcome::Writing) if observation.missing > 0 || grant.deleting => {
            set(no, GrantReason::Missing, MISSING);
        }
        GrantState::DriftReported
        | GrantState::RepeatedDrift
        | GrantState::Planned(GrantOutcome::Missing) => {
            set(no, GrantReason::Missing, MISSING);
        }
        GrantState::Planned(GrantOutcome::Released { .. }) => {
            set(no, GrantReason::Released, "The grant owns no statement any more");
        }
        // Without a read that proves the opposite, the condition keeps its value.
        GrantState::Suspended
        | GrantState::WriteConflict
        | GrantState::InvalidPlan(_)
        | GrantState::NamespaceUnknown
        | GrantState::CredentialsFailed(
            CredentialsError::Unavailable
            | CredentialsError::StsUnavailable(_)
            | CredentialsError::OwnSourceFailed(_),
        )
        | GrantState::Planned(GrantOutcome::Propagating | GrantOutcome::Carried)
            if known =>
        {
            conditions.carry(GrantCondition::Granted);
        }
        GrantState::CloudFailed(error)
            if known && (is_transient(error.kind) || error.kind == CloudErrorKind::BucketLocked) =>
        {
            conditions.carry(GrantCondition::Granted);
        }
        GrantState::CredentialsFailed(_) | GrantState::PolicyUnreadable(_) | GrantState::CloudFailed(_) => {
            set(
                unknown,
                GrantReason::Unknown,
                "The policy could not be read or written: see the Ready condition",
            );
        }
        // A stalled grant keeps what was last seen of its statements.
        _ if there && known && summary.stalled => conditions.carry(GrantCondition::Granted),
        _ if summary.stalled => {
            set(
                no,
                summary.reason,
                "The statements have not been seen in the policy: see the Ready condition",
            );
        }
        GrantState::Planned(_)
        | GrantState::Suspended
        | GrantState::WriteConflict
        | GrantState::InvalidPlan(_)
        | GrantState::Invalid(_)
        | GrantState::Denied(_)
        | GrantState::NamespaceUnknown
        | GrantState::WrongOwner(_)
        | GrantState::WrongRegion(_)
        | GrantState::OwnerUnverified => set(
            no,
            GrantReason::Pending,
            "The statements have not been seen in the policy yet",
        ),
    }
}

/// Sets CredentialsValid: whether the last call was authenticated.
pub(super) fn set_credentials_valid(
    conditions: &mut ConditionsBuilder<'_, GrantCondition>,
    grant: &GrantObject,
    state: &GrantState,
) {
    let kind = GrantCondition::CredentialsValid;
    let whose = grant.identity.as_ref().map_or_else(
        || "the credentials".to_owned(),
        crate::core::identity::Identity::describe,
    );
    match state {
        GrantState::CredentialsFailed(error) => {
            let identity = grant.identity.as_ref();
            let message = identity.map_or_else(String::new, |identity| error.message(identity));
            match credentials_reason!(GrantReason, error) {
                Some(reason) => conditions.set_false(kind, reason, message),
                None => conditions.carry(kind),
            }
        }
        GrantState::CloudFailed(error) if error.kind == CloudErrorKind::CredentialsRejected => {
            conditions.set_false(
                kind,
                GrantReason::CredentialsRejected,
                format!(
                    "The cloud rejected the credentials of {whose} ({}): provide a valid AccessKey pair",
                    error.code_and_request_id()
                ),
            );
        }
        GrantState::CloudFailed(error) if error.kind == CloudErrorKind::CredentialsExpired => {
            conditions.set_false(
                kind,
                GrantReason::CredentialsExpired,
                format!(
                    "The temporary credentials of {whose} have expired ({}): provide new ones",
                    error.code_and_request_id()
                ),
            );
        }
        GrantState::CloudFailed(error) if is_transient(error.kind) => conditions.carry(kind),
        GrantState::Suspended
        | GrantState::Invalid(_)
        | GrantState::Denied(_)
        | GrantState::NamespaceUnknown
        | GrantState::Planned(GrantOutcome::Released { .. }) => conditions.carry(kind),
        GrantState::CloudFailed(_)
        | GrantState::Planned(_)
        | GrantState::Preview
        | GrantState::PolicyUnreadable(_)
        | GrantState::WriteConflict
        | GrantState::InvalidPlan(_)
        | GrantState::PassRoleBlocked
        | GrantState::WrongOwner(_)
        | GrantState::WrongRegion(_)
        | GrantState::OwnerUnverified
        | GrantState::DriftReported
        | GrantState::RepeatedDrift => {
            let message = "The last call was authenticated";
            conditions.set_true(kind, GrantReason::Authenticated, message);
        }
    }
}

/// Sets Allowed, Effective, RepeatedDrift, Suspended and ResidualAccess.
pub(super) fn set_other_conditions(
    conditions: &mut ConditionsBuilder<'_, GrantCondition>,
    grant: &GrantObject,
    state: &GrantState,
    observation: &Observation,
) {
    let (yes, no, unknown) = (
        ConditionStatus::True,
        ConditionStatus::False,
        ConditionStatus::Unknown,
    );
    let not_judged = matches!(
        state,
        GrantState::NamespaceUnknown | GrantState::Suspended | GrantState::Invalid(_)
    );
    if let GrantState::Denied(message) = state {
        conditions.set(GrantCondition::Allowed, no, GrantReason::TenancyDenied, message);
    } else if not_judged || grant.deleting {
        conditions.carry(GrantCondition::Allowed);
    } else {
        let message = "The tenancy rules allow this object";
        conditions.set(GrantCondition::Allowed, yes, GrantReason::Permitted, message);
    }
    let effective = match observation.denies.as_ref().map(|denies| denies.verdict) {
        Some(DenyVerdict::NoDeny) => Some((
            yes,
            GrantReason::NoDeny,
            "No Deny in the policy covers the granted access",
        )),
        Some(DenyVerdict::ExplicitDeny) => Some((
            no,
            GrantReason::ExplicitDeny,
            "A Deny in the policy covers all of the granted access: remove or narrow it at OSS",
        )),
        Some(DenyVerdict::PartialDeny) => Some((
            unknown,
            GrantReason::PartialDeny,
            "A Deny in the policy covers a part of the granted access: check that Deny at OSS",
        )),
        Some(DenyVerdict::ConditionalDeny) => Some((
            unknown,
            GrantReason::ConditionalDeny,
            "A Deny may cover the granted access, and its Condition is not evaluated: check that Deny at OSS",
        )),
        Some(DenyVerdict::NotEvaluated) => Some((
            unknown,
            GrantReason::NotEvaluated,
            "A Deny may cover the granted access, and it uses elements that are not evaluated: check that Deny at OSS",
        )),
        None => None,
    };
    let by_alibaba_cloud = observation.denies.as_ref().is_some_and(|d| d.by_alibaba_cloud);
    match effective {
        Some((status, reason, message)) if by_alibaba_cloud => {
            let (what, _) = message.rsplit_once(": ").unwrap_or((message, ""));
            let message = format!(
                "{what} (\"{SECURITY_DENY}\"): ask the owner of the bucket to settle with Alibaba Cloud why it was added; do not remove it before"
            );
            conditions.set(GrantCondition::Effective, status, reason, &message);
        }
        Some((status, reason, message)) => conditions.set(GrantCondition::Effective, status, reason, message),
        None => conditions.carry(GrantCondition::Effective),
    }
    if drift::is_restored_later(grant, observation.repeated_drift.as_ref()) {
        let message = repeated_drift(observation, matches!(state, GrantState::RepeatedDrift));
        conditions.set_true(GrantCondition::RepeatedDrift, GrantReason::RepeatedDrift, message);
    }
    if matches!(state, GrantState::Suspended) {
        let message = "Suspended: set spec.suspend to false to resume";
        conditions.set_true(GrantCondition::Suspended, GrantReason::Suspended, message);
    }
    if let GrantState::Planned(GrantOutcome::Released { residual }) = state
        && *residual > 0
    {
        let message = format!(
            "{}: remove at OSS what is not intended",
            residual_access(*residual)
        );
        conditions.set_true(GrantCondition::ResidualAccess, GrantReason::Residual, message);
    }
}

/// Returns which access remains after the deletion of a grant.
pub fn residual_access(statements: usize) -> String {
    let statements = counted(statements, "statement");
    format!(
        "Access remains: {statements} for the same service role in the policy, unmanaged or owned by a grant with other credentials"
    )
}

fn is_transient(kind: CloudErrorKind) -> bool {
    matches!(
        kind,
        CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Unanswered
    )
}
