//! The run of a job: reserve, send at the project's pace, fold the answers, store at least once a second. When it ends,
//! no call is in flight.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};

use super::look_at_grant;
use super::store::{Stored, announce, store, tell};
use crate::api::{EventReason, JobSpec};
use crate::core::job::{
    End, Gate, JobObject, Outcome, Phase, Progress, Step, gate, parse_spec, report, verdict,
};
use crate::ports::{CallFailure, FailureKind, Keys};
use crate::runtime::context::Context;
use crate::runtime::pacer::Pacer;

/// How old an answer may get before it is stored: what a crash repeats.
const FLUSH: Duration = Duration::from_secs(1);

/// Why a run ended.
pub(super) enum RunEnd {
    AllDone,
    TooManyFailed(End),
    NoProject(CallFailure),
    Denied { canary: bool, failure: CallFailure },
    KeysRefused(CallFailure),
    OutOfBudget,
    GrantLost,
    Stopped,
    Gone,
}

type Answer = (usize, Result<String, CallFailure>);

/// A job being run.
pub(super) struct Run<'a> {
    context: &'a Context,
    job: JobObject,
    spec: JobSpec,
    keys: Keys,
    progress: Progress,
    pacer: Arc<Pacer>,
    stored_at: Instant,
    throttled: bool,
    /// The last reservation and when it was made.
    reserved: Option<(i64, Instant)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        context: &'a Context,
        job: JobObject,
        spec: JobSpec,
        keys: Keys,
        progress: Progress,
        pacer: Arc<Pacer>,
    ) -> Self {
        Self {
            context,
            job,
            spec,
            keys,
            progress,
            pacer,
            stored_at: Instant::now(),
            throttled: false,
            reserved: None,
        }
    }

    /// What is left of it.
    pub(super) fn parts(self) -> (JobObject, JobSpec, Progress) {
        (self.job, self.spec, self.progress)
    }

    /// Runs until it ends or cannot go on; answers under way are always awaited and folded, and reservations that no
    /// call has used are given back: only a crash makes them count as spent.
    pub(super) async fn go(mut self) -> (Self, RunEnd) {
        let mut calls: FuturesUnordered<BoxFuture<'a, Answer>> = FuturesUnordered::new();
        let end = self.run(&mut calls).await;
        while let Some((index, answer)) = calls.next().await {
            self.fold(index, answer).await;
        }
        self.progress.release();
        (self, end)
    }

    async fn run(&mut self, calls: &mut FuturesUnordered<BoxFuture<'a, Answer>>) -> RunEnd {
        loop {
            if self.context.stop.is_cancelled() {
                return self.stop_cleanly(calls).await;
            }
            if let over @ End::Failed(..) = verdict(&self.progress, &self.spec.max_failed_items) {
                return RunEnd::TooManyFailed(over);
            }
            if self.stored_at.elapsed() >= FLUSH {
                if !self.flush().await {
                    return RunEnd::Gone;
                }
                if !self.grant_is_live().await {
                    return RunEnd::GrantLost;
                }
            }
            let budget = self.spec.budget.as_ref().map(|b| b.max_requests);
            let ceiling = self
                .spec
                .parallelism
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(usize::MAX);
            let step = self.progress.next(self.context.effects.now(), ceiling, budget);
            let ended = match step {
                Step::Done => return RunEnd::AllDone,
                Step::OutOfBudget => return RunEnd::OutOfBudget,
                Step::Reserve => self.reserve(budget).await,
                Step::Send(index) => self.send(index, calls).await,
                Step::Wait(until) => {
                    let now = self.context.effects.now();
                    let left = until.and_then(|t| Duration::try_from(t.duration_since(now)).ok());
                    let pause = left.unwrap_or(FLUSH).clamp(Duration::from_millis(1), FLUSH);
                    self.await_answer(calls, pause).await
                }
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Records in status what may leave next, and marks the object before its first call.
    async fn reserve(&mut self, budget: Option<i64>) -> Option<RunEnd> {
        if self.job.started.is_none() {
            match self.context.effects.mark_started(&self.job).await {
                Ok(version) => {
                    self.job.resource_version = version;
                    self.job.started = Some(self.job.uid.clone());
                    announce(
                        self.context,
                        &self.job,
                        EventReason::Started,
                        "the first call is about to be made".to_owned(),
                        false,
                    )
                    .await;
                }
                Err(failure) => {
                    tracing::info!(job = %self.job.key, %failure, "the job could not be marked as started yet");
                    return Some(RunEnd::Stopped);
                }
            }
        }
        let wish = self.wish();
        self.progress.reserve(wish, budget);
        (!self.flush().await).then_some(RunEnd::Gone)
    }

    /// How many requests to reserve: about what a second takes, because a crash spends what was reserved. A job that may
    /// have only a few calls in flight begins with as many, and doubles while a reservation lasts less than a second.
    fn wish(&mut self) -> i64 {
        let rate = self.pacer.rate();
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
    async fn send(
        &mut self,
        index: usize,
        calls: &mut FuturesUnordered<BoxFuture<'a, Answer>>,
    ) -> Option<RunEnd> {
        let pacer = Arc::clone(&self.pacer);
        let turn = pacer.turn();
        tokio::pin!(turn);
        let due = self.stored_at + FLUSH;
        let place = loop {
            tokio::select! {
                place = &mut turn => break place,
                Some((answered, answer)) = calls.next(), if !calls.is_empty() => {
                    if let Some(end) = self.fold(answered, answer).await {
                        return Some(end);
                    }
                }
                () = self.context.stop.cancelled() => return None,
                () = sleep_until(due), if !calls.is_empty() => return None,
            }
        };
        self.progress.sent(index);
        let effects = Arc::clone(&self.context.effects);
        let (project, keys, uri) = (
            self.spec.project.clone(),
            self.keys.clone(),
            self.progress.uri(index).to_owned(),
        );
        let call = async move {
            let answer = effects.detect_image_score(&project, &keys, &uri).await;
            drop(place);
            (index, answer)
        };
        calls.push(call.boxed());
        None
    }

    async fn await_answer(
        &mut self,
        calls: &mut FuturesUnordered<BoxFuture<'a, Answer>>,
        pause: Duration,
    ) -> Option<RunEnd> {
        tokio::select! {
            Some((index, answer)) = calls.next(), if !calls.is_empty() => self.fold(index, answer).await,
            () = sleep(pause) => None,
            () = self.context.stop.cancelled() => None,
        }
    }

    async fn fold(&mut self, index: usize, answer: Result<String, CallFailure>) -> Option<RunEnd> {
        self.context.metrics.score(outcome(&answer));
        let served = answer.is_ok();
        match self.progress.fold(index, answer, self.context.effects.now()) {
            Outcome::GoOn => {
                if served {
                    self.pacer.speed_up();
                }
                None
            }
            Outcome::SlowDown => {
                self.pacer.slow_down();
                if !self.throttled {
                    self.throttled = true;
                    let note = "IMM asks to slow down; the pace is lowered and no item fails because of it"
                        .to_owned();
                    announce(self.context, &self.job, EventReason::Throttled, note, false).await;
                }
                None
            }
            Outcome::KeysRefused(failure) => Some(RunEnd::KeysRefused(failure)),
            Outcome::Denied { canary, failure } => Some(RunEnd::Denied { canary, failure }),
            Outcome::NoProject(failure) => Some(RunEnd::NoProject(failure)),
        }
    }

    /// Stores where the job stands. `false` when the object is gone. While the API server does not answer, no new call is
    /// made and nothing that was paid for is given up.
    async fn flush(&mut self) -> bool {
        let stored = tell(self.context, &mut self.job, &Phase::Scoring, &self.progress).await;
        self.stored_at = Instant::now();
        // What may be edited while a job runs takes effect with the next store.
        if let Ok(spec) = &self.job.spec {
            self.spec.parallelism = spec.parallelism;
            self.spec.budget.clone_from(&spec.budget);
        }
        stored || self.context.stop.is_cancelled()
    }

    /// Whether the grant still allows calls; a grant that cannot be read now is judged at the next store.
    async fn grant_is_live(&self) -> bool {
        let Ok(images) = parse_spec(&self.spec) else {
            return false;
        };
        let Ok(grant) = look_at_grant(self.context, &self.job, &self.spec).await else {
            return true;
        };
        gate(
            &self.job,
            &self.spec,
            &images,
            grant.as_ref(),
            self.context.effects.now(),
        ) == Gate::Open
    }

    /// The process is to stop: nothing new leaves, what is under way is awaited and stored each second, and unused
    /// reservations are given back.
    async fn stop_cleanly(&mut self, calls: &mut FuturesUnordered<BoxFuture<'a, Answer>>) -> RunEnd {
        self.progress.release();
        loop {
            let status = report(
                &self.job,
                &Phase::Scoring,
                &self.progress,
                self.context.effects.now(),
            );
            let stored = store(self.context, &mut self.job, &status).await == Stored::Yes;
            if calls.is_empty() && stored {
                return RunEnd::Stopped;
            }
            let due = Instant::now() + FLUSH;
            while let Ok(Some((index, answer))) = tokio::time::timeout_at(due, calls.next()).await {
                self.fold(index, answer).await;
            }
            if calls.is_empty() && !stored {
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn outcome(answer: &Result<String, CallFailure>) -> &'static str {
    match answer {
        Ok(_) => "scored",
        Err(failure) => match failure.kind {
            FailureKind::Throttled => "throttled",
            FailureKind::Unavailable => "unavailable",
            FailureKind::Unanswered => "unanswered",
            FailureKind::Denied => "denied",
            FailureKind::KeysRejected | FailureKind::KeysExpired => "keys_refused",
            FailureKind::NoSuchProject => "no_project",
            FailureKind::Refused
            | FailureKind::PublicBlocked
            | FailureKind::NoSuchBucket
            | FailureKind::WrongRegion
            | FailureKind::DocumentRefused => "refused",
        },
    }
}
