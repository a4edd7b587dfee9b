//! Ends a reconcile whose plan changes nothing: writes the statuses, publishes the events, and releases deleted grants that
//! own nothing.

use std::time::Duration;

use super::converge::Settled;
use super::grant_set::GrantSet;
use super::store_ledgers::store_ledgers;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::{PolicyChanges, foreign_overlap, policy_changes};
use crate::core::grant::{
    FinishedGrant, GrantPlan, GrantWork, PlanInput, PlanResult, PolicyView, drift, drift_interval,
    is_waiting, next_expiry_check, next_reconcile, transfers_ownership,
};

/// Ends the reconcile. Returns the time until the next one.
pub(super) async fn finish(set: &GrantSet<'_>, mut batch: Vec<GrantWork>, settled: Settled) -> Duration {
    let Settled { plan, input, .. } = settled;
    let interval = drift_interval(&batch);
    let next_addition = settled.next_addition.unwrap_or(Duration::MAX);
    if transfers_ownership(&batch, &plan) && !store_ledgers(set, &mut batch, &plan, &input).await {
        return interval.min(next_addition);
    }
    let document = input.document.as_ref();
    let input = input.plan_input(set);
    let view = PolicyView {
        scheduled_check: settled.scheduled_check,
        absence_trusted: !input.absence_untrusted,
        ..PolicyView::of_plan(&plan, document)
    };
    let expiry_check = next_expiry_check(plan.entries(), input);
    let wrote = batch.iter().any(GrantWork::was_written);
    let waiting = is_waiting(&batch, &plan, view);
    let mut finished = with_previews(batch, plan.grants, input).await;
    finished.sort_by_key(|grant| grant.loses);
    let hold = finish_grants(set, finished, view, interval, input).await;
    let result = PlanResult {
        waiting,
        wrote,
        next_check: hold.into_iter().chain(expiry_check).min(),
    };
    let seed = format!("{}/{}", set.identity.jitter_seed(), view.ours);
    next_reconcile(&result, &seed).min(next_addition)
}

/// Returns the grants with their parts of the plan, and with their previews.
async fn with_previews(
    batch: Vec<GrantWork>,
    plans: Vec<GrantPlan>,
    input: PlanInput<'_>,
) -> Vec<FinishedGrant> {
    let mut members: Vec<_> = batch.iter().map(|work| work.input.clone()).collect();
    let mut finished = Vec::new();
    for (index, (work, planned)) in batch.into_iter().zip(plans).enumerate() {
        let mut grant = FinishedGrant::of(work, planned);
        if grant.plan_preview(input, &mut members, index) {
            // Each preview is a whole plan: yield to other tasks between two of them.
            tokio::task::yield_now().await;
        }
        finished.push(grant);
    }
    finished
}

/// Finishes the grants. A grant that loses an entry is left as it is when the ledger of another one could not be stored.
/// Returns the time until the statements of a grant may be restored.
async fn finish_grants(
    set: &GrantSet<'_>,
    finished: Vec<FinishedGrant>,
    view: PolicyView<'_>,
    interval: Duration,
    input: PlanInput<'_>,
) -> Option<Duration> {
    let mut all_stored = true;
    let mut hold: Option<Duration> = None;
    for grant in finished {
        if grant.loses && !all_stored {
            continue;
        }
        let left = drift::backoff_left(grant.work.repeated_drift.as_ref(), input.now);
        hold = hold.into_iter().chain(left).min();
        // Nothing waits for a grant that is released or only loses entries.
        let gains = !grant.loses;
        let stored = finish_grant(set, grant, view, interval).await;
        all_stored &= stored || !gains;
        // An unchanged status awaits nothing, and each grant is checked against the whole policy: yield to other
        // tasks.
        tokio::task::yield_now().await;
    }
    hold
}

/// Publishes the events of a grant, then writes its status or releases it. `false` when the write failed.
async fn finish_grant(
    set: &GrantSet<'_>,
    mut grant: FinishedGrant,
    view: PolicyView<'_>,
    interval: Duration,
) -> bool {
    grant.take_ledger(set.context.ports.now());
    for event in policy_changes(PolicyChanges::of(&grant.work), &grant.outcome) {
        publish_grant_event(set.context, &grant.work.grant, event).await;
    }
    if let Some(residual) = grant.released_beside(view) {
        return set.release(grant.work.grant, residual).await;
    }
    let (status, new_overlap) = grant.status(view, interval, set.context.ports.now());
    let work = &mut grant.work;
    let stored = set.store_status(&mut work.grant, status).await;
    if stored {
        set.publish_drift(work).await;
    }
    if let (true, Some(count)) = (stored, new_overlap) {
        publish_grant_event(set.context, &work.grant, foreign_overlap(count)).await;
    }
    stored
}
