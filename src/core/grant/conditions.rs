//! The conditions beside Ready: one question each, answered from how the grant stands.

use super::ready_summary::Words;
use super::status::{Facts, Standing};
use super::{GrantObject, Verdict, drift};
use crate::api::{ConditionStatus, EntryState, GrantReason, kinds};
use crate::core::condition_builder::{ConditionsBuilder, condition_status};
use crate::core::error::{CloudErrorKind, CredentialsError};
use crate::core::policy::DenyVerdict;

/// Granted: whether our statements were seen in the policy at the last read.
pub(super) fn granted(
    conditions: &mut ConditionsBuilder<'_>,
    grant: &GrantObject,
    standing: &Standing,
    facts: &Facts,
    words: &Words,
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
    let there = !facts.ledger.is_empty() && facts.ledger.iter().all(|e| e.state == EntryState::Applied);
    match standing {
        Standing::Planned(Verdict::Applied) | Standing::PassRoleBlocked => {
            set(
                yes,
                GrantReason::Applied,
                "the statements were seen in the policy",
            );
        }
        Standing::Preview if there && facts.live == Some(true) => set(
            yes,
            GrantReason::Applied,
            "the statements were seen in the policy",
        ),
        Standing::Preview if there && known && facts.live.is_none() => conditions.carry(kinds::GRANTED),
        // Nobody puts back what a preview has lost, and its ledger keeps it.
        Standing::Preview if there && facts.live == Some(false) => {
            set(
                no,
                GrantReason::Removed,
                "the statements are not all in the policy",
            );
        }
        Standing::Preview => set(no, GrantReason::Preview, "nothing is written in preview"),
        Standing::Planned(Verdict::Writing) if facts.drifted > 0 || grant.deleting => {
            set(
                no,
                GrantReason::Removed,
                "the statements are not all in the policy",
            );
        }
        Standing::DriftReported | Standing::Contested | Standing::Planned(Verdict::Missing) => {
            set(
                no,
                GrantReason::Removed,
                "the statements are not all in the policy",
            );
        }
        Standing::Planned(Verdict::Gone { .. }) => {
            set(no, GrantReason::Removed, "the grant has let its statements go");
        }
        // What was not looked at, or not seen for certain, keeps its last value.
        Standing::Suspended
        | Standing::Contended
        | Standing::TenantUnknown
        | Standing::Keys(CredentialsError::Unavailable)
        | Standing::Planned(Verdict::Settling | Verdict::Frozen)
            if known =>
        {
            conditions.carry(kinds::GRANTED);
        }
        Standing::Failed(failure) if known && transient(failure.kind) => conditions.carry(kinds::GRANTED),
        Standing::Keys(_) | Standing::Unreadable(_) | Standing::Failed(_) => {
            set(
                unknown,
                GrantReason::Unknown,
                "the policy could not be read or written",
            );
        }
        // Set aside for a reason of its own: what it has stays as it was last seen.
        _ if there && known && words.stalled => conditions.carry(kinds::GRANTED),
        Standing::Planned(_)
        | Standing::Suspended
        | Standing::Contended
        | Standing::Invalid(_)
        | Standing::Denied(_)
        | Standing::TenantUnknown
        | Standing::WrongOwner(_)
        | Standing::WrongRegion(_)
        | Standing::OwnerUnverified => set(
            no,
            GrantReason::Pending,
            "the statements were not yet seen in the policy",
        ),
    }
}

/// CredentialsValid: whether the last call was authenticated.
pub(super) fn credentials_valid(
    conditions: &mut ConditionsBuilder<'_>,
    grant: &GrantObject,
    standing: &Standing,
) {
    let kind = kinds::CREDENTIALS_VALID;
    let whose = grant.identity.as_ref().map_or_else(
        || "the credentials".to_owned(),
        crate::core::identity::Identity::describe,
    );
    let refused = |conditions: &mut ConditionsBuilder<'_>, reason: GrantReason, message: String| {
        conditions.set(kind, ConditionStatus::False, reason.as_str(), message);
    };
    match standing {
        Standing::Keys(problem) if !problem.is_transient() => {
            let message = grant
                .identity
                .as_ref()
                .map_or_else(String::new, |identity| problem.message(identity));
            refused(conditions, keys_reason(problem), message);
        }
        Standing::Failed(failure) if failure.kind == CloudErrorKind::CredentialsRejected => {
            refused(
                conditions,
                GrantReason::Rejected,
                format!(
                    "the cloud refused the keys of {whose} ({})",
                    failure.code_and_request_id()
                ),
            );
        }
        Standing::Failed(failure) if failure.kind == CloudErrorKind::CredentialsExpired => {
            refused(
                conditions,
                GrantReason::Expired,
                format!(
                    "the keys of {whose} have expired ({})",
                    failure.code_and_request_id()
                ),
            );
        }
        Standing::Failed(failure) if transient(failure.kind) => conditions.carry(kind),
        Standing::Keys(_)
        | Standing::Suspended
        | Standing::Invalid(_)
        | Standing::Denied(_)
        | Standing::TenantUnknown
        | Standing::Planned(Verdict::Gone { .. }) => conditions.carry(kind),
        Standing::Failed(_)
        | Standing::Planned(_)
        | Standing::Preview
        | Standing::Unreadable(_)
        | Standing::Contended
        | Standing::PassRoleBlocked
        | Standing::WrongOwner(_)
        | Standing::WrongRegion(_)
        | Standing::OwnerUnverified
        | Standing::DriftReported
        | Standing::Contested => {
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
pub(super) fn others(
    conditions: &mut ConditionsBuilder<'_>,
    grant: &GrantObject,
    standing: &Standing,
    facts: &Facts,
) {
    let (yes, no, unknown) = (
        ConditionStatus::True,
        ConditionStatus::False,
        ConditionStatus::Unknown,
    );
    let not_judged = matches!(
        standing,
        Standing::TenantUnknown | Standing::Suspended | Standing::Invalid(_)
    );
    if let Standing::Denied(message) = standing {
        conditions.set(kinds::ALLOWED, no, GrantReason::TenancyDenied.as_str(), message);
    } else if not_judged || grant.deleting {
        conditions.carry(kinds::ALLOWED);
    } else {
        let message = "the tenancy rules permit this object";
        conditions.set(kinds::ALLOWED, yes, GrantReason::Permitted.as_str(), message);
    }
    let effective = match facts.effect {
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
    if drift::contested(facts.contest.as_ref()) {
        let message = "somebody keeps removing the statements; they are put back ever more seldom";
        conditions.set(kinds::CONTESTED, yes, GrantReason::Contested.as_str(), message);
    }
    if matches!(standing, Standing::Suspended) {
        conditions.set(
            kinds::SUSPENDED,
            yes,
            GrantReason::Suspended.as_str(),
            "spec.suspend is true",
        );
    }
    if let Standing::Planned(Verdict::Gone { residual }) = standing
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
pub fn keys_reason(problem: &CredentialsError) -> GrantReason {
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

fn transient(kind: CloudErrorKind) -> bool {
    matches!(
        kind,
        CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Unanswered
    )
}
