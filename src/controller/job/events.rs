//! What follows from the events of a run: answers of IMM, pages of the source, limits of the project, and results of
//! stores. The calls that end with these events start in `run.rs`.

use std::sync::Arc;

use super::job_run::{JobRun, RunEvent, ScoreResponse, apply_edits};
use super::manifest_lines::check_manifest_lines;
use super::persist::JobWriter;
use super::started_annotation::add_started_annotation;
use crate::controller::object_events::publish_job_event;
use crate::core::job::delays::is_source_lost;
use crate::core::job::events::{started, throttled};
use crate::core::job::{
    ResponseEffect, StopReason, WriteResult, add_items, apply_response, other_service_role, project_failed,
    project_read, source_grew,
};
use crate::ports::{AccessKeys, CloudError, ProjectLimits};
use crate::runtime::metric_labels::ScoreOutcome;

/// Handles an event. Returns why the run has to stop; `None` when it continues.
pub(super) async fn handle_event(run: &mut JobRun<'_>, event: RunEvent) -> Option<StopReason> {
    match event {
        RunEvent::Response(answer) => handle_response(run, answer).await,
        RunEvent::Limits(limits, keys) => handle_limits(run, limits, keys),
        RunEvent::Persisted(writer, stored) => match on_persisted(run, *writer, stored) {
            None if stored == WriteResult::Stored => mark_started(run).await,
            end => end,
        },
        RunEvent::Page(Ok(page)) => {
            run.source.failures = 0;
            run.source.page = Some(page);
            take_batch(run).await
        }
        RunEvent::Page(Err(error)) => {
            run.progress.read_failed();
            run.source.failures += 1;
            is_source_lost(&error, run.source.failures).then_some(StopReason::Source(error))
        }
    }
}

/// Handles an event that arrives after the run has ended; no new call follows from it. Returns `Some` when nothing
/// can be stored any more, because the object is deleted or another process has written to it.
pub(super) async fn handle_late_event(run: &mut JobRun<'_>, event: RunEvent) -> Option<StopReason> {
    match event {
        RunEvent::Response(answer) => {
            handle_response(run, answer).await;
        }
        RunEvent::Limits(limits, keys) => {
            handle_limits(run, limits, keys);
        }
        RunEvent::Persisted(writer, stored) => return on_persisted(run, *writer, stored),
        RunEvent::Page(_) => {}
    }
    None
}

/// Adds the next items of the page. Returns why the run has to stop; `None` when it continues.
pub(super) async fn take_batch(run: &mut JobRun<'_>) -> Option<StopReason> {
    let page = run.source.page.as_mut()?;
    let found = page.items.next_batch();
    let used_up = page.items.is_used_up();
    let last = used_up && page.next.is_none();
    if used_up {
        run.source.position = run.source.page.take().and_then(|page| page.next);
    }
    let (namespace, grant) = (&run.writer.job.key.namespace, run.input.grant.as_ref());
    let allowed = &mut run.source.allowed;
    let checked = check_manifest_lines(run.context, namespace, (&run.spec, grant), &found, allowed);
    if let Err(phase) = checked.await {
        return Some(phase.into());
    }
    let counted = add_items(&mut run.progress, found, last);
    (!counted).then(|| StopReason::Finished(source_grew(&run.spec, run.progress.total())))
}

/// Applies the limits of the project, or the error of reading them. A wrong service role, a missing project and
/// rejected credentials are detected without a billed call. Returns why the run has to stop; `None` when it
/// continues.
fn handle_limits(
    run: &mut JobRun<'_>,
    limits: Result<ProjectLimits, CloudError>,
    keys: Arc<AccessKeys>,
) -> Option<StopReason> {
    let canary = std::mem::take(&mut run.awaiting_limits);
    run.input.limiter.on_limits(&run.input.identity, &limits);
    match limits {
        Ok(_) => {
            project_read(&mut run.progress);
            check_service_role(run)
        }
        Err(error) => {
            let reason = project_failed(&mut run.progress, error, canary)?;
            Some(stop_with(run, reason, keys))
        }
    }
}

/// Returns the end of the run if the project uses another service role than the grant names. `None` when the roles
/// match or the role is unknown.
pub(super) fn check_service_role(run: &JobRun<'_>) -> Option<StopReason> {
    let granted = &run.input.grant.as_ref()?.grantee.role_name;
    let role = run.input.limiter.service_role()?;
    other_service_role(&run.spec.project, granted, &role).map(StopReason::Finished)
}

/// Returns why the run stops after a call with these credentials, and keeps them if they were rejected. Only the
/// first such call counts.
fn stop_with(run: &mut JobRun<'_>, reason: StopReason, keys: Arc<AccessKeys>) -> StopReason {
    if let StopReason::CredentialsRejected(_) = reason {
        run.rejected_keys.get_or_insert(keys);
    }
    reason
}

/// Records the answer to a scoring call and adapts the rate. Returns why the run has to stop; `None` when it
/// continues.
async fn handle_response(run: &mut JobRun<'_>, answer: ScoreResponse) -> Option<StopReason> {
    let ScoreResponse { index, result, keys } = answer;
    let billable = result.as_ref().err().is_none_or(CloudError::may_be_billed);
    run.context
        .metrics
        .score_call(ScoreOutcome::of(&result), billable);
    let now = run.context.ports.now();
    match apply_response(&mut run.progress, index, result, now) {
        ResponseEffect::Continue => None,
        ResponseEffect::Served { passes } => {
            run.input.limiter.on_success();
            if passes {
                run.context
                    .enforcement_trials
                    .lock()
                    .end(&run.writer.job.uid, true);
            }
            None
        }
        ResponseEffect::SlowDown => {
            run.input.limiter.on_throttled();
            if !run.throttled {
                run.throttled = true;
                publish_job_event(run.context, &run.writer.job, throttled()).await;
            }
            None
        }
        ResponseEffect::TimedOut => {
            run.input.limiter.on_throttled();
            None
        }
        ResponseEffect::Stop(reason) => Some(stop_with(run, reason, keys)),
    }
}

/// Applies the result of a store. Returns why the run has to stop; `None` when it continues.
fn on_persisted(run: &mut JobRun<'_>, writer: JobWriter, stored: WriteResult) -> Option<StopReason> {
    run.stores.end();
    run.writer = writer;
    apply_edits(run);
    if stored == WriteResult::Stored {
        run.progress.persisted();
    }
    StopReason::of_store(stored)
}

/// Adds the started annotation before the first call is sent and after its reservation is stored. An annotated
/// object without a reservation was therefore restored from a backup or has lost its status. Returns why the run
/// has to stop; `None` when it continues.
async fn mark_started(run: &mut JobRun<'_>) -> Option<StopReason> {
    if !run.writer.job.needs_started_annotation(&run.progress) {
        return None;
    }
    if let Err(error) = add_started_annotation(run.context, &mut run.writer.job).await {
        let reason = StopReason::of_missing_annotation(error);
        if let StopReason::NotStarted(error) = &reason {
            tracing::warn!(job = %run.writer.job.key, %error, "failed to add started annotation");
        }
        return Some(reason);
    }
    if let Some(event) = started(&run.progress) {
        publish_job_event(run.context, &run.writer.job, event).await;
    }
    None
}
