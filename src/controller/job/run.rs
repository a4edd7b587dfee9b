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
//! The [`StopReason`] of a run decides what follows, in `core/job/run_end.rs`: `AwaitChange` after a shutdown, a
//! deletion, or with an exhausted budget that suspends the job; `Requeue` after every reason that may pass.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::events::{check_service_role, handle_event, handle_late_event, take_batch};
use super::job_run::{Calls, JobRun, RunEvent, ScoreResponse};
use super::read_page::{SourcePage, read_page};
use super::refresh::refresh;
use super::start_store::{start_store, store_if_due};
use crate::core::job::delays::RETRY_PAGE;
use crate::core::job::{
    BeforeStep, CallLimits, PERSIST_EVERY, PageUse, RunFacts, Step, StopReason, active_deadline, before_step,
    clamped_wait, stop_condition,
};
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
    let mut stores = end.allows_stores() && run.stores.has_news(&run.progress);
    while !calls.is_empty() {
        if stores && run.stores.is_interval_over(run.elapsed()) {
            start_store(run, calls, false);
        }
        let pause = if stores {
            pause(run, PERSIST_EVERY)
        } else {
            PERSIST_EVERY
        };
        if let Ok(Some(event)) = timeout(pause, calls.next()).await {
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
        let ended = match prepare_step(run, calls).await {
            BeforeStep::Stop(reason) => Some(reason),
            BeforeStep::Wait => wait_for_event(run, calls, PERSIST_EVERY).await,
            BeforeStep::Ready => take_step(run, calls, now, until).await,
        };
        if let Some(reason) = ended {
            return reason;
        }
    }
}

/// Refreshes the object and the grant, stores, and reads the limits of the project, each if it is due. Decides
/// whether the run may take its next step.
async fn prepare_step<'a>(run: &mut JobRun<'a>, calls: &mut Calls<'a>) -> BeforeStep {
    if !run.stores.is_under_way()
        && run.refreshes.is_due(run.elapsed())
        && let Some(reason) = refresh(run, calls).await
    {
        return BeforeStep::Stop(reason);
    }
    store_if_due(run, calls);
    let (limiter, identity) = (&run.input.limiter, &run.input.identity);
    if run.progress.has_open_items() && limiter.claim_limits_request(identity) {
        // Before its canary call a run waits for the limits: they may show that the call would fail.
        run.awaiting_limits = !run.progress.canary_passed();
        calls.push(ask_limits(run));
    }
    let facts = RunFacts {
        refresh_follows_store: run.stores.is_under_way() && run.refreshes.is_due(run.elapsed()),
        awaits_limits: run.awaiting_limits,
        limits_known: limiter.limits_known(identity),
        other_role: (!run.progress.canary_passed())
            .then(|| check_service_role(run))
            .flatten(),
    };
    before_step(&run.progress, facts)
}

/// Takes the next step. Returns why the run has to stop; `None` when it continues.
async fn take_step<'a>(
    run: &mut JobRun<'a>,
    calls: &mut Calls<'a>,
    now: Timestamp,
    until: Option<Timestamp>,
) -> Option<StopReason> {
    let result_bytes = run.context.runs.result_bytes();
    run.progress.results_mut().limit(result_bytes);
    let limits = CallLimits::of(&run.spec);
    match run.progress.next_step(now, limits.at_once, limits.budget) {
        Step::Finished => Some(StopReason::NoMoreItems),
        Step::OutOfBudget => Some(StopReason::OutOfBudget),
        Step::Reserve if run.stores.is_under_way() => wait_for_event(run, calls, PERSIST_EVERY).await,
        Step::Reserve => {
            start_store(run, calls, true);
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
            let pause = clamped_wait(now, due.into_iter().chain(until));
            wait_for_event(run, calls, pause).await
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
    let pause = pause(run, clamped_wait(run.context.ports.now(), until));
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
        () = sleep(pause) => Wakeup::TimedOut,
    };
    run.ticket = ticket;
    let permit = match woken {
        Wakeup::Permit(permit) => permit,
        Wakeup::Event(event) => return handle_event(run, event).await,
        Wakeup::Notified => {
            run.refreshes.set_due();
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

/// Waits for an event, for at most `longest`, and handles it. Returns why the run has to stop; `None` when it
/// continues.
async fn wait_for_event<'a>(
    run: &mut JobRun<'a>,
    calls: &mut Calls<'a>,
    longest: Duration,
) -> Option<StopReason> {
    let pause = pause(run, longest);
    tokio::select! {
        Some(event) = calls.next(), if !calls.is_empty() => handle_event(run, event).await,
        () = run.subscription.notify.notified() => {
            run.refreshes.set_due();
            None
        }
        () = sleep(pause) => None,
        () = run.context.stop.cancelled() => None,
    }
}

/// Returns how long to wait for an event, at most `longest`.
fn pause(run: &JobRun<'_>, longest: Duration) -> Duration {
    run.stores.pause(&run.progress, run.elapsed(), longest)
}

/// What ends the wait for a permit.
enum Wakeup {
    Permit(RatePermit),
    Event(RunEvent),
    Notified,
    TimedOut,
}
