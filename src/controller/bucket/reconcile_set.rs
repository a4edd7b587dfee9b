//! Reconciles one group: the grants of a bucket that share an identity and a region.
//!
//! Flow: return early while the inputs are unchanged and the group is not due; release deleted grants that keep their
//! statements; validate the grants; obtain credentials; read the bucket facts; prepare the grants (finalizer);
//! converge the policy (read, plan, store ledgers, write, read again); write the statuses.
//!
//! Guarantees: no cloud call is made when every grant has a state without one. A ledger is stored before the write
//! that it records, and says until when that write can take effect.
//!
//! The returned duration is the time until the next reconcile of the group. The reconcile of the bucket requeues after
//! the shortest duration of its groups.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::cache::GrantSetCache;
use super::cloud_error::on_cloud_error;
use super::converge::converge;
use super::finish::write_all;
use super::grant_set::{GrantSet, GrantWork, drift_interval};
use super::permission::{CredentialAccess, refuse, release_owning_nothing, request_access};
use super::prepare::{prepare, read_bucket_facts, validate};
use super::probe::{Admission, admit};
use super::probes::ProbeFailure;
use super::release::release_retained;
use crate::api::BucketRef;
use crate::controller::digest::ChangeDigest;
use crate::core::grant::{Disposition, GrantObject, GrantState};
use crate::core::requeue::short_backoff;
use crate::core::time::{self, time_left};

/// Interval of a group for which nothing is left to do.
const RECHECK_NOTHING: Duration = Duration::from_secs(3600);

/// Returns the time until the next reconcile of a group whose grants have all been released. A released grant that is
/// listed again, because the API server was restored from a snapshot, is released again.
fn nothing_left(cache: &mut GrantSetCache) -> Duration {
    cache.last_inputs = None;
    RECHECK_NOTHING
}

/// Reconciles the group. Returns the time until its next reconcile.
pub(super) async fn reconcile(
    set: &mut GrantSet<'_>,
    grants: Vec<GrantObject>,
    cache: &mut GrantSetCache,
) -> Duration {
    let now = set.context.ports.now();
    cache.wrote = false;
    let inputs = grants
        .iter()
        .map(|g| (&g.uid, g.generation, (g.deleting, g.abandon), &g.reconcile_at));
    let inputs = Some(ChangeDigest::of(inputs.collect::<Vec<_>>()));
    let rules = Some(set.context.ports.tenancy_rules());
    if cache.last_inputs == inputs
        && cache.rules == rules
        && let Some((set_at, time)) = cache.not_before
        // The clock may have been set back since then.
        && (set_at..time).contains(&now)
    {
        return time_left(now, time);
    }
    (cache.last_inputs, cache.rules) = (inputs, rules);
    cache.reconciled_at = Some(now);
    let here = |uid: &String| grants.iter().any(|g| g.uid == *uid);
    cache.last_credentials.retain(|uid, _| here(uid));
    cache.rejected.retain(here);
    if cache.next_drift_check.is_some_and(|time| now >= time) {
        cache.rejected.retry_some();
    }
    cache.asked = None;
    let wait = match release_retained(set, grants).await {
        Some(grants) => reconcile_grants(set, grants, cache).await,
        None => RECHECK_NOTHING,
    };
    let all_stored = !set.write_failed.load(Relaxed);
    let seed = set.identity.jitter_seed();
    let retry = cache.api_writes.retry_after(all_stored, &seed);
    // Trying again calls OSS again: not before OSS asks for it.
    let retry = retry.map(|retry| retry.max(cache.asked.unwrap_or_default()));
    let wait = retry.map_or(wait, |retry| retry.min(wait));
    let now = set.context.ports.now();
    // This reconcile could not run an overdue drift check: the next reconcile that reads the policy runs it.
    let next_check = cache.next_drift_check.filter(|time| *time > now);
    let wait = next_check.map_or(wait, |time| wait.min(time_left(now, time)));
    cache.not_before = Some((now, time::after(now, time::signed(wait))));
    wait
}

/// Reconciles the grants that stay in the group. Returns the time until the next reconcile, without the drift
/// interval.
pub(super) async fn reconcile_grants(
    set: &mut GrantSet<'_>,
    grants: Vec<GrantObject>,
    cache: &mut GrantSetCache,
) -> Duration {
    let Some(place) = grants.iter().find_map(|g| g.bucket.clone()) else {
        return nothing_left(cache);
    };
    let mut batch = Vec::new();
    for grant in grants {
        batch.push(validate(set, grant).await);
    }
    let batch = release_owning_nothing(set, batch).await;
    if batch.is_empty() {
        return nothing_left(cache);
    }
    Box::pin(reconcile_owners(set, batch, &place, cache)).await
}

/// Reconciles the grants that are kept, or that own something.
async fn reconcile_owners(
    set: &mut GrantSet<'_>,
    mut batch: Vec<GrantWork>,
    place: &BucketRef,
    cache: &mut GrantSetCache,
) -> Duration {
    let interval = drift_interval(&batch);
    // Every grant has a state without the policy: no cloud call is made.
    if batch.iter().all(|p| p.outcome.is_some()) {
        let denied = batch.iter().any(|p| {
            matches!(
                p.outcome,
                Some(GrantState::Denied(_) | GrantState::NamespaceUnknown)
            )
        });
        write_all(set, batch, &GrantState::Suspended).await;
        return if denied { Duration::from_secs(60) } else { interval };
    }
    let access = match admit(set, &batch, place, cache).await {
        Admission::Admitted => request_access(set, &mut batch, place, cache).await,
        Admission::Waiting(wait) => return wait,
        Admission::Refused(ProbeFailure::Credentials(refusal)) => refuse(set, &mut batch, cache, refusal),
        Admission::Refused(ProbeFailure::Cloud(error)) => {
            return on_cloud_error(set, batch, &error, cache).await;
        }
    };
    let keys = match access {
        CredentialAccess::Granted(keys) => keys,
        // A terminating namespace loses its Secret before our finalizer runs: the last working credentials are used
        // only to remove the statements of deleted grants.
        CredentialAccess::LastWorking(keys, retry) => {
            set.reference_closed = true;
            return Box::pin(converge(set, batch, place, &keys, cache))
                .await
                .min(retry);
        }
        CredentialAccess::Refused(state, retry) => {
            write_all(set, batch, &state).await;
            return retry;
        }
    };
    let facts = match read_bucket_facts(set, &batch, place, &keys, cache).await {
        Ok(facts) => facts,
        Err(error) => return on_cloud_error(set, batch, &error, cache).await,
    };
    set.owner_read = facts.bucket.is_some();
    let mut all_prepared = true;
    for work in &mut batch {
        all_prepared &= prepare(set, work, &facts, &cache.rejected).await;
    }
    for work in &batch {
        let rejected = matches!(work.outcome, Some(GrantState::CloudFailed(_)));
        if !rejected && !matches!(work.input.disposition, Disposition::Enforced(_)) {
            cache.rejected.accepted(&work.grant.uid);
        }
    }
    // The operator's own identity reads no policy of a bucket whose owner is not the one that a grant names.
    let unverified = |work: &GrantWork| work.outcome.is_some() && work.preview.is_none();
    if set.identity.is_operator() && batch.iter().all(unverified) {
        write_all(set, batch, &GrantState::OwnerUnverified).await;
        return interval;
    }
    let failures = cache.failures;
    let wait = Box::pin(converge(set, batch, place, &keys, cache)).await;
    if !all_prepared {
        cache.failures = failures.saturating_add(1);
        return wait.min(short_backoff(cache.failures, &set.identity.jitter_seed()));
    }
    wait
}
