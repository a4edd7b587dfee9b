//! Stores the ledgers that a plan needs before its write, and publishes what was found missing or changed.

use super::grant_set::{GrantSet, GrantWork};
use super::observation::{PolicyView, count_owned};
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::{PolicyChanges, drift_detected, policy_changes};
use crate::core::grant::{Disposition, GrantOutcome, GrantState, Plan};
use crate::core::policy::Document;

/// Stores the ledgers that the plan needs before the write. `false` when a ledger could not be stored: only that
/// grant is carried instead, and a new plan is needed.
pub(super) async fn store_ledgers(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    document: Option<&Document>,
) -> bool {
    let mut complete = true;
    let ours = count_owned(plan, document);
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        // No entry leaves a stored ledger before the write: another grant may still have to adopt the entry that
        // the plan drops.
        let mut ledger = planned.ledger.clone();
        let dropped = work
            .input
            .ledger
            .iter()
            .filter(|old| !planned.ledger.iter().any(|e| e.fingerprint == old.fingerprint));
        ledger.extend(dropped.cloned());
        if ledger == work.grant.status.owned {
            continue;
        }
        let state = work.outcome.clone();
        let state = state.unwrap_or_else(|| GrantState::Planned(planned.outcome.clone()));
        let mut observation = work.observe(Some(PolicyView {
            document,
            ours,
            scheduled_check: false,
            absence_trusted: false,
        }));
        observation.ledger = ledger;
        let status = work.status_before_write(&state, observation, set.context.ports.now());
        if set.store_status(&mut work.grant, status).await {
            work.roll_back = true;
            publish_drift(set, work).await;
        } else {
            work.input.disposition = Disposition::Carried;
            work.outcome = None;
            complete = false;
        }
    }
    complete
}

/// Publishes one event for missing statements, however many reconciles they stay missing.
pub(super) async fn publish_drift(set: &GrantSet<'_>, work: &mut GrantWork) {
    if work.unreported_drift == 0 {
        return;
    }
    set.context.metrics.drift.inc();
    let policy = work.grant.status.policy.as_ref();
    let event = drift_detected(work.unreported_drift, policy.and_then(|p| p.backup_ref.as_ref()));
    work.unreported_drift = 0;
    publish_grant_event(set.context, &work.grant, event).await;
}

/// Publishes the events of the policy changes of this reconcile.
pub(super) async fn publish_changes(set: &GrantSet<'_>, work: &GrantWork, outcome: &GrantOutcome) {
    let changes = PolicyChanges {
        added: work.added,
        missing: work.missing,
        removed: work.removed,
        backup: work.backup.as_ref().filter(|_| work.was_written()),
        pass_role: work.pass_role,
    };
    for event in policy_changes(changes, outcome) {
        publish_grant_event(set.context, &work.grant, event).await;
    }
}
