//! Decides whether the worker of a bucket may make calls for a group: an identity that owns nothing and has not read the
//! policy yet is probed first, see `probe`.

use std::sync::Arc;
use std::time::Duration;

use super::cache::GrantSetCache;
use super::grant_set::GrantSet;
use super::probes::{ProbeFailure, ProbeState, ProbingGrant, RemovedStatements, key_of};
use crate::api::BucketRef;
use crate::controller::queue_key::QueueKey;
use crate::core::credential_use::{CredentialRefusal, without_lists, without_texts};
use crate::core::grant::{EarlyEnd, GrantWork, Trust, needs_first_look};
use crate::runtime::queue::{Share, Trigger};

/// Whether the worker of a bucket may make calls for a group.
pub(super) enum Admission {
    /// The identity may make calls.
    Admitted,
    /// The probe got no credentials.
    Refused(CredentialRefusal),
}

/// Decides whether the worker of the bucket may make calls for the group, and requests a probe if it may not.
///
/// # Errors
/// Returns that the probe is not done, or the error of its call.
pub(super) async fn admit(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    place: &BucketRef,
    cache: &mut GrantSetCache,
) -> Result<Admission, EarlyEnd> {
    let entries = batch.iter().flat_map(|work| &work.input.ledger);
    if cache.trust.admits(entries) {
        return Ok(Admission::Admitted);
    }
    let key = key_of(&place.name, &(set.identity.clone(), place.region.clone()));
    match set.context.probes.take(&key) {
        Some(Ok(read)) => {
            cache.trust = Trust::Proven;
            cache.probed = Some(read);
            return Ok(Admission::Admitted);
        }
        Some(Err(ProbeFailure::Credentials(refusal))) => return Ok(Admission::Refused(refusal)),
        Some(Err(ProbeFailure::Cloud(error))) => return Err(EarlyEnd::CallFailed(error)),
        None => {}
    }
    let Some(first) = batch.iter().find(|work| work.outcome.is_none()) else {
        return Err(EarlyEnd::Probing);
    };
    let share: Share = first.grant.key.namespace.as_str().into();
    let request = ProbeState::Requested {
        place: place.clone(),
        share: Share::clone(&share),
        ask_bucket: batch.iter().any(needs_first_look),
        grant: Box::new(ProbingGrant {
            uid: first.grant.uid.clone(),
            spec: first.grant.spec.as_ref().ok().map(without_lists),
            removes: first.grant.deleting.then(|| RemovedStatements {
                ledger: without_texts(&first.input.ledger),
                unproven: first.input.unproven.clone(),
            }),
        }),
    };
    set.context.probes.lock().insert(key.clone(), request);
    let trigger = Trigger {
        key: QueueKey::Probe(Arc::new(key)),
        debounce: Duration::ZERO,
        share,
    };
    let _ = set.context.probe_queue.send(trigger).await;
    Err(EarlyEnd::Probing)
}
