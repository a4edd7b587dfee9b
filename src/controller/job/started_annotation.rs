//! Adds the started annotation to a job: before its first call, and again when another writer has removed it. Without the
//! annotation, an object that is restored from a backup would be billed again.

use crate::controller::context::Context;
use crate::core::job::JobObject;
use crate::ports::KubeError;

/// Adds the annotation.
///
/// # Errors
/// Returns the error of the API server.
pub(super) async fn add_started_annotation(context: &Context, job: &mut JobObject) -> Result<(), KubeError> {
    job.resource_version = context.ports.mark_started(job).await?;
    job.started = Some(job.uid.clone());
    Ok(())
}

/// Adds the annotation to a job that has made a call and lacks it. `false` when that failed.
pub(super) async fn restore_started_annotation(context: &Context, job: &mut JobObject) -> bool {
    if !job.lacks_started_annotation() {
        return true;
    }
    match add_started_annotation(context, job).await {
        Ok(()) => {
            tracing::warn!(job = %job.key, "started annotation was removed by another writer and is added again");
            true
        }
        Err(error) => {
            tracing::warn!(job = %job.key, %error, "failed to add started annotation again; retrying");
            false
        }
    }
}
