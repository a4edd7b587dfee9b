//! Writes to the object of a grant: its status, with one event per change of state, and its finalizer. A grant that was
//! deleted without its finalizer has its status in memory instead.

use crate::api::{FINALIZER, GrantStatus};
use crate::controller::context::Context;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::GrantObject;
use crate::core::grant::events::{access_remains, state_change};
use crate::ports::KubeError;
use crate::runtime::metric_labels::DeletionOutcome;

/// Replaces the status if it differs. Returns `false`, and leaves `grant` unchanged, if the write failed.
pub(super) async fn write_status(context: &Context, grant: &mut GrantObject, status: GrantStatus) -> bool {
    if status == grant.status {
        return true;
    }
    // An error of the API server ends a reconcile that would add statements for a grant that was deleted meanwhile.
    if !context.leaving.store_status(&grant.uid, &status) {
        let replaced = context.ports.replace_grant_status(grant, &status).await;
        context.grant_reads.changed(&grant.key);
        match replaced {
            Ok(version) => grant.resource_version = version,
            Err(error) => {
                tracing::info!(grant = %grant.key, %error, "failed to store status");
                return false;
            }
        }
    }
    let before = std::mem::replace(&mut grant.status, status);
    if let Some(event) = state_change(grant, &before) {
        publish_grant_event(context, grant, event).await;
    }
    true
}

/// Removes the finalizer of a grant that owns nothing any more, and says which access remains. `false` when a write failed
/// and the release has to be retried.
pub(super) async fn release(context: &Context, mut grant: GrantObject, residual: usize) -> bool {
    for event in access_remains(residual, grant.only_stored.unverified) {
        publish_grant_event(context, &grant, event).await;
    }
    // Another finalizer keeps the object: its status must no longer claim statements.
    let others = grant.finalizers.iter().any(|name| name != FINALIZER);
    if !grant.status.owned.is_empty() && others {
        let status = GrantStatus {
            owned: Vec::new(),
            ..grant.status.clone()
        };
        if !write_status(context, &mut grant, status).await {
            return false;
        }
    }
    if context.leaving.finished(&grant.uid) {
        context.metrics.unprotected_deletion(DeletionOutcome::Finished);
        tracing::info!(grant = %grant.key, "deleted grant without finalizer owns no statement any more");
        return true;
    }
    context.leaving.releasing(&grant);
    let Err(error) = context.ports.remove_finalizer(&grant).await else {
        return true;
    };
    // An unanswered patch can have taken effect.
    if error != KubeError::Unavailable {
        context.leaving.not_released(&grant);
    }
    tracing::info!(grant = %grant.key, %error, "failed to remove finalizer; retrying");
    false
}
