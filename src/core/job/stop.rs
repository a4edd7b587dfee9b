//! Why a run stops.

use super::{End, Phase, WriteResult};
use crate::core::error::{CloudError, KubeError};

/// Reason why a run stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// No further image is scored: all are done, or the limits of the spec or the answers so far end the job.
    NoMoreItems,
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

impl StopReason {
    /// Returns why a run stops after a store; `None` if it may continue.
    pub fn of_store(stored: WriteResult) -> Option<Self> {
        match stored {
            WriteResult::Stored | WriteResult::Retry | WriteResult::Refused => None,
            WriteResult::Gone => Some(Self::Gone),
            WriteResult::Superseded => Some(Self::Superseded),
        }
    }

    /// Returns why a run stops that could not add the started annotation.
    pub fn of_missing_annotation(error: KubeError) -> Self {
        if error == KubeError::Conflict {
            Self::Reevaluate
        } else {
            Self::NotStarted(error)
        }
    }

    /// Whether the results of the run can still be stored.
    pub fn allows_stores(&self) -> bool {
        !matches!(self, Self::Gone | Self::Superseded)
    }
}

impl From<Phase> for StopReason {
    /// The end of the job, or what it waits for.
    fn from(phase: Phase) -> Self {
        if let Phase::Ended(end) = phase {
            Self::Finished(end)
        } else {
            Self::Blocked(phase)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::job::{cancelled, namespace_unknown};

    #[test]
    fn a_run_stops_after_a_store_only_if_its_state_is_not_the_stored_one() {
        for (stored, reason) in [
            (WriteResult::Stored, None),
            (WriteResult::Retry, None),
            (WriteResult::Refused, None),
            (WriteResult::Gone, Some(StopReason::Gone)),
            (WriteResult::Superseded, Some(StopReason::Superseded)),
        ] {
            let found = StopReason::of_store(stored);
            assert!(found.as_ref().is_none_or(|reason| !reason.allows_stores()));
            assert_eq!(found, reason, "{stored:?}");
        }
        assert!(StopReason::OutOfBudget.allows_stores() && StopReason::ShuttingDown.allows_stores());
    }

    #[test]
    fn a_job_that_was_edited_before_its_first_call_is_evaluated_again() {
        let of = StopReason::of_missing_annotation;
        assert_eq!(of(KubeError::Conflict), StopReason::Reevaluate);
        assert_eq!(
            of(KubeError::Forbidden),
            StopReason::NotStarted(KubeError::Forbidden)
        );
    }

    #[test]
    fn the_phase_of_a_run_that_stops_is_its_end_or_what_it_waits_for() {
        let ended = StopReason::from(Phase::Ended(cancelled()));
        assert_eq!(ended, StopReason::Finished(cancelled()));
        let waits = namespace_unknown();
        assert_eq!(StopReason::from(waits.clone()), StopReason::Blocked(waits));
    }
}
