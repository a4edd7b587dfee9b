//! Stores results and reserves requests during a run. Results are stored every second, together with the reservation
//! of the requests until the next store. Calls continue meanwhile as far as the stored reservation allows. While the
//! API server does not answer, the reservation is soon used up and no new call is made; answers are still received,
//! and no billed result is dropped.

use futures::FutureExt;

use super::job_run::{Calls, JobRun, RunEvent};
use crate::core::job::reserves_ahead;

/// Starts to store the state of the job if that is due.
pub(super) fn store_if_due<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) {
    if run.stores.is_due(&run.progress, run.elapsed()) {
        start_store(run, calls, reserves_ahead(&run.progress));
    }
}

/// Starts to store the state of the job, and reserves the next requests if `reserve` is set.
pub(super) fn start_store<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>, reserve: bool) {
    let elapsed = run.elapsed();
    if reserve {
        let rate = run.input.limiter.rate();
        run.stores.reserve(&mut run.progress, &run.spec, rate, elapsed);
    }
    let phase = run.stores.begin(&run.writer.job, &run.progress, elapsed);
    let (context, mut writer) = (run.context, run.writer.clone());
    let draft = writer.prepare_write(context, &mut run.progress, phase.as_ref());
    let storing = async move {
        let stored = writer.persist_until_stored(context, draft, None).await;
        RunEvent::Persisted(Box::new(writer), stored)
    };
    calls.push(storing.boxed());
}
