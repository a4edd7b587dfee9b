//! What a job is told: from its phase and progress to its status.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::conditions::{RESULTS_KEPT_MESSAGE, job_conditions};
use super::{JobObject, Progress, ResultBuffer, ResultClassifier, Stats, report_name};
use crate::api::{
    ConditionStatus, Items, JobReason, JobSpec, JobStatus, ObservedSource, OnBelow, ReportsSummary, Select,
    kinds,
};
use crate::core::condition_builder::{ConditionsBuilder, whole_seconds};
use crate::core::error::{CloudError, CredentialsError};

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All items are done, no more failed than allowed.
    Complete,
    /// It failed.
    Failed(JobReason, String),
}

/// What a job is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for its grant: why.
    Waiting(String),
    /// The items of its source are being counted, or are just counted: what is known of it.
    Counting(ObservedSource),
    /// Its source cannot be read now: why, and whether a person must act.
    SourceUnreadable(String, bool),
    /// As many jobs of its namespace as may are running; it starts when one of them ends: how many that is.
    Queued(usize),
    /// Calls are under way.
    Scoring,
    /// Paused by `spec.suspend`.
    Suspended,
    /// No tenancy rule permits it: why.
    Denied(String),
    /// Its credentials cannot be used.
    CredentialsFailed(CredentialsError, String),
    /// The cloud refused the keys of this Secret.
    CredentialsRejected(CloudError, String),
    /// Its budget is used up.
    OutOfBudget,
    /// Restored from a backup without its results.
    RestoredFromBackup,
    /// Reports with so many stored results are gone.
    ResultsMissing(usize),
    /// Something is in the way that a person must see to: what, and what to do about it.
    Stalled(JobReason, String),
    /// A field is not as it must be.
    Invalid(String),
    /// It has ended.
    Ended(End),
}

/// A count or a share of all items, as a count.
pub(super) fn allowed_count(allowed: &IntOrString, total: usize) -> usize {
    match allowed {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or(0),
        IntOrString::String(percent) => {
            let percent: usize = percent.trim_end_matches('%').parse().unwrap_or(0);
            total * percent / 100
        }
    }
}

/// How a job ends that stops here: it fails as soon as more items failed, or are below the threshold, than it allows.
pub fn evaluate_limits(progress: &Progress, spec: &JobSpec) -> End {
    let (totals, total) = (&progress.stats, progress.total());
    if let Some(code) = &totals.fatal {
        let message = format!(
            "an item failed with {code}, for which failureRules fails the job: see status.failures, then create another job"
        );
        return End::Failed(JobReason::FailureRule, message);
    }
    let limit = allowed_count(&spec.max_failed_items, total);
    if totals.failed > limit {
        let reason = if progress.exhausted() == totals.failed {
            JobReason::BackoffLimitExceeded
        } else {
            JobReason::MaxFailedItems
        };
        let failed = totals.failed;
        let message = format!(
            "{failed} of {total} items failed and maxFailedItems allows {limit}: see status.failures, then create another job without those images or with a higher maxFailedItems"
        );
        return End::Failed(reason, message);
    }
    let thresholds = spec
        .thresholds
        .as_ref()
        .filter(|t| t.on_below == OnBelow::FailJob);
    if let Some(thresholds) = thresholds {
        let limit = allowed_count(&thresholds.max_below, total);
        if totals.below > limit {
            let message = format!(
                "{} of {total} items are below {} and thresholds.maxBelow allows {limit}: look at those images, or create another job with a lower minScore or a higher maxBelow",
                totals.below, thresholds.min_score
            );
            return End::Failed(JobReason::BelowThreshold, message);
        }
    }
    End::Complete
}

/// The status that follows. Without progress nothing was done in this pass: the figures stay as they are.
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
    if let Phase::Counting(seen) = phase {
        status.source = Some(seen.clone());
    }
    status.observed_generation = Some(job.generation);
    status.start_time = before.start_time.clone().or_else(|| Some(whole_seconds(now)));
    let resumed = before.conditions.iter().any(|c| c.kind == kinds::SUSPENDED)
        && !matches!(phase, Phase::Suspended | Phase::OutOfBudget | Phase::Ended(_));
    status.active_since = before
        .active_since
        .clone()
        .filter(|_| !resumed)
        .or_else(|| Some(whole_seconds(now)));
    status.completion_time = ended.then(|| whole_seconds(now));
    status.last_handled_reconcile_at.clone_from(&job.reconcile_at);
    status.conditions = job_conditions(job, &status, phase, totals.as_ref(), now);
    status
}

/// The status of a job whose process ended without a word: its figures follow from what is stored, the rest is as it was.
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
        ..job.status.clone()
    }
}

/// The figures of a job that is being worked on.
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

/// The figures as they were; nothing is in flight.
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
        pending: items.pending + items.active,
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

/// Leaves out of an ended job's status the results that nobody wants to keep. Reports are gone through afterwards.
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

/// The status of an ended job once an edit of it was seen: it must not look unfinished for ever.
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

/// The status of an ended job whose results have been gone through; `all` when their time is over.
pub fn pruned_status(job: &JobObject, all: bool, now: Timestamp) -> JobStatus {
    let mut status = acknowledged_status(job);
    status.results_pruned = true;
    let (flag, reason, message) = if all {
        status.results = Vec::new();
        status.reports = None;
        let message = "results.ttlSecondsAfterFinished is over; the summary stays";
        (ConditionStatus::False, JobReason::Pruned, message)
    } else {
        (ConditionStatus::True, JobReason::Stored, RESULTS_KEPT_MESSAGE)
    };
    with_results_stored(status, flag, reason, message, (job.generation, now))
}

/// The status of a job whose results cannot be stored now, and why: nothing else of it is news.
pub fn storing_failed_status(job: &JobObject, why: &str, now: Timestamp) -> JobStatus {
    let message = format!(
        "the API server refuses an ImageScoreReport ({why}): look at resource quotas, admission policies and the operator's rights; the results are kept in memory, and no new call is made"
    );
    let of = (job.generation, now);
    let flag = ConditionStatus::False;
    let status = JobStatus {
        observed_generation: Some(job.generation),
        ..job.status.clone()
    };
    with_results_stored(status, flag, JobReason::Storing, &message, of)
}

/// A status with this condition anew and the others as they were.
fn with_results_stored(
    mut status: JobStatus,
    flag: ConditionStatus,
    reason: JobReason,
    message: &str,
    (generation, now): (i64, Timestamp),
) -> JobStatus {
    let before = std::mem::take(&mut status.conditions);
    let mut list = ConditionsBuilder::new(&before, generation, now);
    for condition in before.iter().filter(|c| c.kind != kinds::RESULTS_STORED) {
        list.carry(&condition.kind);
    }
    list.set(kinds::RESULTS_STORED, flag, reason.as_str(), message);
    status.conditions = list.finish();
    status
}

/// The record of a source that is about to be counted.
pub fn counting_source(as_of: Timestamp, etag: Option<String>) -> ObservedSource {
    ObservedSource {
        as_of: Some(whole_seconds(as_of)),
        etag,
        ..ObservedSource::default()
    }
}
