//! Storing what a job has come to. What was paid for is kept in memory until it is in status: a failed write is tried again
//! and never forgotten.

use std::time::Duration;

use tokio::time::sleep;

use crate::api::{EventReason, JobStatus};
use crate::core::delay;
use crate::core::job::{End, JobObject, Phase, Progress, report};
use crate::ports::{Announcement, KubeFailure, Subject};
use crate::runtime::context::Context;
use crate::runtime::queue::Next;

/// What became of a status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is stored.
    Yes,
    /// Not now; it is worth trying again.
    No,
    /// The object is gone or going, or its status is somebody else's by now.
    Gone,
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

/// Tells how a job stands, trying until it is stored; `false` when there is nothing to store it in, or the process stops.
pub(super) async fn tell(context: &Context, job: &mut JobObject, phase: &Phase, progress: &Progress) -> bool {
    let mut failures = 0;
    loop {
        let status = report(job, phase, progress, context.effects.now());
        match store(context, job, &status).await {
            Stored::Yes => return true,
            Stored::Gone => return false,
            Stored::No => failures += 1,
        }
        let wait = delay::after_failures(
            failures,
            Duration::from_secs(1),
            Duration::from_secs(30),
            &job.uid,
        );
        tokio::select! {
            () = sleep(wait) => {}
            () = context.stop.cancelled() => return false,
        }
    }
}

/// Ends a job: its last status is stored before anybody is told.
pub(super) async fn end(context: &Context, mut job: JobObject, end: End, mut progress: Progress) -> Next {
    progress.release();
    let (reason, note, warning) = match &end {
        End::Complete => (
            EventReason::Completed,
            format!("{} done", items(progress.total())),
            false,
        ),
        End::Failed(reason, message) => (
            EventReason::Failed,
            format!("{}: {message}", reason.as_str()),
            true,
        ),
    };
    if tell(context, &mut job, &Phase::Ended(end), &progress).await {
        announce(context, &job, reason, note, warning).await;
    }
    Next::WhenChanged
}

/// An ended job is left alone but for one thing: an edit must not make it look unfinished for ever.
pub(super) async fn acknowledge(context: &Context, mut job: JobObject) -> Next {
    if job.status.observed_generation == Some(job.generation) {
        return Next::WhenChanged;
    }
    let mut status = job.status.clone();
    status.observed_generation = Some(job.generation);
    for condition in &mut status.conditions {
        condition.observed_generation = Some(job.generation);
    }
    match store(context, &mut job, &status).await {
        Stored::Yes | Stored::Gone => Next::WhenChanged,
        Stored::No => Next::After(Duration::from_secs(5)),
    }
}

/// Tells people about a change of a job's state.
pub(super) async fn announce(
    context: &Context,
    job: &JobObject,
    reason: EventReason,
    note: String,
    warning: bool,
) {
    let (key, uid) = (job.key.clone(), job.uid.clone());
    context
        .effects
        .announce(Announcement {
            subject: Subject::Job,
            key,
            uid,
            reason,
            note,
            warning,
        })
        .await;
}

/// A number of items in words.
fn items(count: usize) -> String {
    if count == 1 {
        "1 item is".to_owned()
    } else {
        format!("{count} items are")
    }
}
