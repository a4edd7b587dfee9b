//! Storing what a job has come to: reports first, then the status that counts them. What was paid for is kept in memory
//! until it is stored: a failed write is tried again and never forgotten.

use std::time::Duration;

use tokio::time::sleep;

use crate::api::{EventReason, JobSpec, JobStatus, Report};
use crate::core::delay;
use crate::core::job::{End, Filing, JobObject, Phase, Progress, body, report, size};
use crate::ports::{Announcement, KubeFailure, Subject};
use crate::runtime::context::Context;
use crate::runtime::queue::Next;

/// How long until a job is taken up again.
const SOON: Duration = Duration::from_secs(5);

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is stored.
    Yes,
    /// Not now; it is worth trying again.
    No,
    /// The object is gone or going, or what is stored is somebody else's by now.
    Gone,
}

/// What is to be stored.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// Results, and the status of a phase.
    All(&'a Phase),
    /// Results in reports; the open one in any case when what is reserved has changed.
    Reports {
        /// Also without news.
        always: bool,
    },
}

/// A job in hand: the object as it is stored, and the version of the report that is being filled. Without progress nothing
/// was looked at but the object itself, and its figures stay as they are.
pub(super) struct Work {
    pub(super) job: JobObject,
    open: Option<(usize, String)>,
    /// Whether somebody else has changed results in a report: the job is to be taken up anew from what is stored.
    changed: bool,
}

impl Work {
    pub(super) fn new(job: JobObject) -> Self {
        Self {
            job,
            open: None,
            changed: false,
        }
    }

    /// When a job is looked at again that could not be stored.
    pub(super) fn again(&self) -> Next {
        if self.changed {
            Next::After(SOON)
        } else {
            Next::WhenChanged
        }
    }

    /// Takes a job up where its status and its reports left it; `None` before its items are counted.
    pub(super) async fn resume(
        &mut self,
        context: &Context,
        spec: &JobSpec,
    ) -> Result<Option<Progress>, KubeFailure> {
        let Some(size) = size(spec, self.job.status.source.as_ref()) else {
            return Ok(None);
        };
        let now = context.effects.now();
        let mut progress = Progress::resume(spec, &self.job.status, size, now, &self.job.uid);
        let mut page = None;
        while self.job.status.reports.is_some() {
            let (reports, next) = context.effects.list_reports(&self.job, page.as_deref()).await?;
            for stored in reports {
                progress.recall(&stored.report);
                let number = usize::try_from(stored.report.number).unwrap_or_default();
                if self.open.as_ref().is_none_or(|(open, _)| *open <= number) {
                    self.open = Some((number, stored.resource_version));
                }
            }
            match next {
                Some(token) => page = Some(token),
                None => break,
            }
        }
        Ok(Some(progress))
    }

    /// Stores what is asked for, once.
    pub(super) async fn attempt(
        &mut self,
        context: &Context,
        mut progress: Option<&mut Progress>,
        what: What<'_>,
    ) -> Stored {
        if let Some(progress) = progress.as_deref_mut() {
            let always = matches!(what, What::Reports { always: true });
            let filed = self.file(context, progress, always).await;
            if filed != Stored::Yes {
                return filed;
            }
        }
        match what {
            What::Reports { .. } => Stored::Yes,
            What::All(phase) => {
                let status = report(&self.job, phase, progress.as_deref(), context.effects.now());
                store(context, &mut self.job, &status).await
            }
        }
    }

    /// Stores what is asked for, trying until it is; `false` when there is nothing to store it in, or the process stops.
    pub(super) async fn keep(
        &mut self,
        context: &Context,
        mut progress: Option<&mut Progress>,
        what: What<'_>,
    ) -> bool {
        let mut failures = 0;
        loop {
            match self.attempt(context, progress.as_deref_mut(), what).await {
                Stored::Yes => return true,
                Stored::Gone => return false,
                Stored::No => failures += 1,
            }
            let (base, cap) = (Duration::from_secs(1), Duration::from_secs(30));
            let wait = delay::after_failures(failures, base, cap, &self.job.uid);
            tokio::select! {
                () = sleep(wait) => {}
                () = context.stop.cancelled() => return false,
            }
        }
    }

    /// Tells how the job stands.
    pub(super) async fn tell(
        &mut self,
        context: &Context,
        progress: Option<&mut Progress>,
        phase: &Phase,
    ) -> bool {
        self.keep(context, progress, What::All(phase)).await
    }

    /// Stores the reports that have news; with `always` the open one in any case, because of what it says is reserved.
    async fn file(&mut self, context: &Context, progress: &mut Progress, mut always: bool) -> Stored {
        loop {
            let reserved = progress.requests().reserved;
            let Filing::Reports(reports) = progress.filing_mut() else {
                return Stored::Yes;
            };
            let Some((number, results)) = reports.next(always) else {
                return Stored::Yes;
            };
            let report = body(&self.job.key.name, number, results, reserved);
            let known = self.open.as_ref().filter(|(open, _)| *open == number);
            let version = known.map(|(_, version)| version.as_str());
            match context.effects.put_report(&self.job, &report, version).await {
                Ok(version) => {
                    reports.stored(number);
                    self.open = Some((number, version));
                    always = false;
                }
                Err(KubeFailure::Conflict) => match context.effects.get_report(&self.job, number).await {
                    Ok(Some(stored)) if ours(&stored.report, &report) => {
                        self.open = Some((number, stored.resource_version));
                    }
                    Ok(Some(_)) => {
                        tracing::error!(job = %self.job.key, number, "somebody else writes this report; taking the job up from what is stored");
                        self.changed = true;
                        return Stored::Gone;
                    }
                    Ok(None) => self.open = None,
                    Err(_) => return Stored::No,
                },
                // Somebody deleted it; it is made again.
                Err(KubeFailure::NotFound) if version.is_some() => self.open = None,
                Err(KubeFailure::NotFound) => return Stored::Gone,
                Err(failure @ (KubeFailure::Forbidden | KubeFailure::Invalid | KubeFailure::Unavailable)) => {
                    tracing::warn!(job = %self.job.key, %failure, "report not stored");
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
    ) -> Next {
        // After a crash reports may hold more than status counts, and nothing looks at them once the job has ended.
        let mut stored;
        if progress.is_none()
            && self.job.status.reports.is_some()
            && let Ok(spec) = self.job.spec.clone()
        {
            stored = match self.resume(context, &spec).await {
                Ok(stored) => stored,
                Err(failure) => {
                    tracing::warn!(job = %self.job.key, %failure, "the reports cannot be read");
                    return Next::After(SOON);
                }
            };
            progress = stored.as_mut();
        }
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
        if !self.tell(context, progress, &Phase::Ended(end)).await {
            return self.again();
        }
        let total = self.job.status.items.as_ref().map_or(0, |i| i.total);
        let warning = failure.is_some();
        let note = failure.unwrap_or_else(|| format!("{} done", items(total)));
        announce(context, &self.job, reason, note, warning).await;
        super::ended::next(context, &self.job)
    }
}

/// Whether a stored report holds nothing but results of ours: an earlier state of it, or a write whose answer was lost.
fn ours(stored: &Report, report: &Report) -> bool {
    stored
        .results
        .iter()
        .all(|result| report.results.contains(result))
}

/// Stores a job's status when it differs. The user may edit the object while its job runs: on a conflict the object is
/// read again and the status put on the new version, unless somebody else has written status.
pub(super) async fn store(context: &Context, job: &mut JobObject, status: &JobStatus) -> Stored {
    if *status == job.status {
        return Stored::Yes;
    }
    for _ in 0..3 {
        match context.effects.replace_job_status(job, status).await {
            Ok(version) => {
                job.resource_version = version;
                job.status.clone_from(status);
                return Stored::Yes;
            }
            Err(KubeFailure::Conflict) => match context.effects.get_job(&job.key).await {
                Ok(Some(fresh)) if fresh.uid != job.uid || fresh.deleting => return Stored::Gone,
                // Our own write whose answer was lost.
                Ok(Some(fresh)) if fresh.status == *status => {
                    *job = fresh;
                    return Stored::Yes;
                }
                Ok(Some(fresh)) if fresh.status == job.status => *job = fresh,
                Ok(Some(_)) => {
                    tracing::error!(job = %job.key, "somebody else writes this job's status; leaving it to them");
                    return Stored::Gone;
                }
                Ok(None) => return Stored::Gone,
                Err(_) => return Stored::No,
            },
            Err(KubeFailure::NotFound) => return Stored::Gone,
            Err(failure @ (KubeFailure::Forbidden | KubeFailure::Invalid | KubeFailure::Unavailable)) => {
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
    let announcement = Announcement {
        subject: Subject::Job,
        key: job.key.clone(),
        uid: job.uid.clone(),
        reason,
        note: note.into(),
        warning,
    };
    context.effects.announce(announcement).await;
}

/// A number of items in words.
fn items(count: i32) -> String {
    if count == 1 {
        "1 item is".to_owned()
    } else {
        format!("{count} items are")
    }
}
