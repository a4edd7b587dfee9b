//! Probes: the first read of a bucket by an identity that has not proven that it can read the policy. Anybody can name
//! any bucket in a grant, so such reads do not occupy the worker of the bucket: they have few workers of their own,
//! which namespaces use in turns. A probe never plans, stores or writes. The worker of the bucket takes its result:
//! the policy as the first read of the reconcile, or the error for the statuses.

use futures::future::OptionFuture;
use tokio::time::timeout;

use super::probes::{ProbeFailure, ProbeState};
use crate::api::BucketRef;
use crate::controller::context::Context;
use crate::controller::credential_gate::{CredentialUser, credentials_for};
use crate::controller::queue_key::{ProbeKey, QueueKey};
use crate::core::credential_use::CredentialRefusal;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{PROBE_DEADLINE, ProbeRead, ProbingGrant, is_owner_verified};
use crate::core::identity::SessionScope;
use crate::runtime::queue::{Action, Flow, Trigger};

/// Makes the calls of a probe and triggers the bucket.
pub(in crate::controller) async fn run(context: &Context, key: &ProbeKey) -> Action {
    let (place, flow, ask_bucket, grant) = match context.probes.lock().get(key) {
        Some(ProbeState::Requested {
            place,
            flow,
            ask_bucket,
            grant,
        }) => (place.clone(), Flow::clone(flow), *ask_bucket, grant.clone()),
        Some(ProbeState::Done(_)) | None => return Action::AwaitChange,
    };
    let result = timeout(PROBE_DEADLINE, read(context, key, &place, ask_bucket, &grant)).await;
    let no_answer = || ProbeFailure::Cloud(CloudError::new(CloudErrorKind::Unanswered, "Timeout"));
    let result = result.unwrap_or_else(|_| Err(no_answer()));
    if let Some(probe) = context.probes.lock().get_mut(key) {
        *probe = ProbeState::Done(result);
    }
    let trigger = Trigger::now(QueueKey::Bucket(key.bucket.as_str().into()), flow);
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
    let Some(purpose) = grant.purpose() else {
        return Err(ProbeFailure::Credentials(CredentialRefusal::NamespaceUnknown));
    };
    let user = CredentialUser {
        uid: &grant.uid,
        purpose,
    };
    let keys = credentials_for(context, &key.set.identity, &SessionScope::bucket(place), &[user])
        .await
        .map_err(ProbeFailure::Credentials)?;
    let at = ports.now();
    // The operator's own identity reads no policy of a bucket before its owner is verified.
    let verify = key.set.identity.is_operator();
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
            context.metrics.policy_read(read.size());
        }
        policy
    };
    if verify {
        let bucket = bucket.await.map_err(ProbeFailure::Cloud)?;
        let verified = bucket
            .as_ref()
            .is_some_and(|bucket| is_owner_verified(place, bucket));
        let policy = OptionFuture::from(verified.then_some(policy)).await.transpose();
        let policy = policy.map_err(ProbeFailure::Cloud)?;
        return Ok(ProbeRead { bucket, policy, at });
    }
    let (bucket, policy) = futures::join!(bucket, policy);
    Ok(ProbeRead {
        bucket: bucket.map_err(ProbeFailure::Cloud)?,
        policy: Some(policy.map_err(ProbeFailure::Cloud)?),
        at,
    })
}
