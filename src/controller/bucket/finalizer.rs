//! Removes the finalizer of a grant that owns nothing any more, and says which access remains.

use super::departed;
use super::write_status::write_status;
use crate::api::{EventReason, FINALIZER, GrantStatus};
use crate::controller::context::Context;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::{GrantObject, residual_access};

/// Removes the finalizer of a grant. `false` when a write failed and the release has to be retried.
pub(super) async fn release(context: &Context, mut grant: GrantObject, residual: usize) -> bool {
    if residual > 0 {
        let note = residual_access(residual);
        publish_grant_event(context, &grant, EventReason::ResidualAccess, note, true).await;
    }
    if grant.only_stored.unverified > 0 {
        let note = format!(
            "Entries of status.owned that this version cannot verify: {}; their statements stay in the policy: remove at OSS what is not intended",
            grant.only_stored.unverified
        );
        publish_grant_event(context, &grant, EventReason::ResidualAccess, note, true).await;
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
    let released = departed::remove_finalizer(context, &grant).await;
    if let Err(error) = released {
        tracing::info!(grant = %grant.key, %error, "failed to remove finalizer; retrying");
    }
    released.is_ok()
}
