//! Storing while a run goes on. Results are stored once a second and, with them, what may be sent until the next time; calls go
//! on meanwhile, as far as what is reserved and stored already reaches. While the API server does not answer, that is used
//! up soon, and no new call is made; answers still come in, and nothing that was paid for is given up.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::persist::{JobWriter, WriteResult, publish_event};
use super::run::{Calls, JobRun, PERSIST_EVERY, RunEvent, StopReason};
use crate::api::{EventReason, REPORT_ITEMS};
use crate::core::job::{Phase, ReportBuffer};
use crate::ports::KubeError;

/// How old the figures in status may get while results are stored in reports.
const STATUS_EVERY: Duration = Duration::from_secs(3);

impl<'a> JobRun<'a> {
    /// Requests that the job may make in all.
    pub(super) fn budget(&self) -> Option<i64> {
        self.spec.budget.as_ref().map(|budget| budget.max_requests)
    }

    /// How many requests to have in hand: what a second takes and what leaves while that is stored. No more, because a
    /// crash spends what was reserved. A job that may have only a few calls in flight begins with as many, and doubles
    /// while a reservation lasts less than a second.
    fn reservation_size(&mut self) -> i64 {
        let rate = self.input.limiter.rate();
        let most = rate + rate / 4;
        let few = self.spec.parallelism.map_or(most, i64::from);
        let size = match self.reserved {
            Some((last, at)) if at.elapsed() < PERSIST_EVERY => last.saturating_mul(2),
            Some((last, _)) => last,
            None => few,
        };
        let size = size.clamp(few.min(most), most);
        self.reserved = Some((size, Instant::now()));
        size
    }

    /// Whether it is time to store: each second, and at a high pace whenever a report can be filled.
    pub(super) fn should_persist(&self) -> bool {
        let reports = self.progress.results().reports();
        let full = reports.is_some_and(|reports| reports.unpersisted() >= REPORT_ITEMS);
        full || self.persisted_at.elapsed() >= PERSIST_EVERY
    }

    /// Begins to store where the job stands and, if asked for, reserves what may leave next. In reports, results and
    /// reservations need no new status: the figures follow a little later.
    pub(super) fn persist(&mut self, calls: &mut Calls<'a>, reserve: bool) {
        self.persisted_at = Instant::now();
        if reserve {
            let size = if self.progress.canary_passed() {
                self.reservation_size()
            } else {
                1
            };
            self.progress.reserve(size, self.budget());
        }
        let carries = self
            .progress
            .results()
            .reports()
            .is_some_and(ReportBuffer::can_carry_reservation);
        // A status that says that calls are under way may be late; one that says that none are may not.
        let phase = if carries && self.writer.job.has_started() && self.status_at.elapsed() < STATUS_EVERY {
            None
        } else {
            self.status_at = Instant::now();
            Some(self.not_started_phase().unwrap_or(Phase::Scoring))
        };
        let (context, mut writer) = (self.context, self.writer.clone());
        let draft = writer.prepare_write(context, &mut self.progress, phase.as_ref());
        self.persisting = true;
        let storing = async move {
            let stored = writer.persist_until_stored(context, draft, None).await;
            RunEvent::Persisted(Box::new(writer), stored)
        };
        calls.push(storing.boxed());
    }

    /// The phase to report while the start annotation is still rejected: a new attempt alone changes no condition.
    fn not_started_phase(&self) -> Option<Phase> {
        let job = &self.writer.job;
        let error = job
            .status
            .start_error
            .as_ref()
            .filter(|_| job.started.is_none())?;
        Some(Phase::NotStarted(error.clone()))
    }

    /// Takes in what became of a store.
    pub(super) fn on_persisted(&mut self, writer: JobWriter, stored: WriteResult) -> Option<StopReason> {
        self.persisting = false;
        self.writer = writer;
        self.apply_edits();
        match stored {
            WriteResult::Stored => {
                self.progress.persisted();
                None
            }
            WriteResult::Retry => None,
            WriteResult::Gone => Some(StopReason::Gone),
            WriteResult::Superseded => Some(StopReason::Superseded),
        }
    }

    /// Marks the object before its first call leaves, and after that is on record: an object that is marked has a record,
    /// so one without was restored, or robbed of its status.
    pub(super) async fn mark_started(&mut self) -> Option<StopReason> {
        if self.writer.job.started.is_some() || self.progress.requests().reserved == 0 {
            return None;
        }
        match self.context.ports.mark_started(&self.writer.job).await {
            Ok(version) => {
                let job = &mut self.writer.job;
                job.resource_version = version;
                job.started = Some(job.uid.clone());
                let note = "The first call is about to be made";
                publish_event(self.context, &self.writer.job, EventReason::Started, note, false).await;
                None
            }
            Err(KubeError::Conflict) => Some(StopReason::Reevaluate),
            Err(error) => {
                tracing::warn!(job = %self.writer.job.key, %error, "the job could not be marked as started");
                Some(StopReason::NotStarted(error))
            }
        }
    }
}
