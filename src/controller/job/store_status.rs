//! Replaces the status of a job, and says what became of the write.

use std::time::Duration;

use crate::api::JobStatus;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::job::JobObject;
use crate::core::job::delays::{REREAD_AFTER, RETRY_REFUSED};
use crate::core::job::events::status_events;
use crate::ports::KubeError;

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
    let events = status_events(job, status);
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
                return if error.is_final() {
                    WriteResult::Refused
                } else {
                    WriteResult::Retry
                };
            }
        }
        for event in events {
            publish_job_event(context, job, event).await;
        }
        return WriteResult::Stored;
    }
    WriteResult::Retry
}
