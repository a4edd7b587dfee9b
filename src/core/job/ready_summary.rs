//! The Ready condition of a job: its reason, its message, and whether action is required. A message says what
//! happened and what to do, and changes only with the phase, error codes, or counts that status holds anyway.

use super::phase::{End, Phase};
use super::throughput::time_left;
use crate::api::{JobReason, JobSpec, JobStatus};
use crate::core::condition_builder::{ReadySummary, progressing, stalled};
use crate::core::text::counted;

/// Content of the Ready condition of a job.
pub(super) type JobReadySummary = ReadySummary<JobReason>;

/// Summarizes the phase of a job for its Ready condition; `status` holds the new counts.
pub(super) fn job_ready_summary(
    phase: &Phase,
    status: &JobStatus,
    spec: Option<&JobSpec>,
) -> JobReadySummary {
    type Summary = JobReadySummary;
    match phase {
        Phase::Waiting(message) | Phase::Unenforced(message, _) => {
            Summary::progressing(JobReason::WaitingForGrant, message)
        }
        Phase::Counting(_, so_far) => Summary::progressing(JobReason::CountingItems, counting(*so_far)),
        Phase::SourceUnreadable {
            message,
            stalled: true,
        } => Summary::stalled(JobReason::SourceUnreadable, message),
        Phase::SourceUnreadable {
            message,
            stalled: false,
        } => Summary::progressing(JobReason::SourceUnreadable, message),
        Phase::Scoring(per_second) => {
            Summary::progressing(JobReason::Scoring, scoring(status, spec, *per_second))
        }
        Phase::Queued(Some(limit)) => progressing!(
            JobReason::Pending,
            "Running jobs of this namespace: {limit}, the maximum; the job starts when one of them finishes"
        ),
        Phase::Queued(None) => Summary::progressing(
            JobReason::Pending,
            "The lists of the running jobs use all memory for lists: the job starts when one of them finishes; a job with a manifest needs none",
        ),
        Phase::Suspended => Summary::at_rest(
            JobReason::Suspended,
            "Suspended: set spec.suspend to false to resume",
        ),
        Phase::Denied(message) => Summary::stalled(JobReason::TenancyDenied, message),
        Phase::CredentialsFailed(error, message) if error.is_transient() => {
            Summary::progressing(JobReason::CredentialsUnavailable, message)
        }
        Phase::CredentialsFailed(_, message) => Summary::stalled(JobReason::CredentialsUnavailable, message),
        Phase::CredentialsRejected(error, whose) => stalled!(
            JobReason::CredentialsUnavailable,
            "IMM rejected the credentials of {whose} ({}): provide valid credentials; the job then resumes",
            error.code_and_request_id()
        ),
        Phase::OutOfBudget => Summary::at_rest(JobReason::BudgetExceeded, out_of_budget(status)),
        Phase::RestoredFromBackup => Summary::stalled(
            JobReason::RestoredFromBackup,
            "The object was restored from a backup, or its status was removed: remove annotation immops.dev/started to score, and be billed for, all items again",
        ),
        Phase::ResultsMissing(count) => stalled!(
            JobReason::ResultsMissing,
            "ImageScoreReports with {} are missing, and scoring them again would be billed: restore the reports, or cancel the job and create another one",
            counted(*count, "stored result")
        ),
        Phase::NotStarted(error) => stalled!(
            JobReason::NotStarted,
            "The API server rejects annotation immops.dev/started on this job ({error}), and no call is made without it: check admission policies and the permissions of the operator"
        ),
        Phase::Stalled(reason, message) => Summary::stalled(*reason, message),
        Phase::Invalid(message) => Summary::stalled(JobReason::InvalidSpec, message),
        Phase::Ended(End::Failed(reason, message)) => Summary::stalled(*reason, message),
        Phase::Ended(End::Complete) => Summary::at_rest(JobReason::Completed, completed(status)),
    }
}

/// The message of a job whose items are being counted.
pub(super) fn counting(so_far: i32) -> String {
    let so_far = if so_far > 0 {
        format!(" ({so_far} so far)")
    } else {
        String::new()
    };
    format!("Counting the items of the source{so_far}; billed calls start afterwards")
}

fn scoring(status: &JobStatus, spec: Option<&JobSpec>, per_second: u32) -> String {
    let items = status.items.clone().unwrap_or_default();
    let scored = format!("{}/{} scored", items.succeeded, items.total);
    let others = [
        (items.failed, "failed"),
        (items.ignored, "ignored"),
        (items.skipped, "skipped"),
    ];
    let sent = status.requests.as_ref().map_or(0, |requests| requests.sent);
    let requests = match spec.and_then(|spec| spec.budget.as_ref()) {
        Some(budget) => format!("; {sent} of {} used", counted(budget.max_requests, "request")),
        None if sent > 0 => format!("; {} sent", counted(sent, "request")),
        None => String::new(),
    };
    let speed = time_left(items.pending.saturating_add(items.active), per_second);
    let speed = speed.map_or_else(String::new, |left| {
        format!(", {per_second} items/s, about {left} left")
    });
    with_counts(scored, &others) + &speed + &requests
}

/// Appends the counts that are not zero.
fn with_counts(first: String, counts: &[(i32, &str)]) -> String {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let parts = counts.map(|(count, what)| format!("{count} {what}"));
    let parts: Vec<String> = std::iter::once(first).chain(parts).collect();
    parts.join(", ")
}

/// Says how many requests a job used up, and how many it needs.
pub(super) fn out_of_budget(status: &JobStatus) -> String {
    let items = status.items.clone().unwrap_or_default();
    let sent = status.requests.as_ref().map_or(0, |requests| requests.sent);
    let left = items.pending.saturating_add(items.active);
    format!(
        "Budget of {} used up with {} left: set budget.maxRequests to at least {}",
        counted(sent, "request"),
        counted(left, "item"),
        sent.saturating_add(i64::from(left))
    )
}

fn completed(status: &JobStatus) -> String {
    let items = status.items.clone().unwrap_or_default();
    let total = items.total;
    if total == 0 {
        return "The source has no items: check spec.source (prefix, suffixes, modifiedAfter, or the lines of the manifest), then create another job".to_owned();
    }
    let others = [
        (items.failed, "failed: see status.failures"),
        (items.ignored, "ignored by a failure rule"),
        (
            items.skipped,
            "skipped: the object was deleted or replaced, or is empty, too large or archived",
        ),
        (items.below_threshold, "below the threshold"),
    ];
    with_counts(
        format!("{} of {} scored", items.succeeded, counted(total, "item")),
        &others,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_count_of_the_items_so_far_is_shown_once_there_is_one() {
        assert!(counting(0).starts_with("Counting the items of the source; "));
        assert!(counting(7).starts_with("Counting the items of the source (7 so far); "));
    }

    #[test]
    fn a_running_job_reports_its_speed_and_the_counts_that_are_not_zero() {
        let mut status = JobStatus {
            items: serde_json::from_value(json!({
                "total": 10, "succeeded": 4, "failed": 1, "ignored": 0, "skipped": 2,
                "belowThreshold": 0, "active": 1, "pending": 2,
            }))
            .unwrap(),
            ..JobStatus::default()
        };
        assert_eq!(scoring(&status, None, 0), "4/10 scored, 1 failed, 2 skipped");
        status.requests.get_or_insert_default().sent = 7;
        assert_eq!(
            scoring(&status, None, 3),
            "4/10 scored, 1 failed, 2 skipped, 3 items/s, about 1 s left; 7 requests sent"
        );
    }

    #[test]
    fn a_complete_job_reports_what_became_of_its_items() {
        let message = |items: serde_json::Value| {
            let mut fields = json!({
                "total": 0, "succeeded": 0, "failed": 0, "ignored": 0, "skipped": 0, "belowThreshold": 0, "active": 0,
                "pending": 0,
            });
            fields
                .as_object_mut()
                .unwrap()
                .extend(items.as_object().unwrap().clone());
            completed(&JobStatus {
                items: serde_json::from_value(fields).unwrap(),
                ..JobStatus::default()
            })
        };
        assert!(message(json!({})).starts_with("The source has no items: check spec.source"));
        assert_eq!(message(json!({"total": 1, "succeeded": 1})), "1 of 1 item scored");
        assert_eq!(
            message(json!({"total": 9, "succeeded": 4, "failed": 3, "ignored": 2, "belowThreshold": 1})),
            "4 of 9 items scored, 3 failed: see status.failures, 2 ignored by a failure rule, 1 below the threshold"
        );
        let skipped = message(json!({"total": 9, "succeeded": 8, "skipped": 1}));
        assert!(
            skipped.starts_with("8 of 9 items scored, 1 skipped: "),
            "{skipped}"
        );
    }

    #[test]
    fn a_job_without_budget_says_how_many_requests_it_needs() {
        let status = JobStatus {
            items: serde_json::from_value(json!({
                "total": 9, "succeeded": 4, "failed": 0, "ignored": 0, "skipped": 0, "belowThreshold": 0, "active": 2,
                "pending": 3,
            }))
            .unwrap(),
            requests: serde_json::from_value(json!({"sent": 4})).unwrap(),
            ..JobStatus::default()
        };
        assert_eq!(
            out_of_budget(&status),
            "Budget of 4 requests used up with 5 items left: set budget.maxRequests to at least 9"
        );
    }
}
