//! Reconciles a finished job: acknowledges edits, and removes the results that `results.select` leaves out or whose
//! TTL has expired. The counters never change.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::report_reader::REPORT_PAGE_BYTES;
use super::store_status::write_status;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::job::delays::{RECHECK, REREAD_AFTER};
use crate::core::job::events::results_expired;
use crate::core::job::{
    JobObject, Retention, WriteResult, acknowledged_status, after_end, left_by_server_time, pruned_status,
    retention, selected_report, unlisted_reports,
};
use crate::core::memory_plan::OBJECT_BYTES;
use crate::ports::{KubeError, StoredReport};
use crate::runtime::queue::Action;

/// Reconciles a finished job.
pub(super) async fn reconcile(context: &Context, mut job: JobObject) -> Action {
    let now = context.ports.now();
    match retention(&job, now) {
        Retention::Expire(expiry) => match context.ports.server_time().await {
            Ok(time) => match left_by_server_time(expiry, time) {
                None => expire_results(context, job, now).await,
                Some(next) => {
                    tracing::warn!(job = %job.key, %time, "failed to expire results: the clock of this node is ahead of the API server's; waiting");
                    next
                }
            },
            Err(error) => {
                tracing::info!(job = %job.key, %error, "failed to read time of the API server; retrying");
                Action::Requeue(REREAD_AFTER)
            }
        },
        Retention::Select(spec) => {
            if let Err(error) = remove_unselected(context, &job, &spec).await {
                tracing::info!(job = %job.key, %error, "failed to filter reports; retrying");
                return Action::Requeue(RECHECK);
            }
            let status = pruned_status(&job, false, now);
            let stored = write_status(context, &mut job, &status).await;
            after_end(stored, &job, context.ports.now())
        }
        Retention::Keep => {
            let status = acknowledged_status(&job);
            let stored = write_status(context, &mut job, &status).await;
            after_end(stored, &job, context.ports.now())
        }
    }
}

/// Removes all results. The job and its summary stay: GitOps would recreate a deleted job, and its calls would be
/// billed again.
async fn expire_results(context: &Context, mut job: JobObject, now: Timestamp) -> Action {
    if let Err(error) = remove_reports(context, &job).await {
        tracing::info!(job = %job.key, %error, "failed to delete reports; retrying");
        return Action::Requeue(RECHECK);
    }
    let status = pruned_status(&job, true, now);
    let stored = write_status(context, &mut job, &status).await;
    if stored == WriteResult::Stored {
        publish_job_event(context, &job, results_expired()).await;
    }
    after_end(stored, &job, context.ports.now())
}

/// Deletes all reports of a job, including a report that was stored after the last status, and counted ones that have
/// lost their labels.
///
/// # Errors
/// Returns the error of the API server, or `Conflict` when a deleted report is still listed, because it has a
/// finalizer or its number was edited. The deletion is retried later.
async fn remove_reports(context: &Context, job: &JobObject) -> Result<(), KubeError> {
    if job.status.reports.is_none() {
        return Ok(());
    }
    let (mut last, mut listed) = (None, BTreeSet::new());
    loop {
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
    for number in unlisted_reports(job, &listed) {
        context.ports.delete_report(job, number).await?;
    }
    Ok(())
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
    for number in unlisted_reports(job, &listed) {
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
    if let Some(report) = selected_report(job, spec, stored.report) {
        let version = Some(stored.resource_version.as_str());
        context.ports.put_report(job, &report, version).await?;
    }
    Ok(())
}
