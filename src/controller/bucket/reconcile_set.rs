//! Reconciles one grant set: the grants of a bucket that share an identity and a region.
//!
//! Flow: return early while the inputs are unchanged and the set is not due; prepare the grants without touching the
//! policy; converge the policy; finish with the statuses. A step that cannot continue ends the reconcile early, with a state
//! for the grants.
//!
//! Guarantees: no cloud call is made when every grant has a state without one. A ledger is stored before the write
//! that it records, and says until when that write can take effect.
//!
//! The returned duration is the time until the next reconcile of the set. The reconcile of the bucket requeues after
//! the shortest duration of its sets.

use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::converge::converge;
use super::end_early::end_early;
use super::finish::finish;
use super::grant_set::GrantSet;
use super::prepare::prepare;
use crate::core::grant::{EarlyEnd, GrantObject, GrantSetCache, GrantWork};

/// Reconciles the set. Returns the time until its next reconcile.
pub(super) async fn reconcile(
    set: &mut GrantSet<'_>,
    grants: Vec<GrantObject>,
    cache: &mut GrantSetCache,
) -> Duration {
    let now = set.context.ports.now();
    let rules = set.context.ports.tenancy_rules();
    if let Some(left) = cache.begin(&grants, rules, now) {
        return left;
    }
    let mut batch = Vec::new();
    let wait = match Box::pin(steps(set, grants, &mut batch, cache)).await {
        Ok(wait) => wait,
        Err(end) => Box::pin(end_early(set, batch, end, cache)).await,
    };
    let all_stored = !set.write_failed.load(Relaxed);
    let seed = set.identity.jitter_seed();
    cache.end(wait, all_stored, &seed, set.context.ports.now())
}

/// The steps of a reconcile. Returns the time until the next one, without the drift interval.
async fn steps(
    set: &mut GrantSet<'_>,
    grants: Vec<GrantObject>,
    batch: &mut Vec<GrantWork>,
    cache: &mut GrantSetCache,
) -> Result<Duration, EarlyEnd> {
    let prepared = prepare(set, grants, batch, cache).await?;
    let settled = converge(set, batch, &prepared, cache).await?;
    Ok(Box::pin(finish(set, mem::take(batch), settled)).await)
}
