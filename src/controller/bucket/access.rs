//! The credentials of a grant set: whether its grants may use the identity, and the credentials for its calls. An
//! identity that owns nothing and has not read the policy yet is probed before the worker of the bucket makes calls
//! for it, see `probe`.

use std::sync::Arc;

use super::grant_set::GrantSet;
use super::probes::{ProbeFailure, ProbeState, key_of};
use crate::api::BucketRef;
use crate::controller::credential_gate::{CredentialUser, credentials_for, may_use};
use crate::controller::queue_key::QueueKey;
use crate::core::credential_use::CredentialRefusal;
use crate::core::grant::{
    EarlyEnd, GrantSetCache, GrantSetKey, GrantState, GrantWork, ProbingGrant, needs_bucket_read,
    refusal_state, undecided,
};
use crate::core::identity::SessionScope;
use crate::ports::AccessKeys;
use crate::runtime::queue::{Flow, Trigger};

/// Returns the state of a grant that may not use its identity; `None` when it may.
pub(super) async fn denial(set: &GrantSet<'_>, work: &GrantWork) -> Option<GrantState> {
    let allowed = may_use(set.context, &set.identity, &[work.purpose()?]).await;
    allowed.err().map(refusal_state)
}

/// Returns the credentials for the undecided grants. A refusal decides about those that can make no call: while the
/// reference is closed, the last credentials that worked are used, only to remove the statements of deleted grants.
///
/// # Errors
/// Returns why no call is possible.
pub(super) async fn obtain_keys(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    place: &BucketRef,
    cache: &mut GrantSetCache,
) -> Result<AccessKeys, EarlyEnd> {
    let refusal = match admit(set, batch, place, cache).await? {
        None => match request_credentials(set, undecided(batch), place).await {
            Ok(keys) => return Ok(keys),
            Err(refusal) => refusal,
        },
        Some(refusal) => refusal,
    };
    let last = cache.last_credentials.instead_of(batch, &refusal);
    let keys = last.ok_or_else(|| EarlyEnd::Refused(refusal.clone()))?;
    set.reference_closed = true;
    cache.reference_closed(&refusal, &set.identity.jitter_seed());
    Ok(keys)
}

/// Decides whether the worker of the bucket may make calls for the set, and requests a probe if it may not. Returns the
/// refusal if a probe got no credentials.
///
/// # Errors
/// Returns that the probe is not done, or the error of its call.
async fn admit(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    place: &BucketRef,
    cache: &mut GrantSetCache,
) -> Result<Option<CredentialRefusal>, EarlyEnd> {
    let entries = batch.iter().flat_map(|work| &work.input.ledger);
    if cache.trust.admits(entries) {
        return Ok(None);
    }
    let of_set = GrantSetKey {
        identity: set.identity.clone(),
        region: place.region.clone(),
    };
    let key = key_of(&place.name, &of_set);
    match set.context.probes.take(&key) {
        Some(Ok(read)) => {
            cache.probe_done(read);
            return Ok(None);
        }
        Some(Err(ProbeFailure::Credentials(refusal))) => return Ok(Some(refusal)),
        Some(Err(ProbeFailure::Cloud(error))) => return Err(EarlyEnd::CallFailed(error)),
        None => {}
    }
    if let Some(first) = undecided(batch).next() {
        let flow: Flow = first.grant.key.namespace.as_str().into();
        let request = ProbeState::Requested {
            place: place.clone(),
            flow: Flow::clone(&flow),
            ask_bucket: batch.iter().any(needs_bucket_read),
            grant: Box::new(ProbingGrant::of(first)),
        };
        set.context.probes.lock().insert(key.clone(), request);
        let trigger = Trigger::now(QueueKey::Probe(Arc::new(key)), flow);
        let _ = set.context.probe_queue.send(trigger).await;
    }
    Err(EarlyEnd::Probing)
}

/// Requests the credentials for these grants.
///
/// # Errors
/// Returns why they get none.
pub(super) async fn request_credentials<'a>(
    set: &GrantSet<'_>,
    works: impl Iterator<Item = &'a GrantWork>,
    place: &BucketRef,
) -> Result<AccessKeys, CredentialRefusal> {
    let users = works.filter_map(|work| {
        let uid = work.grant.uid.as_str();
        let purpose = work.purpose()?;
        Some(CredentialUser { uid, purpose })
    });
    let users: Vec<_> = users.collect();
    let scope = SessionScope::bucket(place);
    credentials_for(set.context, &set.identity, &scope, &users).await
}
