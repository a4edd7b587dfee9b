//! Adds the finalizer again to grants from which another writer removed it: one patch, without a reconcile.

use super::context::Context;
use crate::core::grant::{
    AfterFailedPatch, LONGEST_RETRY, ObjectKey, after_failed_patch, lacks_finalizer, retry_patch,
};
use crate::runtime::queue::Action;

/// Adds the finalizer to a grant that lost it. Returns when to try again.
pub(super) async fn restore(context: &Context, key: &ObjectKey) -> Action {
    let Some((recorded, failures)) = context.missing_finalizers.get(key) else {
        return Action::AwaitChange;
    };
    let grant = match recorded {
        Some(grant) => grant,
        None => match context.ports.get_grant(key, &key.namespace).await {
            Ok(Some(grant)) if lacks_finalizer(&grant) => grant,
            Ok(_) => {
                context.missing_finalizers.remove(key);
                return Action::AwaitChange;
            }
            Err(error) => {
                tracing::info!(grant = %key, %error, "failed to read grant without finalizer; retrying");
                return Action::Requeue(LONGEST_RETRY);
            }
        },
    };
    let Err(error) = context.ports.add_finalizer(&grant).await else {
        context.missing_finalizers.settled(&grant);
        context.metrics.finalizers.inc();
        tracing::warn!(grant = %key, "finalizer was removed by another writer and is added again");
        return Action::AwaitChange;
    };
    let current = match after_failed_patch(error) {
        AfterFailedPatch::Forget => None,
        AfterFailedPatch::ReadAgain => match context.ports.get_grant(key, &key.namespace).await {
            Ok(current) => current.filter(|now| now.uid == grant.uid),
            Err(_) => Some(grant.clone()),
        },
        AfterFailedPatch::Retry => Some(grant.clone()),
    };
    let Some(current) = current.filter(lacks_finalizer) else {
        context.missing_finalizers.settled(&grant);
        return Action::AwaitChange;
    };
    tracing::info!(grant = %key, %error, "failed to add finalizer again; retrying");
    let failures = failures.saturating_add(1);
    context.missing_finalizers.put(current, failures);
    Action::Requeue(retry_patch(failures, key))
}
