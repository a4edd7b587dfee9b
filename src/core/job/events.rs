//! The events of a job.

use super::End;
use crate::api::EventReason;
use crate::core::condition_builder::counted;
use crate::core::error::CloudError;
use crate::core::event_content::EventContent;

/// What is said of a job whose results were removed.
pub const RESULTS_EXPIRED: &str =
    "The results were removed after results.ttlSecondsAfterFinished; the summary remains";

/// Returns the event of a job that has ended, with the items that it has found.
pub fn job_ended(end: &End, items: i32) -> EventContent {
    match end {
        End::Complete => {
            EventContent::new(EventReason::Completed, format!("{} done", counted(items, "item")))
        }
        End::Failed(reason, message) => {
            EventContent::new(EventReason::Failed, format!("{}: {message}", reason.as_str()))
        }
    }
}

/// Returns the event of a job that waits for its grant.
pub fn waiting_for_grant(message: &str) -> EventContent {
    EventContent::new(EventReason::WaitingForGrant, message)
}

/// Returns the event of a job that repeats its first call, which was denied.
pub fn first_call_denied(message: &str, error: &CloudError) -> EventContent {
    waiting_for_grant(&format!("{message}; {}", error.code_and_refusal()))
}

/// Returns the event of a job that has used up its budget and is suspended.
pub fn budget_used() -> EventContent {
    EventContent::new(
        EventReason::BudgetExceeded,
        "Budget used up: raise budget.maxRequests to resume",
    )
}

/// Returns the event of a suspended job.
pub fn suspended() -> EventContent {
    EventContent::new(
        EventReason::Suspended,
        "spec.suspend is true: no new call is sent; calls in flight finish",
    )
}

/// Returns the event of a job that is no longer suspended.
pub fn resumed() -> EventContent {
    EventContent::new(EventReason::Resumed, "Resumed: spec.suspend is false")
}

/// Returns the event of a job before its first call.
pub fn started() -> EventContent {
    EventContent::new(EventReason::Started, "The first call is about to be made")
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
