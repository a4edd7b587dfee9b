//! Reconciles a finished job: acknowledges edits, and removes the results that `results.select` leaves out or whose
//! TTL has expired. The counters never change.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::store_status::{REREAD_AFTER, WriteResult, write_status};
use crate::api::{JobCondition, JobReason, JobSpec, Report, Select};
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::job::events::results_expired;
use crate::core::job::{
    JobObject, MAX_REPORTS, ResultClassifier, acknowledged_status, build_report, pruned_status,
};
use crate::core::time;
use crate::ports::{KubeError, StoredReport};
use crate::runtime::memory_budget::OBJECT_BYTES;
use crate::runtime::queue::Action;

/// Longest delay before the time is compared again, while the clock of this machine is ahead of the API server's.
const RECHECK_CLOCK: Duration = Duration::from_secs(3600);

/// Delay before reports that could not be filtered or deleted are read again.
const RETRY_REPORTS: Duration = Duration::from_secs(60);

/// Memory of a page of three reports of 1.5 MB, while the last of them is decoded.
pub(super) const REPORT_PAGE_BYTES: u64 = 8 * 1024 * 1024;

/// Returns when the results of a job expire; `None` when they are kept or already removed.
fn expires_at(job: &JobObject) -> Option<Timestamp> {
    let ttl = job.spec.as_ref().ok()?.results.ttl_seconds_after_finished?;
    let expired = JobReason::ResultsExpired.as_str();
    let mut conditions = job.status.conditions.iter();
    let removed = conditions.any(|c| c.is(JobCondition::ResultsStored) && c.reason == expired);
    let end = job.status.completion_time.as_ref().filter(|_| !removed)?;
    Some(time::after(end.0, SignedDuration::from_secs(ttl)))
}

/// Returns the spec if the reports still contain results that `results.select` leaves out; `None` otherwise.
fn needs_selection(job: &JobObject) -> Option<&JobSpec> {
    let spec = job.spec.as_ref().ok()?;
    let open = job.status.reports.is_some() && !job.status.results_pruned;
    (open && spec.results.select != Select::All).then_some(spec)
}

/// Returns when a finished job is due again: at once to filter reports, at the expiry of its results, or on a change.
pub(super) fn next_action(context: &Context, job: &JobObject) -> Action {
    if needs_selection(job).is_some() {
        return Action::Requeue(Duration::ZERO);
    }
    match expires_at(job) {
        Some(expiry) => Action::Requeue(time::left_until(expiry, context.ports.now())),
        None => Action::AwaitChange,
    }
}

/// Reconciles a finished job.
pub(super) async fn reconcile(context: &Context, mut job: JobObject) -> Action {
    let now = context.ports.now();
    if let Some(expiry) = expires_at(&job).filter(|time| *time <= now) {
        // Removed results cannot be restored, so the clock of this machine alone does not decide.
        return match context.ports.server_time().await {
            Ok(time) if expiry <= time => expire_results(context, job, now).await,
            Ok(time) => {
                tracing::warn!(job = %job.key, %time, "failed to expire results: the clock of this node is ahead of the API server's; waiting");
                let left = Duration::try_from(expiry.duration_since(time)).unwrap_or_default();
                Action::Requeue(left.clamp(Duration::from_secs(1), RECHECK_CLOCK))
            }
            Err(error) => {
                tracing::info!(job = %job.key, %error, "failed to read time of the API server; retrying");
                Action::Requeue(REREAD_AFTER)
            }
        };
    }
    if let Some(spec) = needs_selection(&job).cloned() {
        if let Err(error) = remove_unselected(context, &job, &spec).await {
            tracing::info!(job = %job.key, %error, "failed to filter reports; retrying");
            return Action::Requeue(RETRY_REPORTS);
        }
        let status = pruned_status(&job, false, now);
        let stored = write_status(context, &mut job, &status).await;
        return after_write(context, &job, stored);
    }
    acknowledge(context, job).await
}

/// Writes the new generation and the handled reconcile request to the status of a finished job.
async fn acknowledge(context: &Context, mut job: JobObject) -> Action {
    let status = acknowledged_status(&job);
    let stored = write_status(context, &mut job, &status).await;
    after_write(context, &job, stored)
}

fn after_write(context: &Context, job: &JobObject, stored: WriteResult) -> Action {
    match stored {
        WriteResult::Stored => next_action(context, job),
        WriteResult::Gone => Action::AwaitChange,
        other @ (WriteResult::Retry | WriteResult::Refused | WriteResult::Superseded) => {
            Action::Requeue(other.retry_after())
        }
    }
}

/// Removes all results. The job and its summary stay: GitOps would recreate a deleted job, and its calls would be
/// billed again.
async fn expire_results(context: &Context, mut job: JobObject, now: Timestamp) -> Action {
    if let Err(error) = remove_reports(context, &job).await {
        tracing::info!(job = %job.key, %error, "failed to delete reports; retrying");
        return Action::Requeue(RETRY_REPORTS);
    }
    let status = pruned_status(&job, true, now);
    let stored = write_status(context, &mut job, &status).await;
    if stored == WriteResult::Stored {
        publish_job_event(context, &job, results_expired()).await;
    }
    after_write(context, &job, stored)
}

/// Deletes all reports of a job, including a report that was stored after the last status, and counted ones that have lost
/// their labels.
///
/// # Errors
/// Returns the error of the API server, or `Conflict` when a deleted report is still listed, because it has a
/// finalizer or its number was edited. The deletion is retried later.
async fn remove_reports(context: &Context, job: &JobObject) -> Result<(), KubeError> {
    let (mut last, mut listed) = (None, BTreeSet::new());
    while job.status.reports.is_some() {
        let numbers: Vec<i32> = {
            let namespace = &job.key.namespace;
            let _memory = context.memory.reserve(namespace, REPORT_PAGE_BYTES).await;
            let (reports, _) = context.ports.list_reports(job, None).await?;
            reports.iter().map(|stored| stored.report.number).collect()
        };
        let Some(first) = numbers.first().copied() else {
            break;
        };
        if last.replace(first) == Some(first) {
            return Err(KubeError::Conflict);
        }
        for number in numbers {
            let number = usize::try_from(number).unwrap_or_default();
            context.ports.delete_report(job, number).await?;
            listed.insert(number);
        }
    }
    for number in unlisted(job, &listed) {
        context.ports.delete_report(job, number).await?;
    }
    Ok(())
}

/// Returns the numbers of the reports that the status counts and that no list contained.
fn unlisted(job: &JobObject, listed: &BTreeSet<usize>) -> Vec<usize> {
    let counted = job.status.reports.as_ref().map_or(0, |reports| reports.count);
    let counted = usize::try_from(counted.min(MAX_REPORTS)).unwrap_or(0);
    (0..counted).filter(|number| !listed.contains(number)).collect()
}

/// Removes the results from the reports that `results.select` leaves out. An empty report stays, so that the report
/// numbers have no gap.
///
/// # Errors
/// Returns the error of the API server; the removal is retried later.
async fn remove_unselected(context: &Context, job: &JobObject, spec: &JobSpec) -> Result<(), KubeError> {
    let (mut page, mut listed) = (None, BTreeSet::new());
    loop {
        let _memory = context
            .memory
            .reserve(&job.key.namespace, REPORT_PAGE_BYTES)
            .await;
        let (reports, next) = context.ports.list_reports(job, page.as_deref()).await?;
        for stored in reports {
            listed.insert(usize::try_from(stored.report.number).unwrap_or_default());
            filter_report(context, job, spec, stored).await?;
        }
        match next {
            Some(token) => page = Some(token),
            None => break,
        }
    }
    for number in unlisted(job, &listed) {
        let _memory = context.memory.reserve(&job.key.namespace, OBJECT_BYTES).await;
        if let Some(stored) = context.ports.get_report(job, number).await? {
            filter_report(context, job, spec, stored).await?;
        }
    }
    Ok(())
}

/// Removes the results from a report that `results.select` leaves out.
///
/// # Errors
/// Returns the error of the API server.
async fn filter_report(
    context: &Context,
    job: &JobObject,
    spec: &JobSpec,
    stored: StoredReport,
) -> Result<(), KubeError> {
    let Report {
        number,
        reserved,
        results,
        ..
    } = stored.report;
    let (rules, before) = (ResultClassifier::of(spec), results.len());
    let kept: Vec<_> = results
        .into_iter()
        .filter(|result| rules.keeps(spec.results.select, result))
        .collect();
    if kept.len() < before {
        let number = usize::try_from(number).unwrap_or_default();
        let report = build_report(&job.key.name, number, &kept, reserved);
        let version = Some(stored.resource_version.as_str());
        context.ports.put_report(job, &report, version).await?;
    }
    Ok(())
}
