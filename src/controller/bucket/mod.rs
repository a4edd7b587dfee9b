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

mod audit;
pub(super) mod cache;
mod cloud_error;
mod converge;
mod finish;
mod grant_set;
mod grant_writes;
mod group_order;
mod observation;
mod permission;
pub(super) mod policy_sizes;
mod prepare;
mod probe;
pub(super) mod probes;
mod reconcile_set;
mod release;
mod roll_back;
mod store_ledgers;
mod write_outcome;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

pub(super) use self::probe::run as probe;

use self::cache::GrantSetCache;
use self::grant_set::GrantSet;
use self::group_order::{Rank, UNPROVEN_TIME, in_order};
use self::probes::Trust;
use super::context::Context;
use super::queue_key::GrantSetKey;
use crate::core::grant::{Claims, ClaimsByGrant, GrantObject};
use crate::core::requeue::short_backoff;
use crate::runtime::metric_labels::DeletionOutcome;
use crate::runtime::queue::Action;

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
        context.recheck_done(bucket);
        context.policy_sizes.forget(bucket);
        context.probes.retain(bucket, |_| false);
        // Keep the write history: a grant that is recreated within 30 s must recognize a stale read.
        if cache.writes.has_recent(now) {
            return Action::Requeue(Duration::from_secs(30));
        }
        context.forget_bucket(bucket);
        return Action::AwaitChange;
    }
    cache.writes.read_ledgers(&grants, now);
    // A recheck that is first requested during this reconcile belongs to the next one.
    let recheck = context.recheck_requested(bucket);
    if recheck {
        cache
            .grant_sets
            .values_mut()
            .for_each(GrantSetCache::clear_backoff);
    }
    let mut grant_sets: BTreeMap<GrantSetKey, Vec<GrantObject>> = BTreeMap::new();
    let mut wait = Duration::from_secs(3600);
    let mut all_stored = true;
    for grant in grants {
        if let Some(key) = grant_set_key(&grant) {
            grant_sets.entry(key).or_default().push(grant);
        } else {
            // Its spec names no usable identity or bucket: its status reports that, and its ledger stays.
            wait = wait.min(release::RECHECK_UNUSABLE);
            all_stored &= release::reconcile_unusable(context, grant).await;
        }
    }
    if let Some(retry) = cache.unusable_writes.retry_after(all_stored, bucket) {
        wait = wait.min(retry);
    }
    cache.grant_sets.retain(|key, _| grant_sets.contains_key(key));
    context.probes.retain(bucket, |key| grant_sets.contains_key(key));
    let claims_of = |grants: &[GrantObject]| -> ClaimsByGrant {
        grants
            .iter()
            .map(|g| (g.uid.clone(), Claims::of(g.deleting, &g.status.owned)))
            .collect()
    };
    let mut claims: BTreeMap<GrantSetKey, ClaimsByGrant> = grant_sets
        .iter()
        .map(|(key, grants)| (key.clone(), claims_of(grants)))
        .collect();
    // A group that is not reached has written nothing.
    cache.grant_sets.values_mut().for_each(|set| set.wrote = false);
    let mut unproven_since = None;
    for (rank, key, grants) in in_order(grant_sets, &cache.grant_sets) {
        if rank == Rank::Unproven {
            let now = context.ports.now();
            if now.duration_since(*unproven_since.get_or_insert(now)) > UNPROVEN_TIME {
                wait = Duration::ZERO;
                break;
            }
        }
        let own = claims.remove(&key).unwrap_or_default();
        let elsewhere = || claims.values().flat_map(BTreeMap::values);
        let grant_set_cache = cache.grant_sets.entry(key.clone()).or_default();
        if context.probes.is_done(bucket, &key) {
            grant_set_cache.clear_backoff();
        }
        let mut grant_set = GrantSet {
            context,
            identity: key.0.clone(),
            writes: &mut cache.writes,
            placed_by_others: elsewhere().flat_map(|c| &c.holds).cloned().collect(),
            explained_by_others: elsewhere().flat_map(|c| &c.explains).cloned().collect(),
            claims: Mutex::new(own),
            reference_closed: false,
            owner_read: false,
            write_failed: AtomicBool::new(false),
        };
        wait = wait.min(Box::pin(reconcile_set::reconcile(&mut grant_set, grants, grant_set_cache)).await);
        // Later groups use what this group still holds: when two groups release the same statement, the later one
        // removes it.
        claims.insert(key, grant_set.claims.into_inner());
    }
    if recheck {
        context.recheck_done(bucket);
    }
    // A group may have removed a statement that another identity wants: that group restores it with its own
    // credentials.
    let writers = cache
        .grant_sets
        .values()
        .filter(|grant_set| grant_set.wrote)
        .count();
    let others = cache.grant_sets.values_mut();
    // An identity that has not read the policy has no statement in it.
    let affected = others.filter(|set| set.trust == Trust::Proven && (!set.wrote || writers > 1));
    let affected: Vec<_> = affected.filter(|_| writers > 0).collect();
    if !affected.is_empty() {
        affected.into_iter().for_each(GrantSetCache::clear_backoff);
        return Action::Requeue(Duration::ZERO);
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

/// Returns the group of a grant; `None` when its spec names no usable identity or bucket.
fn grant_set_key(grant: &GrantObject) -> Option<GrantSetKey> {
    let region = grant.bucket.as_ref()?.region.clone();
    Some((grant.identity.clone()?, region))
}
