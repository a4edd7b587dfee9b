//! The conditions beside Ready: one question each, answered from how the grant stands.

use super::ready_summary::ReadySummary;
use super::status::{GrantState, Observation};
use super::{GrantObject, GrantOutcome, drift};
use crate::api::{ConditionStatus, EntryState, GrantReason, kinds};
use crate::core::condition_builder::{ConditionsBuilder, condition_status};
use crate::core::error::{CloudErrorKind, CredentialsError};
use crate::core::policy::DenyVerdict;

/// Granted: whether our statements were seen in the policy at the last read.
pub(super) fn set_granted(
    conditions: &mut ConditionsBuilder<'_>,
    grant: &GrantObject,
    state: &GrantState,
    observation: &Observation,
    summary: &ReadySummary,
) {
    let mut set = |status, reason: GrantReason, message: &str| {
        conditions.set(kinds::GRANTED, status, reason.as_str(), message);
    };
    let known = condition_status(&grant.status.conditions, kinds::GRANTED).is_some();
    let (yes, no, unknown) = (
        ConditionStatus::True,
        ConditionStatus::False,
        ConditionStatus::Unknown,
    );
    let there =
        !observation.ledger.is_empty() && observation.ledger.iter().all(|e| e.state == EntryState::Applied);
    match state {
        GrantState::Planned(GrantOutcome::Applied) | GrantState::PassRoleBlocked => {
            set(
                yes,
                GrantReason::Applied,
                "the statements were seen in the policy",
            );
        }
        GrantState::Preview if there && observation.all_present == Some(true) => set(
            yes,
            GrantReason::Applied,
            "the statements were seen in the policy",
        ),
        GrantState::Preview if there && known && observation.all_present.is_none() => {
            conditions.carry(kinds::GRANTED);
        }
        // Nobody puts back what a preview has lost, and its ledger keeps it.
        GrantState::Preview if there && observation.all_present == Some(false) => {
            set(
                no,
                GrantReason::Removed,
                "the statements are not all in the policy",
            );
        }
        GrantState::Preview => set(no, GrantReason::Preview, "nothing is written in preview"),
        GrantState::Planned(GrantOutcome::Writing) if observation.missing > 0 || grant.deleting => {
            set(
                no,
                GrantReason::Removed,
                "the statements are not all in the policy",
            );
        }
        GrantState::DriftReported
        | GrantState::RepeatedDrift
        | GrantState::Planned(GrantOutcome::Missing) => {
            set(
                no,
                GrantReason::Removed,
                "the statements are not all in the policy",
            );
        }
        GrantState::Planned(GrantOutcome::Released { .. }) => {
            set(no, GrantReason::Removed, "the grant has let its statements go");
        }
        // What was not looked at, or not seen for certain, keeps its last value.
        GrantState::Suspended
        | GrantState::WriteConflict
        | GrantState::NamespaceUnknown
        | GrantState::CredentialsFailed(CredentialsError::Unavailable)
        | GrantState::Planned(GrantOutcome::Propagating | GrantOutcome::Carried)
            if known =>
        {
            conditions.carry(kinds::GRANTED);
        }
        GrantState::CloudFailed(error) if known && is_transient(error.kind) => {
            conditions.carry(kinds::GRANTED);
        }
        GrantState::CredentialsFailed(_) | GrantState::PolicyUnreadable(_) | GrantState::CloudFailed(_) => {
            set(
                unknown,
                GrantReason::Unknown,
                "the policy could not be read or written",
            );
        }
        // Set aside for a reason of its own: what it has stays as it was last seen.
        _ if there && known && summary.stalled => conditions.carry(kinds::GRANTED),
        GrantState::Planned(_)
        | GrantState::Suspended
        | GrantState::WriteConflict
        | GrantState::Invalid(_)
        | GrantState::Denied(_)
        | GrantState::NamespaceUnknown
        | GrantState::WrongOwner(_)
        | GrantState::WrongRegion(_)
        | GrantState::OwnerUnverified => set(
            no,
            GrantReason::Pending,
            "the statements were not yet seen in the policy",
        ),
    }
}

/// CredentialsValid: whether the last call was authenticated.
pub(super) fn set_credentials_valid(
    conditions: &mut ConditionsBuilder<'_>,
    grant: &GrantObject,
    state: &GrantState,
) {
    let kind = kinds::CREDENTIALS_VALID;
    let whose = grant.identity.as_ref().map_or_else(
        || "the credentials".to_owned(),
        crate::core::identity::Identity::describe,
    );
    let refused = |conditions: &mut ConditionsBuilder<'_>, reason: GrantReason, message: String| {
        conditions.set(kind, ConditionStatus::False, reason.as_str(), message);
    };
    match state {
        GrantState::CredentialsFailed(problem) if !problem.is_transient() => {
            let message = grant
                .identity
                .as_ref()
                .map_or_else(String::new, |identity| problem.message(identity));
            refused(conditions, credentials_reason(problem), message);
        }
        GrantState::CloudFailed(error) if error.kind == CloudErrorKind::CredentialsRejected => {
            refused(
                conditions,
                GrantReason::Rejected,
                format!(
                    "the cloud refused the keys of {whose} ({})",
                    error.code_and_request_id()
                ),
            );
        }
        GrantState::CloudFailed(error) if error.kind == CloudErrorKind::CredentialsExpired => {
            refused(
                conditions,
                GrantReason::Expired,
                format!(
                    "the keys of {whose} have expired ({})",
                    error.code_and_request_id()
                ),
            );
        }
        GrantState::CloudFailed(error) if is_transient(error.kind) => conditions.carry(kind),
        GrantState::CredentialsFailed(_)
        | GrantState::Suspended
        | GrantState::Invalid(_)
        | GrantState::Denied(_)
        | GrantState::NamespaceUnknown
        | GrantState::Planned(GrantOutcome::Released { .. }) => conditions.carry(kind),
        GrantState::CloudFailed(_)
        | GrantState::Planned(_)
        | GrantState::Preview
        | GrantState::PolicyUnreadable(_)
        | GrantState::WriteConflict
        | GrantState::PassRoleBlocked
        | GrantState::WrongOwner(_)
        | GrantState::WrongRegion(_)
        | GrantState::OwnerUnverified
        | GrantState::DriftReported
        | GrantState::RepeatedDrift => {
            let message = "the last call was authenticated";
            conditions.set(
                kind,
                ConditionStatus::True,
                GrantReason::Authenticated.as_str(),
                message,
            );
        }
    }
}

/// Allowed, Effective, Contested, Suspended and ResidualAccess.
pub(super) fn set_other_conditions(
    conditions: &mut ConditionsBuilder<'_>,
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
        conditions.set(kinds::ALLOWED, no, GrantReason::TenancyDenied.as_str(), message);
    } else if not_judged || grant.deleting {
        conditions.carry(kinds::ALLOWED);
    } else {
        let message = "the tenancy rules permit this object";
        conditions.set(kinds::ALLOWED, yes, GrantReason::Permitted.as_str(), message);
    }
    let effective = match observation.deny_verdict {
        Some(DenyVerdict::NoDeny) => Some((
            yes,
            GrantReason::NoDeny,
            "no Deny in the policy covers what is granted",
        )),
        Some(DenyVerdict::ExplicitDeny) => Some((
            no,
            GrantReason::ExplicitDeny,
            "a Deny in the policy covers what is granted: remove it at OSS",
        )),
        Some(DenyVerdict::ConditionalDeny) => Some((
            unknown,
            GrantReason::ConditionalDeny,
            "a Deny with a Condition covers what is granted",
        )),
        Some(DenyVerdict::NotEvaluated) => Some((
            unknown,
            GrantReason::NotEvaluated,
            "a Deny with NotPrincipal or NotResource is not evaluated",
        )),
        None => None,
    };
    match effective {
        Some((status, reason, message)) => conditions.set(kinds::EFFECTIVE, status, reason.as_str(), message),
        None => conditions.carry(kinds::EFFECTIVE),
    }
    if drift::is_backing_off(observation.repeated_drift.as_ref()) {
        let message = "somebody keeps removing the statements; they are put back ever more seldom";
        conditions.set(kinds::CONTESTED, yes, GrantReason::Contested.as_str(), message);
    }
    if matches!(state, GrantState::Suspended) {
        conditions.set(
            kinds::SUSPENDED,
            yes,
            GrantReason::Suspended.as_str(),
            "spec.suspend is true",
        );
    }
    if let GrantState::Planned(GrantOutcome::Released { residual }) = state
        && *residual > 0
    {
        let message = format!("{residual} statements that were not ours alone still name this grantee");
        conditions.set(
            kinds::RESIDUAL_ACCESS,
            yes,
            GrantReason::Residual.as_str(),
            message,
        );
    }
}

/// The reason that CredentialsValid carries for a problem before any call.
pub fn credentials_reason(problem: &CredentialsError) -> GrantReason {
    match problem {
        CredentialsError::NotFound => GrantReason::SecretMissing,
        CredentialsError::Invalid(_) => GrantReason::SecretInvalid,
        CredentialsError::SecretAccessDenied { .. } => GrantReason::SecretAccessDenied,
        CredentialsError::TokenRequestDenied { .. } => GrantReason::TokenRequestDenied,
        CredentialsError::AssumeRoleDenied(_) => GrantReason::AssumeRoleDenied,
        CredentialsError::NotConfigured => GrantReason::OwnIdentityMissing,
        CredentialsError::OtherAccount { .. } => GrantReason::OtherAccount,
        CredentialsError::Unavailable => GrantReason::NotChecked,
    }
}

fn is_transient(kind: CloudErrorKind) -> bool {
    matches!(
        kind,
        CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Unanswered
    )
}
