//! The limits of a job: how many calls it may make, and how many items may fail or be below the threshold.

use super::Progress;
use super::phase::{End, allowed_count};
use crate::api::{JobReason, JobSpec, OnBelow, Thresholds};
use crate::core::text::counted;

/// How many calls a job may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// At the same time.
    pub at_once: usize,
    /// In all; `None` without a budget.
    pub budget: Option<i64>,
}

impl CallLimits {
    /// Returns the limits that the spec sets.
    pub fn of(spec: &JobSpec) -> Self {
        let parallelism = spec.parallelism.and_then(|number| usize::try_from(number).ok());
        Self {
            at_once: parallelism.unwrap_or(usize::MAX),
            budget: spec.budget.as_ref().map(|budget| budget.max_requests),
        }
    }
}

/// Evaluates the limits of a job: it fails as soon as more items failed, or are below the threshold, than the spec
/// allows.
pub fn evaluate_limits(progress: &Progress, spec: &JobSpec) -> End {
    let (totals, total) = (&progress.stats, progress.total());
    if let Some(code) = &totals.fatal {
        let message = format!(
            "An item failed with {code}, for which failureRules fails the job: see status.failures, then create another job"
        );
        return End::Failed(JobReason::FailureRule, message);
    }
    if let Some((refused, code)) = progress.first_calls_refused() {
        let message = format!(
            "The first {refused} calls were refused with {code}, and no image has a score: correct what the code names, or list the code in failureRules if it concerns single images; then create another job"
        );
        return End::Failed(JobReason::FirstCallsRefused, message);
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
            "{failed} of {} failed{}, and maxFailedItems allows {limit}: see status.failures, then create another job without those images or with a higher maxFailedItems",
            counted(total, "item"),
            totals.most_frequent_failure(&progress.rules)
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
                "{}: check those images, or create another job with a lower minScore or a higher maxBelow",
                scores_below(thresholds, totals.below, total)
            );
            return End::Failed(JobReason::BelowThreshold, message);
        }
    }
    End::Complete
}

/// Says how many of all items have a score below the threshold, and how many may have one.
pub(super) fn scores_below(thresholds: &Thresholds, below: usize, total: usize) -> String {
    format!(
        "Scores below {}: {below} of {}, and thresholds.maxBelow allows {}",
        thresholds.min_score,
        counted(total, "item"),
        allowed_count(&thresholds.max_below, total)
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::JobStatus;
    use crate::core::job::{resume_progress, spec_with};

    #[test]
    fn a_spec_without_limits_allows_any_number_of_calls() {
        let limits = |more: &Value| {
            let mut fields = json!({"source": {"uris": ["oss://pics/a.jpg"]}});
            fields
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let CallLimits { at_once, budget } = CallLimits::of(&spec_with(&fields));
            (at_once, budget)
        };
        assert_eq!(limits(&json!({})), (usize::MAX, None));
        let both = json!({"parallelism": 7, "budget": {"maxRequests": 40}});
        assert_eq!(limits(&both), (7, Some(40)));
        assert_eq!(limits(&json!({"parallelism": -1})), (usize::MAX, None));
    }

    #[test]
    fn a_job_fails_beyond_the_failures_and_the_low_scores_that_it_allows() {
        let low = |action: &str| json!({"minScore": "0.5", "maxBelow": 1, "onBelow": action});
        for (action, counts, expected) in [
            ("FailJob", (1, 0, 1), None),
            ("FailJob", (2, 0, 0), Some(JobReason::MaxFailedItems)),
            ("FailJob", (2, 1, 0), Some(JobReason::MaxFailedItems)),
            ("FailJob", (2, 2, 0), Some(JobReason::BackoffLimitExceeded)),
            ("FailJob", (0, 0, 2), Some(JobReason::BelowThreshold)),
            ("Report", (0, 0, 2), None),
        ] {
            let spec = spec_with(&json!({
                "source": {"prefix": {"bucket": "pics"}}, "thresholds": low(action), "maxFailedItems": 1,
            }));
            let status = JobStatus::default();
            let mut progress = resume_progress(&spec, &status, (10, true), Timestamp::UNIX_EPOCH, "uid");
            (progress.stats.failed, progress.exhausted, progress.stats.below) = counts;
            let found = match evaluate_limits(&progress, &spec) {
                End::Failed(reason, _) => Some(reason),
                End::Complete => None,
            };
            assert_eq!(found, expected, "{action} {counts:?}");
        }
    }

    #[test]
    fn too_many_failures_name_the_most_frequent_code() {
        let spec = spec_with(&json!({"source": {"uris": ["oss://pics/a.jpg"]}}));
        let status = JobStatus::default();
        let mut progress = resume_progress(&spec, &status, (1, true), Timestamp::UNIX_EPOCH, "uid");
        let result = json!({"index": 0, "uri": "oss://pics/a.jpg", "code": "ResourceNotFound"});
        let result = serde_json::from_value(result).unwrap();
        progress.stats.add(&progress.rules, &result);
        let End::Failed(_, message) = evaluate_limits(&progress, &spec) else {
            panic!("no item may fail");
        };
        let expected = "1 of 1 item failed with ResourceNotFound, and maxFailedItems allows 0: ";
        assert!(message.starts_with(expected), "{message}");
    }
}
