//! Ends a reconcile whose plan changes nothing: writes the statuses, publishes the events, and releases deleted
//! grants that own nothing.

use std::time::Duration;

use super::converge::Settled;
use super::grant_set::GrantSet;
use super::write::store_ledgers;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::{foreign_overlap, policy_changes};
use crate::core::grant::{
    FinishedGrant, GrantPlan, GrantWork, PlanInput, PlanResult, PolicyView, StoreOrder, drift_interval,
    is_waiting, next_expiry_check, next_reconcile, retry_transfer, transfers_ownership,
};

/// Ends the reconcile. Returns the time until the next one.
pub(super) async fn finish(set: &GrantSet<'_>, mut batch: Vec<GrantWork>, settled: Settled) -> Duration {
    let Settled { plan, input, .. } = settled;
    let interval = drift_interval(&batch);
    if transfers_ownership(&batch, &plan) && !store_ledgers(set, &mut batch, &plan, &input).await {
        return retry_transfer(interval, settled.next_addition);
    }
    let document = input.document.as_ref();
    let input = input.plan_input(set);
    let view = PolicyView {
        scheduled_check: settled.scheduled_check,
        absence_trusted: !input.absence_untrusted,
        ..PolicyView::of_plan(&plan, document)
    };
    let mut result = PlanResult {
        waiting: is_waiting(&batch, &plan, view),
        wrote: batch.iter().any(GrantWork::was_written),
        expiry_check: next_expiry_check(plan.entries(), input),
        restoration: None,
        next_addition: settled.next_addition,
    };
    let finished = with_previews(batch, plan.grants, input).await;
    result.restoration = finish_grants(set, finished, view, interval, input).await;
    let seed = format!("{}/{}", set.identity.jitter_seed(), view.ours);
    next_reconcile(&result, &seed)
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

/// Finishes the grants in the order in which their ledgers may be stored. Returns the time until the statements of a
/// grant may be restored.
async fn finish_grants(
    set: &GrantSet<'_>,
    finished: Vec<FinishedGrant>,
    view: PolicyView<'_>,
    interval: Duration,
    input: PlanInput<'_>,
) -> Option<Duration> {
    let mut order = StoreOrder::of(finished);
    while let Some(grant) = order.next_grant(input.now) {
        let loses = grant.loses;
        let stored = finish_grant(set, grant, view, interval).await;
        order.stored(loses, stored);
        // An unchanged status awaits nothing, and each grant is checked against the whole policy: yield to other
        // tasks.
        tokio::task::yield_now().await;
    }
    order.restoration
}

/// Publishes the events of a grant, then writes its status or releases it. `false` when the write failed.
async fn finish_grant(
    set: &GrantSet<'_>,
    mut grant: FinishedGrant,
    view: PolicyView<'_>,
    interval: Duration,
) -> bool {
    grant.take_ledger(set.context.ports.now());
    for event in policy_changes(&grant.work, &grant.outcome) {
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
