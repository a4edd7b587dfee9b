//! Stores results and reserves requests during a run. Results are stored every second, together with the reservation
//! of the requests until the next store. Calls continue meanwhile as far as the stored reservation allows. While the
//! API server does not answer, the reservation is soon used up and no new call is made; answers are still received,
//! and no billed result is dropped.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::persist::JobWriter;
use super::run::{Calls, JobRun, PERSIST_EVERY, RunEvent, StopReason};
use super::store_status::WriteResult;
use crate::api::{EventReason, REPORT_ITEMS};
use crate::controller::object_events::publish_job_event;
use crate::core::job::{Phase, ReportBuffer};
use crate::ports::KubeError;

/// Longest age of the counters in status while results are stored in reports.
const STATUS_EVERY: Duration = Duration::from_secs(3);

impl<'a> JobRun<'a> {
    /// Returns the number of requests that the job may make in total; `None` without a budget.
    pub(super) fn budget(&self) -> Option<i64> {
        self.spec.budget.as_ref().map(|budget| budget.max_requests)
    }

    /// Returns how many requests to reserve: at most 1.25 s of traffic at the project's rate, for the second until the
    /// next store and the duration of that store. Not more, because after a crash the whole reservation counts as
    /// spent. A job with `parallelism` starts with that number, and doubles it while a reservation lasts less than a
    /// second.
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

    /// Whether a store is due: every second, and at a high rate as soon as the unstored results fill a report.
    pub(super) fn should_persist(&self) -> bool {
        let reports = self.progress.results().reports();
        let full = reports.is_some_and(|reports| reports.unpersisted().0 >= REPORT_ITEMS);
        full || self.persisted_at.elapsed() >= PERSIST_EVERY
    }

    /// Starts to store the state of the job, and reserves the next requests if `reserve` is set. Results and
    /// reservations in reports need no new status: the counters in status follow within 3 s.
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
        // A stored status that shows calls in flight may be out of date; one that shows none must be replaced first.
        let phase = if carries && self.writer.job.has_started() && self.status_at.elapsed() < STATUS_EVERY {
            None
        } else {
            self.status_at = Instant::now();
            let done = self.progress.done();
            self.throughput.record(done, self.started_at.elapsed());
            let scoring = Phase::Scoring(self.throughput.per_second());
            Some(self.not_started_phase().unwrap_or(scoring))
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

    /// Returns the stored `NotStarted` phase until the started annotation is added: another attempt alone does not
    /// change the status. `None` without such a phase.
    fn not_started_phase(&self) -> Option<Phase> {
        let job = &self.writer.job;
        let error = job
            .status
            .start_error
            .as_ref()
            .filter(|_| job.started.is_none())?;
        Some(Phase::NotStarted(error.clone()))
    }

    /// Applies the result of a store. Returns why the run has to stop; `None` when it continues.
    pub(super) fn on_persisted(&mut self, writer: JobWriter, stored: WriteResult) -> Option<StopReason> {
        self.persisting = false;
        self.writer = writer;
        self.apply_edits();
        match stored {
            WriteResult::Stored => {
                self.progress.persisted();
                None
            }
            WriteResult::Retry | WriteResult::Refused => None,
            WriteResult::Gone => Some(StopReason::Gone),
            WriteResult::Superseded => Some(StopReason::Superseded),
        }
    }

    /// Adds the started annotation before the first call is sent and after its reservation is stored. An annotated
    /// object without a reservation was therefore restored from a backup or has lost its status. Returns why the run
    /// has to stop; `None` when it continues.
    pub(super) async fn mark_started(&mut self) -> Option<StopReason> {
        if self.writer.job.started.is_some() || self.progress.requests().reserved == 0 {
            return None;
        }
        match self.context.ports.mark_started(&self.writer.job).await {
            Ok(version) => {
                let job = &mut self.writer.job;
                job.resource_version = version;
                job.started = Some(job.uid.clone());
                // Another writer can have removed the annotation during the run.
                if self.progress.requests().sent == 0 {
                    let note = "The first call is about to be made";
                    publish_job_event(self.context, &self.writer.job, EventReason::Started, note, false)
                        .await;
                }
                None
            }
            Err(KubeError::Conflict) => Some(StopReason::Reevaluate),
            Err(error) => {
                tracing::warn!(job = %self.writer.job.key, %error, "failed to add started annotation");
                Some(StopReason::NotStarted(error))
            }
        }
    }
}
