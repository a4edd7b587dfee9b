//! Reconciles one bucket with all its grants.
//!
//! Flow: list the grants of the bucket; group them by identity and region; reconcile the sets in sequence. Each
//! set reads the policy, plans, writes and reports (see `reconcile_set`). The flow is the same on the first reconcile
//! and after a crash, and the next reconcile is the retry.
//!
//! Guarantees: at most one worker reconciles a bucket. A statement is recorded in a stored ledger before it is
//! written. A statement that another set has written is not removed.
//!
//! The returned [`Action`]: `Requeue` is the time until the next reconcile unless a trigger comes first. The time is a
//! backoff after an error, the time until the next check of a set, or zero when a set wrote and another set has
//! to check the result. `AwaitChange` is returned only when the bucket has no grants.

mod access;
mod converge;
mod end_early;
mod finish;
mod grant_set;
pub(super) mod policy_sizes;
mod prepare;
mod probe;
pub(super) mod probes;
mod read_policy;
mod recheck;
mod reconcile_set;
mod release;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

pub(super) use self::probe::run as probe;

use self::grant_set::GrantSet;
use super::context::Context;
use crate::core::grant::{
    BucketCache, ClaimsByGrant, GrantObject, GrantSetKey, GrantSetTurn, GrantSets, RECHECK, claims_of,
    grouped, is_time_up, to_reconcile,
};
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
            return cache.list_failed(bucket);
        }
    };
    let now = context.ports.now();
    let grants = with_leaving_grants(context, bucket, grants, now);
    if let Some(action) = cache.begin(&grants, now) {
        return without_grants(context, bucket, action);
    }
    // A recheck that is first requested during this reconcile belongs to the next one.
    let recheck = context.recheck_requested(bucket);
    if recheck {
        cache.clear_backoff();
    }
    let (grant_sets, unusable) = grouped(grants);
    let unusable = reconcile_unusable(context, bucket, unusable, cache).await;
    context.probes.retain(bucket, |key| grant_sets.contains_key(key));
    let sets = reconcile_sets(context, bucket, grant_sets, cache).await;
    if recheck {
        context.recheck_done(bucket);
    }
    cache.end(unusable.min(sets))
}

/// Returns the grants to reconcile: those that are listed, without the ones that are released, and those that were
/// deleted without their finalizer, until they own nothing.
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
    to_reconcile(listed, leaving)
}

/// Drops what is kept about a bucket without grants, and its cache unless it is reconciled once more.
fn without_grants(context: &Context, bucket: &Arc<str>, action: Action) -> Action {
    context.recheck_done(bucket);
    context.policy_sizes.forget(bucket);
    context.probes.retain(bucket, |_| false);
    if action == Action::AwaitChange {
        context.forget_bucket(bucket);
    }
    action
}

/// Reports that the specs of grants cannot be used; their ledgers stay. Returns when that is checked again.
async fn reconcile_unusable(
    context: &Context,
    bucket: &str,
    unusable: Vec<GrantObject>,
    cache: &mut BucketCache,
) -> Duration {
    let (any, mut all_stored) = (!unusable.is_empty(), true);
    for grant in unusable {
        all_stored &= release::reconcile_unusable(context, grant).await;
    }
    cache.unusable_reported(any, all_stored, bucket)
}

/// Reconciles the sets in sequence. Returns when the first of them is due again.
async fn reconcile_sets(
    context: &Context,
    bucket: &str,
    grant_sets: GrantSets,
    cache: &mut BucketCache,
) -> Duration {
    let claims = grant_sets.iter();
    let mut claims: BTreeMap<GrantSetKey, ClaimsByGrant> = claims
        .map(|(key, grants)| (key.clone(), claims_of(grants)))
        .collect();
    let mut wait = RECHECK;
    let mut unproven_since = None;
    let order = cache.turns(grant_sets);
    for GrantSetTurn { rank, key, grants } in order {
        if is_time_up(rank, &mut unproven_since, context.ports.now()) {
            return Duration::ZERO;
        }
        let own = claims.remove(&key).unwrap_or_default();
        let set_cache = cache.grant_sets.entry(key.clone()).or_default();
        if context.probes.is_done(bucket, &key) {
            set_cache.clear_backoff();
        }
        let mut set = GrantSet::new(context, key.identity.clone(), &mut cache.writes, own, &claims);
        wait = wait.min(Box::pin(reconcile_set::reconcile(&mut set, grants, set_cache)).await);
        // Later sets use what this set still holds: when two sets release the same statement, the later one
        // removes it.
        claims.insert(key, set.into_claims());
    }
    wait
}
