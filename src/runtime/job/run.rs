//! The run of a job: reserve, send at the project's pace, fold the answers, store at least once a second. When it ends,
//! no call is in flight.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};

use super::after::Left;
use super::deadline;
use super::source::{Page, Place};
use super::store::{Stored, What, Work, announce};
use crate::api::{EventReason, GrantSpec, JobSpec};
use crate::core::identity::Identity;
use crate::core::job::{End, Filing, Images, Phase, Progress, Step, verdict};
use crate::ports::{CallFailure, Keys, ProjectLimits};
use crate::runtime::context::Context;
use crate::runtime::edits::Listening;
use crate::runtime::pacer::{Pacer, Place as Seat, Ticket};

/// How old a result may get before it is stored: what a crash repeats.
const FLUSH: Duration = Duration::from_secs(1);
/// How old the figures in status may get while results are stored in reports.
const FIGURES: Duration = Duration::from_secs(2);
/// How old the look at the object and at its grant may get; a change of either is told at once.
const LOOK: Duration = Duration::from_secs(10);

/// Why a run ended.
pub(super) enum RunEnd {
    /// It ends for good.
    Over(End),
    NoProject(CallFailure),
    Denied {
        canary: bool,
        failure: CallFailure,
    },
    /// With the keys of the call that was refused: the run may have newer ones by now.
    KeysRefused(CallFailure, Arc<Keys>),
    OutOfBudget,
    /// Its source cannot be read any further.
    Source(CallFailure),
    /// It may not go on now: why.
    Blocked(Phase),
    /// What it may do has changed: the next pass finds out.
    LookAgain,
    Stopped,
    /// What is stored is not what this run knows.
    Taken,
    Gone,
}

/// What a run waits for.
pub(super) enum Event {
    Answer(Answer),
    Page(Result<Page, CallFailure>),
    Limits(Result<ProjectLimits, CallFailure>, Arc<Keys>),
}

/// What IMM answered to a paid call, and with which keys it was asked.
pub(super) struct Answer {
    pub(super) index: usize,
    pub(super) result: Result<String, CallFailure>,
    pub(super) keys: Arc<Keys>,
}

type Calls<'a> = FuturesUnordered<BoxFuture<'a, Event>>;

/// What a run works with.
pub(super) struct Means {
    pub(super) spec: JobSpec,
    pub(super) identity: Identity,
    pub(super) images: Images,
    /// The grant that the gate has let it in by.
    pub(super) grant: Option<GrantSpec>,
    pub(super) pacer: Arc<Pacer>,
}

/// A job being run.
pub(super) struct Run<'a> {
    pub(super) context: &'a Context,
    pub(super) means: &'a Means,
    /// The spec as it stands now; what was paid for cannot change in it.
    pub(super) spec: JobSpec,
    /// Renewed as they end or are rotated.
    pub(super) keys: Arc<Keys>,
    /// Keys that read the source; a list of uris needs none.
    pub(super) source_keys: Option<Arc<Keys>>,
    /// Whether the project is asked for its limits and its role before the first call.
    pub(super) asking: bool,
    pub(super) work: Work,
    pub(super) progress: Progress,
    listening: Listening<'a>,
    /// Its place in the project's line, kept while it stores.
    ticket: Option<Ticket>,
    pub(super) place: Option<Place>,
    stored_at: Instant,
    figures_at: Instant,
    pub(super) looked_at: Instant,
    pub(super) throttled: bool,
    /// The last reservation and when it was made.
    reserved: Option<(i64, Instant)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        context: &'a Context,
        means: &'a Means,
        (keys, source_keys): (Keys, Option<Keys>),
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
            listening: context.edits.listen(&work.job.key),
            ticket: None,
            place: None,
            work,
            progress,
            stored_at: now,
            figures_at: now,
            looked_at: now,
            throttled: false,
            reserved: None,
        };
        let uris = &means.spec.source.uris;
        if uris.is_empty() {
            run.place = Some(Place::of(run.progress.cursor(), &means.spec));
        } else {
            run.progress.list(uris);
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

    /// Runs until it ends or cannot go on; answers under way are always awaited and folded, and reservations that no
    /// call has used are given back: only a crash makes them count as spent.
    pub(super) async fn go(mut self) -> (Self, RunEnd) {
        let mut calls: Calls<'a> = FuturesUnordered::new();
        let end = self.run(&mut calls).await;
        while let Some(event) = calls.next().await {
            self.settle(event).await;
        }
        self.progress.release();
        (self, end)
    }

    async fn run(&mut self, calls: &mut Calls<'a>) -> RunEnd {
        // An earlier job of the project may have found out already.
        if let Some(end) = self.other_role() {
            return end;
        }
        loop {
            if self.context.stop.is_cancelled() {
                return self.stop_cleanly(calls).await;
            }
            if let over @ End::Failed(..) = verdict(&self.progress, &self.spec) {
                return RunEnd::Over(over);
            }
            let now = self.context.effects.now();
            let until = deadline(&self.work.job, &self.spec, now);
            if until.is_some_and(|time| time <= now) || self.spec.cancel || self.spec.suspend {
                return RunEnd::LookAgain;
            }
            if self.looked_at.elapsed() >= LOOK
                && let Some(end) = self.look().await
            {
                return end;
            }
            if self.stored_at.elapsed() >= FLUSH
                && let Some(end) = self.flush(calls, false).await
            {
                return end;
            }
            if self.progress.open() && self.means.pacer.wants_limits() {
                // Before its first call a run waits for the answer: it may spare that call.
                self.asking = !self.progress.canary_passed();
                calls.push(self.ask_limits());
            }
            if self.asking {
                if let Some(end) = self.wait(calls, FLUSH).await {
                    return end;
                }
                continue;
            }
            let budget = self.spec.budget.as_ref().map(|b| b.max_requests);
            let parallelism = self.spec.parallelism.and_then(|n| usize::try_from(n).ok());
            let ended = match self.progress.next(now, parallelism.unwrap_or(usize::MAX), budget) {
                Step::Done => return RunEnd::Over(verdict(&self.progress, &self.spec)),
                Step::OutOfBudget => return RunEnd::OutOfBudget,
                Step::Reserve => self.reserve(calls, budget).await,
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

    /// Records what may leave next, and marks the object before its first call. An object that is marked has a record: one
    /// without was restored, or robbed of its status.
    async fn reserve(&mut self, calls: &mut Calls<'a>, budget: Option<i64>) -> Option<RunEnd> {
        let wish = self.wish();
        self.progress.reserve(wish, budget);
        if let Some(end) = self.flush(calls, true).await {
            return Some(end);
        }
        if self.work.job.started.is_some() {
            return None;
        }
        match self.context.effects.mark_started(&self.work.job).await {
            Ok(version) => {
                let job = &mut self.work.job;
                job.resource_version = version;
                job.started = Some(job.uid.clone());
                let note = "the first call is about to be made";
                announce(self.context, &self.work.job, EventReason::Started, note, false).await;
                None
            }
            Err(failure) => {
                tracing::info!(job = %self.work.job.key, %failure, "the job could not be marked as started yet");
                Some(RunEnd::LookAgain)
            }
        }
    }

    /// How many requests to reserve: about what a second takes, because a crash spends what was reserved. A job that may
    /// have only a few calls in flight begins with as many, and doubles while a reservation lasts less than a second.
    fn wish(&mut self) -> i64 {
        let rate = self.means.pacer.rate();
        let few = self.spec.parallelism.map_or(rate, i64::from);
        let wish = match self.reserved {
            Some((last, at)) if at.elapsed() < FLUSH => last.saturating_mul(2),
            Some((last, _)) => last,
            None => few,
        };
        let wish = wish.clamp(few.min(rate), rate);
        self.reserved = Some((wish, Instant::now()));
        wish
    }

    /// Waits for the project's pace and sends one item. Whatever happens meanwhile is seen to first: nobody stands in line
    /// while it does something else, and keeps its place.
    async fn send(&mut self, calls: &mut Calls<'a>, until: Option<Timestamp>) -> Option<RunEnd> {
        let means = self.means;
        let namespace = self.work.job.key.namespace.clone();
        let left = pause(self.context.effects.now(), until);
        let due = (self.stored_at + FLUSH).min(Instant::now() + left);
        let mut ticket = self.ticket;
        let woken = tokio::select! {
            seat = means.pacer.turn(&namespace, &mut ticket) => Woken::Seat(seat),
            Some(event) = calls.next(), if !calls.is_empty() => Woken::Event(event),
            () = self.listening.bell.notified() => Woken::Bell,
            () = self.context.stop.cancelled() => Woken::Time,
            () = sleep_until(due) => Woken::Time,
        };
        self.ticket = ticket;
        let seat = match woken {
            Woken::Seat(seat) => seat,
            Woken::Event(event) => return self.take_in(event).await,
            Woken::Bell => return self.look().await,
            Woken::Time => return None,
        };
        let item = self.progress.take(self.context.effects.now())?;
        let (effects, keys) = (Arc::clone(&self.context.effects), Arc::clone(&self.keys));
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
        // Answers that have come are stored in time, however long the next one takes.
        let due = (self.stored_at + FLUSH).min(Instant::now() + pause);
        tokio::select! {
            Some(event) = calls.next(), if !calls.is_empty() => self.take_in(event).await,
            () = self.listening.bell.notified() => self.look().await,
            () = sleep_until(due) => None,
            () = self.context.stop.cancelled() => None,
        }
    }

    /// Stores where the job stands. While the API server does not answer, no new call is made and nothing that was paid
    /// for is given up; answers still come in, so that the project's places are free for others. In reports, results and
    /// reservations need no new status: the figures follow a little later.
    async fn flush(&mut self, calls: &mut Calls<'a>, reserving: bool) -> Option<RunEnd> {
        let carries = match self.progress.filing() {
            Filing::Reports(reports) => reports.carries(),
            Filing::Inline(_) => false,
        };
        let what = if carries && self.figures_at.elapsed() < FIGURES {
            What::Reports { always: reserving }
        } else {
            self.figures_at = Instant::now();
            What::All(&Phase::Scoring)
        };
        let mut came = Vec::new();
        let kept = {
            let keeping = self.work.keep(self.context, Some(&mut self.progress), what);
            tokio::pin!(keeping);
            loop {
                tokio::select! {
                    kept = &mut keeping => break kept,
                    Some(event) = calls.next(), if !calls.is_empty() => came.push(event),
                }
            }
        };
        self.stored_at = Instant::now();
        self.take_edits();
        let mut end = match kept {
            Stored::Yes | Stored::No => None,
            Stored::Gone => Some(RunEnd::Gone),
            Stored::Taken => Some(RunEnd::Taken),
        };
        for event in came {
            let other = self.take_in(event).await;
            end = end.or(other);
        }
        end
    }

    /// The process is to stop: nothing new leaves, what is under way is awaited and stored each second, and unused
    /// reservations are given back.
    async fn stop_cleanly(&mut self, calls: &mut Calls<'a>) -> RunEnd {
        self.progress.release();
        loop {
            let stored = self.work.last_words(self.context, &mut self.progress).await != Stored::No;
            if calls.is_empty() && stored {
                return RunEnd::Stopped;
            }
            let due = Instant::now() + FLUSH;
            while let Ok(Some(event)) = tokio::time::timeout_at(due, calls.next()).await {
                self.settle(event).await;
            }
            if calls.is_empty() && !stored {
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
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
