//! Stores the ledgers that a plan needs before its write, and publishes what was found missing.

use super::grant_set::GrantSet;
use super::read_policy::RoundInput;
use crate::core::grant::{Disposition, GrantWork, Plan, PolicyView, status_before_write};

/// Stores the ledgers that the plan needs before the write. `false` when a ledger could not be stored: only that
/// grant is carried instead, and a new plan is needed.
pub(super) async fn store_ledgers(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    input: &RoundInput,
) -> bool {
    let mut complete = true;
    let view = PolicyView::of_plan(plan, input.document.as_ref());
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        let now = set.context.ports.now();
        let Some(status) = status_before_write(work, planned, view, now) else {
            continue;
        };
        if set.store_status(&mut work.grant, status).await {
            work.roll_back = true;
            set.publish_drift(work).await;
        } else {
            work.input.disposition = Disposition::Carried;
            work.outcome = None;
            complete = false;
        }
    }
    complete
}
