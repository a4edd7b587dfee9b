//! Probes: the first read of a bucket by an identity that has not proven that it can read the policy. Anybody can name
//! any bucket in a grant, so such reads do not occupy the worker of the bucket: they have few workers of their own,
//! which namespaces use in turns. A probe never plans, stores or writes. The worker of the bucket takes its result:
//! the policy as the first read of the reconcile, or the error for the statuses.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::cache::GrantSetCache;
use super::grant_set::{GrantSet, GrantWork};
use super::probes::{ProbeFailure, ProbeRead, ProbeState, ProbingGrant, RemovedStatements, key_of};
use crate::api::BucketRef;
use crate::controller::context::Context;
use crate::controller::credential_gate::{CredentialUser, credentials_for};
use crate::controller::queue_key::{ProbeKey, QueueKey};
use crate::core::credential_use::{CredentialRefusal, Purpose, without_lists, without_texts};
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::Trust;
use crate::core::identity::SessionScope;
use crate::ports::PolicyRead;
use crate::runtime::queue::{Action, Share, Trigger};

/// Deadline of a probe, credentials included.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a group waits for its probe before the probe is requested again.
const REQUEST_AGAIN: Duration = Duration::from_secs(60);

/// Whether the worker of a bucket may make calls for a group.
pub(super) enum Admission {
    /// The identity may make calls.
    Admitted,
    /// The probe failed.
    Refused(ProbeFailure),
    /// The probe is not done.
    Waiting(Duration),
}

/// Makes the calls of a probe and triggers the bucket.
pub(in crate::controller) async fn run(context: &Context, key: &ProbeKey) -> Action {
    let (place, share, ask_bucket, grant) = match context.probes.lock().get(key) {
        Some(ProbeState::Requested {
            place,
            share,
            ask_bucket,
            grant,
        }) => (place.clone(), Share::clone(share), *ask_bucket, grant.clone()),
        Some(ProbeState::Done(_)) | None => return Action::AwaitChange,
    };
    let result = timeout(DEADLINE, read(context, key, &place, ask_bucket, &grant)).await;
    let no_answer = || ProbeFailure::Cloud(CloudError::new(CloudErrorKind::Unanswered, "Timeout"));
    let result = result.unwrap_or_else(|_| Err(no_answer()));
    if let Some(probe) = context.probes.lock().get_mut(key) {
        *probe = ProbeState::Done(result);
    }
    let trigger = Trigger {
        key: QueueKey::Bucket(key.bucket.as_str().into()),
        debounce: Duration::ZERO,
        share,
    };
    // The channel is closed only at the end of the process.
    let _ = context.buckets.send(trigger).await;
    Action::AwaitChange
}

async fn read(
    context: &Context,
    key: &ProbeKey,
    place: &BucketRef,
    ask_bucket: bool,
    grant: &ProbingGrant,
) -> Result<ProbeRead, ProbeFailure> {
    let ports = context.ports.as_ref();
    let purpose = match (&grant.removes, &grant.spec) {
        (Some(input), spec) => Purpose::Removal {
            spec: spec.as_ref(),
            ledger: &input.ledger,
            unproven: &input.unproven,
        },
        (None, Some(spec)) => Purpose::Grant(spec),
        (None, None) => return Err(ProbeFailure::Credentials(CredentialRefusal::NamespaceUnknown)),
    };
    let user = CredentialUser {
        uid: &grant.uid,
        purpose,
    };
    let keys = credentials_for(context, &key.identity, &SessionScope::bucket(place), &[user])
        .await
        .map_err(ProbeFailure::Credentials)?;
    let at = ports.now();
    // The operator's own identity reads no policy of a bucket before its owner is verified.
    let verify = key.identity.is_operator();
    let bucket = async {
        if !ask_bucket && !verify {
            return Ok(None);
        }
        let bucket = ports.bucket_info(place, &keys).await;
        bucket.map(Some)
    };
    let policy = async {
        let policy = ports.get_policy(place, &keys).await;
        if let Ok(read) = &policy {
            context
                .metrics
                .policy_read(read.bytes.as_ref().map_or(0, Vec::len));
        }
        policy
    };
    if verify {
        let bucket = bucket.await.map_err(ProbeFailure::Cloud)?;
        let owner = bucket.as_ref().and_then(|observed| observed.owner_uid.as_ref());
        let policy = if owner == Some(&place.owner_uid) {
            Some(policy.await.map_err(ProbeFailure::Cloud)?)
        } else {
            None
        };
        return Ok(ProbeRead { bucket, policy, at });
    }
    let (bucket, policy) = futures::join!(bucket, policy);
    Ok(ProbeRead {
        bucket: bucket.map_err(ProbeFailure::Cloud)?,
        policy: Some(policy.map_err(ProbeFailure::Cloud)?),
        at,
    })
}

/// Decides whether the worker of the bucket may make calls for the group, and requests a probe if it may not.
pub(super) async fn admit(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    place: &BucketRef,
    cache: &mut GrantSetCache,
) -> Admission {
    let entries = batch.iter().flat_map(|work| &work.input.ledger);
    if cache.trust.admits(entries) {
        return Admission::Admitted;
    }
    let key = key_of(&place.name, &(set.identity.clone(), place.region.clone()));
    match set.context.probes.take(&key) {
        Some(Ok(read)) => {
            cache.trust = Trust::Proven;
            cache.probed = Some(read);
            return Admission::Admitted;
        }
        Some(Err(failure)) => return Admission::Refused(failure),
        None => {}
    }
    let Some(first) = batch.iter().find(|work| work.outcome.is_none()) else {
        return Admission::Waiting(REQUEST_AGAIN);
    };
    let share: Share = first.grant.key.namespace.as_str().into();
    let request = ProbeState::Requested {
        place: place.clone(),
        share: Share::clone(&share),
        ask_bucket: batch.iter().any(needs_bucket_facts),
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
    Admission::Waiting(REQUEST_AGAIN)
}

/// Returns the policy that the probe read, once and if it can serve as a first read.
pub(super) fn take_probed_policy(set: &GrantSet<'_>, cache: &mut GrantSetCache) -> Option<PolicyRead> {
    let now = set.context.ports.now();
    let probed = cache.probed.take()?;
    probed.policy.filter(|_| set.writes.is_fresh_read(probed.at, now))
}

/// Whether the owner and the region of the bucket must be read for a grant.
fn needs_bucket_facts(work: &GrantWork) -> bool {
    let grant = &work.grant;
    let new = grant.status.observed_generation != Some(grant.generation);
    work.outcome.is_none() && !grant.deleting && (new || grant.status.bucket.is_none())
}
