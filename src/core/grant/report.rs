//! What a grant is told: from how it stands to its status. One table; the reasons are explained in docs/reasons.md.

use k8s_openapi::jiff::Timestamp;

use super::words::{Words, put_in_words, secret_name};
use super::{GrantObject, PassRoleChoice, Verdict};
use crate::api::{
    ConditionStatus, Drift, DriftKind, EntryState, GrantReason, GrantStatus, LedgerEntry, PolicySeen, kinds,
};
use crate::core::condition::{Conditions, seconds, status_of};
use crate::core::failure::{CallFailure, FailureKind, KeysProblem};
use crate::core::policy::Unreadable;

/// How a grant stands at the end of a pass, or in the middle of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// As the plan says.
    Planned(Verdict),
    /// Paused by its spec.
    Suspended,
    /// A field is not as it must be.
    Invalid(String),
    /// Its credentials cannot be used.
    Keys(KeysProblem),
    /// A call to the cloud failed.
    Failed(CallFailure),
    /// The policy cannot be edited safely.
    Unreadable(Unreadable),
    /// Others kept changing the policy between our reads.
    Contended,
    /// A wish for the `ram:PassRole` statement that Block Public Access forbids; all else is applied.
    PassRoleBlocked,
}

/// What the pass found out beside the standing; what is `None` stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The policy as read.
    pub policy: Option<PolicySeen>,
    /// The ledger.
    pub ledger: Vec<LedgerEntry>,
    /// The decision about the `ram:PassRole` statement.
    pub pass_role: Option<PassRoleChoice>,
    /// Foreign statements that name the same principal.
    pub overlaps: Option<i32>,
    /// Statements found gone in this pass.
    pub drifted: usize,
}

/// The status that follows.
pub fn report(grant: &GrantObject, standing: &Standing, facts: Facts, now: Timestamp) -> GrantStatus {
    let before = &grant.status;
    let words = put_in_words(grant, standing);
    let mut conditions = Conditions::new(&before.conditions, grant.generation, now);
    let ready = matches!(
        words.reason,
        GrantReason::Applied | GrantReason::Suspended | GrantReason::Retained
    );
    let blocked = grant.deleting && words.stalled;
    let message = if blocked {
        format!(
            "{} (the grant cannot take its statements out; annotation immops.dev/abandon: \"true\" releases it and leaves the access in place)",
            words.message
        )
    } else {
        words.message.clone()
    };
    let flag = if ready {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    };
    conditions.set(kinds::READY, flag, words.reason.as_str(), &message);
    if !ready && words.stalled {
        conditions.set(
            kinds::STALLED,
            ConditionStatus::True,
            words.reason.as_str(),
            "a person must act; see the Ready condition",
        );
    } else if !ready {
        conditions.set(
            kinds::RECONCILING,
            ConditionStatus::True,
            words.reason.as_str(),
            "the operator goes on by itself",
        );
    }
    granted(&mut conditions, grant, standing, &facts, &words);
    credentials_valid(&mut conditions, grant, standing);
    if matches!(standing, Standing::Suspended) {
        conditions.set(
            kinds::SUSPENDED,
            ConditionStatus::True,
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
            ConditionStatus::True,
            GrantReason::Residual.as_str(),
            message,
        );
    }
    GrantStatus {
        observed_generation: Some(grant.generation),
        conditions: conditions.finish(),
        policy: facts.policy.or_else(|| before.policy.clone()),
        owned: facts.ledger,
        overlaps: facts.overlaps.or(before.overlaps),
        pass_role: facts
            .pass_role
            .map(PassRoleChoice::describe)
            .or_else(|| before.pass_role.clone()),
        last_drift: drift(before.last_drift.as_ref(), facts.drifted, now),
        last_handled_reconcile_at: grant.reconcile_at.clone(),
    }
}

/// The last drift, counted once more when statements were found gone just now.
fn drift(before: Option<&Drift>, drifted: usize, now: Timestamp) -> Option<Drift> {
    if drifted == 0 {
        return before.cloned();
    }
    let count = before.map_or(0, |d| d.count).saturating_add(1);
    Some(Drift {
        time: seconds(now),
        kind: DriftKind::StatementRemoved,
        count,
    })
}

fn granted(
    conditions: &mut Conditions<'_>,
    grant: &GrantObject,
    standing: &Standing,
    facts: &Facts,
    words: &Words,
) {
    let last = status_of(&grant.status.conditions, kinds::GRANTED);
    let reason = |r: GrantReason| r.as_str();
    match standing {
        Standing::Planned(Verdict::Applied) | Standing::PassRoleBlocked => {
            conditions.set(
                kinds::GRANTED,
                ConditionStatus::True,
                reason(GrantReason::Applied),
                "the statements were seen in the policy",
            );
        }
        Standing::Planned(Verdict::Writing) if facts.drifted > 0 || grant.deleting => {
            conditions.set(
                kinds::GRANTED,
                ConditionStatus::False,
                reason(GrantReason::Removed),
                "the statements are not all in the policy",
            );
        }
        Standing::Planned(Verdict::Gone { .. }) => {
            conditions.set(
                kinds::GRANTED,
                ConditionStatus::False,
                reason(GrantReason::Removed),
                "the grant has let its statements go",
            );
        }
        // What was not looked at, or not seen for certain, keeps its last value.
        Standing::Suspended
        | Standing::Contended
        | Standing::Planned(Verdict::Settling | Verdict::Frozen)
            if last.is_some() =>
        {
            conditions.carry(kinds::GRANTED);
        }
        Standing::Failed(failure) if last.is_some() && transient(failure.kind) => {
            conditions.carry(kinds::GRANTED);
        }
        Standing::Keys(KeysProblem::Unreachable) if last.is_some() => conditions.carry(kinds::GRANTED),
        Standing::Keys(_) | Standing::Unreadable(_) | Standing::Failed(_) => {
            conditions.set(
                kinds::GRANTED,
                ConditionStatus::Unknown,
                reason(GrantReason::Unknown),
                "the policy could not be read or written",
            );
        }
        Standing::Planned(_) | Standing::Suspended | Standing::Contended | Standing::Invalid(_) => {
            let all_there =
                !facts.ledger.is_empty() && facts.ledger.iter().all(|e| e.state == EntryState::Applied);
            if all_there && words.stalled {
                conditions.carry(kinds::GRANTED);
            } else {
                conditions.set(
                    kinds::GRANTED,
                    ConditionStatus::False,
                    reason(GrantReason::Pending),
                    "the statements were not yet seen in the policy",
                );
            }
        }
    }
}

fn credentials_valid(conditions: &mut Conditions<'_>, grant: &GrantObject, standing: &Standing) {
    let kind = kinds::CREDENTIALS_VALID;
    let secret = secret_name(grant);
    match standing {
        Standing::Keys(KeysProblem::Unreachable) | Standing::Suspended | Standing::Invalid(_) => {
            conditions.carry(kind);
        }
        Standing::Keys(problem) => {
            conditions.set(
                kind,
                ConditionStatus::False,
                keys_reason(problem).as_str(),
                problem.message(&grant.key.namespace, secret),
            );
        }
        Standing::Failed(failure) => match failure.kind {
            FailureKind::KeysRejected => conditions.set(
                kind,
                ConditionStatus::False,
                GrantReason::Rejected.as_str(),
                format!(
                    "the cloud refused the keys of secret {secret} ({})",
                    failure.reference()
                ),
            ),
            FailureKind::KeysExpired => conditions.set(
                kind,
                ConditionStatus::False,
                GrantReason::Expired.as_str(),
                format!(
                    "the keys of secret {secret} have expired ({})",
                    failure.reference()
                ),
            ),
            FailureKind::Throttled | FailureKind::Unavailable | FailureKind::Unanswered => {
                conditions.carry(kind);
            }
            FailureKind::Denied
            | FailureKind::PublicBlocked
            | FailureKind::NoSuchBucket
            | FailureKind::NoSuchProject
            | FailureKind::WrongRegion
            | FailureKind::DocumentRefused
            | FailureKind::Refused => {
                conditions.set(
                    kind,
                    ConditionStatus::True,
                    GrantReason::Authenticated.as_str(),
                    "the last call was authenticated",
                );
            }
        },
        Standing::Planned(Verdict::Gone { .. }) => conditions.carry(kind),
        Standing::Planned(_) | Standing::Unreadable(_) | Standing::Contended | Standing::PassRoleBlocked => {
            conditions.set(
                kind,
                ConditionStatus::True,
                GrantReason::Authenticated.as_str(),
                "the last call was authenticated",
            );
        }
    }
}

/// The reason that CredentialsValid carries for a problem with the Secret.
pub fn keys_reason(problem: &KeysProblem) -> GrantReason {
    match problem {
        KeysProblem::Missing => GrantReason::SecretMissing,
        KeysProblem::Invalid(_) => GrantReason::SecretInvalid,
        KeysProblem::Denied { .. } => GrantReason::SecretAccessDenied,
        KeysProblem::Unreachable => GrantReason::NotChecked,
    }
}

fn transient(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Throttled | FailureKind::Unavailable | FailureKind::Unanswered
    )
}
