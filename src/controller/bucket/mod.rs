//! Reconciles one bucket with all its grants.
//!
//! Flow: list the grants of the bucket; group them by identity and region; reconcile the groups in sequence. Each
//! group reads the policy, plans, writes and reports (see `reconcile_set`). The flow is the same on the first reconcile
//! and after a crash, and the next reconcile is the retry.
//!
//! Guarantees: at most one worker reconciles a bucket. A statement is recorded in a stored ledger before it is
//! written. A statement that another group has written is not removed.
//!
//! The returned [`Action`]: `Requeue` is the time until the next reconcile unless a trigger comes first. The time is a
//! backoff after an error, the time until the next check of a group, or zero when a group wrote and another group has
//! to check the result. `AwaitChange` is returned only when the bucket has no grants.

mod access;
mod admission;
mod audit;
pub(super) mod cache;
mod converge;
mod end_early;
mod finish;
mod grant_set;
mod grant_writes;
pub(super) mod policy_sizes;
mod prepare;
mod probe;
pub(super) mod probes;
mod read_policy;
mod recheck;
mod reconcile_set;
mod release;
mod store_ledgers;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

pub(super) use self::probe::run as probe;

use self::cache::{BucketCache, GrantSetCache};
use self::grant_set::GrantSet;
use super::context::Context;
use crate::core::grant::{
    Claims, ClaimsByGrant, GrantObject, GrantSetKey, GrantSets, RECHECK_UNUSABLE, grouped, in_order,
    is_time_up,
};
use crate::core::requeue::short_backoff;
use crate::runtime::metric_labels::DeletionOutcome;
use crate::runtime::queue::Action;

/// Longest time until the next reconcile of a bucket, and the time for which its write history is kept without grants.
const RECHECK: Duration = Duration::from_secs(3600);
const KEEP_HISTORY: Duration = Duration::from_secs(30);

/// Reconciles a bucket. Returns when the bucket is due again; see the module docs.
pub async fn reconcile(context: &Context, bucket: &Arc<str>) -> Action {
    let cache = context.bucket_cache(bucket);
    let mut cache = cache.lock().await;
    let cache = &mut *cache;
    let grants = match context.ports.list_grants(bucket).await {
        Ok(grants) => grants,
        Err(error) => {
            tracing::warn!(bucket = &**bucket, %error, "failed to list grants; retrying");
            cache.failures = cache.failures.saturating_add(1);
            return Action::Requeue(short_backoff(cache.failures, bucket));
        }
    };
    cache.failures = 0;
    let now = context.ports.now();
    let grants = with_leaving_grants(context, bucket, grants, now);
    if grants.is_empty() {
        return forget(context, bucket, cache, now);
    }
    cache.writes.read_ledgers(&grants, now);
    // A recheck that is first requested during this reconcile belongs to the next one.
    let recheck = context.recheck_requested(bucket);
    if recheck {
        cache.clear_backoff();
    }
    let (grant_sets, unusable) = grouped(grants);
    let mut wait = reconcile_unusable(context, bucket, unusable, cache).await;
    cache.grant_sets.retain(|key, _| grant_sets.contains_key(key));
    context.probes.retain(bucket, |key| grant_sets.contains_key(key));
    wait = wait.min(reconcile_sets(context, bucket, grant_sets, cache).await);
    if recheck {
        context.recheck_done(bucket);
    }
    if cache.clear_backoff_of_affected() {
        wait = Duration::ZERO;
    }
    Action::Requeue(wait)
}

/// Returns the grants to reconcile: those that are listed, without the ones that are released, and those that were deleted
/// without their finalizer, until they own nothing.
fn with_leaving_grants(
    context: &Context,
    bucket: &str,
    listed: Vec<GrantObject>,
    now: Timestamp,
) -> Vec<GrantObject> {
    let (leaving, expired) = context.leaving.of_bucket(bucket, now);
    for grant in expired {
        context.metrics.unprotected_deletion(DeletionOutcome::Expired);
        tracing::error!(
            grant = %grant.key,
            bucket,
            statements = grant.status.owned.len(),
            "failed to remove the statements of a deleted grant within 24 h; they remain in the policy"
        );
    }
    // A grant that is being deleted and no longer has our finalizer is released, unless somebody else has removed it.
    let is_released = |g: &GrantObject| g.deleting && !g.has_finalizer() && g.status.owned.is_empty();
    // A stale list can still have a deleted grant.
    let is_stale = |g: &GrantObject| leaving.iter().any(|gone| gone.uid == g.uid);
    let listed = listed.into_iter().filter(|g| !is_released(g) && !is_stale(g));
    let mut grants: Vec<GrantObject> = listed.collect();
    grants.extend(leaving);
    grants
}

/// Forgets a bucket without grants. Its write history is kept at first: a grant that is recreated within 30 s must recognize
/// a stale read.
fn forget(context: &Context, bucket: &Arc<str>, cache: &BucketCache, now: Timestamp) -> Action {
    context.recheck_done(bucket);
    context.policy_sizes.forget(bucket);
    context.probes.retain(bucket, |_| false);
    if cache.writes.has_recent(now) {
        return Action::Requeue(KEEP_HISTORY);
    }
    context.forget_bucket(bucket);
    Action::AwaitChange
}

/// Reports that the specs of grants cannot be used; their ledgers stay. Returns when that is checked again.
async fn reconcile_unusable(
    context: &Context,
    bucket: &str,
    unusable: Vec<GrantObject>,
    cache: &mut BucketCache,
) -> Duration {
    let mut wait = if unusable.is_empty() {
        RECHECK
    } else {
        RECHECK_UNUSABLE
    };
    let mut all_stored = true;
    for grant in unusable {
        all_stored &= release::reconcile_unusable(context, grant).await;
    }
    if let Some(retry) = cache.unusable_writes.retry_after(all_stored, bucket) {
        wait = wait.min(retry);
    }
    wait
}

/// Reconciles the groups in sequence. Returns when the first of them is due again.
async fn reconcile_sets(
    context: &Context,
    bucket: &str,
    grant_sets: GrantSets,
    cache: &mut BucketCache,
) -> Duration {
    let claims_of = |grants: &[GrantObject]| -> ClaimsByGrant {
        let claims = |g: &GrantObject| (g.uid.clone(), Claims::of(g.deleting, &g.status.owned));
        grants.iter().map(claims).collect()
    };
    let claims = grant_sets.iter();
    let mut claims: BTreeMap<GrantSetKey, ClaimsByGrant> = claims
        .map(|(key, grants)| (key.clone(), claims_of(grants)))
        .collect();
    // A group that is not reached has written nothing.
    cache.grant_sets.values_mut().for_each(|set| set.wrote = false);
    let mut wait = RECHECK;
    let mut unproven_since = None;
    let record = |key: &GrantSetKey| cache.grant_sets.get(key).map(GrantSetCache::record);
    let order = in_order(grant_sets, |key| record(key).unwrap_or_default());
    for (rank, key, grants) in order {
        if is_time_up(rank, &mut unproven_since, context.ports.now()) {
            return Duration::ZERO;
        }
        let own = claims.remove(&key).unwrap_or_default();
        let set_cache = cache.grant_sets.entry(key.clone()).or_default();
        if context.probes.is_done(bucket, &key) {
            set_cache.clear_backoff();
        }
        let mut set = GrantSet::new(context, key.0.clone(), &mut cache.writes, own, &claims);
        wait = wait.min(Box::pin(reconcile_set::reconcile(&mut set, grants, set_cache)).await);
        // Later groups use what this group still holds: when two groups release the same statement, the later one
        // removes it.
        claims.insert(key, set.into_claims());
    }
    wait
}
