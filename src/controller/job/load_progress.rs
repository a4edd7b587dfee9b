//! The progress of a job that does not run: restored from what is stored, and stored when the job ends.

use std::ops::ControlFlow::{self, Break, Continue};

use k8s_openapi::jiff::Timestamp;

use super::end_job::{block, end_job};
use super::persist::JobWriter;
use super::report_reader::restore_reports;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::core::job::delays::RETRY_KUBE_API;
use crate::core::job::{
    End, Phase, Progress, missing_results, planned_size, results_unreadable, resume_progress,
};
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Returns the progress of a job that is about to run: `loaded`, or what is restored. Breaks with the action for a job of
/// which stored results are missing.
pub(super) async fn load_complete_progress(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    loaded: Option<Progress>,
) -> ControlFlow<Action, Progress> {
    let progress = match loaded {
        Some(progress) => Some(progress),
        None => load_progress(context, writer, spec, context.ports.now()).await?,
    };
    let Some(progress) = progress else {
        return Break(Action::Requeue(RETRY_KUBE_API));
    };
    match missing_results(&writer.job.status, &progress) {
        0 => Continue(progress),
        missing => Break(block(context, writer, Phase::ResultsMissing(missing)).await),
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
        Err(error) => Break(match results_unreadable(error) {
            Some(phase) => block(context, writer, phase).await,
            None => Action::Requeue(RETRY_KUBE_API),
        }),
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

/// Ends a job that is not running. After a crash the counters in status may lag behind the reports, so the progress is
/// restored first; if the reports cannot be read, the job ends with the counters
/// as stored, and its reservation counts as sent.
pub(super) async fn end_stored_job(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    end: End,
    now: Timestamp,
) -> Action {
    let mut progress = None;
    if writer.job.status.requests.is_some() {
        progress = match read_progress(context, writer, spec, now).await {
            Ok(progress) => progress,
            Err(error) if error.is_final() => {
                writer.reports_unreadable = Some(error);
                None
            }
            Err(_) => return Action::Requeue(RETRY_KUBE_API),
        };
    }
    end_job(context, writer, progress.as_mut(), end).await
}
