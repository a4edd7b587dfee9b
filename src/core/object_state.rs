//! The state of an object as its status shows it: for the metrics, and for whether a finished job needs more work.

use crate::api::JobReason;

/// A condition without its time and its message.
#[derive(Clone, Copy, Debug)]
pub struct ShownCondition<'a> {
    /// Type.
    pub kind: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    /// Reason.
    pub reason: &'a str,
}

/// Returns the strongest condition of an object, and the reason of Ready. The reason is one of `known`: labels are
/// closed sets, whatever a status holds.
pub fn state_and_reason(
    conditions: &[ShownCondition<'_>],
    mut known: impl Iterator<Item = &'static str>,
) -> (&'static str, &'static str) {
    let is = |of: &str, status: &str| conditions.iter().any(|c| c.kind == of && c.status == status);
    let state = ["Failed", "Stalled", "Reconciling"]
        .into_iter()
        .find(|state| is(state, "True"));
    let state = state.or(is("Effective", "False").then_some("Ineffective"));
    match conditions.iter().find(|c| c.kind == "Ready") {
        Some(ready) => (
            state.unwrap_or("Current"),
            known.find(|reason| *reason == ready.reason).unwrap_or("Other"),
        ),
        None => (state.unwrap_or("Reconciling"), "Unreconciled"),
    }
}

/// Whether a job in this state scores, so that it is to show progress.
pub fn shows_progress(state: &str, reason: &str) -> bool {
    state == "Reconciling" && reason == JobReason::Scoring.as_str()
}

/// Stage of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// The job has not finished.
    Active,
    /// The job has finished, and work may be left: an edit to acknowledge, or results to remove.
    Finished,
    /// The job has finished, and no work is left.
    AtRest,
}

/// What a job shows about its stage.
#[derive(Clone, Copy, Debug)]
pub struct JobStage<'a> {
    /// Whether the status has a time of completion.
    pub completed: bool,
    /// Whether the status acknowledges the generation of the spec.
    pub acknowledged: bool,
    /// Which results are kept; `None` without a choice.
    pub select: Option<&'a str>,
    /// Whether the results of the finished job expire.
    pub expires: bool,
}

impl JobStage<'_> {
    /// Returns the stage. A finished job is at rest if its generation is acknowledged, and its results do not change
    /// any more.
    pub fn state(self) -> JobState {
        let kept = self.select.is_none_or(|select| select == "All");
        if !self.completed {
            JobState::Active
        } else if kept && !self.expires && self.acknowledged {
            JobState::AtRest
        } else {
            JobState::Finished
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_an_object_is_its_strongest_condition() {
        let shown = |conditions: &[(&'static str, &'static str)], reason: &'static str| {
            let conditions = conditions
                .iter()
                .map(|(kind, status)| ShownCondition { kind, status, reason });
            state_and_reason(&conditions.collect::<Vec<_>>(), ["AccessDenied"].into_iter())
        };
        let (ready, stalled) = (("Ready", "False"), ("Stalled", "True"));
        for (conditions, state) in [
            (vec![ready], "Current"),
            (vec![ready, ("Stalled", "False")], "Current"),
            (vec![ready, ("Effective", "Unknown")], "Current"),
            (vec![ready, ("Effective", "False")], "Ineffective"),
            (vec![ready, ("Reconciling", "True")], "Reconciling"),
            (vec![ready, stalled], "Stalled"),
            (vec![stalled, ready, ("Failed", "True")], "Failed"),
        ] {
            let found = shown(&conditions, "AccessDenied");
            assert_eq!(found, (state, "AccessDenied"), "{conditions:?}");
        }
        assert_eq!(shown(&[], "AccessDenied"), ("Reconciling", "Unreconciled"));
        assert_eq!(shown(&[("Ready", "True")], "Invented"), ("Current", "Other"));
    }

    #[test]
    fn a_job_that_scores_shows_progress() {
        let scoring = JobReason::Scoring.as_str();
        assert!(shows_progress("Reconciling", scoring));
        assert!(!shows_progress("Current", scoring));
        assert!(!shows_progress("Reconciling", JobReason::Suspended.as_str()));
    }

    #[test]
    fn a_finished_job_is_at_rest_if_nothing_of_it_can_change() {
        let rest = JobStage {
            completed: true,
            acknowledged: true,
            select: None,
            expires: false,
        };
        let all = JobStage {
            select: Some("All"),
            ..rest
        };
        let failures = JobStage {
            select: Some("Failures"),
            ..rest
        };
        let edited = JobStage {
            acknowledged: false,
            ..rest
        };
        let expires = JobStage {
            expires: true,
            ..rest
        };
        for stage in [rest, all] {
            assert_eq!(stage.state(), JobState::AtRest);
        }
        for stage in [failures, edited, expires] {
            assert_eq!(stage.state(), JobState::Finished);
        }
        let active = JobStage {
            completed: false,
            ..rest
        };
        assert_eq!(active.state(), JobState::Active);
    }
}
