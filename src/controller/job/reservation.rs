//! Stores results and reserves requests during a run. Results are stored every second, together with the reservation
//! of the requests until the next store. Calls continue meanwhile as far as the stored reservation allows. While the
//! API server does not answer, the reservation is soon used up and no new call is made; answers are still received,
//! and no billed result is dropped.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::job_run::{Calls, JobRun, PERSIST_EVERY, RunEvent, apply_edits};
use super::persist::JobWriter;
use super::run_input::StopReason;
use super::store_status::WriteResult;
use crate::api::REPORT_ITEMS;
use crate::controller::object_events::publish_job_event;
use crate::core::job::events::started;
use crate::core::job::{Phase, ReportBuffer};
use crate::ports::KubeError;

/// Longest age of the counters in status while results are stored in reports.
const STATUS_EVERY: Duration = Duration::from_secs(3);

/// Returns the number of requests that the job may make in total; `None` without a budget.
pub(super) fn budget(run: &JobRun<'_>) -> Option<i64> {
    run.spec.budget.as_ref().map(|budget| budget.max_requests)
}

/// Returns how many requests to reserve: at most 1.25 s of traffic at the project's rate, for the second until the
/// next store and the duration of that store. Not more, because after a crash the whole reservation counts as
/// spent. A job with `parallelism` starts with that number, and doubles it while a reservation lasts less than a
/// second.
fn reservation_size(run: &mut JobRun<'_>) -> i64 {
    let rate = run.input.limiter.rate();
    let most = rate + rate / 4;
    let few = run.spec.parallelism.map_or(most, i64::from);
    let size = match run.reserved {
        Some((last, at)) if at.elapsed() < PERSIST_EVERY => last.saturating_mul(2),
        Some((last, _)) => last,
        None => few,
    };
    let size = size.clamp(few.min(most), most);
    run.reserved = Some((size, Instant::now()));
    size
}

/// Whether a store is due: every second, and as soon as the unstored results fill a report or the memory for results.
pub(super) fn should_persist(run: &JobRun<'_>) -> bool {
    let full = run.progress.results().reports().is_some_and(|reports| {
        let unstored = reports.unpersisted();
        unstored >= REPORT_ITEMS || (unstored > 0 && reports.is_full())
    });
    full || run.persisted_at.elapsed() >= PERSIST_EVERY
}

/// Starts to store the state of the job, and reserves the next requests if `reserve` is set. Results and
/// reservations in reports need no new status: the counters in status follow within 3 s.
pub(super) fn persist<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>, reserve: bool) {
    run.persisted_at = Instant::now();
    run.persisted_done = run.progress.done();
    if reserve {
        let size = if run.progress.canary_passed() {
            reservation_size(run)
        } else {
            1
        };
        run.progress.reserve(size, budget(run));
    }
    let carries = run
        .progress
        .results()
        .reports()
        .is_some_and(ReportBuffer::can_carry_reservation);
    // A stored status that shows calls in flight may be out of date; one that shows none must be replaced first.
    let phase = if carries && run.writer.job.has_started() && run.status_at.elapsed() < STATUS_EVERY {
        None
    } else {
        run.status_at = Instant::now();
        let done = run.progress.done();
        run.throughput.record(done, run.started_at.elapsed());
        let scoring = Phase::Scoring(run.throughput.per_second());
        Some(not_started_phase(run).unwrap_or(scoring))
    };
    let (context, mut writer) = (run.context, run.writer.clone());
    let draft = writer.prepare_write(context, &mut run.progress, phase.as_ref());
    run.persisting = true;
    let storing = async move {
        let stored = writer.persist_until_stored(context, draft, None).await;
        RunEvent::Persisted(Box::new(writer), stored)
    };
    calls.push(storing.boxed());
}

/// Returns the stored `NotStarted` phase until the started annotation is added: another attempt alone does not
/// change the status. `None` without such a phase.
fn not_started_phase(run: &JobRun<'_>) -> Option<Phase> {
    let job = &run.writer.job;
    let error = job
        .status
        .start_error
        .as_ref()
        .filter(|_| job.started.is_none())?;
    Some(Phase::NotStarted(error.clone()))
}

/// Applies the result of a store. Returns why the run has to stop; `None` when it continues.
pub(super) fn on_persisted(
    run: &mut JobRun<'_>,
    writer: JobWriter,
    stored: WriteResult,
) -> Option<StopReason> {
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
pub(super) async fn mark_started(run: &mut JobRun<'_>) -> Option<StopReason> {
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
