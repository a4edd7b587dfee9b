//! What a count of a source does beside reading its pages: it reads the job again, and shows how far it is. Times are
//! counted from the start of the count.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use super::WriteResult;
use crate::core::requeue::Action;

/// Interval at which the job is read while its source is counted.
const CHECK_CHANGES_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the status of the job shows the number of items so far.
const SHOW_COUNT_EVERY: Duration = Duration::from_secs(30);

/// When a count has read and shown its job.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountSchedule {
    checked: Duration,
    shown: Duration,
}

impl CountSchedule {
    /// Whether the job has to be read again.
    pub fn is_check_due(&self, elapsed: Duration) -> bool {
        elapsed.saturating_sub(self.checked) >= CHECK_CHANGES_EVERY
    }

    /// Records that the job was read. A slow API server is asked less often: the interval begins after the answer.
    pub fn checked(&mut self, elapsed: Duration) {
        self.checked = elapsed;
    }

    /// Whether the number of items so far has to be stored.
    pub fn is_showing_due(&self, elapsed: Duration) -> bool {
        elapsed.saturating_sub(self.shown) >= SHOW_COUNT_EVERY
    }

    /// Records that the number of items so far is stored.
    pub fn shown(&mut self, elapsed: Duration) {
        self.shown = elapsed;
    }
}

/// Decides whether a count continues after it has stored the number of items so far: not if the job is gone or another
/// client has written it, nor if it was edited, because the write may have taken over the edit. A failed write stops
/// no count.
pub fn after_shown_count(stored: WriteResult, is_edited: bool) -> ControlFlow<Action> {
    match stored {
        WriteResult::Gone | WriteResult::Superseded => Break(Action::Requeue(stored.retry_after())),
        WriteResult::Stored | WriteResult::Retry | WriteResult::Refused if is_edited => {
            Break(Action::Requeue(Duration::ZERO))
        }
        WriteResult::Stored | WriteResult::Retry | WriteResult::Refused => Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reads_its_job_every_five_seconds_and_shows_itself_every_thirty() {
        let mut schedule = CountSchedule::default();
        let (mut checks, mut shows) = (Vec::new(), Vec::new());
        for second in 0..70 {
            let elapsed = Duration::from_secs(second);
            // A page can take long.
            if (11..18).contains(&second) {
                continue;
            }
            if schedule.is_check_due(elapsed) {
                schedule.checked(elapsed);
                checks.push(second);
            }
            if schedule.is_showing_due(elapsed) {
                schedule.shown(elapsed);
                shows.push(second);
            }
        }
        assert_eq!(checks, [5, 10, 18, 23, 28, 33, 38, 43, 48, 53, 58, 63, 68]);
        assert_eq!(shows, [30, 60]);
    }

    #[test]
    fn the_time_that_a_read_takes_does_not_count() {
        let (mut schedule, at) = (CountSchedule::default(), Duration::from_secs);
        assert!(schedule.is_check_due(at(5)));
        schedule.checked(at(11));
        assert!(!schedule.is_check_due(at(15)) && schedule.is_check_due(at(16)));
    }

    #[test]
    fn a_count_ends_when_the_job_is_another_one_and_not_when_a_write_fails() {
        for (stored, is_edited, next) in [
            (WriteResult::Stored, false, Continue(())),
            (WriteResult::Retry, false, Continue(())),
            (WriteResult::Refused, false, Continue(())),
            (WriteResult::Stored, true, Break(0)),
            (WriteResult::Retry, true, Break(0)),
            (WriteResult::Gone, true, Break(3)),
            (WriteResult::Superseded, false, Break(3)),
        ] {
            let next = next.map_break(|seconds| Action::Requeue(Duration::from_secs(seconds)));
            assert_eq!(
                after_shown_count(stored, is_edited),
                next,
                "{stored:?} {is_edited}"
            );
        }
    }
}
