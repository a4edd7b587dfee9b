//! What a grant is told: from how it stands to its status. One table; the reasons are explained in docs/reasons.md.

use k8s_openapi::jiff::Timestamp;

use super::conditions::{credentials_valid, granted, others};
use super::ready_summary::put_in_words;
use super::{GrantObject, PassRoleChoice, Verdict, drift};
use crate::api::{
    BucketSeen, ConditionStatus, Contest, Drift, DriftKind, GrantReason, GrantStatus, LedgerEntry,
    PlannedChange, PolicySeen, kinds,
};
use crate::core::condition_builder::{ConditionsBuilder, whole_seconds};
use crate::core::error::{CloudError, CredentialsError};
use crate::core::policy::{DenyVerdict, PolicyParseError};

/// How a grant stands at the end of a pass, or in the middle of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// As the plan says.
    Planned(Verdict),
    /// Paused by its spec.
    Suspended,
    /// Only computed, as its spec asks.
    Preview,
    /// A field is not as it must be.
    Invalid(String),
    /// No tenancy rule permits it: why.
    Denied(String),
    /// Its namespace could not be read, so that the rules cannot be applied.
    TenantUnknown,
    /// The bucket belongs to this account.
    WrongOwner(String),
    /// The bucket is in this region.
    WrongRegion(String),
    /// The operator's own identity may not see whose the bucket is.
    OwnerUnverified,
    /// Statements are gone and the user asked to be told only.
    DriftReported,
    /// Statements are gone and somebody keeps removing them.
    Contested,
    /// Its credentials cannot be used.
    Keys(CredentialsError),
    /// A call to the cloud failed.
    Failed(CloudError),
    /// The policy cannot be edited safely.
    Unreadable(PolicyParseError),
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
    /// Whether all that the ledger holds as applied is in the policy; `None` when that was not seen for certain.
    pub live: Option<bool>,
    /// Foreign statements that name the same principal.
    pub overlaps: Option<i32>,
    /// Statements found gone in this pass.
    pub drifted: usize,
    /// What the cloud says about the bucket.
    pub bucket: Option<BucketSeen>,
    /// What the Denies of the policy mean for the grant.
    pub effect: Option<DenyVerdict>,
    /// What would be done if it were allowed.
    pub plan: Option<PlannedChange>,
    /// The quarrel, as it stands after this pass.
    pub contest: Option<Contest>,
}

/// The status that follows.
pub fn report(grant: &GrantObject, standing: &Standing, facts: Facts, now: Timestamp) -> GrantStatus {
    let before = &grant.status;
    let words = put_in_words(grant, standing);
    let mut conditions = ConditionsBuilder::new(&before.conditions, grant.generation, now);
    let ready = matches!(
        words.reason,
        GrantReason::Applied | GrantReason::Suspended | GrantReason::Preview | GrantReason::Retained
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
    if (!ready && words.stalled) || drift::contested(facts.contest.as_ref()) {
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
    others(&mut conditions, grant, standing, &facts);
    // An answer that was given for another generation must not pass for one about this: it will be asked for.
    let same = before.observed_generation == Some(grant.generation) || grant.deleting;
    GrantStatus {
        observed_generation: Some(grant.generation),
        conditions: conditions.finish(),
        policy: facts.policy.or_else(|| before.policy.clone()),
        owned: facts.ledger,
        ledger_of: Some(grant.uid.clone()),
        overlaps: facts.overlaps.or(before.overlaps),
        pass_role: facts
            .pass_role
            .map(PassRoleChoice::describe)
            .or_else(|| before.pass_role.clone().filter(|_| same)),
        last_drift: drift(before.last_drift.as_ref(), facts.drifted, now),
        contest: facts.contest,
        bucket: facts.bucket.or_else(|| before.bucket.clone().filter(|_| same)),
        plan: facts.plan,
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
        time: whole_seconds(now),
        kind: DriftKind::StatementRemoved,
        count,
    })
}
