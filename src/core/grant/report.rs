//! What a grant reports: the policy as its reconcile sees it, its state, and its status before a write, at the end,
//! and when the reconcile ends early.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::plan::{GrantOutcome, GrantPlan, Plan};
use super::work::GrantWork;
use super::{Disposition, GrantState, Observation, PassRoleDecision, denies_of, drift, grant_status};
use crate::api::{
    ConditionStatus, EntryState, GrantCondition, GrantStatus, LedgerEntry, ObservedPolicy, PlannedChange,
    WriteReason,
};
use crate::core::condition_builder::condition_status;
use crate::core::hash::sha256;
use crate::core::policy::{Denies, Document, POLICY_LIMIT, STATEMENT_LIMIT, StatementSpan, names_grantee};
use crate::core::time::whole_seconds;

/// The policy as seen by a reconcile.
#[derive(Clone, Copy)]
pub struct PolicyView<'a> {
    /// The policy; `None` when the bucket has none.
    pub document: Option<&'a Document>,
    /// Statements of it that the ledgers record as ours.
    pub ours: usize,
    /// Whether this reconcile is a scheduled check: otherwise the policy's numbers are updated only after a write.
    pub scheduled_check: bool,
    /// Whether a missing statement counts as missing: the read is not stale, and the reconcile is at its end.
    pub absence_trusted: bool,
}

impl<'a> PolicyView<'a> {
    /// Returns a view of the policy of a plan, in the middle of a reconcile.
    pub fn of_plan(plan: &Plan, document: Option<&'a Document>) -> Self {
        Self {
            document,
            ours: count_owned(plan, document),
            scheduled_check: false,
            absence_trusted: false,
        }
    }
}

/// Returns the status with the ledger that the plan needs before its write; `None` if the ledger is stored. A grant that
/// is stalled at this generation keeps its conditions until the write has a result, so that they do not flap with every
/// attempt.
pub fn status_before_write(
    work: &GrantWork,
    planned: &GrantPlan,
    view: PolicyView<'_>,
    now: Timestamp,
) -> Option<GrantStatus> {
    // No entry leaves a stored ledger before the write: another grant may still have to adopt the entry that the plan
    // drops.
    let mut ledger = planned.ledger.clone();
    let kept = work.input.ledger.iter();
    let dropped = kept.filter(|old| !planned.ledger.iter().any(|e| e.fingerprint == old.fingerprint));
    ledger.extend(dropped.cloned());
    let before = &work.grant.status;
    if ledger == before.owned {
        return None;
    }
    let stuck = condition_status(&before.conditions, GrantCondition::Stalled) == Some(ConditionStatus::True);
    let same = before.observed_generation == Some(work.grant.generation);
    if stuck && same && work.unreported_drift == 0 {
        return Some(GrantStatus {
            owned: ledger,
            ledger_of: Some(work.grant.uid.clone()),
            ..before.clone()
        });
    }
    let known = work.decided.clone();
    let state = known.unwrap_or_else(|| GrantState::Planned(planned.outcome.clone()));
    let observation = Observation {
        ledger,
        ..observe(work, Some(view))
    };
    Some(GrantStatus {
        // The reconcile annotation is acknowledged only at the end of the reconcile.
        last_handled_reconcile_at: before.last_handled_reconcile_at.clone(),
        ..grant_status(&work.grant, &state, observation, now)
    })
}

/// Returns the status at the end of a reconcile, and the number of foreign statements for the same principal if it
/// has grown. `change` is the preview of the grant.
pub(super) fn final_status(
    work: &GrantWork,
    outcome: &GrantOutcome,
    change: Option<PlannedChange>,
    view: PolicyView<'_>,
    interval: Duration,
    now: Timestamp,
) -> (GrantStatus, Option<i32>) {
    let mut observation = Observation {
        plan: change,
        ..observe(work, Some(view))
    };
    if *outcome == GrantOutcome::Applied || observation.all_present == Some(true) {
        let before = observation.repeated_drift.as_ref();
        observation.repeated_drift = drift::on_present(before, interval, now);
    }
    let before = work.grant.status.overlaps.unwrap_or(0);
    let new_overlap = observation.overlaps.filter(|n| *n > before);
    let status = grant_status(&work.grant, &grant_state(work, outcome), observation, now);
    (status, new_overlap)
}

/// Returns the status at the end of a reconcile without a final plan: with the state that was decided for the grant, or
/// with `state`.
pub fn status_without_plan(work: &GrantWork, state: &GrantState, now: Timestamp) -> GrantStatus {
    let state = if let GrantState::Planned(outcome) = state {
        grant_state(work, outcome)
    } else {
        let decided = work.decided.clone();
        // A preview needs the policy: without it, its plan is that of an earlier policy.
        let decided = decided.filter(|decided| *decided != GrantState::Preview || !state.ends_preview());
        decided.unwrap_or_else(|| state.clone())
    };
    let plan = work.grant.status.plan.clone();
    let observation = Observation {
        plan: plan.filter(|_| !state.ends_preview()),
        ..observe(work, None)
    };
    grant_status(&work.grant, &state, observation, now)
}

/// Returns the state decided before the plan, or the state that follows from the outcome of the plan.
pub(super) fn grant_state(work: &GrantWork, outcome: &GrantOutcome) -> GrantState {
    if let Some(known) = &work.decided {
        return known.clone();
    }
    let backing_off = drift::is_restored_later(&work.grant, work.repeated_drift.as_ref());
    let blocked = matches!(work.pass_role, Some(PassRoleDecision::Blocked(_)));
    if *outcome == GrantOutcome::Applied && blocked {
        GrantState::PassRoleBlocked
    } else if *outcome == GrantOutcome::Missing && backing_off {
        GrantState::RepeatedDrift
    } else if *outcome == GrantOutcome::Missing {
        GrantState::DriftReported
    } else {
        GrantState::Planned(outcome.clone())
    }
}

/// Returns the observation so far; a field without a new value keeps the stored value.
fn observe(work: &GrantWork, view: Option<PolicyView<'_>>) -> Observation {
    let before = work.grant.status.policy.as_ref();
    let fresh = view.filter(|s| s.scheduled_check || work.was_written() || before.is_none());
    Observation {
        policy: fresh
            .map(|view| policy_seen(work, view))
            .or_else(|| work.written_policy.clone()),
        ledger: work.input.ledger.clone(),
        all_present: view.and_then(|view| all_present(work, view)),
        pass_role: work.pass_role,
        overlaps: fresh.and_then(|view| overlaps(work, view.document)),
        missing: work.unreported_drift,
        bucket: work.bucket.clone(),
        denies: view.and_then(|view| denies(work, view.document)),
        plan: None,
        repeated_drift: work.repeated_drift.clone(),
    }
}

/// Returns what the status says about the policy.
pub(super) fn policy_seen(work: &GrantWork, view: PolicyView<'_>) -> ObservedPolicy {
    let before = work.grant.status.policy.as_ref();
    let text = view.document.map(Document::text);
    let statements = view.document.map_or(0, |d| d.statements().len());
    let size = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let reason = if work.added > 0 || work.late_write_seen {
        WriteReason::StatementMissing
    } else {
        WriteReason::StatementUnwanted
    };
    let earlier = |written: Option<WriteReason>| written.or_else(|| before.and_then(|p| p.last_write_reason));
    ObservedPolicy {
        sha256: text.map(sha256),
        bytes: i64::try_from(text.map_or(0, str::len)).unwrap_or(i64::MAX),
        limit_bytes: i64::try_from(POLICY_LIMIT).unwrap_or(i64::MAX),
        statements: size(statements),
        foreign_statements: size(statements.saturating_sub(view.ours)),
        public: work.public.or_else(|| before.and_then(|p| p.public)),
        backup_ref: work
            .backup
            .clone()
            .or_else(|| before.and_then(|p| p.backup_ref.clone())),
        last_write_time: work
            .last_write
            .map(whole_seconds)
            .or_else(|| before.and_then(|p| p.last_write_time.clone())),
        last_write_reason: earlier(work.was_written().then_some(reason)),
    }
}

/// Whether all applied statements of the grant are in the policy. `None` when one is missing and the read may be
/// stale.
pub(super) fn all_present(work: &GrantWork, view: PolicyView<'_>) -> Option<bool> {
    let there = |e: &LedgerEntry| {
        view.document
            .is_some_and(|d| !d.positions_of(&e.fingerprint).is_empty())
    };
    let mut applied = work
        .input
        .ledger
        .iter()
        .filter(|e| e.state == EntryState::Applied);
    let all = applied.all(there);
    (all || view.absence_trusted).then_some(all)
}

/// Counts the foreign statements that name the sessions that read, or their account; `None` when the spec is invalid.
pub(super) fn overlaps(work: &GrantWork, document: Option<&Document>) -> Option<i32> {
    let grantee = &work.grant.spec.as_ref().ok()?.grantee;
    let owned = |s: &&StatementSpan| {
        let placed = |f: &String| work.input.ledger.iter().any(|e| e.fingerprint == *f);
        s.fingerprint.as_ref().is_some_and(placed)
    };
    let statements = document.map(Document::statements).unwrap_or_default();
    let foreign = statements
        .iter()
        .filter(|s| !owned(s) && names_grantee(grantee, &s.principals));
    i32::try_from(foreign.count()).ok()
}

/// Evaluates the Deny statements of the policy for the grant. `None` unless the grant is enforced and its
/// statements are short enough for OSS: that limit also bounds the cost of the comparison.
fn denies(work: &GrantWork, document: Option<&Document>) -> Option<Denies> {
    let spec = work.grant.spec.as_ref().ok()?;
    let Disposition::Enforced(desired) = &work.input.disposition else {
        return None;
    };
    if desired.statements.iter().any(|s| s.text.len() > STATEMENT_LIMIT) {
        return None;
    }
    Some(denies_of(spec, document))
}

/// Counts the statements of the policy that a planned ledger records as ours.
fn count_owned(plan: &Plan, document: Option<&Document>) -> usize {
    let placed = plan
        .entries()
        .filter(|e| !e.pre_existing && e.state != EntryState::Missing);
    let placed: BTreeSet<&str> = placed.map(|e| e.fingerprint.as_str()).collect();
    let statements = document.map(Document::statements).unwrap_or_default();
    let live: BTreeSet<&str> = statements
        .iter()
        .filter_map(|s| s.fingerprint.as_deref())
        .collect();
    placed.intersection(&live).count()
}

#[cfg(test)]
mod tests;
