//! What keeps a job from running, apart from the tenancy rules and its grant.

use k8s_openapi::jiff::Timestamp;

use super::delays::is_past_deadline;
use super::ends::deadline_exceeded;
use super::{End, JobObject, Phase, budget_is_exhausted, cancelled};
use crate::api::JobSpec;

/// Why a job makes no further call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The record of its billed requests is lost.
    Restored,
    /// It ends.
    Ends(End),
}

/// Returns why a job makes no further call, whatever an earlier process has stored; `None` if it may continue.
pub fn final_obstacle(job: &JobObject, spec: &JobSpec, now: Timestamp) -> Option<Obstacle> {
    if job.is_restored() {
        Some(Obstacle::Restored)
    } else if spec.cancel {
        Some(Obstacle::Ends(cancelled()))
    } else if is_past_deadline(job, spec, now) {
        Some(Obstacle::Ends(deadline_exceeded(spec)))
    } else {
        None
    }
}

/// Returns the phase of a job that rests until it is edited; `None` if it may continue.
pub fn resting_phase(job: &JobObject, spec: &JobSpec) -> Option<Phase> {
    if spec.suspend {
        Some(Phase::Suspended)
    } else if budget_is_exhausted(job, spec) {
        Some(Phase::OutOfBudget)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{JobReason, Requests, SuspendCause};
    use crate::core::job::spec_with;

    fn job(more: &Value) -> (JobObject, JobSpec) {
        let mut fields = json!({"source": {"uris": ["oss://pics/a.jpg"]}});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let spec = spec_with(&fields);
        (JobObject::bare("media", "one", Ok(spec.clone())), spec)
    }

    #[test]
    fn a_restored_object_comes_before_cancellation_and_that_before_the_deadline() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let (mut job, mut spec) = job(&json!({"activeDeadlineSeconds": 60, "cancel": true}));
        let reason = |job: &JobObject, spec: &JobSpec| match final_obstacle(job, spec, now) {
            Some(Obstacle::Ends(End::Failed(reason, _))) => Some(reason),
            Some(Obstacle::Ends(End::Complete)) => panic!("it has not completed"),
            Some(Obstacle::Restored) | None => None,
        };
        job.status.active_since = Some(Time(Timestamp::from_second(1_789_999_940).unwrap()));
        assert_eq!(reason(&job, &spec), Some(JobReason::Cancelled));
        spec.cancel = false;
        assert_eq!(reason(&job, &spec), Some(JobReason::DeadlineExceeded));
        job.status.active_since = Some(Time(now));
        assert_eq!(final_obstacle(&job, &spec, now), None);
        spec.cancel = true;
        job.started = Some("another".to_owned());
        assert_eq!(final_obstacle(&job, &spec, now), Some(Obstacle::Restored));
    }

    #[test]
    fn a_suspended_job_rests_and_so_does_one_without_budget() {
        let budget = json!({"budget": {"maxRequests": 10, "onExceeded": "Suspend"}});
        let (mut job, mut spec) = job(&budget);
        assert_eq!(resting_phase(&job, &spec), None);
        job.status.suspended_by = Some(SuspendCause::BudgetUsed);
        job.status.requests = Some(Requests {
            sent: 10,
            ..Requests::default()
        });
        assert_eq!(resting_phase(&job, &spec), Some(Phase::OutOfBudget));
        spec.suspend = true;
        assert_eq!(resting_phase(&job, &spec), Some(Phase::Suspended));
    }
}
