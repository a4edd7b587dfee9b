//! The events of a job.

use super::{End, JobObject, Phase, Progress};
use crate::api::{EventReason, JobCondition, JobStatus, SuspendCause};
use crate::core::condition_builder::newly_stalled;
use crate::core::error::CloudError;
use crate::core::event_content::EventContent;
use crate::core::text::counted;

/// What is said of a job whose results were removed.
pub const RESULTS_EXPIRED: &str =
    "The results were removed after results.ttlSecondsAfterFinished; the summary remains";

/// Returns the event of a job that has ended, with the items that its status counts.
pub fn job_ended(end: &End, status: &JobStatus) -> EventContent {
    match end {
        End::Complete => {
            let items = status.items.as_ref().map_or(0, |items| items.total);
            EventContent::new(EventReason::Completed, format!("{} done", counted(items, "item")))
        }
        End::Failed(reason, message) => {
            EventContent::new(EventReason::Failed, format!("{}: {message}", reason.as_str()))
        }
    }
}

/// Returns the events of a new status: of a job that became stalled, and of one that is no longer suspended. The end
/// of a job has an event of its own.
pub fn status_events(job: &JobObject, status: &JobStatus) -> Vec<EventContent> {
    if status.completion_time.is_some() {
        return Vec::new();
    }
    let stalled = newly_stalled::<JobCondition>(&job.status.conditions, &status.conditions);
    let runs_again = status.suspended_by.is_none() && job.spec.as_ref().is_ok_and(|spec| !spec.suspend);
    let resumes = job.is_suspended() && runs_again;
    let stalled = stalled.map(|(reason, message)| EventContent::stalled(reason, message));
    stalled.into_iter().chain(resumes.then(resumed)).collect()
}

/// Returns the event of a job that waits for its grant.
pub fn waiting_for_grant(message: &str) -> EventContent {
    EventContent::new(EventReason::WaitingForGrant, message)
}

/// Returns the event of a job that repeats its first call, which was denied.
pub fn first_call_denied(message: &str, error: &CloudError) -> EventContent {
    waiting_for_grant(&format!("{message}; {}", error.code_and_refusal()))
}

/// Returns the event of a job that is about to rest in this phase; `None` if its status says so already.
pub fn rests(job: &JobObject, phase: &Phase) -> Option<EventContent> {
    let before = job.status.suspended_by;
    if *phase == Phase::Suspended {
        (before != Some(SuspendCause::Requested)).then(suspended)
    } else if *phase == Phase::OutOfBudget {
        (before != Some(SuspendCause::BudgetUsed)).then(budget_used)
    } else {
        None
    }
}

/// Returns the event of a job that has used up its budget and is suspended.
fn budget_used() -> EventContent {
    EventContent::new(
        EventReason::BudgetExceeded,
        "Budget used up: raise budget.maxRequests to resume",
    )
}

/// Returns the event of a suspended job.
fn suspended() -> EventContent {
    EventContent::new(
        EventReason::Suspended,
        "spec.suspend is true: no new call is sent; calls in flight finish",
    )
}

/// Returns the event of a job that is no longer suspended.
fn resumed() -> EventContent {
    EventContent::new(EventReason::Resumed, "Resumed: spec.suspend is false")
}

/// Returns the event of a job that has got its started annotation; `None` after its first call, because another
/// writer can remove the annotation during a run.
pub fn started(progress: &Progress) -> Option<EventContent> {
    let event = EventContent::new(EventReason::Started, "The first call is about to be made");
    (progress.requests().sent == 0).then_some(event)
}

/// Returns the event of a job whose requests IMM throttles.
pub fn throttled() -> EventContent {
    EventContent::new(
        EventReason::Throttled,
        "IMM throttles the requests; the rate is lowered, and no item fails because of it",
    )
}

/// Returns the event of a finished job whose results were removed.
pub fn results_expired() -> EventContent {
    EventContent::new(EventReason::ResultsExpired, RESULTS_EXPIRED)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::core::job::{resume_progress, spec_with};

    #[test]
    fn a_status_is_announced_when_the_job_becomes_stalled_or_resumes_and_not_at_its_end() {
        let spec = spec_with(&json!({"source": {"uris": ["oss://pics/a.jpg"]}}));
        let mut job = JobObject::bare("media", "one", Ok(spec));
        job.status.suspended_by = Some(SuspendCause::Requested);
        let condition = |kind: &str, message: &str| {
            json!({"type": kind, "status": "True", "reason": "TenancyDenied", "message": message,
                "lastTransitionTime": "2026-10-01T09:58:11Z"})
        };
        let conditions = json!([condition("Stalled", ""), condition("Ready", "no rule")]);
        let mut status = JobStatus {
            conditions: serde_json::from_value(conditions).unwrap(),
            ..JobStatus::default()
        };
        let both = [EventContent::stalled("TenancyDenied", "no rule"), resumed()];
        assert_eq!(status_events(&job, &status), both);
        job.status.conditions.clone_from(&status.conditions);
        assert_eq!(status_events(&job, &status), [resumed()], "it was stalled before");
        job.status.suspended_by = Some(SuspendCause::BudgetUsed);
        assert!(status_events(&job, &status).is_empty());
        job.status = JobStatus::default();
        status.completion_time = serde_json::from_value(json!("2026-10-01T09:58:11Z")).unwrap();
        assert!(status_events(&job, &status).is_empty());
    }

    #[test]
    fn a_rest_is_announced_once_for_each_cause() {
        let mut job = JobObject::bare("media", "one", Err(String::new()));
        for (cause, phase, event) in [
            (None, Phase::Suspended, Some(suspended())),
            (
                Some(SuspendCause::BudgetUsed),
                Phase::Suspended,
                Some(suspended()),
            ),
            (Some(SuspendCause::Requested), Phase::Suspended, None),
            (None, Phase::OutOfBudget, Some(budget_used())),
            (Some(SuspendCause::BudgetUsed), Phase::OutOfBudget, None),
            (None, Phase::Scoring(0), None),
        ] {
            job.status.suspended_by = cause;
            assert_eq!(rests(&job, &phase), event, "{cause:?} {phase:?}");
        }
    }

    #[test]
    fn the_start_is_announced_before_the_first_call_only() {
        let spec = spec_with(&json!({"source": {"uris": ["oss://pics/a.jpg"]}}));
        let started_after = |sent: i64| {
            let status = json!({"requests": {"reserved": sent, "sent": sent}});
            let status: JobStatus = serde_json::from_value(status).unwrap();
            started(&resume_progress(
                &spec,
                &status,
                (1, true),
                Timestamp::UNIX_EPOCH,
                "uid",
            ))
        };
        assert!(started_after(0).is_some() && started_after(1).is_none());
    }
}
