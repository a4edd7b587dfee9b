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
//! The [`StopReason`] of a run decides the `Action` that `finish::finish_run` returns: `AwaitChange` after a shutdown,
//! a deletion, or with an exhausted budget that suspends the job; `Requeue` after every reason that may pass; the
//! action of `retention` for a job that has ended.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::events::{ask_limits, check_service_role, handle_event, handle_late_event, read_on};
use super::job_run::{Calls, JobRun, PERSIST_EVERY, RunEvent, ScoreResponse};
use super::refresh::refresh;
use super::reservation::{budget, persist, should_persist};
use super::run_input::StopReason;
use crate::core::job::{End, ResultBuffer, Step, active_deadline, cancelled, evaluate_limits};
use crate::core::time;
use crate::runtime::deadline;
use crate::runtime::rate_limit::Permit as RatePermit;

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
    let mut stores = has_news(run) && !matches!(end, StopReason::Gone | StopReason::Superseded);
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
        if evaluate_limits(&run.progress, &run.spec) != End::Complete {
            return StopReason::LimitsReached;
        }
        let now = run.context.ports.now();
        let until = active_deadline(&run.writer.job, &run.spec, now);
        if run.spec.cancel {
            // The cancellation is final, even if `spec.cancel` is reset while calls are in flight.
            return StopReason::Finished(cancelled());
        }
        if until.is_some_and(|time| time <= now) || run.spec.suspend {
            return StopReason::Reevaluate;
        }
        if !run.persisting
            && refresh_is_due(run)
            && let Some(end) = refresh(run, calls).await
        {
            return end;
        }
        if !run.persisting && should_persist(run) && has_news(run) {
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
            if let Some(end) = wait_for_event(run, calls, PERSIST_EVERY).await {
                return end;
            }
            continue;
        }
        if before_canary && let Some(end) = check_service_role(run) {
            return end;
        }
        // A due refresh comes before the next call, and waits for the store in flight.
        if run.persisting && refresh_is_due(run) {
            if let Some(end) = wait_for_event(run, calls, PERSIST_EVERY).await {
                return end;
            }
            continue;
        }
        if let ResultBuffer::Reports(reports) = run.progress.results_mut() {
            reports.limit(run.context.runs.result_bytes());
        }
        let parallelism = run.spec.parallelism.and_then(|n| usize::try_from(n).ok());
        let ended = match run
            .progress
            .next_step(now, parallelism.unwrap_or(usize::MAX), budget(run))
        {
            Step::Finished => return StopReason::LimitsReached,
            Step::OutOfBudget => return StopReason::OutOfBudget,
            Step::Reserve if run.persisting => wait_for_event(run, calls, PERSIST_EVERY).await,
            Step::Reserve => {
                persist(run, calls, true);
                None
            }
            Step::Read => read_on(run, calls).await,
            Step::Send => send_next(run, calls, until).await,
            Step::Wait(due) => {
                let due = due.into_iter().chain(until).min();
                wait_for_event(run, calls, clamped_wait(now, due)).await
            }
        };
        if let Some(end) = ended {
            return end;
        }
    }
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

/// Whether this run has anything to store: nothing until its first call, which changes the phase.
fn has_news(run: &JobRun<'_>) -> bool {
    run.progress.canary_passed() || run.progress.in_flight() > 0 || run.progress.done() > run.done_before
}

fn refresh_is_due(run: &JobRun<'_>) -> bool {
    run.refresh_due.is_none_or(|due| due <= Instant::now())
}

/// Returns when to stop waiting: after `pause`, or when the next store is due, so that results are stored in time
/// however long the next answer takes.
fn wait_until(run: &JobRun<'_>, pause: Duration) -> Instant {
    let due = deadline::after(Instant::now(), pause);
    if run.persisting || !has_news(run) {
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

/// Returns the time until `due`, at least 1 ms and at most the interval of stores.
fn clamped_wait(now: Timestamp, due: Option<Timestamp>) -> Duration {
    due.map_or(PERSIST_EVERY, |due| time::left_until(due, now))
        .clamp(Duration::from_millis(1), PERSIST_EVERY)
}
