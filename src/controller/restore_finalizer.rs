//! Adds the finalizer again to grants from which another writer removed it: one patch, without a reconcile.

use std::time::Duration;

use super::context::Context;
use crate::core::grant::ObjectKey;
use crate::core::requeue;
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Longest delay between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Adds the finalizer to a grant that lost it. Returns when to try again.
pub(super) async fn restore(context: &Context, key: &ObjectKey) -> Action {
    let Some((recorded, failures)) = context.missing_finalizers.get(key) else {
        return Action::AwaitChange;
    };
    let grant = match recorded {
        Some(grant) => grant,
        None => match context.ports.get_grant(key, &key.namespace).await {
            Ok(Some(grant)) if !grant.deleting && !grant.has_finalizer() => grant,
            Ok(_) => {
                context.missing_finalizers.remove(key);
                return Action::AwaitChange;
            }
            Err(error) => {
                tracing::info!(grant = %key, %error, "failed to read grant without finalizer; retrying");
                return Action::Requeue(MAX_BACKOFF);
            }
        },
    };
    let Err(error) = context.ports.add_finalizer(&grant).await else {
        context.missing_finalizers.settled(&grant);
        context.metrics.finalizers.inc();
        tracing::warn!(grant = %key, "finalizer was removed by another writer and is added again");
        return Action::AwaitChange;
    };
    let current = match error {
        KubeError::NotFound => None,
        // The object has changed since the watch showed it.
        KubeError::Conflict | KubeError::Invalid => {
            match context.ports.get_grant(key, &key.namespace).await {
                Ok(current) => current.filter(|now| now.uid == grant.uid),
                Err(_) => Some(grant.clone()),
            }
        }
        KubeError::Forbidden | KubeError::Unavailable => Some(grant.clone()),
    };
    let Some(current) = current.filter(|grant| !grant.deleting && !grant.has_finalizer()) else {
        context.missing_finalizers.settled(&grant);
        return Action::AwaitChange;
    };
    tracing::info!(grant = %key, %error, "failed to add finalizer again; retrying");
    let failures = failures.saturating_add(1);
    context.missing_finalizers.put(current, failures);
    let first = Duration::from_millis(200);
    Action::Requeue(requeue::exponential_backoff(
        failures,
        first,
        MAX_BACKOFF,
        &key.to_string(),
    ))
}
