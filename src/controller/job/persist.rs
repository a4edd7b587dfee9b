//! Storing what a job has come to: reports first, then the status that counts them. What was paid for is kept in memory
//! until it is stored: a failed write is tried again and never forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::sleep;

use crate::api::{EventReason, JobStatus, Report};
use crate::controller::context::Context;
use crate::core::condition_builder::newly_stalled;
use crate::core::job::{
    End, JobObject, Phase, Progress, ResultBuffer, build_report, job_status, recovered_status,
    storing_failed_status,
};
use crate::core::requeue;
use crate::ports::{EventSubject, KubeError, ObjectEvent};
use crate::runtime::queue::Action;

/// How long until a job is looked at afresh whose stored state was not the one known here.
pub(super) const REREAD_AFTER: Duration = Duration::from_secs(3);
/// How long until a write is tried again while the process stops: there is little time left.
const RETRY_WHILE_STOPPING: Duration = Duration::from_millis(200);

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteResult {
    /// It is stored.
    Stored,
    /// Not now; it is worth trying again.
    Retry,
    /// The object is gone or going.
    Gone,
    /// What is stored is not what this process knows: somebody else's write, or a late one of an earlier process. A fresh
    /// look finds out.
    Superseded,
}

/// What is to be stored, as it stood at one moment: reports, and the status that counts them.
pub(super) struct PendingWrite {
    reports: VecDeque<Report>,
    status: Option<JobStatus>,
}

/// A job in hand: the object as it is stored, and the version of the report that is being filled. Without progress nothing
/// was looked at but the object itself, and its figures stay as they are.
#[derive(Clone)]
pub(super) struct JobWriter {
    pub(super) job: JobObject,
    open: Option<(usize, String)>,
    /// What the newest report says is reserved.
    filed: Option<i64>,
    /// Why the API server refused the last report.
    refused: Option<KubeError>,
}

impl JobWriter {
    pub(super) fn new(job: JobObject) -> Self {
        Self {
            job,
            open: None,
            filed: None,
            refused: None,
        }
    }

    /// Adds to a progress what is stored in reports.
    pub(super) async fn restore_reports(
        &mut self,
        context: &Context,
        progress: &mut Progress,
    ) -> Result<(), KubeError> {
        let mut page = None;
        while self.job.status.reports.is_some() {
            let (reports, next) = context.ports.list_reports(&self.job, page.as_deref()).await?;
            for stored in reports {
                progress.restore_report(&stored.report);
                let number = usize::try_from(stored.report.number).unwrap_or_default();
                if self.open.as_ref().is_none_or(|(open, _)| *open <= number) {
                    self.open = Some((number, stored.resource_version));
                    self.filed = Some(stored.report.reserved);
                }
            }
            match next {
                Some(token) => page = Some(token),
                None => break,
            }
        }
        Ok(())
    }

    /// Draws up what is to be stored: reports with news, or whose word on what is reserved is out of date, and the status
    /// of a phase, if one is given.
    pub(super) fn prepare_write(
        &self,
        context: &Context,
        progress: &mut Progress,
        phase: Option<&Phase>,
    ) -> PendingWrite {
        let status = phase.map(|phase| job_status(&self.job, phase, Some(progress), context.ports.now()));
        let reserved = progress.requests().reserved;
        let mut reports = VecDeque::new();
        if let ResultBuffer::Reports(filing) = progress.results_mut() {
            let always = self.filed != Some(reserved);
            let drafts = filing.take_pending(always).into_iter();
            reports.extend(
                drafts.map(|(number, results)| build_report(&self.job.key.name, number, results, reserved)),
            );
        }
        PendingWrite { reports, status }
    }

    /// Stores a draft, trying until it is, or until there is nothing to store it in; also while the process stops, as long
    /// as it waits for that. Where nothing was done that could get lost, what is stored counts, and the phase `anew` is
    /// told of that; only then a stop gives up, with `No`.
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
            // Is there still something to store in? A namespace that goes away takes no report any more.
            match context.ports.get_job(&self.job.key).await {
                // Our own word, late: whatever it met meanwhile is tried again.
                Ok(Some(fresh))
                    if fresh.uid == self.job.uid
                        && !fresh.deleting
                        && written.as_ref() == Some(&fresh.status)
                        && fresh.status != self.job.status =>
                {
                    self.job = fresh;
                }
                Ok(Some(fresh)) if fresh.uid == self.job.uid && !fresh.deleting => match phase_for_fresh_read
                {
                    // What was edited meanwhile is told as seen; it takes effect once the results are stored.
                    _ if stored == WriteResult::Retry && fresh.status == self.job.status => self.job = fresh,
                    _ if stored == WriteResult::Retry => {}
                    Some(phase) if !fresh.is_finished() && failures <= 5 => {
                        self.job = fresh;
                        draft.status = Some(job_status(&self.job, phase, None, context.ports.now()));
                        continue;
                    }
                    Some(_) | None => return WriteResult::Superseded,
                },
                Ok(_) => return WriteResult::Gone,
                Err(_) => {}
            }
            if let Some(why) = self.refused.take() {
                let status = storing_failed_status(&self.job, &why.to_string(), context.ports.now());
                // What was told before may have come in between; it is known by its own text only.
                if write_status(context, &mut self.job, &status).await != WriteResult::Superseded {
                    written = Some(status);
                }
            }
            if context.stop.is_cancelled() {
                if phase_for_fresh_read.is_some() {
                    return WriteResult::Retry;
                }
                sleep(RETRY_WHILE_STOPPING).await;
                continue;
            }
            let (base, cap) = (Duration::from_secs(1), Duration::from_secs(30));
            let wait = requeue::exponential_backoff(failures, base, cap, &self.job.uid);
            tokio::select! {
                () = sleep(wait) => {}
                () = context.stop.cancelled() => {}
            }
        }
    }

    /// Makes sure that our own word on what is not stored is known to be there or not: its answer may have been lost.
    async fn verify_own_write(&mut self, context: &Context, written: &JobStatus) -> bool {
        if self.job.status == *written {
            return true;
        }
        match context.ports.get_job(&self.job.key).await {
            Ok(Some(fresh)) => {
                if fresh.uid == self.job.uid && fresh.status == *written {
                    self.job = fresh;
                }
                true
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Stores a draft once. A status is worked out once: after a lost answer it is found stored just as it is.
    async fn attempt(&mut self, context: &Context, draft: &mut PendingWrite) -> WriteResult {
        while let Some(report) = draft.reports.front() {
            match self.put_report(context, report).await {
                WriteResult::Stored => draft.reports.pop_front(),
                other @ (WriteResult::Retry | WriteResult::Gone | WriteResult::Superseded) => return other,
            };
        }
        match &draft.status {
            Some(status) => write_status(context, &mut self.job, status).await,
            None => WriteResult::Stored,
        }
    }

    /// Stores how the job stands in a phase.
    async fn persist(
        &mut self,
        context: &Context,
        progress: Option<&mut Progress>,
        phase: &Phase,
    ) -> WriteResult {
        let Some(progress) = progress else {
            let draft = PendingWrite {
                reports: VecDeque::new(),
                status: Some(job_status(&self.job, phase, None, context.ports.now())),
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

    /// Stores what the figures of a job come to whose process ended without a word.
    pub(super) async fn write_recovered_status(
        &mut self,
        context: &Context,
        progress: &Progress,
    ) -> WriteResult {
        let status = recovered_status(&self.job, progress);
        write_status(context, &mut self.job, &status).await
    }

    /// Tells how the job stands; whether that is stored.
    pub(super) async fn write_phase(
        &mut self,
        context: &Context,
        progress: Option<&mut Progress>,
        phase: &Phase,
    ) -> bool {
        self.persist(context, progress, phase).await == WriteResult::Stored
    }

    /// Stores a report.
    async fn put_report(&mut self, context: &Context, report: &Report) -> WriteResult {
        let number = usize::try_from(report.number).unwrap_or_default();
        loop {
            let known = self.open.as_ref().filter(|(open, _)| *open == number);
            let version = known.map(|(_, version)| version.as_str());
            match context.ports.put_report(&self.job, report, version).await {
                Ok(version) => {
                    self.open = Some((number, version));
                    self.filed = Some(report.reserved);
                    return WriteResult::Stored;
                }
                Err(KubeError::Conflict) => match context.ports.get_report(&self.job, number).await {
                    Ok(Some(stored)) if is_same_report(&stored.report, report) => {
                        self.open = Some((number, stored.resource_version));
                    }
                    Ok(Some(_)) => {
                        tracing::error!(job = %self.job.key, number, "this report holds results that are not known here");
                        return WriteResult::Superseded;
                    }
                    Ok(None) => self.open = None,
                    Err(_) => return WriteResult::Retry,
                },
                // Somebody deleted it; it is made again.
                Err(KubeError::NotFound) if version.is_some() => self.open = None,
                Err(KubeError::NotFound) => return WriteResult::Gone,
                Err(error @ (KubeError::Forbidden | KubeError::Invalid | KubeError::Unavailable)) => {
                    tracing::warn!(job = %self.job.key, %error, "report not stored");
                    self.refused = Some(error).filter(|error| *error != KubeError::Unavailable);
                    return WriteResult::Retry;
                }
            }
        }
    }

    /// Ends the job: its last status is stored before anybody is told.
    pub(super) async fn finish_job(
        mut self,
        context: &Context,
        mut progress: Option<&mut Progress>,
        end: End,
    ) -> Action {
        if let Some(progress) = progress.as_deref_mut() {
            progress.release();
        }
        let (reason, error) = match &end {
            End::Complete => (EventReason::Completed, None),
            End::Failed(reason, message) => (
                EventReason::Failed,
                Some(format!("{}: {message}", reason.as_str())),
            ),
        };
        let kept = self.persist(context, progress, &Phase::Ended(end)).await;
        if kept == WriteResult::Superseded {
            return Action::Requeue(REREAD_AFTER);
        }
        if kept == WriteResult::Stored {
            let total = self.job.status.items.as_ref().map_or(0, |i| i.total);
            let warning = error.is_some();
            let note = error.unwrap_or_else(|| format!("{} done", item_count(total)));
            publish_event(context, &self.job, reason, note, warning).await;
        }
        super::retention::next_action(context, &self.job)
    }
}

/// Whether a stored report holds no item that is not known here: an earlier state of it, a write whose answer was lost, or
/// one that somebody has edited. Ours may replace it; only a process that scored further items must not be overwritten.
fn is_same_report(stored: &Report, report: &Report) -> bool {
    let known = |index: i32| report.results.binary_search_by_key(&index, |r| r.index).is_ok();
    stored.results.iter().all(|result| known(result.index))
}

/// Stores a job's status when it differs. The user may edit the object while its job runs: on a conflict the object is
/// read again and the status put on the new version, unless somebody else has written status.
pub(super) async fn write_status(context: &Context, job: &mut JobObject, status: &JobStatus) -> WriteResult {
    if *status == job.status {
        return WriteResult::Stored;
    }
    let stalled = newly_stalled(&job.status.conditions, &status.conditions);
    for _ in 0..3 {
        match context.ports.replace_job_status(job, status).await {
            Ok(version) => {
                job.resource_version = version;
                job.status.clone_from(status);
                // The end of a job has an event of its own.
                if let Some((reason, message)) = stalled.filter(|_| status.completion_time.is_none()) {
                    publish_event(context, job, reason, message, true).await;
                }
                return WriteResult::Stored;
            }
            Err(KubeError::Conflict) => match context.ports.get_job(&job.key).await {
                Ok(Some(fresh)) if fresh.uid != job.uid || fresh.deleting => return WriteResult::Gone,
                // Our own write whose answer was lost.
                Ok(Some(fresh)) if fresh.status == *status => {
                    *job = fresh;
                    return WriteResult::Stored;
                }
                Ok(Some(fresh)) if fresh.status == job.status => *job = fresh,
                Ok(Some(_)) => {
                    tracing::error!(job = %job.key, "this job's status is not the one that was stored last");
                    return WriteResult::Superseded;
                }
                Ok(None) => return WriteResult::Gone,
                Err(_) => return WriteResult::Retry,
            },
            Err(KubeError::NotFound) => return WriteResult::Gone,
            Err(error @ (KubeError::Forbidden | KubeError::Invalid | KubeError::Unavailable)) => {
                tracing::warn!(job = %job.key, %error, "status not stored");
                return WriteResult::Retry;
            }
        }
    }
    WriteResult::Retry
}

/// Tells people about a change of a job's state.
pub(super) async fn publish_event(
    context: &Context,
    job: &JobObject,
    reason: impl AsRef<str>,
    note: impl Into<String>,
    warning: bool,
) {
    let announcement = ObjectEvent {
        subject: EventSubject::Job,
        key: job.key.clone(),
        uid: job.uid.clone(),
        reason: reason.as_ref().to_owned(),
        note: note.into(),
        warning,
    };
    context.ports.publish_event(announcement).await;
}

/// A number of items in words.
fn item_count(count: i32) -> String {
    if count == 1 {
        "1 item".to_owned()
    } else {
        format!("{count} items")
    }
}
