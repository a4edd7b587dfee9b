//! The conditions of a job: what its phase and its figures say about each of them.

use k8s_openapi::jiff::Timestamp;

use super::ready_summary::{Words, put_in_words};
use super::status::{End, Phase, allowance};
use super::{JobObject, Tally};
use crate::api::{Condition, ConditionStatus, JobReason, JobStatus, kinds};
use crate::core::condition_builder::ConditionsBuilder;
use crate::core::error::{CloudErrorKind, CredentialsError};

/// Said of results once those that nobody wants to keep are gone.
pub(super) const KEPT: &str = "the results that results.select asks for are kept; the summary covers all";

/// All conditions; `status` holds the new figures.
pub(super) fn conditions(
    job: &JobObject,
    status: &JobStatus,
    phase: &Phase,
    tally: Option<&Tally>,
    now: Timestamp,
) -> Vec<Condition> {
    let words = put_in_words(phase, status);
    let mut list = ConditionsBuilder::new(&job.status.conditions, job.generation, now);
    let list_of = &mut list;
    kstatus(list_of, &words);
    outcome(list_of, phase, &words, status);
    allowed(list_of, phase);
    source_ready(list_of, job, phase, status);
    grant_ready(list_of, job, phase);
    credentials(list_of, phase, status);
    threshold(list_of, job, status, tally);
    if let Phase::ResultsMissing(_) | Phase::Stuck(JobReason::ResultsUnreadable, _) = phase {
        let reason = words.reason.as_str();
        list.set(
            kinds::RESULTS_STORED,
            ConditionStatus::False,
            reason,
            &words.message,
        );
    } else if status.requests.as_ref().is_some_and(|r| r.sent > 0) {
        let message = match &status.reports {
            None if status.results_pruned => KEPT.to_owned(),
            None => "every counted result is in status.results".to_owned(),
            Some(reports) if reports.count == 0 => "there is no result yet".to_owned(),
            Some(reports) => format!(
                "every counted result is in {} ImageScoreReport{}: imm-operator results -n {} {}",
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

fn flag(yes: bool) -> ConditionStatus {
    if yes {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    }
}

fn kstatus(list: &mut ConditionsBuilder<'_>, words: &Words) {
    list.set(
        kinds::READY,
        flag(words.ready),
        words.reason.as_str(),
        &words.message,
    );
    if words.stalled {
        let message = "a person must act; see the Ready condition";
        list.set(
            kinds::STALLED,
            ConditionStatus::True,
            words.reason.as_str(),
            message,
        );
    } else if !words.ready {
        let message = "the operator goes on by itself";
        list.set(
            kinds::RECONCILING,
            ConditionStatus::True,
            words.reason.as_str(),
            message,
        );
    }
}

fn outcome(list: &mut ConditionsBuilder<'_>, phase: &Phase, words: &Words, status: &JobStatus) {
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
                &words.message,
            );
        }
        Phase::Ended(End::Failed(reason, message)) => {
            list.set(kinds::FAILED, ConditionStatus::True, reason.as_str(), message);
        }
        Phase::OutOfBudget | Phase::Suspended => {
            list.set(
                kinds::SUSPENDED,
                ConditionStatus::True,
                words.reason.as_str(),
                &words.message,
            );
        }
        Phase::Waiting(_)
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
        | Phase::Scoring
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stuck(..)
        | Phase::Denied(_)
        | Phase::Keys(..)
        | Phase::KeysRefused(..)
        | Phase::Restored
        | Phase::Invalid(_) => {}
    }
}

fn allowed(list: &mut ConditionsBuilder<'_>, phase: &Phase) {
    match phase {
        Phase::Denied(message) => {
            list.set(
                kinds::ALLOWED,
                ConditionStatus::False,
                JobReason::TenancyDenied.as_str(),
                message,
            );
        }
        Phase::Restored | Phase::Invalid(_) | Phase::Suspended | Phase::Ended(End::Failed(..)) => {
            list.carry(kinds::ALLOWED);
        }
        Phase::Waiting(_)
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
        | Phase::Scoring
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stuck(..)
        | Phase::Keys(..)
        | Phase::KeysRefused(..)
        | Phase::OutOfBudget
        | Phase::Ended(_) => {
            let message = "the tenancy rules permit this object";
            list.set(
                kinds::ALLOWED,
                ConditionStatus::True,
                JobReason::Permitted.as_str(),
                message,
            );
        }
    }
}

/// Absent for a list of uris, which needs no reading.
fn source_ready(list: &mut ConditionsBuilder<'_>, job: &JobObject, phase: &Phase, status: &JobStatus) {
    let kind = kinds::SOURCE_READY;
    let read = job.spec.as_ref().is_ok_and(|s| s.source.uris.is_empty());
    let counted = status.source.as_ref().and_then(|s| s.items);
    match (phase, counted) {
        _ if !read => {}
        (
            Phase::Ended(End::Failed(
                reason @ (JobReason::SourceTooLarge | JobReason::SourceChanged),
                message,
            )),
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
            let message = format!("{items} items were there when the job started");
            list.set(kind, ConditionStatus::True, JobReason::Counted.as_str(), message);
        }
        (Phase::Counting(_), None) => {
            let message = "the source is being counted; no paid call is made until it is";
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

fn grant_ready(list: &mut ConditionsBuilder<'_>, job: &JobObject, phase: &Phase) {
    let named = job.spec.as_ref().is_ok_and(|s| s.grant_ref.is_some());
    let kind = kinds::GRANT_READY;
    match phase {
        _ if !named => {}
        Phase::Waiting(message) => {
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
        // All of these are behind the gate.
        Phase::Scoring
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
        | Phase::Keys(..)
        | Phase::KeysRefused(..)
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stuck(..)
        | Phase::OutOfBudget => {
            let message = "the grant is live and covers every image";
            list.set(kind, ConditionStatus::True, JobReason::Live.as_str(), message);
        }
        Phase::Ended(End::Complete) => {
            let message = "the grant was live and covered every image";
            list.set(kind, ConditionStatus::True, JobReason::Live.as_str(), message);
        }
        Phase::Ended(End::Failed(..)) => list.carry(kind),
        // Not looked at; whoever waits again, waits anew.
        Phase::Denied(_) | Phase::Restored | Phase::Invalid(_) | Phase::Suspended => {}
    }
}

fn credentials(list: &mut ConditionsBuilder<'_>, phase: &Phase, status: &JobStatus) {
    let kind = kinds::CREDENTIALS_VALID;
    let answered = status
        .items
        .as_ref()
        .is_some_and(|i| i.total > i.pending + i.active);
    match phase {
        Phase::Keys(problem, message) if *problem != CredentialsError::Unavailable => {
            let reason = crate::core::grant::credentials_reason(problem);
            list.set(kind, ConditionStatus::False, reason.as_str(), message);
        }
        Phase::KeysRefused(failure, secret) => {
            let expired = failure.kind == CloudErrorKind::CredentialsExpired;
            let reason = if expired {
                JobReason::Expired
            } else {
                JobReason::Rejected
            };
            let message = format!(
                "IMM refused the keys of {secret} ({})",
                failure.code_and_request_id()
            );
            list.set(kind, ConditionStatus::False, reason.as_str(), message);
        }
        Phase::Scoring | Phase::OutOfBudget | Phase::Ended(End::Complete) if answered => {
            let message = "the last call was authenticated";
            list.set(
                kind,
                ConditionStatus::True,
                JobReason::Authenticated.as_str(),
                message,
            );
        }
        Phase::Scoring
        | Phase::OutOfBudget
        | Phase::Ended(_)
        | Phase::Denied(_)
        | Phase::Keys(..)
        | Phase::Waiting(_)
        | Phase::Counting(_)
        | Phase::SourceUnreadable(..)
        | Phase::Queued(_)
        | Phase::ResultsMissing(_)
        | Phase::Stuck(..)
        | Phase::Suspended
        | Phase::Invalid(_)
        | Phase::Restored => list.carry(kind),
    }
}

/// Whether the scores are good enough so far; absent without thresholds, and before the first score.
fn threshold(list: &mut ConditionsBuilder<'_>, job: &JobObject, status: &JobStatus, tally: Option<&Tally>) {
    let kind = kinds::THRESHOLD_MET;
    let thresholds = job.spec.as_ref().ok().and_then(|s| s.thresholds.as_ref());
    let (Some(thresholds), Some(items)) = (thresholds, &status.items) else {
        return;
    };
    let Some(tally) = tally else {
        return list.carry(kind);
    };
    if tally.succeeded == 0 {
        return;
    }
    let limit = allowance(&thresholds.max_below, usize::try_from(items.total).unwrap_or(0));
    let met = tally.below <= limit;
    let message = format!(
        "{} of {} scores are below {}; thresholds.maxBelow allows {limit}",
        tally.below, tally.succeeded, thresholds.min_score
    );
    let reason = if met {
        JobReason::WithinThreshold
    } else {
        JobReason::BelowThreshold
    };
    list.set(kind, flag(met), reason.as_str(), message);
}
