//! Removes the finalizer of a grant that owns nothing any more, and says which access remains.

use super::departed;
use super::write_status::write_status;
use crate::api::{FINALIZER, GrantStatus};
use crate::controller::context::Context;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::GrantObject;
use crate::core::grant::events::access_remains;

/// Removes the finalizer of a grant. `false` when a write failed and the release has to be retried.
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
    let released = departed::remove_finalizer(context, &grant).await;
    if let Err(error) = released {
        tracing::info!(grant = %grant.key, %error, "failed to remove finalizer; retrying");
    }
    released.is_ok()
}
