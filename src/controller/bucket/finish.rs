//! Ends a reconcile: writes the statuses, publishes the events, and releases deleted grants that own nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::grant_set::{GrantSet, GrantWork, drift_interval};
use super::observation::{PolicyView, count_owned};
use super::roll_back::roll_back;
use super::store_ledgers::{publish_changes, publish_drift, store_ledgers};
use crate::api::{EntryState, LedgerEntry, PlannedChange};
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::foreign_overlap;
use crate::core::grant::{
    GrantOutcome, GrantPlan, GrantState, Observation, Plan, PlanInput, PlanResult, drift, grant_status,
    next_expiry_check, next_reconcile, planned_change,
};

/// A grant at the end of a reconcile, with its planned ledger and outcome.
struct FinishedGrant {
    work: GrantWork,
    ledger: Vec<LedgerEntry>,
    outcome: GrantOutcome,
    plan: Option<PlannedChange>,
    loses: bool,
}

/// Ends a reconcile whose plan changes nothing: writes the statuses, last those of grants whose ledger loses an
/// entry, and releases deleted grants that own nothing. Returns the time until the next reconcile.
pub(super) async fn finish(
    set: &GrantSet<'_>,
    mut batch: Vec<GrantWork>,
    plan: Plan,
    input: PlanInput<'_>,
    regular: bool,
) -> Duration {
    let interval = drift_interval(&batch);
    // An entry that moves to another grant is in both ledgers before it leaves the first.
    if transfers_ownership(&batch, &plan) && !store_ledgers(set, &mut batch, &plan, input.document).await {
        return interval;
    }
    let view = PolicyView {
        document: input.document,
        ours: count_owned(&plan, input.document),
        scheduled_check: regular,
        absence_trusted: !input.absence_untrusted,
    };
    let expiry_check = next_expiry_check(plan.entries(), input);
    let wrote = batch.iter().any(GrantWork::was_written);
    let set_aside = |(p, planned): (&GrantWork, &GrantPlan)| {
        planned.outcome == GrantOutcome::Propagating
            || (planned.outcome == GrantOutcome::Carried && p.outcome.is_none())
    };
    let unsure = |p: &GrantWork| p.preview.is_some() && p.all_present(view).is_none();
    let waiting = batch.iter().zip(&plan.grants).any(set_aside) || batch.iter().any(unsure);
    let mut members: Vec<_> = batch.iter().map(|p| p.input.clone()).collect();
    let mut arrivals = Vec::new();
    for (index, (mut work, GrantPlan { ledger, outcome, .. })) in
        batch.into_iter().zip(plan.grants).enumerate()
    {
        let loses = work
            .input
            .ledger
            .iter()
            .any(|old| !ledger.iter().any(|e| e.fingerprint == old.fingerprint));
        let shown = work.desired_for_preview(outcome == GrantOutcome::Missing);
        if shown.is_some() {
            // Each preview is a whole plan: yield to other tasks between two of them.
            tokio::task::yield_now().await;
        }
        let plan = match shown.map(|desired| planned_change(input, &mut members, index, &desired)) {
            Some(Ok(plan)) => Some(plan),
            // A preview of a change that could not be written reports the reason instead of a plan.
            Some(Err(unfit)) => {
                work.outcome = Some(GrantState::Planned(unfit));
                None
            }
            None => None,
        };
        arrivals.push(FinishedGrant {
            work,
            ledger,
            outcome,
            plan,
            loses,
        });
    }
    // A dropped entry belongs to another grant only once the ledger of that grant is stored: gains are stored
    // first.
    arrivals.sort_by_key(|arrival| arrival.loses);
    let mut all_stored = true;
    let mut hold: Option<Duration> = None;
    for arrival in arrivals {
        if arrival.loses && !all_stored {
            continue;
        }
        let left = drift::backoff_left(arrival.work.repeated_drift.as_ref(), input.now);
        hold = hold.into_iter().chain(left).min();
        // Nothing waits for a grant that is released or only loses entries.
        let gains = !arrival.loses;
        let stored = finish_grant(set, arrival, view, interval).await;
        all_stored &= stored || !gains;
        // An unchanged status awaits nothing, and each grant is checked against the whole policy: yield to other
        // tasks.
        tokio::task::yield_now().await;
    }
    let result = PlanResult {
        waiting,
        wrote,
        next_check: hold.into_iter().chain(expiry_check).min(),
    };
    next_reconcile(&result, &format!("{}/{}", set.identity.jitter_seed(), view.ours))
}

/// Publishes the events of a grant, then writes its status or releases it. `false` when the write failed.
async fn finish_grant(
    set: &GrantSet<'_>,
    arrival: FinishedGrant,
    view: PolicyView<'_>,
    interval: Duration,
) -> bool {
    let FinishedGrant {
        mut work,
        ledger,
        outcome,
        plan,
        ..
    } = arrival;
    let landed = |e: &LedgerEntry| e.state == EntryState::Intended && !e.pre_existing;
    let was_open = |f: &str| work.input.ledger.iter().any(|e| e.fingerprint == f && landed(e));
    // A write of an earlier reconcile took effect after all: jobs wait out the propagation delay as after any
    // write.
    if ledger
        .iter()
        .any(|e| e.state == EntryState::Applied && !e.pre_existing && was_open(&e.fingerprint))
    {
        work.late_write_seen = true;
        work.last_write = work.last_write.or(Some(set.context.ports.now()));
    }
    work.input.ledger = ledger;
    publish_changes(set, &work, &outcome).await;
    if let GrantOutcome::Released { residual } = outcome {
        let others = work
            .overlaps(view.document)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0);
        return set.release(work.grant, residual.max(others)).await;
    }
    let now = set.context.ports.now();
    let state = work.grant_state(&outcome);
    let mut observation = work.observe(Some(view));
    observation.plan = plan;
    if outcome == GrantOutcome::Applied || observation.all_present == Some(true) {
        observation.repeated_drift = drift::on_present(observation.repeated_drift.as_ref(), interval, now);
    }
    let new_overlap = observation
        .overlaps
        .filter(|n| *n > work.grant.status.overlaps.unwrap_or(0));
    let status = grant_status(&work.grant, &state, observation, now);
    let stored = set.store_status(&mut work.grant, status).await;
    if stored {
        publish_drift(set, &mut work).await;
    }
    let grant = &work.grant;
    if let (true, Some(count)) = (stored, new_overlap) {
        publish_grant_event(set.context, grant, foreign_overlap(count)).await;
    }
    stored
}

/// Writes the same state to all grants. `false` when a write failed.
pub(super) async fn write_all(set: &GrantSet<'_>, batch: Vec<GrantWork>, state: &GrantState) -> bool {
    let mut all_written = true;
    for work in batch {
        all_written &= write_state(set, work, state.clone(), None).await;
    }
    all_written
}

/// Writes a state to a grant, unless its state was decided before the plan. A deleted grant that owns nothing is
/// released instead. `false` when the write failed.
pub(super) async fn write_state(
    set: &GrantSet<'_>,
    mut work: GrantWork,
    state: GrantState,
    view: Option<PolicyView<'_>>,
) -> bool {
    if work.owns_nothing() {
        let residual = if let GrantState::Planned(GrantOutcome::Released { residual }) = state {
            residual
        } else {
            0
        };
        return set.release(work.grant, residual).await;
    }
    let state = if let GrantState::Planned(outcome) = &state {
        work.grant_state(outcome)
    } else {
        let decided = work.outcome.clone();
        // A preview needs the policy: without it, its plan is that of an earlier policy.
        let decided = decided.filter(|decided| *decided != GrantState::Preview || !state.ends_preview());
        decided.unwrap_or(state)
    };
    let plan = work.grant.status.plan.clone();
    let observation = Observation {
        plan: plan.filter(|_| !state.ends_preview()),
        ..work.observe(view)
    };
    let status = grant_status(&work.grant, &state, observation, set.context.ports.now());
    let stored = set.store_status(&mut work.grant, status).await;
    if !stored && work.roll_back {
        roll_back(set, &work).await;
    }
    stored
}

/// Whether the plan moves a statement from one grant's ledger to another's.
fn transfers_ownership(batch: &[GrantWork], plan: &Plan) -> bool {
    // Fingerprints that are in `now` and not in `before`.
    fn new_entries<'a>(now: &'a [LedgerEntry], before: &'a [LedgerEntry]) -> impl Iterator<Item = &'a str> {
        let known = |f: &str| before.iter().any(|e| e.fingerprint == f);
        now.iter()
            .map(|e| e.fingerprint.as_str())
            .filter(move |f| !known(f))
    }
    let pairs = || batch.iter().zip(&plan.grants);
    let gained: BTreeSet<&str> = pairs()
        .flat_map(|(p, planned)| new_entries(&planned.ledger, &p.grant.status.owned))
        .collect();
    pairs().any(|(p, planned)| new_entries(&p.input.ledger, &planned.ledger).any(|f| gained.contains(f)))
}
