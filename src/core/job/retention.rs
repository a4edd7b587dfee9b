//! What happens to the results of a finished job: `results.select` leaves some out, and all are removed after their TTL.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{JobObject, MAX_REPORTS, ResultClassifier, WriteResult, build_report};
use crate::api::{ItemResult, JobCondition, JobReason, JobSpec, Report, Select};
use crate::core::requeue::Action;
use crate::core::time;

/// The delays before the time of the API server is compared again, while the clock of this machine is ahead of it.
const RECHECK_CLOCK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// What is due for a finished job.
#[derive(Clone, Debug, PartialEq)]
pub enum Retention {
    /// The results have expired at this time, by the clock of this machine.
    Expire(Timestamp),
    /// The reports still contain results that `results.select` leaves out.
    Select(Box<JobSpec>),
    /// Nothing but to acknowledge an edit.
    Keep,
}

/// Returns what is due for the results of a finished job.
pub fn retention(job: &JobObject, now: Timestamp) -> Retention {
    if let Some(expiry) = expires_at(job).filter(|time| *time <= now) {
        return Retention::Expire(expiry);
    }
    match needs_selection(job) {
        Some(spec) => Retention::Select(Box::new(spec.clone())),
        None => Retention::Keep,
    }
}

/// Returns when a job is due again after a write of its last status: at once to filter reports, at the expiry of its
/// results, or on a change; sooner if it is not stored.
pub fn after_end(stored: WriteResult, job: &JobObject, now: Timestamp) -> Action {
    match stored {
        WriteResult::Stored if needs_selection(job).is_some() => Action::Requeue(Duration::ZERO),
        WriteResult::Stored => expires_at(job).map_or(Action::AwaitChange, |expiry| {
            Action::Requeue(time::left_until(expiry, now))
        }),
        WriteResult::Gone => Action::AwaitChange,
        WriteResult::Retry | WriteResult::Refused | WriteResult::Superseded => {
            Action::Requeue(stored.retry_after())
        }
    }
}

/// Returns when to compare the times again; `None` if results that expire at `expiry` have expired by the time of the API
/// server. Removed results cannot be restored, so the clock of this machine alone does not decide.
pub fn left_by_server_time(expiry: Timestamp, server_time: Timestamp) -> Option<Action> {
    let (shortest, longest) = RECHECK_CLOCK;
    let left = time::left_until(expiry, server_time).clamp(shortest, longest);
    (expiry > server_time).then_some(Action::Requeue(left))
}

/// Returns when the results of a job expire; `None` when they are kept or already removed.
fn expires_at(job: &JobObject) -> Option<Timestamp> {
    let ttl = job.spec.as_ref().ok()?.results.ttl_seconds_after_finished?;
    let expired = JobReason::ResultsExpired.as_str();
    let mut conditions = job.status.conditions.iter();
    let removed = conditions.any(|c| c.is(JobCondition::ResultsStored) && c.reason == expired);
    let end = job.status.completion_time.as_ref().filter(|_| !removed)?;
    Some(time::after(end.0, SignedDuration::from_secs(ttl)))
}

/// Returns the spec if the reports still contain results that `results.select` leaves out; `None` otherwise.
fn needs_selection(job: &JobObject) -> Option<&JobSpec> {
    let spec = job.spec.as_ref().ok()?;
    let open = job.status.reports.is_some() && !job.status.results_pruned;
    (open && spec.results.select != Select::All).then_some(spec)
}

/// Returns a report of a job with the results that `results.select` keeps; `None` if it keeps all of them.
pub fn selected_report(job: &JobObject, spec: &JobSpec, stored: Report) -> Option<Report> {
    let (rules, before) = (ResultClassifier::of(spec), stored.results.len());
    let keeps = |result: &ItemResult| rules.keeps(spec.results.select, result);
    let kept: Vec<_> = stored.results.into_iter().filter(keeps).collect();
    let number = usize::try_from(stored.number).unwrap_or_default();
    (kept.len() < before).then(|| build_report(&job.key.name, number, &kept, stored.reserved))
}

/// Returns the numbers of the reports that the status counts and that no list contained.
pub fn unlisted_reports(job: &JobObject, listed: &BTreeSet<usize>) -> Vec<usize> {
    let counted = job.status.reports.as_ref().map_or(0, |reports| reports.count);
    let counted = usize::try_from(counted.min(MAX_REPORTS)).unwrap_or(0);
    (0..counted).filter(|number| !listed.contains(number)).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::api::ReportsSummary;
    use crate::core::job::spec_with;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A job that ended at second 100.
    fn ended(results: &serde_json::Value) -> JobObject {
        let spec = spec_with(&json!({"source": {"prefix": {"bucket": "pics"}}, "results": results}));
        let mut job = JobObject::bare("media", "one", Ok(spec));
        job.status.completion_time = Some(Time(at(100)));
        job
    }

    #[test]
    fn results_expire_once_after_their_ttl() {
        let mut job = ended(&json!({"ttlSecondsAfterFinished": 60}));
        assert_eq!(retention(&job, at(159)), Retention::Keep);
        assert_eq!(
            after_end(WriteResult::Stored, &job, at(159)),
            Action::Requeue(Duration::from_secs(1))
        );
        assert_eq!(retention(&job, at(160)), Retention::Expire(at(160)));
        let expired = json!({"type": "ResultsStored", "status": "False", "reason": "ResultsExpired", "message": "",
            "lastTransitionTime": "2026-10-01T09:58:11Z"});
        job.status.conditions = vec![serde_json::from_value(expired).unwrap()];
        assert_eq!(retention(&job, at(160)), Retention::Keep);
        assert_eq!(after_end(WriteResult::Stored, &job, at(160)), Action::AwaitChange);
        assert_eq!(
            after_end(WriteResult::Stored, &ended(&json!({})), at(160)),
            Action::AwaitChange
        );
        assert_eq!(after_end(WriteResult::Gone, &job, at(100)), Action::AwaitChange);
        for failed in [WriteResult::Retry, WriteResult::Refused, WriteResult::Superseded] {
            let retry = Action::Requeue(failed.retry_after());
            assert_eq!(after_end(failed, &job, at(100)), retry, "{failed:?}");
        }
    }

    #[test]
    fn the_time_of_the_api_server_decides_whether_results_have_expired() {
        assert_eq!(left_by_server_time(at(160), at(160)), None);
        let wait = |now| left_by_server_time(at(160), at(now));
        assert_eq!(wait(130), Some(Action::Requeue(Duration::from_secs(30))));
        assert_eq!(wait(-10_000), Some(Action::Requeue(Duration::from_secs(3600))));
    }

    #[test]
    fn reports_are_filtered_once_if_the_spec_leaves_results_out() {
        for (select, pruned, due) in [
            ("All", false, false),
            ("Failed", false, true),
            ("Failed", true, false),
        ] {
            let mut job = ended(&json!({"select": select}));
            assert_eq!(retention(&job, at(100)), Retention::Keep, "without reports");
            job.status.reports = Some(ReportsSummary::default());
            job.status.results_pruned = pruned;
            let found = matches!(retention(&job, at(100)), Retention::Select(_));
            assert_eq!(found, due, "{select} {pruned}");
            let at_once = after_end(WriteResult::Stored, &job, at(100)) == Action::Requeue(Duration::ZERO);
            assert_eq!(at_once, due, "{select} {pruned}");
        }
        let job = ended(&json!({"select": "Failed"}));
        let spec = job.spec.as_ref().unwrap();
        let results: Vec<ItemResult> = serde_json::from_value(json!([
            {"index": 0, "uri": "oss://pics/a.jpg", "score": "0.5"},
            {"index": 1, "uri": "oss://pics/b.jpg", "code": "InvalidImage"},
        ]))
        .unwrap();
        let stored = build_report("one", 3, &results, 7);
        let kept = selected_report(&job, spec, stored).unwrap();
        assert_eq!(kept, build_report("one", 3, &results[1..], 7));
        assert_eq!(selected_report(&job, spec, kept), None);
    }

    #[test]
    fn counted_reports_that_no_list_contained_are_looked_up_within_a_limit() {
        let mut job = ended(&json!({}));
        assert!(unlisted_reports(&job, &BTreeSet::new()).is_empty());
        let mut count = |count| {
            job.status.reports = Some(ReportsSummary {
                count,
                ..ReportsSummary::default()
            });
            unlisted_reports(&job, &BTreeSet::from([1]))
        };
        assert_eq!(count(3), [0, 2]);
        assert!(count(-1).is_empty());
        assert_eq!(count(i32::MAX).len(), 2_047);
    }
}
