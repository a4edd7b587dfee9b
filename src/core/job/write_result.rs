//! Results of writing the state of a job, and what follows from a write that failed.

use std::ops::ControlFlow;
use std::time::Duration;

use super::JobObject;
use super::delays::{REREAD_AFTER, RETRY_REFUSED};
use crate::api::JobStatus;
use crate::core::error::KubeError;
use crate::core::requeue::{self, Action};

/// Failures after which a write is left to the next reconcile if no run holds results: a worker must not wait for an API
/// server, or for a status that it rejects, on behalf of a job that runs nothing.
const GIVE_UP_AFTER: u32 = 3;
/// Failures up to which the status of a phase is built again for an object that was edited meanwhile.
const BUILD_AGAIN_UP_TO: u32 = 5;
/// Delay before a write is retried during shutdown, which leaves little time.
const RETRY_WHILE_STOPPING: Duration = Duration::from_millis(200);

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// The state is stored.
    Stored,
    /// The write failed and can be retried.
    Retry,
    /// The API server rejects the status as it is.
    Refused,
    /// The object is deleted or being deleted.
    Gone,
    /// The stored state is not the state known here: another client wrote it, or a late write of an earlier process
    /// took effect. A new reconcile reads it.
    Superseded,
}

impl WriteResult {
    /// Returns the result of a write that failed. A conflict that nobody has looked into is tried again.
    pub fn of(error: KubeError) -> Self {
        match error {
            KubeError::NotFound => Self::Gone,
            KubeError::Conflict | KubeError::Forbidden | KubeError::Invalid | KubeError::Unavailable => {
                if error.is_final() {
                    Self::Refused
                } else {
                    Self::Retry
                }
            }
        }
    }

    /// Delay before a job is reconciled again whose state is not stored.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::Refused => RETRY_REFUSED,
            Self::Stored | Self::Retry | Self::Gone | Self::Superseded => REREAD_AFTER,
        }
    }

    /// Returns `next` once the state is stored, else the time of the next attempt.
    pub fn then(self, next: Action) -> Action {
        match self.or_retry() {
            ControlFlow::Continue(()) => next,
            ControlFlow::Break(retry) => retry,
        }
    }

    /// Continues once the state is stored, else breaks with the time of the next attempt.
    pub fn or_retry(self) -> ControlFlow<Action> {
        if self == Self::Stored {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(Action::Requeue(self.retry_after()))
        }
    }

    /// Whether the same write may succeed later.
    pub fn may_be_retried(self) -> bool {
        matches!(self, Self::Retry | Self::Refused)
    }

    /// Whether this result is left to the next reconcile after so many failures. A run that holds results keeps trying.
    pub fn is_left_to_next_reconcile(self, failures: u32, holds_results: bool) -> bool {
        self.may_be_retried() && !holds_results && (self == Self::Refused || failures >= GIVE_UP_AFTER)
    }
}

/// What follows from a conflict of a status write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterConflict {
    /// The object is deleted or another one.
    Gone,
    /// The stored status is the one to write: only the answer was lost.
    Stored,
    /// Only the spec or the metadata has changed: the status is written to the new version.
    WriteAgain,
    /// Another process has written the status.
    Superseded,
}

/// Returns what follows from a conflict, for the job as known here and as it is stored.
pub fn after_conflict(job: &JobObject, status: &JobStatus, stored: Option<&JobObject>) -> AfterConflict {
    match stored.filter(|stored| stored.uid == job.uid && !stored.deleting) {
        None => AfterConflict::Gone,
        Some(stored) if stored.status == *status => AfterConflict::Stored,
        Some(stored) if stored.status == job.status => AfterConflict::WriteAgain,
        Some(_) => AfterConflict::Superseded,
    }
}

/// A write that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedStore<'a> {
    /// The job as known here.
    pub job: &'a JobObject,
    /// The status with which the job reports that a report was rejected, if one was written.
    pub reported: Option<&'a JobStatus>,
    /// The result of the write.
    pub result: WriteResult,
    /// Whether the write holds no results, so that its status can be built again from a phase.
    pub has_phase: bool,
    /// Number of failures in a row.
    pub failures: u32,
}

/// What follows from a write that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailedStore {
    /// The same write is tried again, on the job as it is stored.
    RetryOnStored,
    /// The same write is tried again.
    Retry,
    /// The status is built again, from the job as it is stored.
    BuildAgain,
    /// The write ends: the object is deleted or another one.
    Gone,
    /// The write ends: the stored state is not the state known here.
    Superseded,
}

/// Returns what follows from a failed write, for the job as it is stored.
pub fn after_failed_store(failed: FailedStore<'_>, stored: Option<&JobObject>) -> AfterFailedStore {
    let FailedStore { job, result, .. } = failed;
    let Some(stored) = stored.filter(|stored| stored.uid == job.uid && !stored.deleting) else {
        return AfterFailedStore::Gone;
    };
    let again = result.may_be_retried();
    let is_unchanged = stored.status == job.status;
    // Our own earlier write took effect late.
    let is_own_write = failed.reported == Some(&stored.status) && !is_unchanged;
    // The next status acknowledges an edit made meanwhile; the edit takes effect once the results are stored.
    if is_own_write || (again && is_unchanged) {
        AfterFailedStore::RetryOnStored
    } else if again {
        AfterFailedStore::Retry
    } else if failed.has_phase && stored.is_replaceable() && failed.failures <= BUILD_AGAIN_UP_TO {
        AfterFailedStore::BuildAgain
    } else {
        AfterFailedStore::Superseded
    }
}

/// Returns the delay before the next attempt.
pub fn wait_before_retry(stopping: bool, failures: u32, uid: &str) -> Duration {
    if stopping {
        RETRY_WHILE_STOPPING
    } else {
        requeue::short_backoff(failures, uid)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(uid: &str, status: Value) -> JobObject {
        JobObject {
            status: serde_json::from_value(status).unwrap(),
            uid: uid.to_owned(),
            ..JobObject::bare("a", "job", Err(String::new()))
        }
    }

    #[test]
    fn a_refused_write_is_left_at_once_and_another_after_three_failures_unless_results_wait() {
        for (result, failures, holds_results, left) in [
            (WriteResult::Retry, 2, false, false),
            (WriteResult::Retry, 3, false, true),
            (WriteResult::Retry, 100, true, false),
            (WriteResult::Refused, 1, false, true),
            (WriteResult::Refused, 100, true, false),
            (WriteResult::Superseded, 100, false, false),
        ] {
            let found = result.is_left_to_next_reconcile(failures, holds_results);
            assert_eq!(found, left, "{result:?} {failures} {holds_results}");
        }
    }

    #[test]
    fn only_a_stored_state_continues() {
        assert_eq!(WriteResult::Stored.or_retry(), ControlFlow::Continue(()));
        assert_eq!(WriteResult::Stored.then(Action::AwaitChange), Action::AwaitChange);
        for (result, delay) in [
            (WriteResult::Retry, REREAD_AFTER),
            (WriteResult::Gone, REREAD_AFTER),
            (WriteResult::Superseded, REREAD_AFTER),
            (WriteResult::Refused, RETRY_REFUSED),
        ] {
            assert_eq!(result.or_retry(), ControlFlow::Break(Action::Requeue(delay)));
            assert_eq!(result.then(Action::AwaitChange), Action::Requeue(delay));
        }
    }

    #[test]
    fn errors_are_final_or_can_be_retried() {
        for (error, result) in [
            (KubeError::NotFound, WriteResult::Gone),
            (KubeError::Unavailable, WriteResult::Retry),
            (KubeError::Invalid, WriteResult::Refused),
            (KubeError::Forbidden, WriteResult::Refused),
        ] {
            assert_eq!(WriteResult::of(error), result, "{error}");
        }
    }

    #[test]
    fn a_conflict_says_who_has_written() {
        let known = job("1", json!({"observedGeneration": 1}));
        let wanted = job("1", json!({"observedGeneration": 2})).status;
        let mut deleted = known.clone();
        deleted.deleting = true;
        for (stored, next) in [
            (None, AfterConflict::Gone),
            (
                Some(job("2", json!({"observedGeneration": 2}))),
                AfterConflict::Gone,
            ),
            (Some(deleted), AfterConflict::Gone),
            (
                Some(job("1", json!({"observedGeneration": 2}))),
                AfterConflict::Stored,
            ),
            (Some(known.clone()), AfterConflict::WriteAgain),
            (
                Some(job("1", json!({"observedGeneration": 3}))),
                AfterConflict::Superseded,
            ),
        ] {
            assert_eq!(
                after_conflict(&known, &wanted, stored.as_ref()),
                next,
                "{stored:?}"
            );
        }
    }

    #[test]
    fn a_failed_write_is_repeated_on_what_is_stored() {
        let known = job("1", json!({"observedGeneration": 1}));
        let reported = job("1", json!({"observedGeneration": 2})).status;
        let other = job("1", json!({"observedGeneration": 3}));
        let finished = job("1", json!({"completionTime": "2026-10-01T09:58:11Z"}));
        let own = job("1", json!({"observedGeneration": 2}));
        let recreated = job("2", json!({"observedGeneration": 1}));
        let mut deleted = known.clone();
        deleted.deleting = true;
        for (result, has_phase, failures, stored, next) in [
            (WriteResult::Retry, true, 1, None, AfterFailedStore::Gone),
            (
                WriteResult::Retry,
                true,
                1,
                Some(&deleted),
                AfterFailedStore::Gone,
            ),
            (
                WriteResult::Retry,
                false,
                1,
                Some(&recreated),
                AfterFailedStore::Gone,
            ),
            (
                WriteResult::Retry,
                false,
                1,
                Some(&known),
                AfterFailedStore::RetryOnStored,
            ),
            (
                WriteResult::Refused,
                false,
                1,
                Some(&known),
                AfterFailedStore::RetryOnStored,
            ),
            (
                WriteResult::Retry,
                false,
                1,
                Some(&own),
                AfterFailedStore::RetryOnStored,
            ),
            (
                WriteResult::Superseded,
                false,
                1,
                Some(&own),
                AfterFailedStore::RetryOnStored,
            ),
            (
                WriteResult::Retry,
                false,
                1,
                Some(&other),
                AfterFailedStore::Retry,
            ),
            (
                WriteResult::Superseded,
                true,
                5,
                Some(&other),
                AfterFailedStore::BuildAgain,
            ),
            (
                WriteResult::Superseded,
                true,
                6,
                Some(&other),
                AfterFailedStore::Superseded,
            ),
            (
                WriteResult::Superseded,
                true,
                1,
                Some(&finished),
                AfterFailedStore::Superseded,
            ),
            (
                WriteResult::Superseded,
                false,
                1,
                Some(&other),
                AfterFailedStore::Superseded,
            ),
        ] {
            let failed = FailedStore {
                job: &known,
                reported: Some(&reported),
                result,
                has_phase,
                failures,
            };
            assert_eq!(
                after_failed_store(failed, stored),
                next,
                "{result:?} {has_phase} {failures}"
            );
        }
    }

    #[test]
    fn a_shutdown_shortens_the_wait() {
        assert_eq!(wait_before_retry(true, 20, "1"), RETRY_WHILE_STOPPING);
        assert!(wait_before_retry(false, 20, "1") >= Duration::from_secs(15));
    }
}
