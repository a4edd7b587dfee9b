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

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::finish::{RunResult, cancelled};
use super::persist::JobWriter;
use super::source_page::{SourcePage, SourcePosition, SourceState};
use super::store_status::WriteResult;
use super::{active_deadline, clamped_wait};
use crate::api::{GrantSpec, JobSpec};
use crate::controller::context::Context;
use crate::core::identity::Identity;
use crate::core::job::{End, KnownFacts, Phase, Progress, SourceSpec, Step, Throughput, evaluate_limits};
use crate::ports::{AccessKeys, CloudError, KubeError, ProjectLimits};
use crate::runtime::deadline;
use crate::runtime::notify::Subscription;
use crate::runtime::rate_limit::{Permit as RatePermit, ProjectLimiter, QueueTicket};

/// Interval of stores: a crash repeats at most the calls of one interval.
pub(super) const PERSIST_EVERY: Duration = Duration::from_secs(1);
/// Interval at which the object and its grant are read again; a change of either triggers that at once.
pub(super) const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Reason why a run ended.
pub(super) enum StopReason {
    /// All items are done, or more items failed than the spec allows.
    LimitsReached,
    /// The job ends.
    Finished(End),
    NoProject {
        canary: bool,
        error: CloudError,
    },
    OtherRegion(CloudError),
    /// The cloud rejects the time of the requests.
    ClockSkew(CloudError),
    Denied {
        canary: bool,
        error: CloudError,
    },
    /// With the credentials of the rejected call: the run may use newer ones by now.
    CredentialsRejected(CloudError, Arc<AccessKeys>),
    OutOfBudget,
    /// The source cannot be read any further.
    Source(CloudError),
    /// The job cannot continue now; the phase says why.
    Blocked(Phase),
    /// A precondition may have changed: the next reconcile checks it.
    Reevaluate,
    /// The started annotation cannot be added.
    NotStarted(KubeError),
    ShuttingDown,
    /// The stored state is not the state that this run knows.
    Superseded,
    Gone,
}

/// Event of a run.
pub(super) enum RunEvent {
    Response(ScoreResponse),
    Page(Result<SourcePage, CloudError>),
    Limits(Result<ProjectLimits, CloudError>, Arc<AccessKeys>),
    /// Result of a store, with the object as it is stored now.
    Persisted(Box<JobWriter>, WriteResult),
}

/// Answer of IMM to a billed call, with the credentials of the call.
pub(super) struct ScoreResponse {
    pub(super) index: usize,
    pub(super) result: Result<String, CloudError>,
    pub(super) keys: Arc<AccessKeys>,
}

pub(super) type Calls<'a> = FuturesUnordered<BoxFuture<'a, RunEvent>>;

/// Input of a run.
pub(super) struct RunInput {
    pub(super) spec: JobSpec,
    pub(super) identity: Identity,
    pub(super) source_spec: SourceSpec,
    /// Verified owner of the bucket that the operator's own identity reads.
    pub(super) source_owner: Option<String>,
    /// The grant that opened the gate.
    pub(super) grant: Option<GrantSpec>,
    pub(super) denied_objects: Vec<String>,
    pub(super) known: KnownFacts,
    pub(super) limiter: Arc<ProjectLimiter>,
}

/// A running job.
pub(super) struct JobRun<'a> {
    pub(super) context: &'a Context,
    pub(super) input: &'a RunInput,
    /// The current spec; the fields that decide what is billed are immutable.
    pub(super) spec: JobSpec,
    /// Credentials for IMM; renewed before they expire and after a rotation.
    pub(super) keys: Arc<AccessKeys>,
    /// Credentials for the source; a list of URIs needs none.
    pub(super) source_keys: Option<Arc<AccessKeys>>,
    /// Whether the run waits for the limits and the service role of the project before its canary call.
    pub(super) awaiting_limits: bool,
    pub(super) writer: JobWriter,
    pub(super) progress: Progress,
    subscription: Subscription<'a>,
    /// Position in the queue of the project's rate limiter, kept while the run stores.
    ticket: Option<QueueTicket>,
    pub(super) source: SourceState,
    /// Whether a store is in flight. `writer` holds the object from before until the store is done.
    pub(super) persisting: bool,
    /// When the last store was prepared.
    pub(super) persisted_at: Instant,
    pub(super) status_at: Instant,
    pub(super) started_at: Instant,
    /// Items that were done before this run.
    done_before: usize,
    pub(super) throughput: Throughput,
    /// When the object and its grant are read again; `None` means at once.
    pub(super) refresh_due: Option<Instant>,
    pub(super) throttled: bool,
    /// Size of the last reservation, and when it was made.
    pub(super) reserved: Option<(i64, Instant)>,
}

impl<'a> JobRun<'a> {
    pub(super) fn new(
        context: &'a Context,
        input: &'a RunInput,
        (keys, source_keys): (AccessKeys, Option<AccessKeys>),
        mut writer: JobWriter,
        progress: Progress,
    ) -> Self {
        let now = Instant::now();
        writer.holds_results = true;
        let mut run = Self {
            context,
            input,
            spec: input.spec.clone(),
            keys: Arc::new(keys),
            source_keys: source_keys.map(Arc::new),
            awaiting_limits: false,
            subscription: context.notifier.subscribe(&writer.job.key),
            ticket: None,
            source: SourceState::default(),
            writer,
            done_before: progress.done(),
            progress,
            persisting: false,
            persisted_at: now,
            status_at: now,
            started_at: now,
            throughput: Throughput::default(),
            // Counting the source and obtaining credentials may have taken minutes since the gate opened.
            refresh_due: None,
            throttled: false,
            reserved: None,
        };
        run.progress.deny(input.denied_objects.clone());
        *run.progress.known_mut() = input.known;
        let uris = &input.spec.source.uris;
        if uris.is_empty() {
            run.source.position = Some(SourcePosition::of(run.progress.cursor(), &input.spec));
        } else {
            run.progress.add_listed(uris);
        }
        run
    }

    /// Returns the state that `finish` needs.
    pub(super) fn into_result(self) -> RunResult {
        RunResult {
            writer: self.writer,
            spec: self.spec,
            progress: self.progress,
        }
    }

    /// Runs the job until it ends or has to stop. Calls in flight are always awaited, and their answers recorded and
    /// stored.
    pub(super) async fn execute(mut self) -> (Self, StopReason) {
        let mut calls: Calls<'a> = FuturesUnordered::new();
        let end = self.event_loop(&mut calls).await;
        self.drain(&mut calls, &end).await;
        (self, end)
    }

    /// Waits for the calls in flight and stores their answers every second; no new call is sent. Reservations that no
    /// call has used are released at once: only a crash makes them count as spent.
    async fn drain(&mut self, calls: &mut Calls<'a>, end: &StopReason) {
        self.progress.release();
        let mut stores = self.has_news() && !matches!(end, StopReason::Gone | StopReason::Superseded);
        while !calls.is_empty() {
            if stores && !self.persisting && self.persisted_at.elapsed() >= PERSIST_EVERY {
                self.persist(calls, false);
            }
            let due = if stores {
                self.wait_until(PERSIST_EVERY)
            } else {
                deadline::after(Instant::now(), PERSIST_EVERY)
            };
            if let Ok(Some(event)) = timeout_at(due, calls.next()).await {
                stores &= self.handle_late_event(event).await.is_none();
            }
        }
    }

    /// Sends calls and handles events until there is a reason to stop.
    async fn event_loop(&mut self, calls: &mut Calls<'a>) -> StopReason {
        // The role is known from an earlier job of the project and may have been fixed since: it is read again.
        if self.check_service_role().is_some() {
            self.input.limiter.invalidate();
        }
        loop {
            if self.context.stop.is_cancelled() {
                return StopReason::ShuttingDown;
            }
            if evaluate_limits(&self.progress, &self.spec) != End::Complete {
                return StopReason::LimitsReached;
            }
            let now = self.context.ports.now();
            let until = active_deadline(&self.writer.job, &self.spec, now);
            if self.spec.cancel {
                // The cancellation is final, even if `spec.cancel` is reset while calls are in flight.
                return StopReason::Finished(cancelled());
            }
            if until.is_some_and(|time| time <= now) || self.spec.suspend {
                return StopReason::Reevaluate;
            }
            if !self.persisting
                && self.refresh_is_due()
                && let Some(end) = self.refresh().await
            {
                return end;
            }
            if !self.persisting && self.should_persist() && self.has_news() {
                self.persist(
                    calls,
                    self.progress.canary_passed() && self.progress.has_open_items(),
                );
            }
            if self.progress.has_open_items() && self.input.limiter.claim_limits_request() {
                // Before its canary call a run waits for the limits: they may show that the call would fail.
                self.awaiting_limits = !self.progress.canary_passed();
                calls.push(self.ask_limits());
            }
            // A run without open items makes no call, and so does not ask for the limits.
            let before_canary = !self.progress.canary_passed() && self.progress.has_open_items();
            if self.awaiting_limits || (before_canary && !self.input.limiter.limits_known()) {
                if let Some(end) = self.wait_for_event(calls, PERSIST_EVERY).await {
                    return end;
                }
                continue;
            }
            if before_canary && let Some(end) = self.check_service_role() {
                return end;
            }
            // A due refresh comes before the next call, and waits for the store in flight.
            if self.persisting && self.refresh_is_due() {
                if let Some(end) = self.wait_for_event(calls, PERSIST_EVERY).await {
                    return end;
                }
                continue;
            }
            let parallelism = self.spec.parallelism.and_then(|n| usize::try_from(n).ok());
            let ended = match self
                .progress
                .next_step(now, parallelism.unwrap_or(usize::MAX), self.budget())
            {
                Step::Finished => return StopReason::LimitsReached,
                Step::OutOfBudget => return StopReason::OutOfBudget,
                Step::Reserve if self.persisting => self.wait_for_event(calls, PERSIST_EVERY).await,
                Step::Reserve => {
                    self.persist(calls, true);
                    None
                }
                Step::Read => self.read_on(calls).await,
                Step::Send => self.send_next(calls, until).await,
                Step::Wait(due) => {
                    let due = due.into_iter().chain(until).min();
                    self.wait_for_event(calls, clamped_wait(now, due)).await
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
    async fn send_next(&mut self, calls: &mut Calls<'a>, until: Option<Timestamp>) -> Option<StopReason> {
        let input = self.input;
        let namespace = self.writer.job.key.namespace.clone();
        let left = clamped_wait(self.context.ports.now(), until);
        let due = self.wait_until(left);
        let mut ticket = self.ticket;
        let permitted = async {
            self.context.ports.billing_permitted().await;
            input.limiter.acquire(&namespace, &mut ticket).await
        };
        let woken = tokio::select! {
            permit = permitted => Wakeup::Permit(permit),
            Some(event) = calls.next(), if !calls.is_empty() => Wakeup::Event(event),
            () = self.subscription.notify.notified() => Wakeup::Notified,
            () = self.context.stop.cancelled() => Wakeup::TimedOut,
            () = sleep_until(due) => Wakeup::TimedOut,
        };
        self.ticket = ticket;
        let permit = match woken {
            Wakeup::Permit(permit) => permit,
            Wakeup::Event(event) => return self.handle_event(event).await,
            Wakeup::Notified => {
                self.refresh_due = None;
                return None;
            }
            Wakeup::TimedOut => return None,
        };
        let item = self.progress.take_next(self.context.ports.now())?;
        let (ports, keys) = (Arc::clone(&self.context.ports), Arc::clone(&self.keys));
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
    async fn wait_for_event(&mut self, calls: &mut Calls<'a>, pause: Duration) -> Option<StopReason> {
        let due = self.wait_until(pause);
        tokio::select! {
            Some(event) = calls.next(), if !calls.is_empty() => self.handle_event(event).await,
            () = self.subscription.notify.notified() => {
                self.refresh_due = None;
                None
            }
            () = sleep_until(due) => None,
            () = self.context.stop.cancelled() => None,
        }
    }

    /// Whether this run has anything to store: nothing until its first call, which changes the phase.
    fn has_news(&self) -> bool {
        self.progress.canary_passed()
            || self.progress.in_flight() > 0
            || self.progress.done() > self.done_before
    }

    fn refresh_is_due(&self) -> bool {
        self.refresh_due.is_none_or(|due| due <= Instant::now())
    }

    /// Returns when to stop waiting: after `pause`, or when the next store is due, so that results are stored in time
    /// however long the next answer takes.
    fn wait_until(&self, pause: Duration) -> Instant {
        let due = deadline::after(Instant::now(), pause);
        if self.persisting || !self.has_news() {
            due
        } else {
            due.min(deadline::after(self.persisted_at, PERSIST_EVERY))
        }
    }
}

/// What ends the wait for a permit.
enum Wakeup {
    Permit(RatePermit),
    Event(RunEvent),
    Notified,
    TimedOut,
}
