//! Replaces the status of a job, and says what became of the write.

use crate::api::JobStatus;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::job::events::status_events;
use crate::core::job::{AfterConflict, JobObject, WriteResult, after_conflict};
use crate::ports::KubeError;

/// Replaces the status if it differs, in up to three attempts. A user may edit the object while its job runs: after a
/// conflict the object is read again, and the status is written to the new version. `Superseded` when another client
/// has written the status.
pub(super) async fn write_status(context: &Context, job: &mut JobObject, status: &JobStatus) -> WriteResult {
    if *status == job.status {
        return WriteResult::Stored;
    }
    let events = status_events(job, status);
    for _ in 0..3 {
        match context.ports.replace_job_status(job, status).await {
            Ok(version) => {
                job.resource_version = version;
                job.status.clone_from(status);
            }
            Err(KubeError::Conflict) => {
                let Ok(stored) = context.ports.get_job(&job.key).await else {
                    return WriteResult::Retry;
                };
                match (after_conflict(job, status, stored.as_ref()), stored) {
                    (AfterConflict::Stored, Some(stored)) => *job = stored,
                    (AfterConflict::WriteAgain, Some(stored)) => {
                        *job = stored;
                        continue;
                    }
                    (AfterConflict::Superseded, _) => {
                        tracing::error!(job = %job.key, "failed to store status: another process has written it");
                        return WriteResult::Superseded;
                    }
                    (AfterConflict::Gone, _) | (_, None) => return WriteResult::Gone,
                }
            }
            Err(error) => {
                if error != KubeError::NotFound {
                    tracing::warn!(job = %job.key, %error, "failed to store status");
                }
                return WriteResult::of(error);
            }
        }
        for event in events {
            publish_job_event(context, job, event).await;
        }
        return WriteResult::Stored;
    }
    WriteResult::Retry
}
