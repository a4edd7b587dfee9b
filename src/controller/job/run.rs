//! The run of a job: reserve, send at the project's pace, fold the answers, store once a second meanwhile. When it ends, no
//! call is in flight.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::deadline;
use super::finish::Left;
use super::persist::{Stored, Work};
use super::source_reader::{Page, Place};
use crate::api::{GrantSpec, JobReason, JobSpec};
use crate::controller::context::Context;
use crate::core::identity::Identity;
use crate::core::job::{End, Phase, Progress, SourceSpec, Step, evaluate_limits};
use crate::ports::{AccessKeys, CloudError, KubeError, ProjectLimits};
use crate::runtime::notify::Subscription;
use crate::runtime::rate_limit::{Permit as Seat, ProjectLimiter, QueueTicket};

/// How often results are stored: what a crash repeats.
pub(super) const FLUSH: Duration = Duration::from_secs(1);
/// How long until the object and its grant are looked at again; a change of either is told at once.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// Why a run ended.
pub(super) enum RunEnd {
    /// All items are done, or more of them failed than may.
    Judged,
    /// It ends for good.
    Over(End),
    NoProject {
        canary: bool,
        failure: CloudError,
    },
    OtherRegion(CloudError),
    /// The cloud refuses the time of the requests.
    ClockIsOff(CloudError),
    Denied {
        canary: bool,
        failure: CloudError,
    },
    /// With the keys of the call that was refused: the run may have newer ones by now.
    KeysRefused(CloudError, Arc<AccessKeys>),
    OutOfBudget,
    /// Its source cannot be read any further.
    Source(CloudError),
    /// It may not go on now: why.
    Blocked(Phase),
    /// What it may do has changed: the next pass finds out.
    LookAgain,
    /// The object cannot be marked as started: why.
    Unmarked(KubeError),
    Stopped,
    /// What is stored is not what this run knows.
    Taken,
    Gone,
}

/// What a run waits for.
pub(super) enum Event {
    Answer(Answer),
    Page(Result<Page, CloudError>),
    Limits(Result<ProjectLimits, CloudError>, Arc<AccessKeys>),
    /// What was drawn up is stored, or why not; the object as it is stored now.
    Kept(Box<Work>, Stored),
}

/// What IMM answered to a paid call, and with which keys it was asked.
pub(super) struct Answer {
    pub(super) index: usize,
    pub(super) result: Result<String, CloudError>,
    pub(super) keys: Arc<AccessKeys>,
}

pub(super) type Calls<'a> = FuturesUnordered<BoxFuture<'a, Event>>;

/// What a run works with.
pub(super) struct Means {
    pub(super) spec: JobSpec,
    pub(super) identity: Identity,
    pub(super) source_spec: SourceSpec,
    /// The grant that the gate has let it in by.
    pub(super) grant: Option<GrantSpec>,
    pub(super) pacer: Arc<ProjectLimiter>,
}

/// A job being run.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) means: &'a Means,
    /// The spec as it stands now; what was paid for cannot change in it.
    pub(super) spec: JobSpec,
    /// Renewed as they end or are rotated.
    pub(super) keys: Arc<AccessKeys>,
    /// Keys that read the source; a list of uris needs none.
    pub(super) source_keys: Option<Arc<AccessKeys>>,
    /// Whether the project is asked for its limits and its role before the first call.
    pub(super) asking: bool,
    pub(super) work: Work,
    pub(super) progress: Progress,
    listening: Subscription<'a>,
    /// Its place in the project's line, kept while it stores.
    ticket: Option<QueueTicket>,
    pub(super) place: Option<Place>,
    /// Whether something is being stored. What is known of the object is as it was before, until that is done.
    pub(super) storing: bool,
    /// When what was stored last was drawn up.
    pub(super) stored_at: Instant,
    pub(super) figures_at: Instant,
    /// When the object and its grant are to be looked at again; `None` when something has changed since they were.
    pub(super) look_due: Option<Instant>,
    pub(super) throttled: bool,
    /// The last reservation and when it was made.
    pub(super) reserved: Option<(i64, Instant)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        context: &'a Context,
        means: &'a Means,
        (keys, source_keys): (AccessKeys, Option<AccessKeys>),
        work: Work,
        progress: Progress,
    ) -> Self {
        let now = Instant::now();
        let mut run = Self {
            context,
            means,
            spec: means.spec.clone(),
            keys: Arc::new(keys),
            source_keys: source_keys.map(Arc::new),
            asking: false,
            listening: context.notifier.subscribe(&work.job.key),
            ticket: None,
            place: None,
            work,
            progress,
            storing: false,
            stored_at: now,
            figures_at: now,
            // Counting and obtaining keys may have taken minutes since the gate was passed.
            look_due: None,
            throttled: false,
            reserved: None,
        };
        let uris = &means.spec.source.uris;
        if uris.is_empty() {
            run.place = Some(Place::of(run.progress.cursor(), &means.spec));
        } else {
            run.progress.add_listed(uris);
        }
        run
    }

    /// What is left of it.
    pub(super) fn left(self) -> Left {
        Left {
            work: self.work,
            spec: self.spec,
            progress: self.progress,
        }
    }

    /// Runs until it ends or cannot go on; answers under way are always awaited, folded and stored.
    pub(super) async fn go(mut self) -> (Self, RunEnd) {
        let mut calls: Calls<'a> = FuturesUnordered::new();
        let end = self.run(&mut calls).await;
        self.drain(&mut calls, &end).await;
        (self, end)
    }

    /// Nothing new leaves. What is under way is awaited, and stored each second meanwhile as it was before; reservations
    /// that no call has used are given back at once: only a crash makes them count as spent.
    async fn drain(&mut self, calls: &mut Calls<'a>, end: &RunEnd) {
        self.progress.release();
        let mut stores = !matches!(end, RunEnd::Gone | RunEnd::Taken);
        while !calls.is_empty() {
            if stores && !self.storing && self.stored_at.elapsed() >= FLUSH {
                self.store(calls, false);
            }
            let due = if stores {
                self.due(FLUSH)
            } else {
                Instant::now() + FLUSH
            };
            if let Ok(Some(event)) = timeout_at(due, calls.next()).await {
                stores &= self.settle(event).await.is_none();
            }
        }
    }

    async fn run(&mut self, calls: &mut Calls<'a>) -> RunEnd {
        // An earlier job of the project has found that out; it may have been put right since.
        if self.other_role().is_some() {
            self.means.pacer.invalidate();
        }
        loop {
            if self.context.stop.is_cancelled() {
                return RunEnd::Stopped;
            }
            if evaluate_limits(&self.progress, &self.spec) != End::Complete {
                return RunEnd::Judged;
            }
            let now = self.context.ports.now();
            let until = deadline(&self.work.job, &self.spec, now);
            if self.spec.cancel {
                // It sticks from here on, also when it is taken back while calls are awaited.
                return RunEnd::Over(cancelled());
            }
            if until.is_some_and(|time| time <= now) || self.spec.suspend {
                return RunEnd::LookAgain;
            }
            if !self.storing
                && self.to_look()
                && let Some(end) = self.look().await
            {
                return end;
            }
            if !self.storing && self.to_store() {
                self.store(
                    calls,
                    self.progress.canary_passed() && self.progress.has_open_items(),
                );
            }
            if self.progress.has_open_items() && self.means.pacer.needs_limits() {
                // Before its first call a run waits for the answer: it may spare that call.
                self.asking = !self.progress.canary_passed();
                calls.push(self.ask_limits());
            }
            if self.asking || (!self.progress.canary_passed() && !self.means.pacer.limits_known()) {
                if let Some(end) = self.wait(calls, FLUSH).await {
                    return end;
                }
                continue;
            }
            if !self.progress.canary_passed()
                && let Some(end) = self.other_role()
            {
                return end;
            }
            // What has changed is looked at before anything else is sent, and that waits for a store that is under way.
            if self.storing && self.to_look() {
                if let Some(end) = self.wait(calls, FLUSH).await {
                    return end;
                }
                continue;
            }
            let parallelism = self.spec.parallelism.and_then(|n| usize::try_from(n).ok());
            let ended = match self
                .progress
                .next_step(now, parallelism.unwrap_or(usize::MAX), self.budget())
            {
                Step::Finished => return RunEnd::Judged,
                Step::OutOfBudget => return RunEnd::OutOfBudget,
                Step::Reserve if self.storing => self.wait(calls, FLUSH).await,
                Step::Reserve => {
                    self.store(calls, true);
                    None
                }
                Step::Read => {
                    calls.push(self.read_on());
                    None
                }
                Step::Send => self.send(calls, until).await,
                Step::Wait(due) => {
                    let due = due.into_iter().chain(until).min();
                    self.wait(calls, pause(now, due)).await
                }
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Waits for the project's pace and sends one item. Whatever happens meanwhile is seen to first: nobody stands in line
    /// while it does something else, and keeps its place.
    async fn send(&mut self, calls: &mut Calls<'a>, until: Option<Timestamp>) -> Option<RunEnd> {
        let means = self.means;
        let namespace = self.work.job.key.namespace.clone();
        let left = pause(self.context.ports.now(), until);
        let due = self.due(left);
        let mut ticket = self.ticket;
        let woken = tokio::select! {
            seat = means.pacer.acquire(&namespace, &mut ticket) => Woken::Seat(seat),
            Some(event) = calls.next(), if !calls.is_empty() => Woken::Event(event),
            () = self.listening.notify.notified() => Woken::Bell,
            () = self.context.stop.cancelled() => Woken::Time,
            () = sleep_until(due) => Woken::Time,
        };
        self.ticket = ticket;
        let seat = match woken {
            Woken::Seat(seat) => seat,
            Woken::Event(event) => return self.take_in(event).await,
            Woken::Bell => {
                self.look_due = None;
                return None;
            }
            Woken::Time => return None,
        };
        let item = self.progress.take_next(self.context.ports.now())?;
        let (effects, keys) = (Arc::clone(&self.context.ports), Arc::clone(&self.keys));
        let call = async move {
            let spec = &means.spec;
            let result = effects
                .detect_image_score(&spec.project, &spec.access, &keys, &item.uri)
                .await;
            drop(seat);
            let index = item.index;
            Event::Answer(Answer { index, result, keys })
        };
        calls.push(call.boxed());
        None
    }

    async fn wait(&mut self, calls: &mut Calls<'a>, pause: Duration) -> Option<RunEnd> {
        let due = self.due(pause);
        tokio::select! {
            Some(event) = calls.next(), if !calls.is_empty() => self.take_in(event).await,
            () = self.listening.notify.notified() => {
                self.look_due = None;
                None
            }
            () = sleep_until(due) => None,
            () = self.context.stop.cancelled() => None,
        }
    }

    fn to_look(&self) -> bool {
        self.look_due.is_none_or(|due| due <= Instant::now())
    }

    /// When to stop waiting: answers that have come are stored in time, however long the next one takes.
    fn due(&self, pause: Duration) -> Instant {
        let due = Instant::now() + pause;
        if self.storing {
            due
        } else {
            due.min(self.stored_at + FLUSH)
        }
    }
}

/// How a job ends that its user does not want any more.
pub(super) fn cancelled() -> End {
    let message = "spec.cancel is true: the results so far are kept; create another job to score the rest";
    End::Failed(JobReason::Cancelled, message.to_owned())
}

/// What ends the wait for a turn.
enum Woken {
    Seat(Seat),
    Event(Event),
    Bell,
    Time,
}

/// How long to wait for an answer: until something is due, and no longer than until the next store.
fn pause(now: Timestamp, due: Option<Timestamp>) -> Duration {
    let left = due.map(|time| time.duration_since(now).max(SignedDuration::ZERO));
    let left = left.and_then(|left| Duration::try_from(left).ok());
    left.unwrap_or(FLUSH).clamp(Duration::from_millis(1), FLUSH)
}
