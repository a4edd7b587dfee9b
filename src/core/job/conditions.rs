//! The conditions of a job, computed from its phase and its counts.

use k8s_openapi::jiff::Timestamp;

use super::phase::{End, Phase, allowed_count};
use super::ready_summary::{JobReadySummary, job_ready_summary};
use super::{JobObject, Stats};
use crate::api::{Condition, ConditionStatus, JobReason, JobStatus, kinds};
use crate::core::condition_builder::{
    ACTION_REQUIRED, CONTINUES, ConditionsBuilder, counted, troubleshooting_link,
};
use crate::core::error::CloudErrorKind;

/// Message of ResultsStored after results that results.select leaves out were removed.
pub(super) const RESULTS_KEPT_MESSAGE: &str =
    "The results that results.select keeps are stored; the summary covers all items";

/// Computes all conditions; `status` holds the new counts.
pub(super) fn job_conditions(
    job: &JobObject,
    status: &JobStatus,
    phase: &Phase,
    totals: Option<&Stats>,
    now: Timestamp,
) -> Vec<Condition> {
    let summary = job_ready_summary(phase, status, job.spec.as_ref().ok());
    let mut list = ConditionsBuilder::new(&job.status.conditions, job.generation, now);
    let list_of = &mut list;
    set_kstatus(list_of, &summary);
    set_outcome(list_of, phase, &summary, status);
    set_allowed(list_of, phase);
    set_source_ready(list_of, job, phase, status);
    set_grant_ready(list_of, job, phase);
    set_credentials_valid(list_of, phase, status);
    set_threshold_met(list_of, job, status, totals);
    if let Phase::ResultsMissing(_) | Phase::Stalled(JobReason::ResultsUnreadable, _) = phase {
        let reason = summary.reason.as_str();
        list.set(
            kinds::RESULTS_STORED,
            ConditionStatus::False,
            reason,
            &summary.message,
        );
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
        list.set(
            kinds::RESULTS_STORED,
            ConditionStatus::True,
            JobReason::Stored.as_str(),
            message,
        );
    }
    list.finish()
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
    set_kstatus(&mut list, &summary);
    let set = [kinds::READY, kinds::STALLED, kinds::RECONCILING];
    for condition in before.iter().filter(|c| !set.contains(&c.kind.as_str())) {
        list.carry(&condition.kind);
    }
    list.finish()
}

fn condition_flag(yes: bool) -> ConditionStatus {
    if yes {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    }
}

fn set_kstatus(list: &mut ConditionsBuilder<'_>, summary: &JobReadySummary) {
    let reason = summary.reason.as_str();
    let link = summary.stalled.then(|| troubleshooting_link(reason));
    let message = format!("{}{}", summary.message, link.unwrap_or_default());
    list.set(kinds::READY, condition_flag(summary.ready), reason, message);
    if summary.stalled {
        list.set(kinds::STALLED, ConditionStatus::True, reason, ACTION_REQUIRED);
    } else if !summary.ready {
        list.set(kinds::RECONCILING, ConditionStatus::True, reason, CONTINUES);
    }
}

fn set_outcome(
    list: &mut ConditionsBuilder<'_>,
    phase: &Phase,
    summary: &JobReadySummary,
    status: &JobStatus,
) {
    let failed = status.items.as_ref().is_some_and(|i| i.failed > 0);
    match phase {
        Phase::Ended(End::Complete) => {
            let reason = if failed {
                JobReason::CompletedWithFailures
            } else {
                JobReason::Completed
            };
            list.set(
                kinds::COMPLETE,
                ConditionStatus::True,
                reason.as_str(),
                &summary.message,
            );
        }
        Phase::Ended(End::Failed(reason, message)) => {
            list.set(kinds::FAILED, ConditionStatus::True, reason.as_str(), message);
        }
        Phase::OutOfBudget | Phase::Suspended => {
            list.set(
                kinds::SUSPENDED,
                ConditionStatus::True,
                summary.reason.as_str(),
                &summary.message,
            );
        }
        Phase::Waiting(_)
        | Phase::Unenforced(..)
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
        | Phase::Scoring(_)
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stalled(..)
        | Phase::NotStarted(_)
        | Phase::Denied(_)
        | Phase::CredentialsFailed(..)
        | Phase::CredentialsRejected(..)
        | Phase::RestoredFromBackup
        | Phase::Invalid(_) => {}
    }
}

fn set_allowed(list: &mut ConditionsBuilder<'_>, phase: &Phase) {
    match phase {
        Phase::Denied(message) => {
            list.set(
                kinds::ALLOWED,
                ConditionStatus::False,
                JobReason::TenancyDenied.as_str(),
                message,
            );
        }
        Phase::RestoredFromBackup | Phase::Invalid(_) | Phase::Suspended | Phase::Ended(End::Failed(..)) => {
            list.carry(kinds::ALLOWED);
        }
        Phase::Waiting(_)
        | Phase::Unenforced(..)
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
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
            list.set(
                kinds::ALLOWED,
                ConditionStatus::True,
                JobReason::Permitted.as_str(),
                message,
            );
        }
    }
}

/// Sets SourceReady; absent for a list of uris, which needs no reading.
fn set_source_ready(list: &mut ConditionsBuilder<'_>, job: &JobObject, phase: &Phase, status: &JobStatus) {
    let kind = kinds::SOURCE_READY;
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
        ) => list.set(kind, ConditionStatus::False, reason.as_str(), message),
        (Phase::SourceUnreadable(message, _), _) => {
            list.set(
                kind,
                ConditionStatus::False,
                JobReason::SourceUnreadable.as_str(),
                message,
            );
        }
        (_, Some(items)) => {
            let message = format!("{} counted when the job started", counted(items, "item"));
            list.set(kind, ConditionStatus::True, JobReason::Counted.as_str(), message);
        }
        (Phase::Counting(_), None) => {
            let message = "Counting the items of the source; billed calls start afterwards";
            list.set(
                kind,
                ConditionStatus::False,
                JobReason::CountingItems.as_str(),
                message,
            );
        }
        (_, None) => list.carry(kind),
    }
}

fn set_grant_ready(list: &mut ConditionsBuilder<'_>, job: &JobObject, phase: &Phase) {
    let named = job.spec.as_ref().is_ok_and(|s| s.grant_ref.is_some());
    let kind = kinds::GRANT_READY;
    match phase {
        _ if !named => {}
        Phase::Waiting(message) | Phase::Unenforced(message, _) => {
            list.set(
                kind,
                ConditionStatus::False,
                JobReason::WaitingForGrant.as_str(),
                message,
            );
        }
        Phase::Ended(End::Failed(
            reason @ (JobReason::GrantMismatch | JobReason::GrantTimeout | JobReason::RegionMismatch),
            message,
        )) => list.set(kind, ConditionStatus::False, reason.as_str(), message),
        // The gate was passed before each of these phases.
        Phase::Scoring(_)
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
        | Phase::CredentialsFailed(..)
        | Phase::CredentialsRejected(..)
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stalled(..)
        | Phase::NotStarted(_)
        | Phase::OutOfBudget => {
            let message = "The grant is live and covers every item";
            list.set(kind, ConditionStatus::True, JobReason::Live.as_str(), message);
        }
        Phase::Ended(End::Complete) => {
            let message = "The grant was live and covered every item";
            list.set(kind, ConditionStatus::True, JobReason::Live.as_str(), message);
        }
        Phase::Ended(End::Failed(..)) => list.carry(kind),
        // Not checked in these phases; a later wait starts from zero.
        Phase::Denied(_) | Phase::RestoredFromBackup | Phase::Invalid(_) | Phase::Suspended => {}
    }
}

fn set_credentials_valid(list: &mut ConditionsBuilder<'_>, phase: &Phase, status: &JobStatus) {
    let kind = kinds::CREDENTIALS_VALID;
    let answered = status
        .items
        .as_ref()
        .is_some_and(|i| i.total > i.pending + i.active);
    match phase {
        Phase::CredentialsFailed(error, message) if !error.is_transient() => {
            match crate::core::grant::credentials_reason(error) {
                Some(reason) => list.set(kind, ConditionStatus::False, reason.as_str(), message),
                None => list.carry(kind),
            }
        }
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
            list.set(kind, ConditionStatus::False, reason.as_str(), message);
        }
        Phase::Scoring(_) | Phase::OutOfBudget | Phase::Ended(End::Complete) if answered => {
            let message = "The last call was authenticated";
            list.set(
                kind,
                ConditionStatus::True,
                JobReason::Authenticated.as_str(),
                message,
            );
        }
        Phase::Scoring(_)
        | Phase::OutOfBudget
        | Phase::Ended(_)
        | Phase::Denied(_)
        | Phase::CredentialsFailed(..)
        | Phase::Waiting(_)
        | Phase::Unenforced(..)
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
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
    list: &mut ConditionsBuilder<'_>,
    job: &JobObject,
    status: &JobStatus,
    totals: Option<&Stats>,
) {
    let kind = kinds::THRESHOLD_MET;
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
    let limit = allowed_count(&thresholds.max_below, usize::try_from(items.total).unwrap_or(0));
    let met = totals.below <= limit;
    let message = format!(
        "Scores below {}: {} of {}, and thresholds.maxBelow allows {limit}",
        thresholds.min_score, totals.below, totals.succeeded
    );
    let reason = if met {
        JobReason::WithinThreshold
    } else {
        JobReason::BelowThreshold
    };
    list.set(kind, condition_flag(met), reason.as_str(), message);
}
