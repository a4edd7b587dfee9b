//! What a grant is told: from how it stands to its status. One table; the reasons are explained in docs/reasons.md.

use k8s_openapi::jiff::Timestamp;

use super::conditions::{set_credentials_valid, set_granted, set_other_conditions};
use super::ready_summary::ready_summary;
use super::{GrantObject, GrantOutcome, PassRoleDecision, drift};
use crate::api::{
    ConditionStatus, Drift, DriftKind, GrantReason, GrantStatus, LedgerEntry, ObservedBucket, ObservedPolicy,
    PlannedChange, RepeatedDrift, kinds,
};
use crate::core::condition_builder::{ConditionsBuilder, whole_seconds};
use crate::core::error::{CloudError, CredentialsError};
use crate::core::policy::{DenyVerdict, PolicyParseError};

/// How a grant stands at the end of a pass, or in the middle of one.
#[derive(Clone, Debug, PartialEq)]
pub enum GrantState {
    /// As the plan says.
    Planned(GrantOutcome),
    /// Paused by its spec.
    Suspended,
    /// Only computed, as its spec asks.
    Preview,
    /// A field is not as it must be.
    Invalid(String),
    /// No tenancy rule permits it: why.
    Denied(String),
    /// Its namespace could not be read, so that the rules cannot be applied.
    NamespaceUnknown,
    /// The bucket belongs to this account.
    WrongOwner(String),
    /// The bucket is in this region.
    WrongRegion(String),
    /// The operator's own identity may not see whose the bucket is.
    OwnerUnverified,
    /// Statements are gone and the user asked to be told only.
    DriftReported,
    /// Statements are gone and somebody keeps removing them.
    RepeatedDrift,
    /// Its credentials cannot be used.
    CredentialsFailed(CredentialsError),
    /// A call to the cloud failed.
    CloudFailed(CloudError),
    /// The policy cannot be edited safely.
    PolicyUnreadable(PolicyParseError),
    /// Others kept changing the policy between our reads.
    WriteConflict,
    /// A wish for the `ram:PassRole` statement that Block Public Access forbids; all else is applied.
    PassRoleBlocked,
}

/// What the pass found out beside the standing; what is `None` stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The policy as read.
    pub policy: Option<ObservedPolicy>,
    /// The ledger.
    pub ledger: Vec<LedgerEntry>,
    /// The decision about the `ram:PassRole` statement.
    pub pass_role: Option<PassRoleDecision>,
    /// Whether all that the ledger holds as applied is in the policy; `None` when that was not seen for certain.
    pub all_present: Option<bool>,
    /// Foreign statements that name the same principal.
    pub overlaps: Option<i32>,
    /// Statements found gone in this pass.
    pub missing: usize,
    /// What the cloud says about the bucket.
    pub bucket: Option<ObservedBucket>,
    /// What the Denies of the policy mean for the grant.
    pub deny_verdict: Option<DenyVerdict>,
    /// What would be done if it were allowed.
    pub plan: Option<PlannedChange>,
    /// The quarrel, as it stands after this pass.
    pub repeated_drift: Option<RepeatedDrift>,
}

/// The status that follows.
pub fn grant_status(
    grant: &GrantObject,
    state: &GrantState,
    observation: Observation,
    now: Timestamp,
) -> GrantStatus {
    let before = &grant.status;
    let summary = ready_summary(grant, state);
    let mut conditions = ConditionsBuilder::new(&before.conditions, grant.generation, now);
    let ready = matches!(
        summary.reason,
        GrantReason::Applied | GrantReason::Suspended | GrantReason::Preview | GrantReason::Retained
    );
    let blocked = grant.deleting && summary.stalled;
    let message = if blocked {
        format!(
            "{} (the grant cannot take its statements out; annotation immops.dev/abandon: \"true\" releases it and leaves the access in place)",
            summary.message
        )
    } else {
        summary.message.clone()
    };
    let flag = if ready {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    };
    conditions.set(kinds::READY, flag, summary.reason.as_str(), &message);
    if (!ready && summary.stalled) || drift::is_backing_off(observation.repeated_drift.as_ref()) {
        conditions.set(
            kinds::STALLED,
            ConditionStatus::True,
            summary.reason.as_str(),
            "a person must act; see the Ready condition",
        );
    } else if !ready {
        conditions.set(
            kinds::RECONCILING,
            ConditionStatus::True,
            summary.reason.as_str(),
            "the operator goes on by itself",
        );
    }
    set_granted(&mut conditions, grant, state, &observation, &summary);
    set_credentials_valid(&mut conditions, grant, state);
    set_other_conditions(&mut conditions, grant, state, &observation);
    // An answer that was given for another generation must not pass for one about this: it will be asked for.
    let same = before.observed_generation == Some(grant.generation) || grant.deleting;
    GrantStatus {
        observed_generation: Some(grant.generation),
        conditions: conditions.finish(),
        policy: observation.policy.or_else(|| before.policy.clone()),
        owned: observation.ledger,
        ledger_of: Some(grant.uid.clone()),
        overlaps: observation.overlaps.or(before.overlaps),
        pass_role: observation
            .pass_role
            .map(PassRoleDecision::reason_text)
            .or_else(|| before.pass_role.clone().filter(|_| same)),
        last_drift: last_drift(before.last_drift.as_ref(), observation.missing, now),
        repeated_drift: observation.repeated_drift,
        bucket: observation
            .bucket
            .or_else(|| before.bucket.clone().filter(|_| same)),
        plan: observation.plan,
        last_handled_reconcile_at: grant.reconcile_at.clone(),
    }
}

/// The last drift, counted once more when statements were found gone just now.
fn last_drift(before: Option<&Drift>, drifted: usize, now: Timestamp) -> Option<Drift> {
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
