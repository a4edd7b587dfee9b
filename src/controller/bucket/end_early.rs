//! Ends a reconcile of a group that cannot go on: forgets rejected credentials, releases deleted grants of a bucket that is
//! gone, and writes the cause to the other grants.

use std::time::Duration;

use super::access::request_credentials;
use super::cache::GrantSetCache;
use super::grant_set::GrantSet;
use crate::api::GrantStatus;
use crate::controller::object_events::publish_grant_event;
use crate::core::error::CloudErrorKind;
use crate::core::grant::events::bucket_gone;
use crate::core::grant::{
    EarlyEnd, EndFacts, GrantState, GrantWork, drift_interval, is_any_denied, rolled_back,
    status_without_plan,
};

/// How often a ledger is read and stored again.
const ROLL_BACKS: usize = 3;

/// Ends the reconcile. The first expiry of an STS session is retried without a status write. Returns the time until the next
/// reconcile.
pub(super) async fn end_early(
    set: &GrantSet<'_>,
    batch: Vec<GrantWork>,
    end: EarlyEnd,
    cache: &mut GrantSetCache,
) -> Duration {
    if matches!(end, EarlyEnd::NothingLeft) {
        cache.last_inputs = None;
    }
    let is_unaffected = |work: &GrantWork| work.unaffected.is_some();
    let (unaffected, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_unaffected);
    for mut work in unaffected {
        let outcome = work.unaffected.take();
        if let Some(outcome) = outcome {
            write_state(set, work, &GrantState::Planned(outcome)).await;
        }
    }
    let seed = set.identity.jitter_seed();
    let mut facts = EndFacts {
        failures: cache.failures,
        interval: drift_interval(&batch),
        denied: is_any_denied(&batch),
        all_stored: true,
        seed: &seed,
    };
    // Nobody is to blame for a write that OSS has rejected: it is planned again.
    if batch.is_empty() {
        return end.wait(facts);
    }
    if end.is_failure() {
        facts.failures = cache.failures.saturating_add(1);
    }
    let mut gone = false;
    if let Some(error) = end.failed_call() {
        if error.rejects_credentials() {
            set.context.credentials.forget(&set.identity);
        }
        if end.is_first_expiry(cache.failures) {
            cache.failures = facts.failures;
            return end.wait(facts);
        }
        cache.answered(Some(error));
        cache.asked = error.retry_after;
        gone = error.kind == CloudErrorKind::NoSuchBucket && is_bucket_gone(set, &batch, cache).await;
    }
    if let Some(state) = end.state() {
        for work in batch {
            if gone && work.grant.deleting {
                publish_grant_event(set.context, &work.grant, bucket_gone()).await;
                set.release(work.grant, 0).await;
            } else {
                facts.all_stored &= write_state(set, work, &state).await;
            }
        }
    }
    cache.failures = facts.failures;
    end.wait(facts)
}

/// Writes a state to a grant, unless its state was decided before. A deleted grant that owns nothing is released instead.
/// `false` when the write failed.
async fn write_state(set: &GrantSet<'_>, mut work: GrantWork, state: &GrantState) -> bool {
    if work.owns_nothing() {
        return set.release(work.grant, state.residual()).await;
    }
    let status = status_without_plan(&work, state, set.context.ports.now());
    let stored = set.store_status(&mut work.grant, status).await;
    if !stored && work.roll_back {
        roll_back(set, &work).await;
    }
    stored
}

/// Takes back what was stored for a write that was not sent, or that OSS has rejected, in the ledger as it is stored now: a
/// user may have edited the grant in the meantime, so that its status cannot be stored with the version on which the write
/// was planned. Nothing depends on the result: an entry that stays claims nothing and expires.
async fn roll_back(set: &GrantSet<'_>, work: &GrantWork) {
    for _ in 0..ROLL_BACKS {
        let key = &work.grant.key;
        let mut fresh = match set.context.ports.get_grant(key, &key.namespace).await {
            Ok(Some(fresh)) => fresh,
            Ok(None) => return,
            Err(_) => continue,
        };
        let owned = rolled_back(&fresh.status.owned, &work.input.ledger);
        if fresh.uid != work.grant.uid || owned == fresh.status.owned {
            return;
        }
        let status = GrantStatus {
            owned,
            ..fresh.status.clone()
        };
        if set.store_status(&mut fresh, status).await {
            return;
        }
    }
    tracing::info!(grant = %work.grant.key, "failed to roll back ledger");
}

/// Whether a bucket that OSS does not find is gone. To credentials of another account than the owner's, OSS may also
/// deny that a bucket exists: the credentials have read this bucket before, or STS says that they are the owner's.
async fn is_bucket_gone(set: &GrantSet<'_>, batch: &[GrantWork], cache: &GrantSetCache) -> bool {
    let leaving: Vec<&GrantWork> = batch.iter().filter(|work| work.grant.deleting).collect();
    let Some(place) = leaving.iter().find_map(|work| work.grant.bucket.as_ref()) else {
        return false;
    };
    let last = || {
        leaving
            .iter()
            .find_map(|work| cache.last_credentials.get(&work.grant.uid))
    };
    let Ok(keys) = request_credentials(set, &leaving, place).await else {
        return last().is_some();
    };
    if last().is_some_and(|last| last.keys.id == keys.id) {
        return true;
    }
    let account = set.context.account_of(&set.identity, &keys).await;
    let of_owner = account.is_ok_and(|account| account == place.owner_uid);
    if !of_owner {
        // The next attempt uses what the user provides meanwhile.
        set.context.credentials.forget(&set.identity);
    }
    of_owner
}
