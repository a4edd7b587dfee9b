//! Handles the events of a run: answers of IMM, pages of the source, limits of the project, and results of stores.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::sleep;

use super::job_run::{Calls, JobRun, RunEvent, ScoreResponse};
use super::reservation::{mark_started, on_persisted};
use super::run_input::StopReason;
use super::source_page::{PageUse, SourcePage, read_page};
use super::source_reader::check_manifest_items;
use super::store_status::WriteResult;
use crate::api::ObservedSource;
use crate::controller::object_events::publish_job_event;
use crate::core::job::events::throttled;
use crate::core::job::{
    Phase, ResponseEffect, add_items, apply_response, credentials_accepted, other_service_role, source_grew,
};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind, ProjectLimits};
use crate::runtime::metric_labels::ScoreOutcome;

/// Attempts to read a page before the job reports that its source cannot be read.
const PAGE_TRIES: usize = 4;

/// Delay before a page that could not be read is read again.
const RETRY_PAGE: Duration = Duration::from_secs(2);

/// Takes the next items of the source, or starts to read its next page. Returns why the run has to stop; `None`
/// when it continues.
pub(super) async fn read_on<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) -> Option<StopReason> {
    if run.source.page.is_some() {
        return take_batch(run).await;
    }
    calls.push(read_next_page(run));
    None
}

/// Adds the next items of the page. Returns why the run has to stop; `None` when it continues.
async fn take_batch(run: &mut JobRun<'_>) -> Option<StopReason> {
    let page = run.source.page.as_mut()?;
    let found = page.next_batch();
    let used_up = page.is_used_up();
    let last = used_up && page.next.is_none();
    if used_up {
        run.source.position = run.source.page.take().and_then(|page| page.next);
    }
    let (namespace, grant) = (&run.writer.job.key.namespace, run.input.grant.as_ref());
    let allowed = &mut run.source.allowed;
    match check_manifest_items(run.context, namespace, (&run.spec, grant), &found, allowed).await {
        Ok(()) => {}
        Err(Phase::Ended(end)) => return Some(StopReason::Finished(end)),
        Err(phase) => return Some(StopReason::Blocked(phase)),
    }
    let counted = add_items(&mut run.progress, found, last);
    (!counted).then(|| StopReason::Finished(source_grew(&run.spec, run.progress.total())))
}

/// Returns the call that reads the next page of the source.
fn read_next_page<'a>(run: &JobRun<'a>) -> BoxFuture<'a, RunEvent> {
    let (context, input, place) = (run.context, run.input, run.source.position.clone());
    let namespace = run.writer.job.key.namespace.clone();
    let keys = run.source_keys.clone();
    let observed: ObservedSource = run.writer.job.status.source.clone().unwrap_or_default();
    async move {
        let (Some(place), Some(keys)) = (place, keys) else {
            return RunEvent::Page(Ok(SourcePage::empty()));
        };
        let job = (namespace.as_str(), &input.spec, &input.source_spec);
        let page = read_page(context, job, &observed, &keys, &place, PageUse::Run).await;
        if page.is_err() {
            sleep(RETRY_PAGE).await;
        }
        RunEvent::Page(page)
    }
    .boxed()
}

/// Returns the call that reads the limits of the project; it waits for a permit of the rate limiter like any other
/// call.
pub(super) fn ask_limits<'a>(run: &JobRun<'a>) -> BoxFuture<'a, RunEvent> {
    let (context, input, keys) = (run.context, run.input, Arc::clone(&run.keys));
    let namespace = run.writer.job.key.namespace.clone();
    async move {
        let permit = input.limiter.acquire_unpolled(&namespace).await;
        let limits = context.ports.project_limits(&input.spec.project, &keys).await;
        drop(permit);
        RunEvent::Limits(limits, keys)
    }
    .boxed()
}

/// Applies the limits of the project, or the error of reading them. A wrong service role, a missing project and
/// rejected credentials are detected without a billed call. Returns why the run has to stop; `None` when it
/// continues.
fn handle_limits(
    run: &mut JobRun<'_>,
    limits: Result<ProjectLimits, CloudError>,
    keys: Arc<AccessKeys>,
) -> Option<StopReason> {
    let asked_first = std::mem::take(&mut run.awaiting_limits);
    run.input.limiter.on_limits(&run.input.identity, &limits);
    // IMM checks the credentials before it looks for the project.
    if limits.is_ok()
        || limits
            .as_ref()
            .is_err_and(|error| error.kind == CloudErrorKind::NoSuchProject)
    {
        credentials_accepted(&mut run.progress);
    }
    match limits {
        Err(error) if error.kind == CloudErrorKind::NoSuchProject => {
            let canary = asked_first;
            Some(StopReason::NoProject { canary, error })
        }
        Err(error) if error.is_clock_skew() => Some(StopReason::ClockSkew(error)),
        Err(error) if error.rejects_credentials() => Some(StopReason::CredentialsRejected(error, keys)),
        Ok(_) => {
            run.progress.known_mut().project = true;
            check_service_role(run)
        }
        Err(_) => None,
    }
}

/// Returns the end of the run if the project uses another service role than the grant names: every call would be
/// denied. `None` when the roles match or the role is unknown. The case is ignored, because the spelling that OSS
/// compares can differ from that of the project.
pub(super) fn check_service_role(run: &JobRun<'_>) -> Option<StopReason> {
    let granted = &run.input.grant.as_ref()?.grantee.role_name;
    let role = run
        .input
        .limiter
        .service_role()
        .filter(|role| !role.eq_ignore_ascii_case(granted))?;
    let end = other_service_role(&run.spec.project, granted, &role);
    Some(StopReason::Finished(end))
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
            let stops = !error.is_transient() || run.source.failures >= PAGE_TRIES;
            stops.then_some(StopReason::Source(error))
        }
    }
}

/// Records the answer to a scoring call and adapts the rate. Returns why the run has to stop; `None` when it
/// continues.
async fn handle_response(run: &mut JobRun<'_>, answer: ScoreResponse) -> Option<StopReason> {
    let ScoreResponse { index, result, keys } = answer;
    let billable = result.as_ref().err().is_none_or(CloudError::may_be_billed);
    run.context.metrics.score_call(outcome_label(&result), billable);
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
        ResponseEffect::CredentialsRejected(error) => Some(StopReason::CredentialsRejected(error, keys)),
        ResponseEffect::Denied { canary, error } => Some(StopReason::Denied { canary, error }),
        ResponseEffect::NoProject { canary, error } => Some(StopReason::NoProject { canary, error }),
        ResponseEffect::OtherRegion(error) => Some(StopReason::OtherRegion(error)),
        ResponseEffect::ClockSkew(error) => Some(StopReason::ClockSkew(error)),
    }
}

/// Returns the metric label of an answer.
fn outcome_label(answer: &Result<String, CloudError>) -> ScoreOutcome {
    match answer {
        Ok(_) => ScoreOutcome::Scored,
        Err(error) => match error.kind {
            CloudErrorKind::Throttled => ScoreOutcome::Throttled,
            CloudErrorKind::Unavailable | CloudErrorKind::BucketLocked => ScoreOutcome::Unavailable,
            CloudErrorKind::Unanswered => ScoreOutcome::Unanswered,
            CloudErrorKind::AccessDenied => ScoreOutcome::Denied,
            CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => {
                ScoreOutcome::CredentialsRejected
            }
            CloudErrorKind::NoSuchProject => ScoreOutcome::NoProject,
            CloudErrorKind::RequestRejected
            | CloudErrorKind::PublicAccessBlocked
            | CloudErrorKind::NoSuchBucket
            | CloudErrorKind::WrongRegion
            | CloudErrorKind::PolicyRejected => ScoreOutcome::Rejected,
        },
    }
}
