//! Runs a job: reserves requests, sends calls at the project's rate, records the answers, and stores them every
//! second.
//!
//! Flow: each turn of the event loop checks the stop conditions, refreshes the object and the grant, stores, reads the
//! limits of the project, and then takes one step: reserve, read a page of the source, send a call, or wait for an
//! event. Until a canary call has passed, a run sends one call at a time.
//!
//! Guarantees: a call is sent only after its reservation is stored and the object has the started annotation. When a
//! run ends, no call is in flight and every answer is recorded; `finish` stores the answers that the run has not
//! stored.
//!
//! The [`StopReason`] of a run decides what follows, in `core/job/run_end.rs`: `AwaitChange` after a shutdown, a deletion,
//! or with an exhausted budget that suspends the job; `Requeue` after every reason that may pass.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::events::{check_service_role, handle_event, handle_late_event, take_batch};
use super::job_run::{Calls, JobRun, RunEvent, ScoreResponse};
use super::read_page::{SourcePage, read_page};
use super::refresh::refresh;
use super::reservation::persist;
use crate::core::job::{
    PERSIST_EVERY, PageUse, ResultBuffer, Step, StopReason, active_deadline, clamped_wait, has_news,
    is_store_due, stop_condition,
};
use crate::runtime::deadline;
use crate::runtime::rate_limit::Permit as RatePermit;

/// Delay before a page that could not be read is read again.
const RETRY_PAGE: Duration = Duration::from_secs(2);

/// Runs the job until it ends or has to stop. Calls in flight are always awaited, and their answers recorded and
/// stored.
pub(super) async fn execute<'a>(mut run: JobRun<'a>) -> (JobRun<'a>, StopReason) {
    let mut calls: Calls<'a> = FuturesUnordered::new();
    let end = event_loop(&mut run, &mut calls).await;
    drain(&mut run, &mut calls, &end).await;
    (run, end)
}

/// Waits for the calls in flight and stores their answers every second; no new call is sent. Reservations that no
/// call has used are released at once: only a crash makes them count as spent.
async fn drain<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>, end: &StopReason) {
    run.progress.release();
    let mut stores =
        has_news(&run.progress, run.done_before) && !matches!(end, StopReason::Gone | StopReason::Superseded);
    while !calls.is_empty() {
        if stores && !run.persisting && run.persisted_at.elapsed() >= PERSIST_EVERY {
            persist(run, calls, false);
        }
        let due = if stores {
            wait_until(run, PERSIST_EVERY)
        } else {
            deadline::after(Instant::now(), PERSIST_EVERY)
        };
        if let Ok(Some(event)) = timeout_at(due, calls.next()).await {
            stores &= handle_late_event(run, event).await.is_none();
        }
    }
}

/// Sends calls and handles events until there is a reason to stop.
async fn event_loop<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) -> StopReason {
    // The role is known from an earlier job of the project and may have been fixed since: it is read again.
    if check_service_role(run).is_some() {
        run.input.limiter.invalidate();
    }
    loop {
        if run.context.stop.is_cancelled() {
            return StopReason::ShuttingDown;
        }
        let now = run.context.ports.now();
        if let Some(reason) = stop_condition(&run.writer.job, &run.spec, &run.progress, now) {
            return reason;
        }
        let until = active_deadline(&run.writer.job, &run.spec, now);
        let ended = match before_step(run, calls).await {
            BeforeStep::Stop(reason) => Some(reason),
            BeforeStep::Wait => wait_for_event(run, calls, PERSIST_EVERY).await,
            BeforeStep::Ready => take_step(run, calls, now, until).await,
        };
        if let Some(reason) = ended {
            return reason;
        }
    }
}

/// What is to be done before the next step.
enum BeforeStep {
    Stop(StopReason),
    Wait,
    Ready,
}

/// Refreshes the object and the grant, stores, and reads the limits of the project, each if it is due.
async fn before_step<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) -> BeforeStep {
    if !run.persisting
        && refresh_is_due(run)
        && let Some(reason) = refresh(run, calls).await
    {
        return BeforeStep::Stop(reason);
    }
    if !run.persisting
        && is_store_due(&run.progress, run.persisted_at.elapsed())
        && has_news(&run.progress, run.done_before)
    {
        let reserve = run.progress.canary_passed() && run.progress.has_open_items();
        persist(run, calls, reserve);
    }
    if run.progress.has_open_items() && run.input.limiter.claim_limits_request(&run.input.identity) {
        // Before its canary call a run waits for the limits: they may show that the call would fail.
        run.awaiting_limits = !run.progress.canary_passed();
        calls.push(ask_limits(run));
    }
    // A run without open items makes no call, and so does not ask for the limits.
    let before_canary = !run.progress.canary_passed() && run.progress.has_open_items();
    if run.awaiting_limits || (before_canary && !run.input.limiter.limits_known(&run.input.identity)) {
        return BeforeStep::Wait;
    }
    if before_canary && let Some(reason) = check_service_role(run) {
        return BeforeStep::Stop(reason);
    }
    // A due refresh comes before the next call, and waits for the store in flight.
    if run.persisting && refresh_is_due(run) {
        BeforeStep::Wait
    } else {
        BeforeStep::Ready
    }
}

/// Takes the next step. Returns why the run has to stop; `None` when it continues.
async fn take_step<'a>(
    run: &mut JobRun<'a>,
    calls: &mut Calls<'a>,
    now: Timestamp,
    until: Option<Timestamp>,
) -> Option<StopReason> {
    if let ResultBuffer::Reports(reports) = run.progress.results_mut() {
        reports.limit(run.context.runs.result_bytes());
    }
    let parallelism = run.spec.parallelism.and_then(|n| usize::try_from(n).ok());
    let budget = run.spec.budget.as_ref().map(|budget| budget.max_requests);
    let ceiling = parallelism.unwrap_or(usize::MAX);
    match run.progress.next_step(now, ceiling, budget) {
        Step::Finished => Some(StopReason::LimitsReached),
        Step::OutOfBudget => Some(StopReason::OutOfBudget),
        Step::Reserve if run.persisting => wait_for_event(run, calls, PERSIST_EVERY).await,
        Step::Reserve => {
            persist(run, calls, true);
            None
        }
        // A page has many batches.
        Step::Read if run.source.page.is_some() => take_batch(run).await,
        Step::Read => {
            calls.push(read_next_page(run));
            None
        }
        Step::Send => send_next(run, calls, until).await,
        Step::Wait(due) => {
            let due = due.into_iter().chain(until).min();
            wait_for_event(run, calls, clamped_wait(now, due)).await
        }
    }
}

/// Returns the call that reads the limits of the project; it waits for a permit of the rate limiter like any other
/// call.
fn ask_limits<'a>(run: &JobRun<'a>) -> BoxFuture<'a, RunEvent> {
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

/// Returns the call that reads the next page of the source.
fn read_next_page<'a>(run: &JobRun<'a>) -> BoxFuture<'a, RunEvent> {
    let (context, input, place) = (run.context, run.input, run.source.position.clone());
    let namespace = run.writer.job.key.namespace.clone();
    let keys = run.source_keys.clone();
    let observed = run.writer.job.status.source.clone().unwrap_or_default();
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

/// Waits for a permit of the project's rate limiter and sends one item. An event that comes first is handled
/// instead, and the run keeps its position in the queue. Returns why the run has to stop; `None` when it
/// continues.
async fn send_next<'a>(
    run: &mut JobRun<'a>,
    calls: &mut Calls<'a>,
    until: Option<Timestamp>,
) -> Option<StopReason> {
    let input = run.input;
    let namespace = run.writer.job.key.namespace.clone();
    let left = clamped_wait(run.context.ports.now(), until);
    let due = wait_until(run, left);
    let mut ticket = run.ticket;
    let permitted = async {
        run.context.ports.billing_permitted().await;
        input.limiter.acquire(&namespace, &mut ticket).await
    };
    let woken = tokio::select! {
        permit = permitted => Wakeup::Permit(permit),
        Some(event) = calls.next(), if !calls.is_empty() => Wakeup::Event(event),
        () = run.subscription.notify.notified() => Wakeup::Notified,
        () = run.context.stop.cancelled() => Wakeup::TimedOut,
        () = sleep_until(due) => Wakeup::TimedOut,
    };
    run.ticket = ticket;
    let permit = match woken {
        Wakeup::Permit(permit) => permit,
        Wakeup::Event(event) => return handle_event(run, event).await,
        Wakeup::Notified => {
            run.refresh_due = None;
            return None;
        }
        Wakeup::TimedOut => return None,
    };
    let item = run.progress.take_next(run.context.ports.now())?;
    let (ports, keys) = (Arc::clone(&run.context.ports), Arc::clone(&run.keys));
    let call = async move {
        let spec = &input.spec;
        let result = ports
            .detect_image_score(&spec.project, &spec.access, &keys, &item.uri)
            .await;
        drop(permit);
        let index = item.index;
        RunEvent::Response(ScoreResponse { index, result, keys })
    };
    calls.push(call.boxed());
    None
}

/// Waits for an event, for at most `pause`, and handles it. Returns why the run has to stop; `None` when it
/// continues.
async fn wait_for_event<'a>(
    run: &mut JobRun<'a>,
    calls: &mut Calls<'a>,
    pause: Duration,
) -> Option<StopReason> {
    let due = wait_until(run, pause);
    tokio::select! {
        Some(event) = calls.next(), if !calls.is_empty() => handle_event(run, event).await,
        () = run.subscription.notify.notified() => {
            run.refresh_due = None;
            None
        }
        () = sleep_until(due) => None,
        () = run.context.stop.cancelled() => None,
    }
}

fn refresh_is_due(run: &JobRun<'_>) -> bool {
    run.refresh_due.is_none_or(|due| due <= Instant::now())
}

/// Returns when to stop waiting: after `pause`, or when the next store is due, so that results are stored in time
/// however long the next answer takes.
fn wait_until(run: &JobRun<'_>, pause: Duration) -> Instant {
    let due = deadline::after(Instant::now(), pause);
    if run.persisting || !has_news(&run.progress, run.done_before) {
        due
    } else {
        due.min(deadline::after(run.persisted_at, PERSIST_EVERY))
    }
}

/// What ends the wait for a permit.
enum Wakeup {
    Permit(RatePermit),
    Event(RunEvent),
    Notified,
    TimedOut,
}
