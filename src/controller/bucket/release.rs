//! Releases grants without a cloud call: those that keep their statements, because of the annotation or their deletion
//! policy, and those whose spec cannot be used.

use super::grant_set::{GrantSet, release, write_status};
use crate::api::GrantStatus;
use crate::controller::context::Context;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::statements_retained;
use crate::core::grant::{EarlyEnd, GrantObject, RetainedPlan, retains_statements, unusable_status};

/// Reconciles a grant whose spec names no usable identity or bucket: writes `Invalid`, or releases a deleted grant
/// that owns nothing or keeps its statements. `false` when that failed.
pub(super) async fn reconcile_unusable(context: &Context, mut grant: GrantObject) -> bool {
    if grant.deleting && grant.status.owned.is_empty() {
        return release(context, grant, 0).await;
    }
    if retains_statements(&grant) {
        let (event, copy) = (statements_retained(&grant), grant.clone());
        let released = release(context, grant, 0).await;
        if released {
            publish_grant_event(context, &copy, event).await;
        }
        return released;
    }
    let status = unusable_status(&grant, context.ports.now());
    write_status(context, &mut grant, status).await
}

/// Releases the deleted grants that keep their statements. Returns the remaining grants.
///
/// # Errors
/// Returns that a status write failed.
pub(super) async fn release_retained(
    set: &GrantSet<'_>,
    grants: Vec<GrantObject>,
) -> Result<Vec<GrantObject>, EarlyEnd> {
    if !grants.iter().any(retains_statements) {
        return Ok(grants);
    }
    let planned = RetainedPlan::of(grants, set.context.ports.now());
    let mut all_written = true;
    let mut staying = Vec::new();
    for (mut grant, owned) in planned.stay {
        if owned != grant.status.owned {
            let status = GrantStatus {
                owned,
                ..grant.status.clone()
            };
            all_written &= set.store_status(&mut grant, status).await;
        }
        staying.push(grant);
    }
    if !all_written {
        return Err(EarlyEnd::NotStored);
    }
    for grant in planned.released {
        let (event, copy) = (statements_retained(&grant), grant.clone());
        if set.release(grant, 0).await {
            publish_grant_event(set.context, &copy, event).await;
        }
    }
    Ok(staying)
}
