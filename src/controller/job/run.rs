//! The run of a job: reserve, send at the project's pace, fold the answers, store once a second meanwhile. When it ends, no
//! call is in flight.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::active_deadline;
use super::finish::RunResult;
use super::persist::{JobWriter, WriteResult};
use super::source_reader::{SourcePage, SourcePosition};
use crate::api::{GrantSpec, JobReason, JobSpec};
use crate::controller::context::Context;
use crate::core::identity::Identity;
use crate::core::job::{End, Phase, Progress, SourceSpec, Step, evaluate_limits};
use crate::ports::{AccessKeys, CloudError, KubeError, ProjectLimits};
use crate::runtime::notify::Subscription;
use crate::runtime::rate_limit::{Permit as RatePermit, ProjectLimiter, QueueTicket};

/// How often results are stored: what a crash repeats.
pub(super) const PERSIST_EVERY: Duration = Duration::from_secs(1);
/// How long until the object and its grant are looked at again; a change of either is told at once.
pub(super) const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Why a run ended.
pub(super) enum StopReason {
    /// All items are done, or more of them failed than may.
    LimitsReached,
    /// It ends for good.
    Finished(End),
    NoProject {
        canary: bool,
        error: CloudError,
    },
    OtherRegion(CloudError),
    /// The cloud refuses the time of the requests.
    ClockSkew(CloudError),
    Denied {
        canary: bool,
        error: CloudError,
    },
    /// With the keys of the call that was refused: the run may have newer ones by now.
    CredentialsRejected(CloudError, Arc<AccessKeys>),
    OutOfBudget,
    /// Its source cannot be read any further.
    Source(CloudError),
    /// It may not go on now: why.
    Blocked(Phase),
    /// What it may do has changed: the next pass finds out.
    Reevaluate,
    /// The object cannot be marked as started: why.
    NotStarted(KubeError),
    ShuttingDown,
    /// What is stored is not what this run knows.
    Superseded,
    Gone,
}

/// What a run waits for.
pub(super) enum RunEvent {
    Response(ScoreResponse),
    Page(Result<SourcePage, CloudError>),
    Limits(Result<ProjectLimits, CloudError>, Arc<AccessKeys>),
    /// What was drawn up is stored, or why not; the object as it is stored now.
    Persisted(Box<JobWriter>, WriteResult),
}

/// What IMM answered to a paid call, and with which keys it was asked.
pub(super) struct ScoreResponse {
    pub(super) index: usize,
    pub(super) result: Result<String, CloudError>,
    pub(super) keys: Arc<AccessKeys>,
}

pub(super) type Calls<'a> = FuturesUnordered<BoxFuture<'a, RunEvent>>;

/// What a run works with.
pub(super) struct RunInput {
    pub(super) spec: JobSpec,
    pub(super) identity: Identity,
    pub(super) source_spec: SourceSpec,
    /// The grant that the gate has let it in by.
    pub(super) grant: Option<GrantSpec>,
    pub(super) limiter: Arc<ProjectLimiter>,
}

/// A job being run.
pub(super) struct JobRun<'a> {
    pub(super) context: &'a Context,
    pub(super) input: &'a RunInput,
    /// The spec as it stands now; what was paid for cannot change in it.
    pub(super) spec: JobSpec,
    /// Renewed as they end or are rotated.
    pub(super) keys: Arc<AccessKeys>,
    /// Keys that read the source; a list of uris needs none.
    pub(super) source_keys: Option<Arc<AccessKeys>>,
    /// Whether the project is asked for its limits and its role before the first call.
    pub(super) awaiting_limits: bool,
    pub(super) writer: JobWriter,
    pub(super) progress: Progress,
    subscription: Subscription<'a>,
    /// Its place in the project's line, kept while it stores.
    ticket: Option<QueueTicket>,
    pub(super) source_position: Option<SourcePosition>,
    /// Whether something is being stored. What is known of the object is as it was before, until that is done.
    pub(super) persisting: bool,
    /// When what was stored last was drawn up.
    pub(super) persisted_at: Instant,
    pub(super) status_at: Instant,
    /// When the object and its grant are to be looked at again; `None` when something has changed since they were.
    pub(super) refresh_due: Option<Instant>,
    pub(super) throttled: bool,
    /// The last reservation and when it was made.
    pub(super) reserved: Option<(i64, Instant)>,
}

impl<'a> JobRun<'a> {
    pub(super) fn new(
        context: &'a Context,
        input: &'a RunInput,
        (keys, source_keys): (AccessKeys, Option<AccessKeys>),
        writer: JobWriter,
        progress: Progress,
    ) -> Self {
        let now = Instant::now();
        let mut run = Self {
            context,
            input,
            spec: input.spec.clone(),
            keys: Arc::new(keys),
            source_keys: source_keys.map(Arc::new),
            awaiting_limits: false,
            subscription: context.notifier.subscribe(&writer.job.key),
            ticket: None,
            source_position: None,
            writer,
            progress,
            persisting: false,
            persisted_at: now,
            status_at: now,
            // Counting and obtaining keys may have taken minutes since the gate was passed.
            refresh_due: None,
            throttled: false,
            reserved: None,
        };
        let uris = &input.spec.source.uris;
        if uris.is_empty() {
            run.source_position = Some(SourcePosition::of(run.progress.cursor(), &input.spec));
        } else {
            run.progress.add_listed(uris);
        }
        run
    }

    /// What is left of it.
    pub(super) fn into_result(self) -> RunResult {
        RunResult {
            writer: self.writer,
            spec: self.spec,
            progress: self.progress,
        }
    }

    /// Runs until it ends or cannot go on; answers under way are always awaited, folded and stored.
    pub(super) async fn execute(mut self) -> (Self, StopReason) {
        let mut calls: Calls<'a> = FuturesUnordered::new();
        let end = self.event_loop(&mut calls).await;
        self.drain(&mut calls, &end).await;
        (self, end)
    }

    /// Nothing new leaves. What is under way is awaited, and stored each second meanwhile as it was before; reservations
    /// that no call has used are given back at once: only a crash makes them count as spent.
    async fn drain(&mut self, calls: &mut Calls<'a>, end: &StopReason) {
        self.progress.release();
        let mut stores = !matches!(end, StopReason::Gone | StopReason::Superseded);
        while !calls.is_empty() {
            if stores && !self.persisting && self.persisted_at.elapsed() >= PERSIST_EVERY {
                self.persist(calls, false);
            }
            let due = if stores {
                self.wait_until(PERSIST_EVERY)
            } else {
                Instant::now() + PERSIST_EVERY
            };
            if let Ok(Some(event)) = timeout_at(due, calls.next()).await {
                stores &= self.handle_late_event(event).await.is_none();
            }
        }
    }

    async fn event_loop(&mut self, calls: &mut Calls<'a>) -> StopReason {
        // An earlier job of the project has found that out; it may have been put right since.
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
                // It sticks from here on, also when it is taken back while calls are awaited.
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
            if !self.persisting && self.should_persist() {
                self.persist(
                    calls,
                    self.progress.canary_passed() && self.progress.has_open_items(),
                );
            }
            if self.progress.has_open_items() && self.input.limiter.needs_limits() {
                // Before its first call a run waits for the answer: it may spare that call.
                self.awaiting_limits = !self.progress.canary_passed();
                calls.push(self.ask_limits());
            }
            if self.awaiting_limits || (!self.progress.canary_passed() && !self.input.limiter.limits_known())
            {
                if let Some(end) = self.wait_for_event(calls, PERSIST_EVERY).await {
                    return end;
                }
                continue;
            }
            if !self.progress.canary_passed()
                && let Some(end) = self.check_service_role()
            {
                return end;
            }
            // What has changed is looked at before anything else is sent, and that waits for a store that is under way.
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
                Step::Read => {
                    calls.push(self.read_next_page());
                    None
                }
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

    /// Waits for the project's pace and sends one item. Whatever happens meanwhile is seen to first: nobody stands in line
    /// while it does something else, and keeps its place.
    async fn send_next(&mut self, calls: &mut Calls<'a>, until: Option<Timestamp>) -> Option<StopReason> {
        let input = self.input;
        let namespace = self.writer.job.key.namespace.clone();
        let left = clamped_wait(self.context.ports.now(), until);
        let due = self.wait_until(left);
        let mut ticket = self.ticket;
        let woken = tokio::select! {
            permit = input.limiter.acquire(&namespace, &mut ticket) => Wakeup::Permit(permit),
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

    fn refresh_is_due(&self) -> bool {
        self.refresh_due.is_none_or(|due| due <= Instant::now())
    }

    /// When to stop waiting: answers that have come are stored in time, however long the next one takes.
    fn wait_until(&self, pause: Duration) -> Instant {
        let due = Instant::now() + pause;
        if self.persisting {
            due
        } else {
            due.min(self.persisted_at + PERSIST_EVERY)
        }
    }
}

/// How a job ends that its user does not want any more.
pub(super) fn cancelled() -> End {
    let message = "spec.cancel is true, and the results so far are kept: create another job to score the remaining items";
    End::Failed(JobReason::Cancelled, message.to_owned())
}

/// What ends the wait for a turn.
enum Wakeup {
    Permit(RatePermit),
    Event(RunEvent),
    Notified,
    TimedOut,
}

/// How long to wait for an answer: until something is due, and no longer than until the next store.
fn clamped_wait(now: Timestamp, due: Option<Timestamp>) -> Duration {
    let left = due.map(|time| time.duration_since(now).max(SignedDuration::ZERO));
    let left = left.and_then(|left| Duration::try_from(left).ok());
    left.unwrap_or(PERSIST_EVERY)
        .clamp(Duration::from_millis(1), PERSIST_EVERY)
}
