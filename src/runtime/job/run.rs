//! The run of a job: reserve, send at the project's pace, fold the answers, store at least once a second. When it ends,
//! no call is in flight.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, sleep_until};

use super::source::{Page, Place};
use super::store::{Stored, What, Work, announce};
use super::{deadline, look_at_grant};
use crate::api::{EventReason, GrantSpec, JobSpec};
use crate::core::job::{End, Filing, Gate, Phase, Progress, Step, gate, parse_spec, verdict};
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
    KeysRefused(CallFailure),
    OutOfBudget,
    /// Its source cannot be read any further.
    Source(CallFailure),
    /// What it may do has changed: the next pass finds out.
    LookAgain,
    Stopped,
    Gone,
}

/// What a run waits for.
pub(super) enum Event {
    Answer(usize, Result<String, CallFailure>),
    Page(Result<Page, CallFailure>),
    Limits(Result<ProjectLimits, CallFailure>),
}

type Calls<'a> = FuturesUnordered<BoxFuture<'a, Event>>;

/// What a run works with.
pub(super) struct Means {
    pub(super) spec: JobSpec,
    pub(super) keys: Keys,
    /// Keys that read the source; a list of uris needs none.
    pub(super) source_keys: Option<Keys>,
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
    pub(super) work: Work,
    pub(super) progress: Progress,
    listening: Listening<'a>,
    /// Its place in the project's line, kept while it stores.
    ticket: Option<Ticket>,
    pub(super) place: Option<Place>,
    stored_at: Instant,
    figures_at: Instant,
    looked_at: Instant,
    pub(super) throttled: bool,
    /// The last reservation and when it was made.
    reserved: Option<(i64, Instant)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(context: &'a Context, means: &'a Means, work: Work, progress: Progress) -> Self {
        let now = Instant::now();
        let mut run = Self {
            context,
            means,
            spec: means.spec.clone(),
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
    pub(super) fn parts(self) -> (Work, JobSpec, Progress) {
        (self.work, self.spec, self.progress)
    }

    /// Runs until it ends or cannot go on; answers under way are always awaited and folded, and reservations that no
    /// call has used are given back: only a crash makes them count as spent.
    pub(super) async fn go(mut self) -> (Self, RunEnd) {
        let mut calls: Calls<'a> = FuturesUnordered::new();
        let end = self.run(&mut calls).await;
        while let Some(event) = calls.next().await {
            match event {
                Event::Answer(index, answer) => {
                    self.fold(index, answer).await;
                }
                // Other jobs of the project wait for it.
                Event::Limits(answer) => self.means.pacer.set_limits(&answer),
                Event::Page(_) => {}
            }
        }
        self.progress.release();
        (self, end)
    }

    async fn run(&mut self, calls: &mut Calls<'a>) -> RunEnd {
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
            if self.stored_at.elapsed() >= FLUSH && !self.flush(false).await {
                return RunEnd::Gone;
            }
            if self.progress.canary_passed() && self.means.pacer.wants_limits() {
                calls.push(self.ask_limits());
            }
            let budget = self.spec.budget.as_ref().map(|b| b.max_requests);
            let parallelism = self.spec.parallelism.and_then(|n| usize::try_from(n).ok());
            let ended = match self.progress.next(now, parallelism.unwrap_or(usize::MAX), budget) {
                Step::Done => return RunEnd::Over(verdict(&self.progress, &self.spec)),
                Step::OutOfBudget => return RunEnd::OutOfBudget,
                Step::Reserve => self.reserve(budget).await,
                Step::Read => {
                    calls.push(self.read_on());
                    None
                }
                Step::Send => self.send(calls).await,
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

    /// Records what may leave next, and marks the object before its first call.
    async fn reserve(&mut self, budget: Option<i64>) -> Option<RunEnd> {
        if self.work.job.started.is_none() {
            match self.context.effects.mark_started(&self.work.job).await {
                Ok(version) => {
                    let job = &mut self.work.job;
                    job.resource_version = version;
                    job.started = Some(job.uid.clone());
                    let note = "the first call is about to be made";
                    announce(self.context, &self.work.job, EventReason::Started, note, false).await;
                }
                Err(failure) => {
                    tracing::info!(job = %self.work.job.key, %failure, "the job could not be marked as started yet");
                    return Some(RunEnd::Stopped);
                }
            }
        }
        let wish = self.wish();
        self.progress.reserve(wish, budget);
        (!self.flush(true).await).then_some(RunEnd::Gone)
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

    /// Waits for the project's pace and sends one item, folding answers meanwhile.
    async fn send(&mut self, calls: &mut Calls<'a>) -> Option<RunEnd> {
        let means = self.means;
        let namespace = self.work.job.key.namespace.clone();
        let due = self.stored_at + FLUSH;
        let mut ticket = self.ticket;
        let seat: Result<Seat, Option<RunEnd>> = {
            let turn = means.pacer.turn(&namespace, &mut ticket);
            tokio::pin!(turn);
            loop {
                tokio::select! {
                    seat = &mut turn => break Ok(seat),
                    Some(event) = calls.next(), if !calls.is_empty() => {
                        if let Some(end) = self.take_in(event).await {
                            break Err(Some(end));
                        }
                    }
                    () = self.listening.bell.notified() => break Err(self.look().await),
                    () = self.context.stop.cancelled() => break Err(None),
                    () = sleep_until(due), if !calls.is_empty() => break Err(None),
                }
            }
        };
        self.ticket = ticket;
        let seat = match seat {
            Ok(seat) => seat,
            Err(end) => return end,
        };
        let item = self.progress.take(self.context.effects.now())?;
        let effects = Arc::clone(&self.context.effects);
        let call = async move {
            let spec = &means.spec;
            let answer = effects
                .detect_image_score(&spec.project, &spec.access, &means.keys, &item.uri)
                .await;
            drop(seat);
            Event::Answer(item.index, answer)
        };
        calls.push(call.boxed());
        None
    }

    async fn wait(&mut self, calls: &mut Calls<'a>, pause: Duration) -> Option<RunEnd> {
        tokio::select! {
            Some(event) = calls.next(), if !calls.is_empty() => self.take_in(event).await,
            () = self.listening.bell.notified() => self.look().await,
            () = sleep(pause) => None,
            () = self.context.stop.cancelled() => None,
        }
    }

    /// Stores where the job stands. `false` when the object is gone. While the API server does not answer, no new call is
    /// made and nothing that was paid for is given up. In reports, results and reservations need no new status: the
    /// figures follow a little later.
    async fn flush(&mut self, reserving: bool) -> bool {
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
        let kept = self.work.keep(self.context, Some(&mut self.progress), what).await;
        self.stored_at = Instant::now();
        self.take_edits();
        kept || self.context.stop.is_cancelled()
    }

    /// What may be edited while a job runs takes effect at once.
    fn take_edits(&mut self) {
        if let Ok(spec) = &self.work.job.spec {
            self.spec.clone_from(spec);
        }
    }

    /// Looks at the object and its grant again.
    async fn look(&mut self) -> Option<RunEnd> {
        self.looked_at = Instant::now();
        match self.context.effects.get_job(&self.work.job.key).await {
            Ok(Some(fresh)) if fresh.uid == self.work.job.uid && !fresh.deleting => {
                // The status is ours alone; on a conflict the next write finds out who else writes it.
                if fresh.status == self.work.job.status {
                    self.work.job = fresh;
                    self.take_edits();
                }
            }
            Ok(_) => return Some(RunEnd::Gone),
            // It is looked at again soon.
            Err(_) => return None,
        }
        let images = parse_spec(&self.spec).ok()?;
        let grant = look_at_grant(self.context, &self.work.job, &self.spec)
            .await
            .ok()?;
        let now = self.context.effects.now();
        let open = gate(&self.work.job, &self.spec, &images, grant.as_ref(), now) == Gate::Open;
        (!open).then_some(RunEnd::LookAgain)
    }

    /// The process is to stop: nothing new leaves, what is under way is awaited and stored each second, and unused
    /// reservations are given back.
    async fn stop_cleanly(&mut self, calls: &mut Calls<'a>) -> RunEnd {
        self.progress.release();
        loop {
            let what = What::All(&Phase::Scoring);
            let stored = self
                .work
                .attempt(self.context, Some(&mut self.progress), what)
                .await
                == Stored::Yes;
            if calls.is_empty() && stored {
                return RunEnd::Stopped;
            }
            let due = Instant::now() + FLUSH;
            while let Ok(Some(event)) = tokio::time::timeout_at(due, calls.next()).await {
                if let Event::Answer(index, answer) = event {
                    self.fold(index, answer).await;
                }
            }
            if calls.is_empty() && !stored {
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// How long to wait for an answer: until something is due, and no longer than until the next store.
fn pause(now: Timestamp, due: Option<Timestamp>) -> Duration {
    let left = due.map(|time| time.duration_since(now).max(SignedDuration::ZERO));
    let left = left.and_then(|left| Duration::try_from(left).ok());
    left.unwrap_or(FLUSH).clamp(Duration::from_millis(1), FLUSH)
}
