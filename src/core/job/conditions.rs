//! The conditions of a job, computed from its phase and its counts.

use k8s_openapi::jiff::Timestamp;

use super::limits::scores_below;
use super::phase::{End, Phase, allowed_count};
use super::ready_summary::{JobReadySummary, counting, job_ready_summary};
use super::{JobObject, Progress, Stats};
use crate::api::{Condition, JobCondition, JobReason, JobStatus};
use crate::core::condition_builder::{ConditionsBuilder, condition_flag, credentials_reason};
use crate::core::error::{CloudErrorKind, CredentialsError};
use crate::core::text::counted;

/// Message of ResultsStored after results that results.select leaves out were removed.
pub(super) const RESULTS_KEPT_MESSAGE: &str =
    "The results that results.select keeps are stored; the summary covers all items";

/// Computes all conditions; `status` holds the new counts, and `known` is the progress of a run with its statistics.
pub(super) fn job_conditions(
    job: &JobObject,
    status: &JobStatus,
    phase: &Phase,
    known: Option<(&Progress, &Stats)>,
    now: Timestamp,
) -> Vec<Condition> {
    let summary = job_ready_summary(phase, status, job.spec.as_ref().ok());
    let mut list = ConditionsBuilder::new(&job.status.conditions, job.generation, now);
    let list_of = &mut list;
    list_of.set_ready(&summary);
    list_of.set_progress(&summary);
    set_outcome(list_of, phase, &summary, status);
    set_allowed(list_of, phase, known.is_some());
    set_source_ready(list_of, job, phase, status);
    set_grant_ready(list_of, job, phase, known.is_some());
    let authenticated = known.map(|(progress, _)| progress.authenticated);
    set_credentials_valid(list_of, phase, authenticated);
    set_threshold_met(list_of, job, status, known.map(|(_, totals)| totals));
    let missing = known.map_or(0, |(progress, _)| missing_results(&job.status, progress));
    if let Phase::ResultsMissing(_) | Phase::Stalled(JobReason::ResultsUnreadable, _) = phase {
        list.set_false(JobCondition::ResultsStored, summary.reason, &summary.message);
    } else if missing > 0 {
        let message = format!(
            "{} that the status counted before, and that can be billed, are in no ImageScoreReport",
            counted(missing, "result")
        );
        list.set_false(JobCondition::ResultsStored, JobReason::ResultsMissing, message);
    } else if known.is_none() && lacks_results(&job.status.conditions) {
        list.carry(JobCondition::ResultsStored);
    } else if status.requests.as_ref().is_some_and(|r| r.sent > 0) {
        let message = match &status.reports {
            None if status.results_pruned => RESULTS_KEPT_MESSAGE.to_owned(),
            None => "Every counted result is in status.results".to_owned(),
            Some(reports) if reports.count == 0 => "No results yet".to_owned(),
            Some(reports) => format!(
                "Every counted result is in {} ImageScoreReport{}: imm-operator results -n {} {}",
                reports.count,
                if reports.count == 1 { "" } else { "s" },
                job.key.namespace,
                job.key.name
            ),
        };
        list.set_true(JobCondition::ResultsStored, JobReason::Stored, message);
    }
    list.finish()
}

/// Returns the number of results that the status counts but no report contains.
pub fn missing_results(status: &JobStatus, progress: &Progress) -> usize {
    let counted = status.reports.as_ref().map_or(0, |r| r.items);
    let found = progress.results().reports().map(|reports| reports.count().1);
    found.map_or(0, |found| {
        usize::try_from(counted).unwrap_or(0).saturating_sub(found)
    })
}

/// Whether results are missing, or were not readable, the last time that the reports were read.
pub(super) fn lacks_results(conditions: &[Condition]) -> bool {
    let reasons = [JobReason::ResultsMissing, JobReason::ResultsUnreadable].map(JobReason::as_str);
    conditions
        .iter()
        .any(|c| c.is(JobCondition::ResultsStored) && reasons.contains(&c.reason.as_str()))
}

/// The conditions of a job that is stalled before anything of it was checked: all others keep their values.
pub(super) fn stalled_conditions(
    job: &JobObject,
    reason: JobReason,
    message: String,
    now: Timestamp,
) -> Vec<Condition> {
    let before = &job.status.conditions;
    let mut list = ConditionsBuilder::new(before, job.generation, now);
    let summary = JobReadySummary::stalled(reason, message);
    list.set_ready(&summary);
    list.set_progress(&summary);
    list.carry_except(&[
        JobCondition::Ready,
        JobCondition::Stalled,
        JobCondition::Reconciling,
    ]);
    list.finish()
}

fn set_outcome(
    list: &mut ConditionsBuilder<'_, JobCondition>,
    phase: &Phase,
    summary: &JobReadySummary,
    status: &JobStatus,
) {
    if let Phase::Ended(End::Failed(reason, message)) = phase {
        list.set_true(JobCondition::Failed, *reason, message);
    } else if let Phase::Ended(End::Complete) = phase {
        let failed = status.items.as_ref().is_some_and(|i| i.failed > 0);
        let reason = if failed {
            JobReason::CompletedWithFailures
        } else {
            JobReason::Completed
        };
        list.set_true(JobCondition::Complete, reason, &summary.message);
    } else if matches!(phase, Phase::OutOfBudget | Phase::Suspended) {
        list.set_true(JobCondition::Suspended, summary.reason, &summary.message);
    }
}

/// Whether the phase of a job is written before the tenancy rules and the grant are checked; `in_run` says whether a run
/// writes it, which begins after both.
fn is_unchecked(phase: &Phase, in_run: bool) -> bool {
    let unreadable = matches!(phase, Phase::Stalled(JobReason::ResultsUnreadable, _));
    unreadable || (*phase == Phase::OutOfBudget && !in_run)
}

fn set_allowed(list: &mut ConditionsBuilder<'_, JobCondition>, phase: &Phase, in_run: bool) {
    match phase {
        _ if is_unchecked(phase, in_run) => list.carry(JobCondition::Allowed),
        Phase::Denied(message) => {
            list.set_false(JobCondition::Allowed, JobReason::TenancyDenied, message);
        }
        Phase::RestoredFromBackup | Phase::Invalid(_) | Phase::Suspended | Phase::Ended(End::Failed(..)) => {
            list.carry(JobCondition::Allowed);
        }
        Phase::Waiting(_)
        | Phase::Unenforced(..)
        | Phase::Counting(..)
        | Phase::SourceUnreadable { .. }
        | Phase::Scoring(_)
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stalled(..)
        | Phase::NotStarted(_)
        | Phase::CredentialsFailed(..)
        | Phase::CredentialsRejected(..)
        | Phase::OutOfBudget
        | Phase::Ended(_) => {
            let message = "The tenancy rules allow this object";
            list.set_true(JobCondition::Allowed, JobReason::Permitted, message);
        }
    }
}

/// Sets SourceReady; absent for a list of uris, which needs no reading.
fn set_source_ready(
    list: &mut ConditionsBuilder<'_, JobCondition>,
    job: &JobObject,
    phase: &Phase,
    status: &JobStatus,
) {
    let kind = JobCondition::SourceReady;
    let read = job.spec.as_ref().is_ok_and(|s| s.source.uris.is_empty());
    let source_items = status.source.as_ref().and_then(|s| s.items);
    match (phase, source_items) {
        _ if !read => {}
        (
            Phase::Ended(End::Failed(
                reason @ (JobReason::SourceTooLarge | JobReason::SourceChanged),
                message,
            ))
            | Phase::Stalled(reason @ JobReason::EndpointForbidden, message),
            _,
        ) => list.set_false(kind, *reason, message),
        (Phase::SourceUnreadable { message, .. }, _) => {
            list.set_false(kind, JobReason::SourceUnreadable, message);
        }
        (_, Some(items)) => {
            let message = format!("{} counted when the job started", counted(items, "item"));
            list.set_true(kind, JobReason::Counted, message);
        }
        (Phase::Counting(_, so_far), None) => {
            list.set_false(kind, JobReason::CountingItems, counting(*so_far));
        }
        (_, None) => list.carry(kind),
    }
}

fn set_grant_ready(
    list: &mut ConditionsBuilder<'_, JobCondition>,
    job: &JobObject,
    phase: &Phase,
    in_run: bool,
) {
    let named = job.spec.as_ref().is_ok_and(|s| s.grant_ref.is_some());
    let kind = JobCondition::GrantReady;
    match phase {
        _ if !named => {}
        _ if is_unchecked(phase, in_run) => list.carry(kind),
        Phase::Waiting(message) | Phase::Unenforced(message, _) => {
            list.set_false(kind, JobReason::WaitingForGrant, message);
        }
        Phase::Ended(End::Failed(
            reason @ (JobReason::GrantMismatch | JobReason::GrantTimeout | JobReason::RegionMismatch),
            message,
        )) => list.set_false(kind, *reason, message),
        // The gate was passed before each of these phases.
        Phase::Scoring(_)
        | Phase::Counting(..)
        | Phase::SourceUnreadable { .. }
        | Phase::CredentialsFailed(..)
        | Phase::CredentialsRejected(..)
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stalled(..)
        | Phase::NotStarted(_)
        | Phase::OutOfBudget => {
            let message = "The grant is live and covers every item";
            list.set_true(kind, JobReason::Live, message);
        }
        Phase::Ended(End::Complete) => {
            let message = "The grant was live and covered every item";
            list.set_true(kind, JobReason::Live, message);
        }
        Phase::Ended(End::Failed(..)) => list.carry(kind),
        // Not checked in these phases; a later wait starts from zero.
        Phase::Denied(_) | Phase::RestoredFromBackup | Phase::Invalid(_) | Phase::Suspended => {}
    }
}

/// Sets CredentialsValid; `authenticated` says whether IMM has accepted the credentials of a call of this run, and is
/// `None` outside a run.
fn set_credentials_valid(
    list: &mut ConditionsBuilder<'_, JobCondition>,
    phase: &Phase,
    authenticated: Option<bool>,
) {
    let kind = JobCondition::CredentialsValid;
    match phase {
        Phase::CredentialsFailed(error, message) => match credentials_reason!(JobReason, error) {
            Some(reason) => list.set_false(kind, reason, message),
            None => list.carry(kind),
        },
        Phase::CredentialsRejected(error, secret) => {
            let expired = error.kind == CloudErrorKind::CredentialsExpired;
            let reason = if expired {
                JobReason::CredentialsExpired
            } else {
                JobReason::CredentialsRejected
            };
            let message = format!(
                "IMM rejected the credentials of {secret} ({}): provide valid credentials",
                error.code_and_request_id()
            );
            list.set_false(kind, reason, message);
        }
        Phase::Scoring(_) | Phase::OutOfBudget | Phase::Ended(_) if authenticated == Some(true) => {
            let message = "The last call was authenticated";
            list.set_true(kind, JobReason::Authenticated, message);
        }
        // A run holds credentials.
        Phase::Scoring(_) | Phase::OutOfBudget | Phase::Ended(End::Complete)
            if authenticated == Some(false) =>
        {
            list.carry_unless_false(kind);
        }
        Phase::Scoring(_)
        | Phase::OutOfBudget
        | Phase::Ended(_)
        | Phase::Denied(_)
        | Phase::Waiting(_)
        | Phase::Unenforced(..)
        | Phase::Counting(..)
        | Phase::SourceUnreadable { .. }
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stalled(..)
        | Phase::NotStarted(_)
        | Phase::Suspended
        | Phase::Invalid(_)
        | Phase::RestoredFromBackup => list.carry(kind),
    }
}

/// Sets ThresholdMet; absent without thresholds, and before the first score.
fn set_threshold_met(
    list: &mut ConditionsBuilder<'_, JobCondition>,
    job: &JobObject,
    status: &JobStatus,
    totals: Option<&Stats>,
) {
    let kind = JobCondition::ThresholdMet;
    let thresholds = job.spec.as_ref().ok().and_then(|s| s.thresholds.as_ref());
    let (Some(thresholds), Some(items)) = (thresholds, &status.items) else {
        return;
    };
    let Some(totals) = totals else {
        return list.carry(kind);
    };
    if totals.succeeded == 0 {
        return;
    }
    let total = usize::try_from(items.total).unwrap_or(0);
    let met = totals.below <= allowed_count(&thresholds.max_below, total);
    let message = scores_below(thresholds, totals.below, total);
    let reason = if met {
        JobReason::WithinThreshold
    } else {
        JobReason::BelowThreshold
    };
    list.set(kind, condition_flag(met), reason, message);
}

#[cfg(test)]
mod tests;
