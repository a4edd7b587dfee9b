//! Grants that were deleted without their finalizer: they are reconciled with the bucket until they own nothing, with
//! their status in memory instead of the API server.

use k8s_openapi::jiff::Timestamp;

use crate::api::GrantStatus;
use crate::controller::context::Context;
use crate::core::grant::GrantObject;
use crate::ports::KubeError;
use crate::runtime::metric_labels::DeletionOutcome;

/// Adds the deleted grants of a bucket to the grants that the API server listed.
pub(super) fn add_leaving_grants(
    context: &Context,
    bucket: &str,
    grants: &mut Vec<GrantObject>,
    now: Timestamp,
) {
    let (leaving, expired) = context.leaving.of_bucket(bucket, now);
    for grant in expired {
        context.metrics.unprotected_deletion(DeletionOutcome::Expired);
        tracing::error!(
            grant = %grant.key,
            bucket,
            statements = grant.status.owned.len(),
            "failed to remove the statements of a deleted grant within 24 h; they remain in the policy"
        );
    }
    // A stale list can still have a deleted grant.
    grants.retain(|listed| !leaving.iter().any(|gone| gone.uid == listed.uid));
    grants.extend(leaving);
}

/// Replaces the status of a grant: in memory for a deleted grant, otherwise at the API server, whose error ends a
/// reconcile that would add statements for a grant that was deleted meanwhile. Returns the version on which the next
/// write must be based.
///
/// # Errors
/// Returns the error of the API server.
pub(super) async fn replace_status(
    context: &Context,
    grant: &GrantObject,
    status: &GrantStatus,
) -> Result<String, KubeError> {
    if context.leaving.store_status(&grant.uid, status) {
        return Ok(grant.resource_version.clone());
    }
    let replaced = context.ports.replace_grant_status(grant, status).await;
    context.grant_reads.changed(&grant.key);
    replaced
}

/// Removes the finalizer of a grant that owns nothing; a deleted grant is forgotten instead.
///
/// # Errors
/// Returns the error of the API server.
pub(super) async fn remove_finalizer(context: &Context, grant: &GrantObject) -> Result<(), KubeError> {
    if context.leaving.finished(&grant.uid) {
        context.metrics.unprotected_deletion(DeletionOutcome::Finished);
        tracing::info!(grant = %grant.key, "deleted grant without finalizer owns no statement any more");
        return Ok(());
    }
    context.leaving.releasing(grant);
    let released = context.ports.remove_finalizer(grant).await;
    // An unanswered patch can have taken effect.
    if released.is_err_and(|error| error != KubeError::Unavailable) {
        context.leaving.not_released(grant);
    }
    released
}
