//! Observes the policy for the status of a grant, and decides when the numbers in the status are updated.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::grant_set::GrantWork;
use crate::api::{
    ConditionStatus, EntryState, GrantCondition, GrantStatus, LedgerEntry, ObservedPolicy, WriteReason,
};
use crate::core::condition_builder::{condition_status, whole_seconds};
use crate::core::grant::{
    Desired, Disposition, GrantOutcome, GrantState, Observation, PassRoleDecision, Plan, denies_of, drift,
    grant_status,
};
use crate::core::hash::sha256;
use crate::core::policy::{Denies, Document, POLICY_LIMIT, STATEMENT_LIMIT, StatementSpan, names_grantee};

/// The policy as seen by a reconcile.
#[derive(Clone, Copy)]
pub(super) struct PolicyView<'a> {
    pub(super) document: Option<&'a Document>,
    pub(super) ours: usize,
    /// Whether this reconcile is a scheduled check: otherwise the policy's numbers are updated only after a write.
    pub(super) scheduled_check: bool,
    /// Whether a missing statement counts as missing: the read is not stale, and the reconcile is at its end.
    pub(super) absence_trusted: bool,
}

impl GrantWork {
    /// Whether the grant is being deleted and owns nothing. An entry is stored before its write, so no write can be in
    /// flight, and the grant can be released without credentials and without a readable policy.
    pub(super) fn owns_nothing(&self) -> bool {
        self.grant.deleting && self.grant.status.owned.is_empty()
    }

    /// Returns the status with the ledger to record before a write. A grant that is stalled at this generation keeps
    /// its conditions until the write has a result, so that they do not flap with every attempt.
    pub(super) fn status_before_write(
        &self,
        state: &GrantState,
        observation: Observation,
        now: Timestamp,
    ) -> GrantStatus {
        let before = &self.grant.status;
        let stuck =
            condition_status(&before.conditions, GrantCondition::Stalled) == Some(ConditionStatus::True);
        let same = before.observed_generation == Some(self.grant.generation);
        if stuck && same && self.unreported_drift == 0 {
            return GrantStatus {
                owned: observation.ledger,
                ledger_of: Some(self.grant.uid.clone()),
                ..before.clone()
            };
        }
        // The reconcile annotation is acknowledged only at the end of the reconcile.
        GrantStatus {
            last_handled_reconcile_at: before.last_handled_reconcile_at.clone(),
            ..grant_status(&self.grant, state, observation, now)
        }
    }

    /// Returns the state decided before the plan, or the state that follows from the outcome of the plan.
    pub(super) fn grant_state(&self, outcome: &GrantOutcome) -> GrantState {
        if let Some(known) = &self.outcome {
            return known.clone();
        }
        let backing_off = drift::is_restored_later(&self.grant, self.repeated_drift.as_ref());
        let blocked = matches!(self.pass_role, Some(PassRoleDecision::Blocked(_)));
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
    pub(super) fn observe(&self, view: Option<PolicyView<'_>>) -> Observation {
        let before = self.grant.status.policy.as_ref();
        let fresh = view.filter(|s| s.scheduled_check || self.was_written() || before.is_none());
        Observation {
            policy: fresh
                .map(|view| self.policy_seen(view))
                .or_else(|| self.written_policy.clone()),
            ledger: self.input.ledger.clone(),
            all_present: view.and_then(|view| self.all_present(view)),
            pass_role: self.pass_role,
            overlaps: fresh.and_then(|view| self.overlaps(view.document)),
            missing: self.unreported_drift,
            bucket: self.bucket.clone(),
            denies: view.and_then(|view| self.denies(view.document)),
            plan: None,
            repeated_drift: self.repeated_drift.clone(),
        }
    }

    /// Whether the policy was written for the grant in this reconcile, or an earlier write was found to have taken
    /// effect.
    pub(super) fn was_written(&self) -> bool {
        self.added > 0 || self.removed > 0 || self.late_write_seen
    }

    pub(super) fn policy_seen(&self, view: PolicyView<'_>) -> ObservedPolicy {
        let before = self.grant.status.policy.as_ref();
        let text = view.document.map(Document::text);
        let statements = view.document.map_or(0, |d| d.statements().len());
        let size = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let reason = if self.added > 0 || self.late_write_seen {
            WriteReason::StatementMissing
        } else {
            WriteReason::StatementUnwanted
        };
        let earlier =
            |written: Option<WriteReason>| written.or_else(|| before.and_then(|p| p.last_write_reason));
        ObservedPolicy {
            sha256: text.map(sha256),
            bytes: i64::try_from(text.map_or(0, str::len)).unwrap_or(i64::MAX),
            limit_bytes: i64::try_from(POLICY_LIMIT).unwrap_or(i64::MAX),
            statements: size(statements),
            foreign_statements: size(statements.saturating_sub(view.ours)),
            public: self.public.or_else(|| before.and_then(|p| p.public)),
            backup_ref: self
                .backup
                .clone()
                .or_else(|| before.and_then(|p| p.backup_ref.clone())),
            last_write_time: self
                .last_write
                .map(whole_seconds)
                .or_else(|| before.and_then(|p| p.last_write_time.clone())),
            last_write_reason: earlier(self.was_written().then_some(reason)),
        }
    }

    /// Whether all applied statements of the grant are in the policy. `None` when one is missing and the read may be
    /// stale.
    pub(super) fn all_present(&self, view: PolicyView<'_>) -> Option<bool> {
        let there = |e: &LedgerEntry| {
            view.document
                .is_some_and(|d| !d.positions_of(&e.fingerprint).is_empty())
        };
        let mut applied = self
            .input
            .ledger
            .iter()
            .filter(|e| e.state == EntryState::Applied);
        let all = applied.all(there);
        (all || view.absence_trusted).then_some(all)
    }

    /// Counts the foreign statements that name the sessions that read, or their account; `None` when the spec is invalid.
    pub(super) fn overlaps(&self, document: Option<&Document>) -> Option<i32> {
        let grantee = &self.grant.spec.as_ref().ok()?.grantee;
        let owned = |s: &&StatementSpan| {
            let placed = |f: &String| self.input.ledger.iter().any(|e| e.fingerprint == *f);
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
    fn denies(&self, document: Option<&Document>) -> Option<Denies> {
        let spec = self.grant.spec.as_ref().ok()?;
        let Disposition::Enforced(desired) = &self.input.disposition else {
            return None;
        };
        if desired.statements.iter().any(|s| s.text.len() > STATEMENT_LIMIT) {
            return None;
        }
        Some(denies_of(spec, document))
    }

    /// Returns the statements for a preview: of a grant in mode `Preview`, or of an enforced grant whose statements
    /// are missing.
    pub(super) fn desired_for_preview(&self, missing: bool) -> Option<Desired> {
        match &self.input.disposition {
            Disposition::Enforced(desired) if missing => Some(desired.clone()),
            Disposition::Enforced(_) | Disposition::Carried | Disposition::Removing(_) => {
                self.preview.clone()
            }
        }
    }
}

/// Counts the statements of the policy that a planned ledger records as ours.
pub(super) fn count_owned(plan: &Plan, document: Option<&Document>) -> usize {
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
