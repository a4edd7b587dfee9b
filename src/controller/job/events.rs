//! What follows from the events of a run: answers of IMM, pages of the source, limits of the project, and results of stores.
//! The calls that end with these events start in `run.rs`.

use std::sync::Arc;

use super::job_run::{JobRun, RunEvent, ScoreResponse, apply_edits};
use super::manifest_lines::check_manifest_lines;
use super::persist::JobWriter;
use crate::controller::object_events::publish_job_event;
use crate::core::job::delays::is_source_lost;
use crate::core::job::events::{started, throttled};
use crate::core::job::{
    Phase, ResponseEffect, StopReason, WriteResult, add_items, apply_response, credentials_accepted,
    other_service_role, source_grew,
};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind, KubeError, ProjectLimits};
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
    match check_manifest_lines(run.context, namespace, (&run.spec, grant), &found, allowed).await {
        Ok(()) => {}
        Err(Phase::Ended(end)) => return Some(StopReason::Finished(end)),
        Err(phase) => return Some(StopReason::Blocked(phase)),
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
    let Err(error) = limits else {
        credentials_accepted(&mut run.progress);
        run.progress.known_mut().project = true;
        return check_service_role(run);
    };
    if error.kind == CloudErrorKind::NoSuchProject {
        // IMM checks the credentials before it looks for the project.
        credentials_accepted(&mut run.progress);
        Some(StopReason::NoProject { canary, error })
    } else if error.is_clock_skew() {
        Some(StopReason::ClockSkew(error))
    } else if error.rejects_credentials() {
        Some(credentials_rejected(run, error, keys))
    } else {
        None
    }
}

/// Returns the end of the run if the project uses another service role than the grant names. `None` when the roles match or
/// the role is unknown.
pub(super) fn check_service_role(run: &JobRun<'_>) -> Option<StopReason> {
    let granted = &run.input.grant.as_ref()?.grantee.role_name;
    let role = run.input.limiter.service_role()?;
    other_service_role(&run.spec.project, granted, &role).map(StopReason::Finished)
}

/// Returns the end of the run after a call with these credentials was rejected. Only the first such call counts.
fn credentials_rejected(run: &mut JobRun<'_>, error: CloudError, keys: Arc<AccessKeys>) -> StopReason {
    run.rejected_keys.get_or_insert(keys);
    StopReason::CredentialsRejected(error)
}

/// Records the answer to a scoring call and adapts the rate. Returns why the run has to stop; `None` when it
/// continues.
async fn handle_response(run: &mut JobRun<'_>, answer: ScoreResponse) -> Option<StopReason> {
    let ScoreResponse { index, result, keys } = answer;
    let billable = result.as_ref().err().is_none_or(CloudError::may_be_billed);
    run.context
        .metrics
        .score_call(ScoreOutcome::of(&result), billable);
    let served = result.is_ok();
    let before_canary = !run.progress.canary_passed();
    let now = run.context.ports.now();
    match apply_response(&mut run.progress, index, result, now) {
        ResponseEffect::Continue => {
            if served {
                run.input.limiter.on_success();
            }
            if before_canary && run.progress.canary_passed() {
                run.context.trials.lock().end(&run.writer.job.uid, true);
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
        ResponseEffect::CredentialsRejected(error) => Some(credentials_rejected(run, error, keys)),
        ResponseEffect::Denied { canary, error } => Some(StopReason::Denied { canary, error }),
        ResponseEffect::NoProject { canary, error } => Some(StopReason::NoProject { canary, error }),
        ResponseEffect::OtherRegion(error) => Some(StopReason::OtherRegion(error)),
        ResponseEffect::ClockSkew(error) => Some(StopReason::ClockSkew(error)),
    }
}

/// Applies the result of a store. Returns why the run has to stop; `None` when it continues.
fn on_persisted(run: &mut JobRun<'_>, writer: JobWriter, stored: WriteResult) -> Option<StopReason> {
    run.persisting = false;
    run.writer = writer;
    apply_edits(run);
    match stored {
        WriteResult::Stored => {
            run.progress.persisted();
            None
        }
        WriteResult::Retry | WriteResult::Refused => None,
        WriteResult::Gone => Some(StopReason::Gone),
        WriteResult::Superseded => Some(StopReason::Superseded),
    }
}

/// Adds the started annotation before the first call is sent and after its reservation is stored. An annotated
/// object without a reservation was therefore restored from a backup or has lost its status. Returns why the run
/// has to stop; `None` when it continues.
async fn mark_started(run: &mut JobRun<'_>) -> Option<StopReason> {
    if run.writer.job.started.is_some() || run.progress.requests().reserved == 0 {
        return None;
    }
    match run.context.ports.mark_started(&run.writer.job).await {
        Ok(version) => {
            let job = &mut run.writer.job;
            job.resource_version = version;
            job.started = Some(job.uid.clone());
            // Another writer can have removed the annotation during the run.
            if run.progress.requests().sent == 0 {
                publish_job_event(run.context, &run.writer.job, started()).await;
            }
            None
        }
        Err(KubeError::Conflict) => Some(StopReason::Reevaluate),
        Err(error) => {
            tracing::warn!(job = %run.writer.job.key, %error, "failed to add started annotation");
            Some(StopReason::NotStarted(error))
        }
    }
}
