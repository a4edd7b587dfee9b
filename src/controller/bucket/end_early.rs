//! Ends a reconcile of a grant set that cannot continue: forgets rejected credentials, releases deleted grants of a
//! bucket that is gone, and writes the cause to the other grants.

use std::time::Duration;

use super::access::request_credentials;
use super::grant_set::GrantSet;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::bucket_gone;
use crate::core::grant::{
    EarlyEnd, GrantSetCache, GrantState, GrantWork, ROLL_BACKS, is_owner, rolled_back_status,
    split_unaffected, status_without_plan,
};

/// Ends the reconcile. The first expiry of an STS session is retried without a status write. Returns the time until
/// the next reconcile.
pub(super) async fn end_early(
    set: &GrantSet<'_>,
    batch: Vec<GrantWork>,
    end: EarlyEnd,
    cache: &mut GrantSetCache,
) -> Duration {
    let (unaffected, batch) = split_unaffected(batch);
    for (work, state) in unaffected {
        write_state(set, work, &state).await;
    }
    let seed = set.identity.jitter_seed();
    let mut after = cache.ended_early(&end, &batch, &seed);
    if after.forget_credentials {
        set.context.credentials.forget(&set.identity);
    }
    let gone = after.no_bucket && is_gone(set, &batch, cache).await;
    if let Some(state) = after.state {
        for work in batch {
            if gone && work.grant.deleting {
                publish_grant_event(set.context, &work.grant, bucket_gone()).await;
                set.release(work.grant, 0).await;
            } else {
                after.facts.all_stored &= write_state(set, work, &state).await;
            }
        }
    }
    end.wait(after.facts)
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

/// Takes back what was stored for a write that was not sent, or that OSS has rejected, in the ledger as it is stored
/// now: a user may have edited the grant in the meantime, so that its status cannot be stored with the version on
/// which the write was planned. Nothing depends on the result: an entry that stays claims nothing and expires.
async fn roll_back(set: &GrantSet<'_>, work: &GrantWork) {
    for _ in 0..ROLL_BACKS {
        let key = &work.grant.key;
        let mut fresh = match set.context.ports.get_grant(key, &key.namespace).await {
            Ok(Some(fresh)) => fresh,
            Ok(None) => return,
            Err(_) => continue,
        };
        let Some(status) = rolled_back_status(work, &fresh) else {
            return;
        };
        if set.store_status(&mut fresh, status).await {
            return;
        }
    }
    tracing::info!(grant = %work.grant.key, "failed to roll back ledger");
}

/// Whether a bucket that OSS does not find is gone. The credentials have read it before, or STS says that they are the
/// owner's: to those of another account, OSS may also deny that a bucket exists.
async fn is_gone(set: &GrantSet<'_>, batch: &[GrantWork], cache: &GrantSetCache) -> bool {
    let leaving: Vec<&GrantWork> = batch.iter().filter(|work| work.grant.deleting).collect();
    let Some(place) = leaving.iter().find_map(|work| work.grant.bucket.as_ref()) else {
        return false;
    };
    let keys = request_credentials(set, leaving.iter().copied(), place)
        .await
        .ok();
    let read_before = cache.last_credentials.have_read(&leaving, keys.as_ref());
    let Some(keys) = keys.filter(|_| !read_before) else {
        return read_before;
    };
    let account = set.context.account_of(&set.identity, &keys).await.ok();
    let gone = is_owner(place, account.as_deref());
    if !gone {
        // The next attempt uses what the user provides meanwhile.
        set.context.credentials.forget(&set.identity);
    }
    gone
}
