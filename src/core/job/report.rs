//! What a job is told: from its phase and progress to its status.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::{JobObject, Progress, Score};
use crate::api::{ConditionStatus, FailureCount, ItemResult, Items, JobReason, JobStatus, Summary, kinds};
use crate::core::condition::{Conditions, seconds};
use crate::core::failure::{CallFailure, FailureKind, KeysProblem};

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
    /// Calls are under way.
    Scoring,
    /// No tenancy rule permits it: why.
    Denied(String),
    /// Its credentials cannot be used.
    Keys(KeysProblem, String),
    /// The cloud refused the keys of this Secret.
    KeysRefused(CallFailure, String),
    /// Its budget is used up.
    OutOfBudget,
    /// Restored from a backup without its results.
    Restored,
    /// A field is not as it must be.
    Invalid(String),
    /// It has ended.
    Ended(End),
}

/// How a job that has done all its items ends.
pub fn verdict(progress: &Progress, allowed: &IntOrString) -> End {
    let (failed, exhausted) = progress.failed();
    let limit = match allowed {
        IntOrString::Int(count) => usize::try_from(*count).unwrap_or(0),
        IntOrString::String(percent) => {
            let percent: usize = percent.trim_end_matches('%').parse().unwrap_or(0);
            progress.total() * percent / 100
        }
    };
    if failed <= limit {
        return End::Complete;
    }
    let reason = if exhausted == failed {
        JobReason::BackoffLimitExceeded
    } else {
        JobReason::MaxFailedItems
    };
    End::Failed(
        reason,
        format!(
            "{failed} of {} items failed and maxFailedItems allows {limit}: see status.failures",
            progress.total()
        ),
    )
}

struct Words {
    reason: JobReason,
    message: String,
    stalled: bool,
    ready: bool,
}

/// The status that follows.
pub fn report(job: &JobObject, phase: &Phase, progress: &Progress, now: Timestamp) -> JobStatus {
    let before = &job.status;
    let results = progress.results();
    let words = put_in_words(phase, progress);
    let mut conditions = Conditions::new(&before.conditions, job.generation, now);
    let flag = |yes: bool| {
        if yes {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        }
    };
    conditions.set(
        kinds::READY,
        flag(words.ready),
        words.reason.as_str(),
        &words.message,
    );
    if words.stalled {
        conditions.set(
            kinds::STALLED,
            ConditionStatus::True,
            words.reason.as_str(),
            "a person must act; see the Ready condition",
        );
    } else if !words.ready {
        conditions.set(
            kinds::RECONCILING,
            ConditionStatus::True,
            words.reason.as_str(),
            "the operator goes on by itself",
        );
    }
    let failed = results.iter().any(|r| r.code.is_some());
    match phase {
        Phase::Ended(End::Complete) => {
            let reason = if failed {
                JobReason::CompletedWithFailures
            } else {
                JobReason::Completed
            };
            conditions.set(
                kinds::COMPLETE,
                ConditionStatus::True,
                reason.as_str(),
                &words.message,
            );
        }
        Phase::Ended(End::Failed(reason, message)) => {
            conditions.set(kinds::FAILED, ConditionStatus::True, reason.as_str(), message);
        }
        Phase::OutOfBudget => {
            conditions.set(
                kinds::SUSPENDED,
                ConditionStatus::True,
                JobReason::BudgetExceeded.as_str(),
                &words.message,
            );
        }
        Phase::Waiting(_)
        | Phase::Scoring
        | Phase::Denied(_)
        | Phase::Keys(..)
        | Phase::KeysRefused(..)
        | Phase::Restored
        | Phase::Invalid(_) => {}
    }
    if let Phase::Denied(message) = phase {
        conditions.set(
            kinds::ALLOWED,
            ConditionStatus::False,
            JobReason::TenancyDenied.as_str(),
            message,
        );
    } else if matches!(phase, Phase::Restored | Phase::Invalid(_)) {
        conditions.carry(kinds::ALLOWED);
    } else {
        let message = "the tenancy rules permit this object";
        conditions.set(
            kinds::ALLOWED,
            ConditionStatus::True,
            JobReason::Permitted.as_str(),
            message,
        );
    }
    grant_ready(&mut conditions, job, phase);
    credentials(&mut conditions, phase, progress);
    if progress.requests().sent > 0 {
        conditions.set(
            kinds::RESULTS_STORED,
            ConditionStatus::True,
            JobReason::Stored.as_str(),
            "every counted result is in status.results",
        );
    }
    let (cursor, deferred) = progress.cursor();
    let ended = matches!(phase, Phase::Ended(_));
    JobStatus {
        observed_generation: Some(job.generation),
        conditions: conditions.finish(),
        start_time: before.start_time.clone().or_else(|| Some(seconds(now))),
        completion_time: ended.then(|| seconds(now)),
        items: Some(items(progress, &results)),
        progress: Some(format!("{}/{}", results.len(), progress.total())),
        cursor: Some(cursor),
        deferred: if ended { Vec::new() } else { deferred },
        summary: summary(&results),
        requests: Some(progress.requests()),
        failures: failures(&results),
        results,
        last_handled_reconcile_at: job.reconcile_at.clone(),
    }
}

fn grant_ready(conditions: &mut Conditions<'_>, job: &JobObject, phase: &Phase) {
    let named = job.spec.as_ref().is_ok_and(|s| s.grant_ref.is_some());
    match phase {
        _ if !named => {}
        Phase::Waiting(message) => {
            conditions.set(
                kinds::GRANT_READY,
                ConditionStatus::False,
                JobReason::WaitingForGrant.as_str(),
                message,
            );
        }
        Phase::Ended(End::Failed(
            reason @ (JobReason::GrantMismatch | JobReason::GrantTimeout | JobReason::RegionMismatch),
            message,
        )) => {
            conditions.set(
                kinds::GRANT_READY,
                ConditionStatus::False,
                reason.as_str(),
                message,
            );
        }
        Phase::Scoring | Phase::Ended(_) | Phase::OutOfBudget | Phase::KeysRefused(..) => {
            conditions.set(
                kinds::GRANT_READY,
                ConditionStatus::True,
                JobReason::Live.as_str(),
                "the grant is live and covers every image",
            );
        }
        Phase::Keys(..) | Phase::Denied(_) | Phase::Restored | Phase::Invalid(_) => {
            conditions.carry(kinds::GRANT_READY);
        }
    }
}

fn credentials(conditions: &mut Conditions<'_>, phase: &Phase, progress: &Progress) {
    let kind = kinds::CREDENTIALS_VALID;
    match phase {
        Phase::Denied(_)
        | Phase::Keys(KeysProblem::Unreachable, _)
        | Phase::Waiting(_)
        | Phase::Invalid(_)
        | Phase::Restored => conditions.carry(kind),
        Phase::Keys(problem, message) => {
            conditions.set(
                kind,
                ConditionStatus::False,
                crate::core::grant::keys_reason(problem).as_str(),
                message,
            );
        }
        Phase::KeysRefused(failure, secret) => {
            let expired = failure.kind == FailureKind::KeysExpired;
            let reason = if expired {
                JobReason::Expired
            } else {
                JobReason::Rejected
            };
            conditions.set(
                kind,
                ConditionStatus::False,
                reason.as_str(),
                format!("IMM refused the keys of {secret} ({})", failure.reference()),
            );
        }
        Phase::Scoring | Phase::OutOfBudget | Phase::Ended(_) if !progress.results().is_empty() => {
            conditions.set(
                kind,
                ConditionStatus::True,
                JobReason::Authenticated.as_str(),
                "the last call was authenticated",
            );
        }
        Phase::Scoring | Phase::OutOfBudget | Phase::Ended(_) => conditions.carry(kind),
    }
}

fn put_in_words(phase: &Phase, progress: &Progress) -> Words {
    let words = |reason, message: String| Words {
        reason,
        message,
        stalled: false,
        ready: false,
    };
    let stalled = |reason, message: String| Words {
        reason,
        message,
        stalled: true,
        ready: false,
    };
    let (failed, _) = progress.failed();
    match phase {
        Phase::Waiting(message) => words(JobReason::WaitingForGrant, message.clone()),
        Phase::Scoring => words(JobReason::Scoring, format!("{} of {} items are done", progress.results().len(), progress.total())),
        Phase::Denied(message) => stalled(JobReason::TenancyDenied, message.clone()),
        Phase::Keys(KeysProblem::Unreachable, message) => words(JobReason::CredentialsUnavailable, message.clone()),
        Phase::Keys(_, message) => stalled(JobReason::CredentialsUnavailable, message.clone()),
        Phase::KeysRefused(failure, secret) => stalled(JobReason::CredentialsUnavailable, format!("IMM refused the keys of {secret} ({}): put valid ones into it, the job then goes on", failure.reference())),
        Phase::OutOfBudget => Words { reason: JobReason::BudgetExceeded, message: "budget.maxRequests is used up: raise it to go on".to_owned(), stalled: false, ready: true },
        Phase::Restored => stalled(JobReason::RestoredWithoutStatus, "the object was restored from a backup without its results: remove annotation immops.dev/started to score and pay again".to_owned()),
        Phase::Invalid(message) => stalled(JobReason::InvalidSpec, message.clone()),
        Phase::Ended(End::Failed(reason, message)) => stalled(*reason, message.clone()),
        Phase::Ended(End::Complete) if failed > 0 => Words {
            reason: JobReason::Complete,
            message: format!("{} of {} items were scored, {failed} failed: see status.failures", progress.total() - failed, progress.total()),
            stalled: false,
            ready: true,
        },
        Phase::Ended(End::Complete) => Words { reason: JobReason::Complete, message: format!("{0} of {0} items were scored", progress.total()), stalled: false, ready: true },
    }
}

fn items(progress: &Progress, results: &[ItemResult]) -> Items {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let succeeded = results.iter().filter(|r| r.score.is_some()).count();
    let active = progress.in_flight();
    Items {
        total: count(progress.total()),
        succeeded: count(succeeded),
        failed: count(results.len() - succeeded),
        active: count(active),
        pending: count(progress.total() - results.len() - active),
        ..Items::default()
    }
}

fn summary(results: &[ItemResult]) -> Option<Summary> {
    let mut scores: Vec<Score> = results
        .iter()
        .filter_map(|r| Score::parse(r.score.as_deref()?))
        .collect();
    scores.sort();
    let (min, max) = (scores.first()?, scores.last()?);
    let mut histogram = vec![0; 10];
    for score in &scores {
        // The last bin holds 1 as well.
        let bin = usize::try_from(score.millionths() / 100_000).unwrap_or(0).min(9);
        if let Some(count) = histogram.get_mut(bin) {
            *count += 1;
        }
    }
    Some(Summary {
        min: min.to_string(),
        max: max.to_string(),
        mean: Score::mean(&scores)?.to_string(),
        p50: scores.get((scores.len() - 1) / 2)?.to_string(),
        histogram,
    })
}

fn failures(results: &[ItemResult]) -> Vec<FailureCount> {
    let mut counts: BTreeMap<&str, FailureCount> = BTreeMap::new();
    for result in results {
        let Some(code) = result.code.as_deref() else {
            continue;
        };
        let entry = counts.entry(code).or_insert_with(|| FailureCount {
            code: code.to_owned(),
            count: 0,
            sample_index: result.index,
        });
        entry.count += 1;
    }
    let mut list: Vec<FailureCount> = counts.into_values().collect();
    list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.code.cmp(&b.code)));
    list.truncate(20);
    list
}
