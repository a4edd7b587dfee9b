//! The status of a job, computed from its phase and its progress.

use k8s_openapi::jiff::Timestamp;

use super::conditions::{RESULTS_KEPT_MESSAGE, job_conditions, lacks_results, stalled_conditions};
use super::events::RESULTS_EXPIRED;
use super::phase::Phase;
use super::{JobObject, Progress, ResultBuffer, ResultClassifier, Stats, report_name};
use crate::api::{
    ConditionStatus, Items, JobCondition, JobReason, JobSpec, JobStatus, ReportsSummary, Select, SuspendCause,
};
use crate::core::condition_builder::ConditionsBuilder;
use crate::core::error::KubeError;
use crate::core::text::truncate;
use crate::core::time::whole_seconds;

/// Computes the status. Without progress the counts stay unchanged.
pub fn job_status(job: &JobObject, phase: &Phase, progress: Option<&Progress>, now: Timestamp) -> JobStatus {
    let before = &job.status;
    let ended = matches!(phase, Phase::Ended(_));
    let totals = progress.map(Progress::stats);
    let mut status = match progress.zip(totals.as_ref()) {
        Some((progress, totals)) => progress_status(job, progress, totals),
        None => unchanged_status(job),
    };
    if ended {
        status.deferred = Vec::new();
        if let Ok(spec) = &job.spec {
            apply_select(&mut status, spec);
        }
    }
    if let Phase::Counting(seen, _) = phase {
        status.source = Some(seen.clone());
    }
    status.observed_generation = Some(job.generation);
    status.start_time = before.start_time.clone().or_else(|| Some(whole_seconds(now)));
    let resumed = before.suspended_by.is_some()
        && !matches!(phase, Phase::Suspended | Phase::OutOfBudget | Phase::Ended(_));
    status.active_since = before
        .active_since
        .clone()
        .filter(|_| !resumed)
        .or_else(|| Some(whole_seconds(now)));
    status.completion_time = ended.then(|| whole_seconds(now));
    status.last_handled_reconcile_at.clone_from(&job.reconcile_at);
    status.suspended_by = if matches!(phase, Phase::Suspended) {
        Some(SuspendCause::Requested)
    } else if matches!(phase, Phase::OutOfBudget) {
        Some(SuspendCause::BudgetUsed)
    } else {
        None
    };
    status.enforcement_wait = if let Phase::Unenforced(_, wait) = phase {
        Some(wait.clone())
    } else {
        before.enforcement_wait.clone().filter(|_| !ended)
    };
    status.start_error = if let Phase::NotStarted(error) = phase {
        Some(truncate(error, 64))
    } else {
        None
    };
    status.conditions = job_conditions(job, &status, phase, progress.zip(totals.as_ref()), now);
    status
}

/// The status of a job whose process ended without writing it: the counts follow from the stored results, the rest is
/// unchanged.
pub fn recovered_status(job: &JobObject, progress: &Progress) -> JobStatus {
    let figures = progress_status(job, progress, &progress.stats());
    JobStatus {
        items: figures.items,
        progress: figures.progress,
        cursor: figures.cursor,
        deferred: figures.deferred,
        summary: figures.summary,
        requests: figures.requests,
        failures: figures.failures,
        results: figures.results,
        reports: figures.reports,
        // All results that are counted were read.
        conditions: if lacks_results(&job.status.conditions) {
            let conditions = job.status.conditions.iter();
            conditions
                .filter(|c| !c.is(JobCondition::ResultsStored))
                .cloned()
                .collect()
        } else {
            job.status.conditions.clone()
        },
        ..job.status.clone()
    }
}

/// The counts of a running job.
fn progress_status(job: &JobObject, progress: &Progress, totals: &Stats) -> JobStatus {
    let mut status = JobStatus {
        items: Some(items(progress, totals)),
        progress: Some(format!("{}/{}", totals.done(), progress.total())),
        source: job.status.source.clone(),
        cursor: Some(progress.cursor().clone()),
        deferred: progress.deferred(),
        summary: totals.summary(),
        requests: Some(progress.requests()),
        failures: totals.failures(),
        results_pruned: job.status.results_pruned,
        ..JobStatus::default()
    };
    match progress.results() {
        ResultBuffer::Inline(results) => status.results = results.values().cloned().collect(),
        ResultBuffer::Reports(reports) => {
            let (count, filed) = reports.count();
            status.reports = Some(ReportsSummary {
                count: clamped_i32(count),
                items: clamped_i32(filed),
                first: (count > 0).then(|| report_name(&job.key.name, &job.uid, 0)),
            });
        }
    }
    status
}

/// The previous counts, with no call in flight.
fn unchanged_status(job: &JobObject) -> JobStatus {
    let before = &job.status;
    let counted = || before.source.as_ref().and_then(|s| s.items);
    let listed = |spec: &JobSpec| Some(clamped_i32(spec.source.uris.len())).filter(|n| *n > 0);
    let total = job.spec.as_ref().ok().and_then(listed).or_else(counted);
    let fresh = || {
        let total = total?;
        Some(Items {
            total,
            pending: total,
            ..Items::default()
        })
    };
    let items = before.items.clone().or_else(fresh).map(|items| Items {
        pending: items.pending.saturating_add(items.active),
        active: 0,
        ..items
    });
    let progress = before.progress.clone();
    JobStatus {
        progress: progress.or_else(|| total.map(|total| format!("0/{total}"))),
        items,
        ..before.clone()
    }
}

fn items(progress: &Progress, totals: &Stats) -> Items {
    let (done, active) = (totals.done(), progress.in_flight());
    Items {
        total: clamped_i32(progress.total()),
        succeeded: clamped_i32(totals.succeeded),
        failed: clamped_i32(totals.failed),
        ignored: clamped_i32(totals.ignored),
        skipped: clamped_i32(totals.skipped),
        below_threshold: clamped_i32(totals.below),
        active: clamped_i32(active),
        pending: clamped_i32(progress.total().saturating_sub(done + active)),
    }
}

fn clamped_i32(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Removes the results that results.select leaves out from the status of a finished job. Reports are filtered afterwards.
fn apply_select(status: &mut JobStatus, spec: &JobSpec) {
    if spec.results.select == Select::All || status.reports.is_some() {
        return;
    }
    let rules = ResultClassifier::of(spec);
    status
        .results
        .retain(|result| rules.keeps(spec.results.select, result));
    status.results_pruned = true;
}

/// The status of a finished job after an edit: without the new generation it would look unfinished.
pub fn acknowledged_status(job: &JobObject) -> JobStatus {
    let mut status = job.status.clone();
    status.last_handled_reconcile_at.clone_from(&job.reconcile_at);
    if status.observed_generation != Some(job.generation) {
        status.observed_generation = Some(job.generation);
        for condition in &mut status.conditions {
            condition.observed_generation = Some(job.generation);
        }
    }
    status
}

/// The status of a finished job after its results were filtered, or removed when `all` is true.
pub fn pruned_status(job: &JobObject, all: bool, now: Timestamp) -> JobStatus {
    let mut status = acknowledged_status(job);
    status.results_pruned = true;
    if !all && lacks_results(&status.conditions) {
        // Results may be missing in the summary.
        return status;
    }
    let (flag, reason, message) = if all {
        status.results = Vec::new();
        status.reports = None;
        (ConditionStatus::False, JobReason::ResultsExpired, RESULTS_EXPIRED)
    } else {
        (ConditionStatus::True, JobReason::Stored, RESULTS_KEPT_MESSAGE)
    };
    with_results_stored(status, flag, reason, message, (job.generation, now))
}

/// Whether a status has results that are stored nowhere: it has items that the stored one does not count as done, and
/// the job has no reports, which are stored first.
pub fn has_unstored_results(stored: &JobStatus, status: &JobStatus) -> bool {
    let done = |status: &JobStatus| {
        let items = status.items.iter();
        items
            .flat_map(|items| [items.succeeded, items.failed, items.ignored, items.skipped])
            // A stored status can have any numbers.
            .map(i64::from)
            .sum::<i64>()
    };
    status.reports.is_none() && done(status) > done(stored)
}

/// The status of a job whose results cannot be stored, with the error of the API server; nothing else changes.
pub fn storing_failed_status(job: &JobObject, why: KubeError, now: Timestamp) -> JobStatus {
    let message = format!(
        "The API server rejects an ImageScoreReport ({why}); the results are kept in memory, and no new call is made: check resource quotas, admission policies and the permissions of the operator"
    );
    let of = (job.generation, now);
    let flag = ConditionStatus::False;
    let status = JobStatus {
        observed_generation: Some(job.generation),
        ..job.status.clone()
    };
    with_results_stored(status, flag, JobReason::ReportRejected, &message, of)
}

/// The status of a job that ended although its reports cannot be read, with the error: reserved requests count as sent,
/// because calls may have used them.
pub fn uncounted_status(mut status: JobStatus, why: KubeError, generation: i64, now: Timestamp) -> JobStatus {
    if let Some(requests) = &mut status.requests {
        requests.sent = requests.sent.max(requests.reserved);
        requests.reserved = requests.sent;
        requests.estimated_billable = requests.sent.saturating_sub(requests.server_errors);
    }
    let message = format!(
        "The ImageScoreReports could not be read when the job ended ({why}): they may hold more results than status counts"
    );
    let (flag, reason) = (ConditionStatus::False, JobReason::ResultsUnreadable);
    with_results_stored(status, flag, reason, &message, (generation, now))
}

/// The status of a job with members that cannot be decoded: only the conditions change, and the members are written back
/// as they were read.
pub fn unreadable_status(job: &JobObject, now: Timestamp) -> JobStatus {
    let members: Vec<String> = job
        .status
        .unreadable
        .keys()
        .map(|name| format!("status.{name}"))
        .collect();
    let message = format!(
        "Part of the status cannot be decoded ({}), so it is unknown which items were billed: repair that part, or create another job",
        members.join(", ")
    );
    JobStatus {
        conditions: stalled_conditions(job, JobReason::StatusUnreadable, message, now),
        ..job.status.clone()
    }
}

/// The status with a new ResultsStored condition and the other conditions unchanged.
fn with_results_stored(
    mut status: JobStatus,
    flag: ConditionStatus,
    reason: JobReason,
    message: &str,
    (generation, now): (i64, Timestamp),
) -> JobStatus {
    let before = std::mem::take(&mut status.conditions);
    let mut list = ConditionsBuilder::new(&before, generation, now);
    list.carry_except(&[JobCondition::ResultsStored]);
    list.set(JobCondition::ResultsStored, flag, reason, message);
    status.conditions = list.finish();
    status
}

#[cfg(test)]
mod tests;
