//! Replaces the status of a job, and says what became of the write.

use std::time::Duration;

use crate::api::{JobCondition, JobStatus, SuspendCause};
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::condition_builder::newly_stalled;
use crate::core::event_content::EventContent;
use crate::core::job::JobObject;
use crate::core::job::events::resumed;
use crate::ports::KubeError;

/// Delay before a job is reconciled again whose stored state is not the state known here.
pub(super) const REREAD_AFTER: Duration = Duration::from_secs(3);
/// Delay before a job is reconciled again whose status the API server rejects.
const RETRY_REFUSED: Duration = Duration::from_secs(60);

/// Result of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteResult {
    /// The state is stored.
    Stored,
    /// The write failed and can be retried.
    Retry,
    /// The API server rejects the status as it is.
    Refused,
    /// The object is deleted or being deleted.
    Gone,
    /// The stored state is not the state known here: another client wrote it, or a late write of an earlier process
    /// took effect. A new reconcile reads it.
    Superseded,
}

impl WriteResult {
    /// Delay before a job is reconciled again whose state is not stored.
    pub(super) fn retry_after(self) -> Duration {
        match self {
            Self::Refused => RETRY_REFUSED,
            Self::Stored | Self::Retry | Self::Gone | Self::Superseded => REREAD_AFTER,
        }
    }
}

/// Replaces the status if it differs, in up to three attempts. A user may edit the object while its job runs: after a
/// conflict the object is read again, and the status is written to the new version. `Superseded` when another client
/// has written the status.
pub(super) async fn write_status(context: &Context, job: &mut JobObject, status: &JobStatus) -> WriteResult {
    if *status == job.status {
        return WriteResult::Stored;
    }
    let stalled = newly_stalled::<JobCondition>(&job.status.conditions, &status.conditions);
    let is_open = status.completion_time.is_none();
    let runs_again = status.suspended_by.is_none() && job.spec.as_ref().is_ok_and(|spec| !spec.suspend);
    let resumes = is_open && is_suspended(&job.status) && runs_again;
    for _ in 0..3 {
        match context.ports.replace_job_status(job, status).await {
            Ok(version) => {
                job.resource_version = version;
                job.status.clone_from(status);
            }
            Err(KubeError::Conflict) => match context.ports.get_job(&job.key).await {
                Ok(Some(fresh)) if fresh.uid != job.uid || fresh.deleting => return WriteResult::Gone,
                // Our own write whose answer was lost.
                Ok(Some(fresh)) if fresh.status == *status => *job = fresh,
                Ok(Some(fresh)) if fresh.status == job.status => {
                    *job = fresh;
                    continue;
                }
                Ok(Some(_)) => {
                    tracing::error!(job = %job.key, "failed to store status: another process has written it");
                    return WriteResult::Superseded;
                }
                Ok(None) => return WriteResult::Gone,
                Err(_) => return WriteResult::Retry,
            },
            Err(KubeError::NotFound) => return WriteResult::Gone,
            Err(error @ (KubeError::Forbidden | KubeError::Invalid | KubeError::Unavailable)) => {
                tracing::warn!(job = %job.key, %error, "failed to store status");
                let refused = error != KubeError::Unavailable;
                return if refused {
                    WriteResult::Refused
                } else {
                    WriteResult::Retry
                };
            }
        }
        // The end of a job has an event of its own.
        if let Some((reason, message)) = stalled.filter(|_| is_open) {
            publish_job_event(context, job, EventContent::stalled(reason, message)).await;
        }
        if resumes {
            publish_job_event(context, job, resumed()).await;
        }
        return WriteResult::Stored;
    }
    WriteResult::Retry
}

/// Whether the status says that `spec.suspend` pauses the job.
pub(super) fn is_suspended(status: &JobStatus) -> bool {
    status.suspended_by == Some(SuspendCause::Requested)
}
