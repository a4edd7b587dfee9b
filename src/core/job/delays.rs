//! When a job is reconciled again.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{JobObject, Phase, active_deadline};
use crate::api::JobSpec;
use crate::core::error::CloudError;
use crate::core::requeue::{self, Action};
use crate::core::time;

/// Interval at which what a job waits for is checked again; a change triggers that at once.
pub const RECHECK: Duration = Duration::from_secs(60);
/// The same for credentials that cannot be used.
pub const RECHECK_CREDENTIALS: Duration = Duration::from_secs(30);
/// Delay before a failed read from the API server is retried.
pub const RETRY_KUBE_API: Duration = Duration::from_secs(5);
/// Delay before a job is reconciled again whose stored state is not the state known here.
pub const REREAD_AFTER: Duration = Duration::from_secs(3);
/// Delay before a job is reconciled again whose status the API server rejects.
pub const RETRY_REFUSED: Duration = Duration::from_secs(60);
/// Delay before a run reads a page again that could not be read.
pub const RETRY_PAGE: Duration = Duration::from_secs(2);
/// Delay before a source is read again after a transient error.
const RETRY_SOURCE: Duration = Duration::from_secs(5);

/// Attempts of a run to read a page before the job reports that its source cannot be read.
const PAGE_TRIES: u32 = 4;

/// Delay after which OSS's clock has left the second in which the source was pinned: no new object gets that time any
/// more.
pub const NEXT_SECOND: Duration = Duration::from_millis(1_100);

/// Delay before a job that could not be read is read again.
pub fn retry_read(job: &str) -> Action {
    let (low, high) = (Duration::from_secs(1), Duration::from_secs(10));
    Action::Requeue(requeue::uniform(low, high, job))
}

/// Delay before a source that could not be read is read again.
pub fn retry_source(phase: &Phase) -> Action {
    let transient = matches!(phase, Phase::SourceUnreadable { stalled: false, .. });
    Action::Requeue(if transient { RETRY_SOURCE } else { RECHECK })
}

/// Delay before a page is read again while a source is counted, after `tries` failures in a row: a count of many
/// pages must not restart because of one page. `None` if a retry cannot help, and after three retries.
pub fn retry_counted_page(error: &CloudError, tries: u32) -> Option<Duration> {
    let again = error.is_transient() && tries <= 3;
    again.then(|| NEXT_SECOND.saturating_mul(tries))
}

/// Whether a run stops after `failures` in a row to read a page: the source cannot be read.
pub fn is_source_lost(error: &CloudError, failures: u32) -> bool {
    !error.is_transient() || failures >= PAGE_TRIES
}

/// A reconcile at a time.
pub fn at(time: Timestamp, now: Timestamp) -> Action {
    Action::Requeue(time::left_until(time, now))
}

/// Returns `next`, or a reconcile at the deadline of the job if that is earlier. `now` is when the job was read.
/// After the deadline `next` stays: it retries a failed store.
pub fn within_deadline(next: Action, deadline: Option<Timestamp>, now: Timestamp) -> Action {
    let deadline = deadline.filter(|time| *time > now);
    deadline.map_or(next, |time| next.within(time::left_until(time, now)))
}

/// Whether the deadline of a job has passed.
pub fn is_past_deadline(job: &JobObject, spec: &JobSpec, now: Timestamp) -> bool {
    active_deadline(job, spec, now).is_some_and(|time| time <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::CloudErrorKind;

    #[test]
    fn a_job_is_reconciled_at_its_deadline_but_not_again_after_it() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        let later = Action::Requeue(RECHECK);
        assert_eq!(within_deadline(later, None, now), later);
        assert_eq!(
            within_deadline(later, at(10), now),
            Action::Requeue(Duration::from_secs(10))
        );
        assert_eq!(within_deadline(later, at(70), now), later);
        assert_eq!(
            within_deadline(Action::AwaitChange, at(70), now),
            Action::Requeue(Duration::from_secs(70))
        );
        assert_eq!(
            within_deadline(Action::AwaitChange, at(0), now),
            Action::AwaitChange
        );
    }

    #[test]
    fn a_page_is_read_again_a_few_times_after_a_transient_error() {
        let transient = CloudError::new(CloudErrorKind::Unavailable, "ServiceUnavailable");
        let denied = CloudError::new(CloudErrorKind::AccessDenied, "AccessDenied");
        let waits = [1, 2, 3, 4].map(|tries| retry_counted_page(&transient, tries));
        let seconds = |tenths: u64| Some(Duration::from_millis(100_u64.saturating_mul(tenths)));
        assert_eq!(waits, [seconds(11), seconds(22), seconds(33), None]);
        assert_eq!(retry_counted_page(&denied, 1), None);
        assert_eq!(
            [1, 3, 4].map(|failures| is_source_lost(&transient, failures)),
            [false, false, true]
        );
        assert!(is_source_lost(&denied, 1));
    }

    #[test]
    fn a_source_that_may_recover_is_read_again_soon() {
        let unreadable = |stalled| {
            retry_source(&Phase::SourceUnreadable {
                message: String::new(),
                stalled,
            })
        };
        assert_eq!(unreadable(false), Action::Requeue(RETRY_SOURCE));
        assert_eq!(unreadable(true), Action::Requeue(RECHECK));
    }
}
