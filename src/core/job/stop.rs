//! Why a run stops.

use k8s_openapi::jiff::Timestamp;

use super::delays::is_past_deadline;
use super::{End, JobObject, Phase, Progress, cancelled, evaluate_limits};
use crate::api::JobSpec;
use crate::core::error::{CloudError, KubeError};

/// Reason why a run stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// All items are done, or more items failed than the spec allows.
    LimitsReached,
    /// The job ends.
    Finished(End),
    /// The project does not exist.
    NoProject {
        /// Whether no call of this run has returned a score yet.
        canary: bool,
        /// The failure.
        error: CloudError,
    },
    /// The images are in another region than the project.
    OtherRegion(CloudError),
    /// The cloud rejects the time of the requests.
    ClockSkew(CloudError),
    /// A permission is missing.
    Denied {
        /// Whether no call of this run has returned a score yet.
        canary: bool,
        /// The failure.
        error: CloudError,
    },
    /// The credentials of a call are rejected.
    CredentialsRejected(CloudError),
    /// The budget is used up.
    OutOfBudget,
    /// The source cannot be read any further.
    Source(CloudError),
    /// The job cannot continue now; the phase says why.
    Blocked(Phase),
    /// A precondition may have changed: the next reconcile checks it.
    Reevaluate,
    /// The started annotation cannot be added.
    NotStarted(KubeError),
    /// The process ends.
    ShuttingDown,
    /// The stored state is not the state that this run knows.
    Superseded,
    /// The object is deleted.
    Gone,
}

/// Returns why a run has to stop before its next call; `None` if it may continue.
pub fn stop_condition(
    job: &JobObject,
    spec: &JobSpec,
    progress: &Progress,
    now: Timestamp,
) -> Option<StopReason> {
    if evaluate_limits(progress, spec) != End::Complete {
        Some(StopReason::LimitsReached)
    } else if spec.cancel {
        // The cancellation is final, even if `spec.cancel` is reset while calls are in flight.
        Some(StopReason::Finished(cancelled()))
    } else if is_past_deadline(job, spec, now) || spec.suspend {
        Some(StopReason::Reevaluate)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::JobStatus;
    use crate::core::job::{resume_progress, spec_with};

    #[test]
    fn a_run_stops_when_too_many_items_failed_or_the_job_is_cancelled_or_suspended() {
        let now = Timestamp::UNIX_EPOCH;
        let stop = |more: &Value, failed: usize| {
            let mut fields = json!({"source": {"uris": ["oss://pics/a.jpg"]}});
            fields
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let spec = spec_with(&fields);
            let mut progress = resume_progress(&spec, &JobStatus::default(), (1, true), now, "uid");
            progress.stats.failed = failed;
            let job = JobObject::bare("media", "one", Ok(spec.clone()));
            stop_condition(&job, &spec, &progress, now)
        };
        assert_eq!(stop(&json!({}), 0), None);
        assert_eq!(
            stop(&json!({"maxFailedItems": 0, "cancel": true}), 1),
            Some(StopReason::LimitsReached)
        );
        let cancelled = StopReason::Finished(cancelled());
        assert_eq!(
            stop(&json!({"cancel": true, "suspend": true}), 0),
            Some(cancelled)
        );
        assert_eq!(stop(&json!({"suspend": true}), 0), Some(StopReason::Reevaluate));
        assert_eq!(
            stop(&json!({"activeDeadlineSeconds": 0}), 0),
            Some(StopReason::Reevaluate)
        );
    }
}
