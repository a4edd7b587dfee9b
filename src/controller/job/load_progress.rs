//! The progress of a job that does not run: restored from what is stored, and stored when the job ends.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::persist::JobWriter;
use super::report_reader::restore_reports;
use super::store_status::WriteResult;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::core::job::{End, Progress, planned_size, results_unreadable, resume_progress};
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Requeue interval of a waiting job; a change of its grant triggers it at once.
pub(super) const RECHECK_GRANT: Duration = Duration::from_secs(60);

/// Delay before a failed read from the API server is retried.
pub(super) const RETRY_KUBE_API: Duration = Duration::from_secs(5);

/// Waits for a change of the object once its phase is stored, and tries again when it could not be stored.
pub(super) fn after_phase(stored: WriteResult) -> Action {
    if stored == WriteResult::Stored {
        Action::AwaitChange
    } else {
        Action::Requeue(stored.retry_after())
    }
}

/// Restores the progress of a job from its status and from reports, which may be newer. `None` when the size of the
/// source is not known yet. Breaks with the action for a retry when the reports cannot be read; if a retry cannot help,
/// the job is stalled first.
pub(super) async fn load_progress(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    now: Timestamp,
) -> ControlFlow<Action, Option<Progress>> {
    match read_progress(context, writer, spec, now).await {
        Ok(progress) => Continue(progress),
        Err(error) if is_final(error) => {
            let phase = results_unreadable(&error.to_string());
            writer.persist(context, None, &phase).await;
            Break(Action::Requeue(RECHECK_GRANT))
        }
        Err(_) => Break(Action::Requeue(RETRY_KUBE_API)),
    }
}

/// Restores the progress of a job. `None` when the size of the source is not known yet.
///
/// # Errors
/// Returns the error of the API server if the reports cannot be read.
async fn read_progress(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    now: Timestamp,
) -> Result<Option<Progress>, KubeError> {
    let Some(size) = planned_size(spec, writer.job.status.source.as_ref()) else {
        return Ok(None);
    };
    let mut progress = resume_progress(spec, &writer.job.status, size, now, &writer.job.uid);
    match restore_reports(writer, context, &mut progress).await {
        Ok(()) => Ok(Some(progress)),
        Err(error) => {
            tracing::warn!(job = %writer.job.key, %error, "failed to read reports");
            Err(error)
        }
    }
}

/// Whether a retry cannot help to read the reports.
fn is_final(error: KubeError) -> bool {
    matches!(error, KubeError::Forbidden | KubeError::Invalid)
}

/// Ends a job that is not running. After a crash the counters in status may lag behind the reports, so the progress is
/// restored first; if the reports cannot be read, the job ends with the counters
/// as stored, and its reservation counts as sent.
pub(super) async fn fail_or_complete(
    context: &Context,
    mut writer: JobWriter,
    spec: &JobSpec,
    end: End,
    now: Timestamp,
) -> Action {
    let mut progress = None;
    if writer.job.status.requests.is_some() {
        progress = match read_progress(context, &mut writer, spec, now).await {
            Ok(progress) => progress,
            Err(error) if is_final(error) => {
                writer.reports_unreadable = Some(error);
                None
            }
            Err(_) => return Action::Requeue(RETRY_KUBE_API),
        };
    }
    writer.finish_job(context, progress.as_mut(), end).await
}
