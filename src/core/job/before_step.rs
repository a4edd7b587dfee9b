//! Whether a run may take its next step, stops or waits first.

use k8s_openapi::jiff::Timestamp;

use super::delays::is_past_deadline;
use super::{End, JobObject, Progress, StopReason, cancelled, evaluate_limits};
use crate::api::JobSpec;

/// Returns why a run has to stop before its next call; `None` if it may continue.
pub fn stop_condition(
    job: &JobObject,
    spec: &JobSpec,
    progress: &Progress,
    now: Timestamp,
) -> Option<StopReason> {
    if evaluate_limits(progress, spec) != End::Complete {
        Some(StopReason::NoMoreItems)
    } else if spec.cancel {
        // The cancellation is final, even if `spec.cancel` is reset while calls are in flight.
        Some(StopReason::Finished(cancelled()))
    } else if is_past_deadline(job, spec, now) || spec.suspend {
        Some(StopReason::Reevaluate)
    } else {
        None
    }
}

/// What a run knows of its surroundings before a step.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// Whether the object and the grant have to be read again once the store in flight is done.
    pub refresh_follows_store: bool,
    /// Whether the run has asked for the limits of the project before its canary call.
    pub awaits_limits: bool,
    /// Whether the limits of the project are known, or cannot be read.
    pub limits_known: bool,
    /// The end of a job whose grant names another role than the project uses.
    pub other_role: Option<StopReason>,
}

/// What a run does before its next step.
#[derive(Debug, PartialEq, Eq)]
pub enum BeforeStep {
    /// It stops.
    Stop(StopReason),
    /// It waits for an event.
    Wait,
    /// Nothing.
    Ready,
}

/// Decides whether a run may take its next step. A canary call waits for the limits of the project, which may show
/// that the call would fail.
pub fn before_step(progress: &Progress, facts: RunFacts) -> BeforeStep {
    // A run without open items makes no call, and so does not ask for the limits.
    let before_canary = !progress.canary_passed() && progress.has_open_items();
    if facts.awaits_limits || (before_canary && !facts.limits_known) {
        return BeforeStep::Wait;
    }
    match facts.other_role.filter(|_| before_canary) {
        Some(reason) => BeforeStep::Stop(reason),
        // A due refresh comes before the next call.
        None if facts.refresh_follows_store => BeforeStep::Wait,
        None => BeforeStep::Ready,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::JobStatus;
    use crate::core::job::{add_listed, apply_response, resume_progress, spec_with};

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
            Some(StopReason::NoMoreItems)
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

    /// A job with two images, whose canary call has passed if `scored`.
    fn job_with_open_items(scored: bool) -> Progress {
        let now = Timestamp::UNIX_EPOCH;
        let uris = ["oss://pics/a.jpg".to_owned(), "oss://pics/b.jpg".to_owned()];
        let spec = spec_with(&json!({"source": {"uris": uris}}));
        let mut progress = resume_progress(&spec, &JobStatus::default(), (2, true), now, "uid");
        add_listed(&mut progress, &uris);
        if scored {
            progress.reserve(1, None);
            progress.persisted();
            progress.take_next(now).unwrap();
            apply_response(&mut progress, 0, Ok("0.5".to_owned()), now);
        }
        progress
    }

    #[test]
    fn a_run_waits_for_the_limits_before_its_canary_call_and_for_a_store_before_a_refresh() {
        let facts = RunFacts {
            refresh_follows_store: false,
            awaits_limits: false,
            limits_known: true,
            other_role: None,
        };
        let other = Some(StopReason::Finished(cancelled()));
        let role = |other_role| RunFacts {
            other_role,
            ..facts.clone()
        };
        let unknown = RunFacts {
            limits_known: false,
            ..facts.clone()
        };
        let asked = RunFacts {
            awaits_limits: true,
            ..role(other.clone())
        };
        let storing = RunFacts {
            refresh_follows_store: true,
            ..facts.clone()
        };
        let stops = BeforeStep::Stop(StopReason::Finished(cancelled()));
        for (scored, facts, next) in [
            (false, facts.clone(), BeforeStep::Ready),
            (false, unknown.clone(), BeforeStep::Wait),
            (true, unknown, BeforeStep::Ready),
            (false, asked.clone(), BeforeStep::Wait),
            (true, asked, BeforeStep::Wait),
            (false, role(other.clone()), stops),
            (true, role(other), BeforeStep::Ready),
            (true, storing, BeforeStep::Wait),
        ] {
            let shown = format!("{scored} {facts:?}");
            assert_eq!(before_step(&job_with_open_items(scored), facts), next, "{shown}");
        }
    }

    #[test]
    fn a_run_without_open_items_needs_no_limits() {
        let (spec, now) = (spec_with(&json!({"source": {"uris": []}})), Timestamp::UNIX_EPOCH);
        let mut progress = resume_progress(&spec, &JobStatus::default(), (0, true), now, "uid");
        add_listed(&mut progress, &[]);
        let facts = RunFacts {
            refresh_follows_store: false,
            awaits_limits: false,
            limits_known: false,
            other_role: Some(StopReason::Finished(cancelled())),
        };
        assert_eq!(before_step(&progress, facts), BeforeStep::Ready);
    }
}
