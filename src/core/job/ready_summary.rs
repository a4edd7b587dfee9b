//! A job's Ready condition in words: why, and what to do next.

use super::status::{End, Phase};
use crate::api::{JobReason, JobStatus};
use crate::core::error::CredentialsError;

/// What the Ready condition says.
pub(super) struct JobReadySummary {
    pub(super) reason: JobReason,
    pub(super) message: String,
    /// Whether a person must act.
    pub(super) stalled: bool,
    pub(super) ready: bool,
}

impl JobReadySummary {
    fn progressing(reason: JobReason, message: impl Into<String>) -> Self {
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
            ..Self::progressing(reason, message)
        }
    }

    fn at_rest(reason: JobReason, message: impl Into<String>) -> Self {
        Self {
            ready: true,
            ..Self::progressing(reason, message)
        }
    }
}

pub(super) fn job_ready_summary(phase: &Phase, status: &JobStatus) -> JobReadySummary {
    let items = status.items.clone().unwrap_or_default();
    let total = items.total;
    match phase {
        Phase::Waiting(message) => JobReadySummary::progressing(JobReason::WaitingForGrant, message),
        Phase::Counting(_) => {
            let message = "the source is being counted; no paid call is made until it is";
            JobReadySummary::progressing(JobReason::CountingItems, message)
        }
        Phase::SourceUnreadable(message, true) => {
            JobReadySummary::stalled(JobReason::SourceUnreadable, message)
        }
        Phase::SourceUnreadable(message, false) => {
            JobReadySummary::progressing(JobReason::SourceUnreadable, message)
        }
        Phase::Scoring => {
            let done = total - items.pending - items.active;
            JobReadySummary::progressing(JobReason::Scoring, format!("{done} of {total} items are done"))
        }
        Phase::Queued(most) => {
            let message = format!(
                "{most} jobs of this namespace are running, the most at once: this one starts when one of them ends"
            );
            JobReadySummary::progressing(JobReason::Pending, message)
        }
        Phase::Suspended => {
            let message = "spec.suspend is true: set it to false to go on from here";
            JobReadySummary::at_rest(JobReason::Suspended, message)
        }
        Phase::Denied(message) => JobReadySummary::stalled(JobReason::TenancyDenied, message),
        Phase::CredentialsFailed(CredentialsError::Unavailable, message) => {
            JobReadySummary::progressing(JobReason::CredentialsUnavailable, message)
        }
        Phase::CredentialsFailed(_, message) => {
            JobReadySummary::stalled(JobReason::CredentialsUnavailable, message)
        }
        Phase::CredentialsRejected(error, whose) => {
            let reference = error.code_and_request_id();
            let message = format!(
                "IMM refused the keys of {whose} ({reference}): give it valid ones, the job then goes on"
            );
            JobReadySummary::stalled(JobReason::CredentialsUnavailable, message)
        }
        Phase::OutOfBudget => {
            let message = "budget.maxRequests is used up: raise it to go on";
            JobReadySummary::at_rest(JobReason::BudgetExceeded, message)
        }
        Phase::RestoredFromBackup => {
            let message = "the object was restored from a backup without its results: remove annotation immops.dev/started to score and pay again";
            JobReadySummary::stalled(JobReason::RestoredWithoutStatus, message)
        }
        Phase::ResultsMissing(count) => {
            let message = format!(
                "{count} stored results are gone with their ImageScoreReports, and are not paid for again unasked: restore the reports, or cancel the job and create another one"
            );
            JobReadySummary::stalled(JobReason::ResultsMissing, message)
        }
        Phase::Stalled(reason, message) => JobReadySummary::stalled(*reason, message),
        Phase::Invalid(message) => JobReadySummary::stalled(JobReason::InvalidSpec, message),
        Phase::Ended(End::Failed(reason, message)) => JobReadySummary::stalled(*reason, message),
        Phase::Ended(End::Complete) if total == 0 => {
            let message = "the source holds no item, so nothing was scored: check spec.source (prefix, suffixes, modifiedAfter, or the manifest's lines), then create another job";
            JobReadySummary::at_rest(JobReason::Complete, message)
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
            JobReadySummary::at_rest(JobReason::Complete, message)
        }
    }
}
