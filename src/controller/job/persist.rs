//! Stores the state of a job: first the reports, then the status that counts them. Billed results are kept in memory
//! until they are stored: a failed write is retried and never dropped.

use std::collections::VecDeque;

use tokio::time::sleep;

use super::store_status::write_status;
use crate::api::{JobStatus, Report};
use crate::controller::context::Context;
use crate::core::job::{
    AfterConflict, AfterFailedStore, FailedStore, JobObject, Phase, Progress, ReportDraft, WriteResult,
    after_conflict, after_failed_store, build_report, has_unstored_results, job_status, may_replace_report,
    storing_failed_status, uncounted_status, wait_before_retry,
};
use crate::ports::{KubeError, StoredReport};

/// A snapshot to store: reports, and the status that counts them. A report is built when it is written: the results are
/// shared with the progress, and can wait long for an API server.
pub(super) struct PendingWrite {
    reports: VecDeque<ReportDraft>,
    /// The reservation in the reports.
    reserved: i64,
    status: Option<JobStatus>,
}

/// A job being reconciled: the object as it is stored, and the version of the open report. A write without progress
/// keeps the stored counters.
#[derive(Clone)]
pub(super) struct JobWriter {
    pub(super) job: JobObject,
    open: Option<(usize, String)>,
    /// Reservation in the newest stored report.
    filed: Option<i64>,
    /// Error with which the API server rejected the last report.
    refused: Option<KubeError>,
    /// Error with which the reports of a job that ends could not be read.
    pub(super) reports_unreadable: Option<KubeError>,
    /// Whether a run has results in memory only. Without them, a write that keeps failing is left to the next reconcile.
    pub(super) holds_results: bool,
}

impl JobWriter {
    pub(super) fn new(job: JobObject) -> Self {
        Self {
            job,
            open: None,
            filed: None,
            refused: None,
            reports_unreadable: None,
            holds_results: false,
        }
    }

    /// Remembers the version and the reservation of the newest stored report.
    pub(super) fn remember_report(&mut self, stored: StoredReport) {
        let number = usize::try_from(stored.report.number).unwrap_or_default();
        if self.open.as_ref().is_none_or(|(open, _)| *open <= number) {
            self.open = Some((number, stored.resource_version));
            self.filed = Some(stored.report.reserved);
        }
    }

    /// Prepares a write: the reports with new results or with an outdated reservation, and the status of `phase` if
    /// one is given.
    pub(super) fn prepare_write(
        &self,
        context: &Context,
        progress: &mut Progress,
        phase: Option<&Phase>,
    ) -> PendingWrite {
        let status = phase.map(|phase| job_status(&self.job, phase, Some(progress), context.ports.now()));
        let reserved = progress.requests().reserved;
        let reports = progress.reports_to_store(self.filed).into();
        PendingWrite {
            reports,
            reserved,
            status,
        }
    }

    /// Stores a draft, and retries until the draft is stored or the object is deleted, also during shutdown. Returns
    /// `Superseded` when the stored state is not the state known here. With `phase_for_fresh_read` the draft contains
    /// no result that could be lost: the status is then built from the object as stored and that phase, for up to five
    /// failures, and a shutdown ends the retries with `Retry`.
    pub(super) async fn persist_until_stored(
        &mut self,
        context: &Context,
        mut draft: PendingWrite,
        phase_for_fresh_read: Option<&Phase>,
    ) -> WriteResult {
        let mut failures = 0;
        let mut written: Option<JobStatus> = None;
        loop {
            let stored = match &written {
                Some(written) if !self.verify_own_write(context, written).await => WriteResult::Retry,
                _ => self.attempt(context, &mut draft).await,
            };
            if stored == WriteResult::Stored || stored == WriteResult::Gone {
                return stored;
            }
            failures += 1;
            if stored.is_left_to_next_reconcile(failures, self.holds_results) {
                return stored;
            }
            // Check that the object still exists: a terminating namespace accepts no reports.
            if let Ok(fresh) = context.ports.get_job(&self.job.key).await {
                let failed = FailedStore {
                    job: &self.job,
                    reported: written.as_ref(),
                    result: stored,
                    has_phase: phase_for_fresh_read.is_some(),
                    failures,
                };
                match (after_failed_store(failed, fresh.as_ref()), fresh) {
                    (AfterFailedStore::RetryOnStored, Some(fresh)) => self.job = fresh,
                    (AfterFailedStore::BuildAgain, Some(fresh)) => {
                        self.job = fresh;
                        draft.status =
                            phase_for_fresh_read.map(|phase| self.status_without_progress(context, phase));
                        continue;
                    }
                    (AfterFailedStore::Superseded, _) => return WriteResult::Superseded,
                    (AfterFailedStore::Gone, _) | (_, None) => return WriteResult::Gone,
                    (AfterFailedStore::Retry, Some(_)) => {}
                }
            }
            let status = draft.status.as_ref();
            if stored == WriteResult::Refused
                && status.is_some_and(|status| has_unstored_results(&self.job.status, status))
            {
                // The job cannot report this: its status is what the API server rejects.
                context.metrics.reports_rejected.inc();
            }
            if let Some(why) = self.refused.take() {
                context.metrics.reports_rejected.inc();
                let status = storing_failed_status(&self.job, why, context.ports.now());
                // This write may take effect although its answer is lost; only its content identifies it.
                if write_status(context, &mut self.job, &status).await != WriteResult::Superseded {
                    written = Some(status);
                }
            }
            let stopping = context.stop.is_cancelled();
            if stopping && phase_for_fresh_read.is_some() {
                return WriteResult::Retry;
            }
            let wait = sleep(wait_before_retry(stopping, failures, &self.job.uid));
            tokio::select! {
                () = wait => {}
                () = context.stop.cancelled(), if !stopping => {}
            }
        }
    }

    /// Checks whether our own status about the rejected report is stored, because its answer may have been lost.
    /// `false` when the API server does not answer.
    async fn verify_own_write(&mut self, context: &Context, written: &JobStatus) -> bool {
        if self.job.status == *written {
            return true;
        }
        match context.ports.get_job(&self.job.key).await {
            Ok(stored) => {
                let is_own = after_conflict(&self.job, written, stored.as_ref()) == AfterConflict::Stored;
                if let Some(stored) = stored.filter(|_| is_own) {
                    self.job = stored;
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Tries to store a draft once. The status is computed only once, so that a write with a lost answer is
    /// recognized.
    async fn attempt(&mut self, context: &Context, draft: &mut PendingWrite) -> WriteResult {
        while let Some((number, results)) = draft.reports.front() {
            let report = build_report(&self.job.key.name, *number, results, draft.reserved);
            match self.put_report(context, &report).await {
                WriteResult::Stored => draft.reports.pop_front(),
                other @ (WriteResult::Retry
                | WriteResult::Refused
                | WriteResult::Gone
                | WriteResult::Superseded) => return other,
            };
        }
        match &draft.status {
            Some(status) => write_status(context, &mut self.job, status).await,
            None => WriteResult::Stored,
        }
    }

    /// The status of a phase with the stored counters.
    fn status_without_progress(&self, context: &Context, phase: &Phase) -> JobStatus {
        let now = context.ports.now();
        let status = job_status(&self.job, phase, None, now);
        match self.reports_unreadable {
            Some(error) => uncounted_status(status, error, self.job.generation, now),
            None => status,
        }
    }

    /// Stores the state of the job in a phase.
    pub(super) async fn persist(
        &mut self,
        context: &Context,
        progress: Option<&mut Progress>,
        phase: &Phase,
    ) -> WriteResult {
        let Some(progress) = progress else {
            let draft = PendingWrite {
                reports: VecDeque::new(),
                reserved: 0,
                status: Some(self.status_without_progress(context, phase)),
            };
            return self.persist_until_stored(context, draft, Some(phase)).await;
        };
        let draft = self.prepare_write(context, progress, Some(phase));
        let stored = self.persist_until_stored(context, draft, None).await;
        if stored == WriteResult::Stored {
            progress.persisted();
        }
        stored
    }

    /// Stores a report. `Superseded` when the stored report contains items that are not known here.
    async fn put_report(&mut self, context: &Context, report: &Report) -> WriteResult {
        let number = usize::try_from(report.number).unwrap_or_default();
        loop {
            let known = self.open.as_ref().filter(|(open, _)| *open == number);
            let version = known.map(|(_, version)| version.as_str());
            match context.ports.put_report(&self.job, report, version).await {
                Ok(version) => {
                    context.metrics.reports.inc();
                    self.open = Some((number, version));
                    self.filed = Some(report.reserved);
                    return WriteResult::Stored;
                }
                Err(KubeError::Conflict) => match context.ports.get_report(&self.job, number).await {
                    Ok(Some(stored)) if may_replace_report(&stored.report, report) => {
                        self.open = Some((number, stored.resource_version));
                    }
                    Ok(Some(_)) => {
                        tracing::error!(job = %self.job.key, number, "failed to store report: foreign results found");
                        return WriteResult::Superseded;
                    }
                    Ok(None) => self.open = None,
                    Err(_) => return WriteResult::Retry,
                },
                // The report was deleted: it is created again.
                Err(KubeError::NotFound) if version.is_some() => self.open = None,
                Err(KubeError::NotFound) => return WriteResult::Gone,
                Err(error @ (KubeError::Forbidden | KubeError::Invalid | KubeError::Unavailable)) => {
                    tracing::warn!(job = %self.job.key, %error, "failed to store report; retrying");
                    self.refused = Some(error).filter(|error| error.is_final());
                    return WriteResult::Retry;
                }
            }
        }
    }
}
