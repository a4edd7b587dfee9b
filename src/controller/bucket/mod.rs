//! One pass over one bucket: all its grants, each identity in a lane of its own.
//!
//! Always gather → plan → act → report, the same on the first day and after a crash. The next pass is the retry.

mod cache;
mod converge;
mod finish;
mod grant_set;
mod observation;
mod prepare;
mod release;
mod write_outcome;
mod write_status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

pub use self::cache::BucketCache;

use self::cache::GrantSetCache;
use self::grant_set::GrantSet;
use super::context::Context;
use crate::api::{EntryState, LedgerEntry};
use crate::core::grant::GrantObject;
use crate::core::identity::Identity;
use crate::core::requeue;
use crate::runtime::queue::Action;

/// An identity in one region: what is read and written together.
type GrantSetKey = (Identity, String);

/// Statements that grants have put into the policy: fingerprints by the uid of the grant.
type PlacedByGrant = BTreeMap<String, BTreeSet<String>>;

/// Makes one pass over a bucket.
pub async fn reconcile(context: &Context, bucket: &Arc<str>) -> Action {
    let cache = context.bucket_cache(bucket);
    let mut cache = cache.lock().await;
    let cache = &mut *cache;
    let grants = match context.ports.list_grants(bucket).await {
        Ok(grants) => grants,
        Err(error) => {
            tracing::warn!(bucket = &**bucket, %error, "the grants of the bucket cannot be listed");
            cache.failures = cache.failures.saturating_add(1);
            return Action::Requeue(short_backoff(cache.failures, bucket));
        }
    };
    cache.failures = 0;
    let now = context.ports.now();
    // A grant that is being deleted and is not held by us any more owns nothing.
    let grants: Vec<GrantObject> = grants
        .into_iter()
        .filter(|g| !g.deleting || g.has_finalizer())
        .collect();
    if grants.is_empty() {
        context.recheck_done(bucket);
        // A grant made again within moments must not take an old answer for the truth.
        if cache.writes.has_recent(now) {
            return Action::Requeue(Duration::from_secs(30));
        }
        context.forget_bucket(bucket);
        return Action::AwaitChange;
    }
    cache.writes.read_ledgers(&grants, now);
    // What is asked for while this pass goes on is for the next one.
    let desired = context.recheck_requested(bucket);
    if desired {
        cache
            .grant_sets
            .values_mut()
            .for_each(GrantSetCache::clear_backoff);
    }
    let mut grant_sets: BTreeMap<GrantSetKey, Vec<GrantObject>> = BTreeMap::new();
    let mut wait = Duration::from_secs(3600);
    for grant in grants {
        match grant_set_key(&grant) {
            Some(key) => grant_sets.entry(key).or_default().push(grant),
            // Nothing of such a grant can be looked at; it is told so, and its ledger stays.
            None => wait = wait.min(release::reconcile_unusable(context, grant).await),
        }
    }
    cache.grant_sets.retain(|key, _| grant_sets.contains_key(key));
    let put_there_by = |grants: &[GrantObject]| -> PlacedByGrant {
        grants
            .iter()
            .map(|g| (g.uid.clone(), placed_fingerprints(g.deleting, &g.status.owned)))
            .collect()
    };
    let mut placed: BTreeMap<GrantSetKey, PlacedByGrant> = grant_sets
        .iter()
        .map(|(key, grants)| (key.clone(), put_there_by(grants)))
        .collect();
    for (key, grants) in grant_sets {
        let own = placed.remove(&key).unwrap_or_default();
        let elsewhere = placed.values().flat_map(BTreeMap::values).flatten();
        let remembered = cache.grant_sets.entry(key.clone()).or_default();
        let mut grant_set = GrantSet {
            context,
            identity: key.0.clone(),
            writes: &mut cache.writes,
            placed_by_others: elsewhere.cloned().collect(),
            placed: Mutex::new(own),
        };
        wait = wait.min(grant_set.reconcile(grants, remembered).await);
        // What this lane has let go is not its any more: of two that let the same go, the later one takes it out.
        placed.insert(
            key,
            grant_set
                .placed
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
    if desired {
        context.recheck_done(bucket);
    }
    // A statement that one identity took out may be wanted by another, which puts it back with its own credentials.
    let writers = cache
        .grant_sets
        .values()
        .filter(|grant_set| grant_set.wrote)
        .count();
    if writers > 0 && cache.grant_sets.len() > 1 {
        cache
            .grant_sets
            .values_mut()
            .filter(|grant_set| !grant_set.wrote || writers > 1)
            .for_each(GrantSetCache::clear_backoff);
        return Action::Requeue(Duration::ZERO);
    }
    Action::Requeue(wait)
}

/// Statements that a grant has put into the policy, by fingerprint; one that is being deleted holds none for others.
fn placed_fingerprints(deleting: bool, ledger: &[LedgerEntry]) -> BTreeSet<String> {
    let entries = ledger.iter().filter(|_| !deleting);
    let placed =
        entries.filter(|e| !e.pre_existing && matches!(e.state, EntryState::Intended | EntryState::Applied));
    placed.map(|e| e.fingerprint.clone()).collect()
}

fn grant_set_key(grant: &GrantObject) -> Option<GrantSetKey> {
    let region = grant.bucket.as_ref()?.region.clone();
    Some((grant.identity.clone()?, region))
}

fn short_backoff(failures: u32, seed: &str) -> Duration {
    requeue::exponential_backoff(failures, Duration::from_secs(1), Duration::from_secs(30), seed)
}

/// How long until `time`, at least a moment.
fn time_left(now: Timestamp, time: Timestamp) -> Duration {
    let left = time.duration_since(now).max(SignedDuration::from_millis(100));
    Duration::try_from(left).unwrap_or(Duration::from_millis(100))
}
