//! How long a job waits for its grant.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::delays::RECHECK;
use super::ends::grant_timeout;
use super::{End, JobObject};
use crate::api::{ConditionStatus, JobCondition, JobSpec};
use crate::core::time;

/// The shortest delay before the grant is read again.
const SHORTEST: Duration = Duration::from_millis(50);

/// A wait for the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingTime {
    /// Whether the wait begins now.
    pub begins: bool,
    /// Time until the grant is read again.
    pub next: Duration,
}

/// Decides how long a job continues to wait. `until` is the end of the propagation delay of a live grant, during which
/// the job does not time out. `message` says what is missing.
///
/// # Errors
/// Returns the end of a job that has waited for `grantWait.timeoutSeconds`.
pub fn wait_for_grant(
    job: &JobObject,
    spec: &JobSpec,
    message: &str,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<WaitingTime, End> {
    let waits =
        |c: &&crate::api::Condition| c.is(JobCondition::GrantReady) && c.status == ConditionStatus::False;
    let since = job.status.conditions.iter().find(waits);
    let since = since.map(|condition| condition.last_transition_time.0);
    let timeout = SignedDuration::from_secs(i64::from(spec.grant_wait.timeout_seconds));
    let deadline = time::after(since.unwrap_or(now), timeout);
    if now >= deadline && until.is_none() {
        return Err(grant_timeout(spec, message));
    }
    let left = time::left_until(until.unwrap_or(deadline), now);
    Ok(WaitingTime {
        begins: since.is_none(),
        next: left.clamp(SHORTEST, RECHECK),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::JobReason;
    use crate::core::job::spec_with;

    #[test]
    fn a_job_waits_from_the_first_status_that_says_so_until_its_time_is_over() {
        let spec = spec_with(&json!({"source": {"uris": []}, "grantWait": {"timeoutSeconds": 90}}));
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let at = |seconds| time::after(start, SignedDuration::from_secs(seconds));
        let mut job = JobObject::bare("media", "one", Ok(spec.clone()));
        let wait = |job: &JobObject, until, now| {
            let found = wait_for_grant(job, &spec, "no grant", until, now);
            found.map(|wait| (wait.begins, wait.next.as_millis()))
        };
        assert_eq!(wait(&job, None, at(500)), Ok((true, 60_000)));
        let condition = json!({"type": "GrantReady", "status": "False", "reason": "WaitingForGrant", "message": "",
            "lastTransitionTime": start.to_string()});
        // Only the condition about the grant counts, and only while it says that the job waits.
        for (member, other) in [("type", "Allowed"), ("status", "True")] {
            let mut condition = condition.clone();
            condition[member] = json!(other);
            job.status.conditions = vec![serde_json::from_value(condition).unwrap()];
            assert_eq!(wait(&job, None, at(500)), Ok((true, 60_000)), "{other}");
        }
        job.status.conditions = vec![serde_json::from_value(condition).unwrap()];
        assert_eq!(wait(&job, None, at(10)), Ok((false, 60_000)));
        assert_eq!(wait(&job, None, at(70)), Ok((false, 20_000)));
        assert_eq!(wait(&job, None, at(89)), Ok((false, 1_000)));
        let End::Failed(reason, message) = wait(&job, None, at(90)).unwrap_err() else {
            panic!("the job has not completed");
        };
        assert_eq!(reason, JobReason::GrantTimeout);
        assert!(message.contains("(no grant)"), "{message}");
        assert_eq!(wait(&job, Some(at(95)), at(90)), Ok((false, 5_000)));
        assert_eq!(wait(&job, Some(at(90)), at(90)), Ok((false, 50)));
    }
}
