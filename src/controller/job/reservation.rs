//! Stores results and reserves requests during a run. Results are stored every second, together with the reservation
//! of the requests until the next store. Calls continue meanwhile as far as the stored reservation allows. While the
//! API server does not answer, the reservation is soon used up and no new call is made; answers are still received,
//! and no billed result is dropped.

use futures::FutureExt;
use tokio::time::Instant;

use super::job_run::{Calls, JobRun, RunEvent};
use crate::core::job::{needs_reports_only, running_phase};

/// Starts to store the state of the job, and reserves the next requests if `reserve` is set.
pub(super) fn persist<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>, reserve: bool) {
    run.persisted_at = Instant::now();
    run.persisted_done = run.progress.done();
    if reserve {
        reserve_requests(run);
    }
    let phase = if needs_reports_only(&run.writer.job, &run.progress, run.status_at.elapsed()) {
        None
    } else {
        run.status_at = Instant::now();
        let done = run.progress.done();
        run.throughput.record(done, run.started_at.elapsed());
        Some(running_phase(&run.writer.job, run.throughput.per_second()))
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

/// Reserves the requests until the next store, or one for the canary call.
fn reserve_requests(run: &mut JobRun<'_>) {
    let size = if run.progress.canary_passed() {
        let (rate, elapsed) = (run.input.limiter.rate(), run.started_at.elapsed());
        run.reservation_size.next(rate, run.spec.parallelism, elapsed)
    } else {
        1
    };
    let budget = run.spec.budget.as_ref().map(|budget| budget.max_requests);
    run.progress.reserve(size, budget);
}
