//! Adds the started annotation of a job again when another writer has removed it: without the annotation, an object that
//! is restored from a backup would be billed again.

use crate::controller::context::Context;
use crate::core::job::JobObject;

/// Adds the annotation to a job that has made a call and lacks it. `false` when that failed.
pub(super) async fn restore_mark(context: &Context, job: &mut JobObject) -> bool {
    if !job.lacks_mark() {
        return true;
    }
    match context.ports.mark_started(job).await {
        Ok(version) => {
            tracing::warn!(job = %job.key, "started annotation was removed by another writer and is added again");
            job.resource_version = version;
            job.started = Some(job.uid.clone());
            true
        }
        Err(error) => {
            tracing::warn!(job = %job.key, %error, "failed to add started annotation again; retrying");
            false
        }
    }
}
