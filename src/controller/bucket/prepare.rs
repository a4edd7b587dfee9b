//! Prepares the grants of a grant set: releases those that keep their statements or own nothing, validates the others
//! without a cloud call, obtains the credentials, reads what has to be known about the bucket, and adds the finalizer
//! before the first write.

use futures::future::OptionFuture;

use super::access::{denial, obtain_keys};
use super::grant_set::GrantSet;
use super::release::release_retained;
use crate::api::{BucketRef, FINALIZER};
use crate::core::error::CloudError;
use crate::core::grant::{
    EarlyEnd, GrantObject, GrantOutcome, GrantSetCache, GrantState, GrantWork, PreparationFacts,
    RejectedAdditions, accept_unwanted, decide_desired, is_unverified, undecided, want,
};
use crate::ports::AccessKeys;

/// What a set needs to read and write the policy.
pub(super) struct Prepared {
    pub(super) place: BucketRef,
    pub(super) keys: AccessKeys,
}

/// Prepares the grants that stay in the set, which are added to `batch`.
///
/// # Errors
/// Returns why the policy is not read.
pub(super) async fn prepare(
    set: &mut GrantSet<'_>,
    grants: Vec<GrantObject>,
    batch: &mut Vec<GrantWork>,
    cache: &mut GrantSetCache,
) -> Result<Prepared, EarlyEnd> {
    let grants = release_retained(set, grants).await?;
    let place = grants.iter().find_map(|g| g.bucket.clone());
    let place = place.ok_or(EarlyEnd::NothingLeft)?;
    *batch = release_owning_nothing(set, validate(set, grants).await).await;
    if batch.is_empty() {
        return Err(EarlyEnd::NothingLeft);
    }
    if undecided(batch).next().is_none() {
        return Err(EarlyEnd::AllDecided);
    }
    let keys = obtain_keys(set, batch, &place, cache).await?;
    // While the reference is closed, only statements of deleted grants are removed.
    if !set.reference_closed {
        let facts = read_bucket_facts(set, batch, &place, &keys, cache).await?;
        let all_prepared = enforce(set, batch, &facts, &mut cache.rejected).await;
        if is_unverified(batch, set.identity.is_operator()) {
            return Err(EarlyEnd::OwnerUnverified);
        }
        if !all_prepared {
            cache.not_prepared(&set.identity.jitter_seed());
        }
    }
    Ok(Prepared { place, keys })
}

/// Validates the grants without a cloud call; `decided` of the result is the state of a grant that cannot proceed.
async fn validate(set: &GrantSet<'_>, grants: Vec<GrantObject>) -> Vec<GrantWork> {
    let mut batch = Vec::new();
    for grant in grants {
        let unproven = set.writes.unproven_intents(&grant, set.context.ports.now());
        let mut work = GrantWork::of(grant, unproven, set.identity.is_operator());
        if work.decided.is_none()
            && let Some(denied) = denial(set, &work).await
        {
            work.carry(denied);
        }
        batch.push(work);
    }
    batch
}

/// Releases the deleted grants that own nothing, without credentials: an entry is stored before its write, so no
/// write can be in flight. Returns the remaining grants.
async fn release_owning_nothing(set: &GrantSet<'_>, batch: Vec<GrantWork>) -> Vec<GrantWork> {
    let mut staying = Vec::new();
    for work in batch {
        if work.removes_nothing(set.identity.is_operator()) {
            set.release(work.grant, 0).await;
        } else {
            staying.push(work);
        }
    }
    staying
}

/// Reads the facts about the bucket that the grants need.
///
/// # Errors
/// Returns the error of OSS.
async fn read_bucket_facts(
    set: &mut GrantSet<'_>,
    batch: &[GrantWork],
    place: &BucketRef,
    keys: &AccessKeys,
    cache: &mut GrantSetCache,
) -> Result<PreparationFacts, CloudError> {
    let (needed, probed) = cache.needed_facts(batch, set.identity.is_operator());
    // Both calls are made concurrently: a new grant waits for the answers.
    let ports = &set.context.ports;
    let (bucket, block) = futures::join!(
        OptionFuture::from(needed.bucket.then(|| ports.bucket_info(place, keys))),
        OptionFuture::from(needed.block.then(|| ports.read_public_access_block(place, keys))),
    );
    let bucket = bucket.transpose()?.or(probed);
    set.owner_read = bucket.is_some();
    Ok(cache.facts_read(needed, bucket, block.transpose()?))
}

/// Decides what each grant wants, and adds the finalizer to those that are enforced. Returns `false` when one could
/// not be added: the grant is carried, and the set retries.
async fn enforce(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    facts: &PreparationFacts,
    rejected: &mut RejectedAdditions,
) -> bool {
    let mut all_prepared = true;
    for work in &mut *batch {
        let now = set.context.ports.now();
        let Some(desired) = decide_desired(work, facts, set.identity.is_operator(), now) else {
            continue;
        };
        if add_finalizer(set, work).await {
            want(work, desired, rejected);
        } else {
            work.decided = Some(GrantState::Planned(GrantOutcome::Carried));
            all_prepared = false;
        }
    }
    accept_unwanted(batch, rejected);
    all_prepared
}

/// Adds the finalizer to a grant without it. `false` when that failed.
async fn add_finalizer(set: &GrantSet<'_>, work: &mut GrantWork) -> bool {
    if work.grant.has_finalizer() {
        return true;
    }
    match set.context.ports.add_finalizer(&work.grant).await {
        Ok(version) => {
            work.grant.resource_version = version;
            work.grant.finalizers.push(FINALIZER.to_owned());
            true
        }
        Err(error) => {
            tracing::warn!(grant = %work.grant.key, %error, "failed to add finalizer; retrying");
            false
        }
    }
}
