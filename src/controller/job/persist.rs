//! Storing what a job has come to: reports first, then the status that counts them. What was paid for is kept in memory
//! until it is stored: a failed write is tried again and never forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::sleep;

use crate::api::{EventReason, JobStatus, Report};
use crate::controller::context::Context;
use crate::core::job::{
    End, JobObject, Phase, Progress, ResultBuffer, build_report, job_status, recovered_status,
    storing_failed_status,
};
use crate::core::requeue;
use crate::ports::{EventSubject, KubeError, ObjectEvent};
use crate::runtime::queue::Action;

/// How long until a job is looked at afresh whose stored state was not the one known here.
pub(super) const AGAIN: Duration = Duration::from_secs(3);
/// How long until a write is tried again while the process stops: there is little time left.
const STOPPING: Duration = Duration::from_millis(200);

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is stored.
    Yes,
    /// Not now; it is worth trying again.
    No,
    /// The object is gone or going.
    Gone,
    /// What is stored is not what this process knows: somebody else's write, or a late one of an earlier process. A fresh
    /// look finds out.
    Taken,
}

/// What is to be stored, as it stood at one moment: reports, and the status that counts them.
pub(super) struct Draft {
    reports: VecDeque<Report>,
    status: Option<JobStatus>,
}

/// A job in hand: the object as it is stored, and the version of the report that is being filled. Without progress nothing
/// was looked at but the object itself, and its figures stay as they are.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) job: JobObject,
    open: Option<(usize, String)>,
    /// What the newest report says is reserved.
    filed: Option<i64>,
    /// Why the API server refused the last report.
    refused: Option<KubeError>,
}

impl Work {
    pub(super) fn new(job: JobObject) -> Self {
        Self {
            job,
            open: None,
            filed: None,
            refused: None,
        }
    }

    /// Adds to a progress what is stored in reports.
    pub(super) async fn recall(
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
    pub(super) fn draft(&self, context: &Context, progress: &mut Progress, phase: Option<&Phase>) -> Draft {
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
        Draft { reports, status }
    }

    /// Stores a draft, trying until it is, or until there is nothing to store it in; also while the process stops, as long
    /// as it waits for that. Where nothing was done that could get lost, what is stored counts, and the phase `anew` is
    /// told of that; only then a stop gives up, with `No`.
    pub(super) async fn keep(&mut self, context: &Context, mut draft: Draft, anew: Option<&Phase>) -> Stored {
        let mut failures = 0;
        let mut told: Option<JobStatus> = None;
        loop {
            let stored = match &told {
                Some(told) if !self.confirm(context, told).await => Stored::No,
                _ => self.attempt(context, &mut draft).await,
            };
            if stored == Stored::Yes || stored == Stored::Gone {
                return stored;
            }
            failures += 1;
            // Is there still something to store in? A namespace that goes away takes no report any more.
            match context.ports.get_job(&self.job.key).await {
                // Our own word, late: whatever it met meanwhile is tried again.
                Ok(Some(fresh))
                    if fresh.uid == self.job.uid
                        && !fresh.deleting
                        && told.as_ref() == Some(&fresh.status)
                        && fresh.status != self.job.status =>
                {
                    self.job = fresh;
                }
                Ok(Some(fresh)) if fresh.uid == self.job.uid && !fresh.deleting => match anew {
                    // What was edited meanwhile is told as seen; it takes effect once the results are stored.
                    _ if stored == Stored::No && fresh.status == self.job.status => self.job = fresh,
                    _ if stored == Stored::No => {}
                    Some(phase) if !fresh.is_finished() && failures <= 5 => {
                        self.job = fresh;
                        draft.status = Some(job_status(&self.job, phase, None, context.ports.now()));
                        continue;
                    }
                    Some(_) | None => return Stored::Taken,
                },
                Ok(_) => return Stored::Gone,
                Err(_) => {}
            }
            if let Some(why) = self.refused.take() {
                let status = storing_failed_status(&self.job, &why.to_string(), context.ports.now());
                // What was told before may have come in between; it is known by its own text only.
                if store(context, &mut self.job, &status).await != Stored::Taken {
                    told = Some(status);
                }
            }
            if context.stop.is_cancelled() {
                if anew.is_some() {
                    return Stored::No;
                }
                sleep(STOPPING).await;
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
    async fn confirm(&mut self, context: &Context, told: &JobStatus) -> bool {
        if self.job.status == *told {
            return true;
        }
        match context.ports.get_job(&self.job.key).await {
            Ok(Some(fresh)) => {
                if fresh.uid == self.job.uid && fresh.status == *told {
                    self.job = fresh;
                }
                true
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Stores a draft once. A status is worked out once: after a lost answer it is found stored just as it is.
    async fn attempt(&mut self, context: &Context, draft: &mut Draft) -> Stored {
        while let Some(report) = draft.reports.front() {
            match self.file(context, report).await {
                Stored::Yes => draft.reports.pop_front(),
                other @ (Stored::No | Stored::Gone | Stored::Taken) => return other,
            };
        }
        match &draft.status {
            Some(status) => store(context, &mut self.job, status).await,
            None => Stored::Yes,
        }
    }

    /// Stores how the job stands in a phase.
    async fn put(&mut self, context: &Context, progress: Option<&mut Progress>, phase: &Phase) -> Stored {
        let Some(progress) = progress else {
            let draft = Draft {
                reports: VecDeque::new(),
                status: Some(job_status(&self.job, phase, None, context.ports.now())),
            };
            return self.keep(context, draft, Some(phase)).await;
        };
        let draft = self.draft(context, progress, Some(phase));
        let stored = self.keep(context, draft, None).await;
        if stored == Stored::Yes {
            progress.persisted();
        }
        stored
    }

    /// Stores what the figures of a job come to whose process ended without a word.
    pub(super) async fn settle(&mut self, context: &Context, progress: &Progress) -> Stored {
        let status = recovered_status(&self.job, progress);
        store(context, &mut self.job, &status).await
    }

    /// Tells how the job stands; whether that is stored.
    pub(super) async fn tell(
        &mut self,
        context: &Context,
        progress: Option<&mut Progress>,
        phase: &Phase,
    ) -> bool {
        self.put(context, progress, phase).await == Stored::Yes
    }

    /// Stores a report.
    async fn file(&mut self, context: &Context, report: &Report) -> Stored {
        let number = usize::try_from(report.number).unwrap_or_default();
        loop {
            let known = self.open.as_ref().filter(|(open, _)| *open == number);
            let version = known.map(|(_, version)| version.as_str());
            match context.ports.put_report(&self.job, report, version).await {
                Ok(version) => {
                    self.open = Some((number, version));
                    self.filed = Some(report.reserved);
                    return Stored::Yes;
                }
                Err(KubeError::Conflict) => match context.ports.get_report(&self.job, number).await {
                    Ok(Some(stored)) if ours(&stored.report, report) => {
                        self.open = Some((number, stored.resource_version));
                    }
                    Ok(Some(_)) => {
                        tracing::error!(job = %self.job.key, number, "this report holds results that are not known here");
                        return Stored::Taken;
                    }
                    Ok(None) => self.open = None,
                    Err(_) => return Stored::No,
                },
                // Somebody deleted it; it is made again.
                Err(KubeError::NotFound) if version.is_some() => self.open = None,
                Err(KubeError::NotFound) => return Stored::Gone,
                Err(failure @ (KubeError::Forbidden | KubeError::Invalid | KubeError::Unavailable)) => {
                    tracing::warn!(job = %self.job.key, %failure, "report not stored");
                    self.refused = Some(failure).filter(|failure| *failure != KubeError::Unavailable);
                    return Stored::No;
                }
            }
        }
    }

    /// Ends the job: its last status is stored before anybody is told.
    pub(super) async fn end(
        mut self,
        context: &Context,
        mut progress: Option<&mut Progress>,
        end: End,
    ) -> Action {
        if let Some(progress) = progress.as_deref_mut() {
            progress.release();
        }
        let (reason, failure) = match &end {
            End::Complete => (EventReason::Completed, None),
            End::Failed(reason, message) => (
                EventReason::Failed,
                Some(format!("{}: {message}", reason.as_str())),
            ),
        };
        let kept = self.put(context, progress, &Phase::Ended(end)).await;
        if kept == Stored::Taken {
            return Action::Requeue(AGAIN);
        }
        if kept == Stored::Yes {
            let total = self.job.status.items.as_ref().map_or(0, |i| i.total);
            let warning = failure.is_some();
            let note = failure.unwrap_or_else(|| format!("{} done", items(total)));
            announce(context, &self.job, reason, note, warning).await;
        }
        super::retention::next(context, &self.job)
    }
}

/// Whether a stored report holds no item that is not known here: an earlier state of it, a write whose answer was lost, or
/// one that somebody has edited. Ours may replace it; only a process that scored further items must not be overwritten.
fn ours(stored: &Report, report: &Report) -> bool {
    let known = |index: i32| report.results.binary_search_by_key(&index, |r| r.index).is_ok();
    stored.results.iter().all(|result| known(result.index))
}

/// Stores a job's status when it differs. The user may edit the object while its job runs: on a conflict the object is
/// read again and the status put on the new version, unless somebody else has written status.
pub(super) async fn store(context: &Context, job: &mut JobObject, status: &JobStatus) -> Stored {
    if *status == job.status {
        return Stored::Yes;
    }
    for _ in 0..3 {
        match context.ports.replace_job_status(job, status).await {
            Ok(version) => {
                job.resource_version = version;
                job.status.clone_from(status);
                return Stored::Yes;
            }
            Err(KubeError::Conflict) => match context.ports.get_job(&job.key).await {
                Ok(Some(fresh)) if fresh.uid != job.uid || fresh.deleting => return Stored::Gone,
                // Our own write whose answer was lost.
                Ok(Some(fresh)) if fresh.status == *status => {
                    *job = fresh;
                    return Stored::Yes;
                }
                Ok(Some(fresh)) if fresh.status == job.status => *job = fresh,
                Ok(Some(_)) => {
                    tracing::error!(job = %job.key, "this job's status is not the one that was stored last");
                    return Stored::Taken;
                }
                Ok(None) => return Stored::Gone,
                Err(_) => return Stored::No,
            },
            Err(KubeError::NotFound) => return Stored::Gone,
            Err(failure @ (KubeError::Forbidden | KubeError::Invalid | KubeError::Unavailable)) => {
                tracing::warn!(job = %job.key, %failure, "status not stored");
                return Stored::No;
            }
        }
    }
    Stored::No
}

/// Tells people about a change of a job's state.
pub(super) async fn announce(
    context: &Context,
    job: &JobObject,
    reason: EventReason,
    note: impl Into<String>,
    warning: bool,
) {
    let announcement = ObjectEvent {
        subject: EventSubject::Job,
        key: job.key.clone(),
        uid: job.uid.clone(),
        reason,
        note: note.into(),
        warning,
    };
    context.ports.publish_event(announcement).await;
}

/// A number of items in words.
fn items(count: i32) -> String {
    if count == 1 {
        "1 item is".to_owned()
    } else {
        format!("{count} items are")
    }
}
