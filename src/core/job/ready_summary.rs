//! A job's Ready condition in words: why, and what to do next.

use super::status::{End, Phase};
use crate::api::{JobReason, JobStatus};
use crate::core::error::CredentialsError;

/// What the Ready condition says.
pub(super) struct Words {
    pub(super) reason: JobReason,
    pub(super) message: String,
    /// Whether a person must act.
    pub(super) stalled: bool,
    pub(super) ready: bool,
}

impl Words {
    fn under_way(reason: JobReason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            reason,
            message,
            stalled: false,
            ready: false,
        }
    }

    fn stalled(reason: JobReason, message: impl Into<String>) -> Self {
        Self {
            stalled: true,
            ..Self::under_way(reason, message)
        }
    }

    fn at_rest(reason: JobReason, message: impl Into<String>) -> Self {
        Self {
            ready: true,
            ..Self::under_way(reason, message)
        }
    }
}

pub(super) fn put_in_words(phase: &Phase, status: &JobStatus) -> Words {
    let items = status.items.clone().unwrap_or_default();
    let total = items.total;
    match phase {
        Phase::Waiting(message) => Words::under_way(JobReason::WaitingForGrant, message),
        Phase::Counting(_) => {
            let message = "the source is being counted; no paid call is made until it is";
            Words::under_way(JobReason::CountingItems, message)
        }
        Phase::SourceUnreadable(message, true) => Words::stalled(JobReason::SourceUnreadable, message),
        Phase::SourceUnreadable(message, false) => Words::under_way(JobReason::SourceUnreadable, message),
        Phase::Scoring => {
            let done = total - items.pending - items.active;
            Words::under_way(JobReason::Scoring, format!("{done} of {total} items are done"))
        }
        Phase::Queued(most) => {
            let message = format!(
                "{most} jobs of this namespace are running, the most at once: this one starts when one of them ends"
            );
            Words::under_way(JobReason::Pending, message)
        }
        Phase::Suspended => {
            let message = "spec.suspend is true: set it to false to go on from here";
            Words::at_rest(JobReason::Suspended, message)
        }
        Phase::Denied(message) => Words::stalled(JobReason::TenancyDenied, message),
        Phase::Keys(CredentialsError::Unavailable, message) => {
            Words::under_way(JobReason::CredentialsUnavailable, message)
        }
        Phase::Keys(_, message) => Words::stalled(JobReason::CredentialsUnavailable, message),
        Phase::KeysRefused(failure, whose) => {
            let reference = failure.code_and_request_id();
            let message = format!(
                "IMM refused the keys of {whose} ({reference}): give it valid ones, the job then goes on"
            );
            Words::stalled(JobReason::CredentialsUnavailable, message)
        }
        Phase::OutOfBudget => {
            let message = "budget.maxRequests is used up: raise it to go on";
            Words::at_rest(JobReason::BudgetExceeded, message)
        }
        Phase::Restored => {
            let message = "the object was restored from a backup without its results: remove annotation immops.dev/started to score and pay again";
            Words::stalled(JobReason::RestoredWithoutStatus, message)
        }
        Phase::ResultsMissing(count) => {
            let message = format!(
                "{count} stored results are gone with their ImageScoreReports, and are not paid for again unasked: restore the reports, or cancel the job and create another one"
            );
            Words::stalled(JobReason::ResultsMissing, message)
        }
        Phase::Stuck(reason, message) => Words::stalled(*reason, message),
        Phase::Invalid(message) => Words::stalled(JobReason::InvalidSpec, message),
        Phase::Ended(End::Failed(reason, message)) => Words::stalled(*reason, message),
        Phase::Ended(End::Complete) if total == 0 => {
            let message = "the source holds no item, so nothing was scored: check spec.source (prefix, suffixes, modifiedAfter, or the manifest's lines), then create another job";
            Words::at_rest(JobReason::Complete, message)
        }
        Phase::Ended(End::Complete) => {
            let others = [
                (items.failed, "failed: see status.failures"),
                (items.ignored, "are ignored by a rule"),
                (items.skipped, "were gone before their turn"),
                (items.below_threshold, "are below the threshold"),
            ];
            let scored = format!("{} of {total} items were scored", items.succeeded);
            let others = others.iter().filter(|(count, _)| *count > 0);
            let parts = [scored]
                .into_iter()
                .chain(others.map(|(count, what)| format!("{count} {what}")));
            let message = parts.collect::<Vec<_>>().join(", ");
            Words::at_rest(JobReason::Complete, message)
        }
    }
}
