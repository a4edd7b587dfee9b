//! Until when a job may run, and whether its budget is used up.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::JobObject;
use crate::api::{Budget, JobSpec, OnExceeded, SuspendCause};
use crate::core::grant::GrantObject;
use crate::core::time;

/// Returns the deadline of a job; `None` without `activeDeadlineSeconds`, and while the job is finished, suspended or
/// out of budget. The time of a job that is new or resumes starts now.
pub fn active_deadline(job: &JobObject, spec: &JobSpec, now: Timestamp) -> Option<Timestamp> {
    let rests = spec.suspend || job.is_finished() || budget_is_exhausted(job, spec);
    let seconds = spec.active_deadline_seconds.filter(|_| !rests)?;
    let paused = job.status.suspended_by.is_some();
    let since = job.status.active_since.as_ref().filter(|_| !paused);
    let since = since.map_or(now, |time| time.0);
    Some(time::after(since, SignedDuration::from_secs(seconds)))
}

/// Whether OSS has confirmed that the images are in the region of the project: by the facts of the grant's bucket, or by
/// listing the prefix at the endpoint of that region.
pub fn is_region_known(spec: &JobSpec, grant: Option<&GrantObject>) -> bool {
    let observed = grant.and_then(|g| g.status.bucket.as_ref()?.region.as_ref());
    spec.source.prefix.is_some() || observed == Some(&spec.project.region)
}

/// Whether the job is suspended because its budget is used up, and the budget has not been raised.
pub fn budget_is_exhausted(job: &JobObject, spec: &JobSpec) -> bool {
    let sent = job.status.requests.as_ref().map_or(0, |requests| requests.sent);
    let used = |budget: &Budget| budget.on_exceeded == OnExceeded::Suspend && sent >= budget.max_requests;
    job.status.suspended_by == Some(SuspendCause::BudgetUsed) && spec.budget.as_ref().is_some_and(used)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::api::Requests;
    use crate::core::job::spec_with;

    fn job(spec: &JobSpec) -> JobObject {
        JobObject::bare("media", "scores", Ok(spec.clone()))
    }

    fn spec(more: &serde_json::Value) -> JobSpec {
        let mut fields = json!({"source": {"uris": ["oss://pics/a.jpg"]}});
        let more = more.as_object().unwrap().clone();
        fields.as_object_mut().unwrap().extend(more);
        spec_with(&fields)
    }

    #[test]
    fn the_time_of_a_job_runs_from_its_start_and_not_while_it_rests() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let limited = spec(&json!({"activeDeadlineSeconds": 60}));
        let in_seconds = |n: i64| Some(now + SignedDuration::from_secs(n));
        let mut job = job(&limited);
        assert_eq!(active_deadline(&job, &spec(&json!({})), now), None);
        assert_eq!(active_deadline(&job, &limited, now), in_seconds(60));
        job.status.active_since = Some(Time(now - SignedDuration::from_secs(20)));
        assert_eq!(active_deadline(&job, &limited, now), in_seconds(40));
        let suspended = spec(&json!({"activeDeadlineSeconds": 60, "suspend": true}));
        assert_eq!(active_deadline(&job, &suspended, now), None);
        job.status.suspended_by = Some(SuspendCause::Requested);
        assert_eq!(
            active_deadline(&job, &limited, now),
            in_seconds(60),
            "it resumes now"
        );
        job.status.completion_time = Some(Time(now));
        assert_eq!(active_deadline(&job, &limited, now), None);
    }

    #[test]
    fn a_raised_budget_continues_a_job_that_had_used_it() {
        let budget =
            |requests: i64| spec(&json!({"budget": {"maxRequests": requests, "onExceeded": "Suspend"}}));
        let mut job = job(&budget(10));
        job.status.requests = Some(Requests {
            sent: 10,
            ..Requests::default()
        });
        assert!(!budget_is_exhausted(&job, &budget(10)), "the run decides first");
        job.status.suspended_by = Some(SuspendCause::BudgetUsed);
        assert!(budget_is_exhausted(&job, &budget(10)));
        assert!(!budget_is_exhausted(&job, &budget(11)));
        assert!(!budget_is_exhausted(&job, &spec(&json!({}))));
    }

    #[test]
    fn a_prefix_is_listed_in_the_region_of_the_project() {
        let listed = spec(&json!({}));
        assert!(!is_region_known(&listed, None));
        let prefix = spec(&json!({"source": {"prefix": {"bucket": "pics"}}}));
        assert!(is_region_known(&prefix, None));
    }
}
