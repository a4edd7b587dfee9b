//! Stores the ledgers that a plan needs before its write, and publishes what was found missing or changed.

use super::grant_set::{GrantSet, GrantWork};
use super::observation::{PolicyView, count_owned};
use crate::api::EventReason;
use crate::controller::object_events::publish_grant_event;
use crate::core::condition_builder::counted;
use crate::core::grant::{Disposition, GrantOutcome, GrantState, Plan, public_statement};
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
    set.context.metrics.drift_detected();
    let statements = counted(work.unreported_drift, "statement");
    work.unreported_drift = 0;
    let backup = work
        .grant
        .status
        .policy
        .as_ref()
        .and_then(|p| p.backup_ref.as_ref());
    let copy = backup.map(|b| {
        format!(
            "; the last copy of the policy is {} in ConfigMap {}",
            b.entry, b.name
        )
    });
    let note = format!(
        "Found {statements} of this grant missing from the policy{}",
        copy.unwrap_or_default()
    );
    publish_grant_event(set.context, &work.grant, EventReason::DriftDetected, note, true).await;
}

/// Publishes the events of the policy changes of this reconcile.
pub(super) async fn publish_changes(set: &GrantSet<'_>, work: &GrantWork, outcome: &GrantOutcome) {
    let grant = &work.grant;
    if work.added > 0 && *outcome == GrantOutcome::Applied {
        let statements = counted(work.added, "statement");
        let (reason, note) = if work.missing > 0 {
            (
                EventReason::DriftCorrected,
                format!("Restored {statements} in the policy"),
            )
        } else {
            let public = public_statement(work.pass_role).map(|note| format!("; {note}"));
            (
                EventReason::StatementAdded,
                format!("Added {statements} to the policy{}", public.unwrap_or_default()),
            )
        };
        publish_grant_event(set.context, grant, reason, note, false).await;
    }
    if let (true, Some(copy)) = (work.was_written(), &work.backup) {
        // Equal events become one with a count, and its note is that of the first: it names what all of them have in common.
        let note = format!(
            "Stored the policy from before each write in ConfigMap {}; status.policy.backupRef names the latest copy",
            copy.name
        );
        publish_grant_event(set.context, grant, EventReason::PolicyBackedUp, note, false).await;
    }
    if work.removed > 0 {
        let note = format!("Removed {} from the policy", counted(work.removed, "statement"));
        publish_grant_event(set.context, grant, EventReason::StatementRemoved, note, false).await;
    }
}
