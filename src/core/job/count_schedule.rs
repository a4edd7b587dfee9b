//! What a count of a source does beside reading its pages: it reads the job again, and shows how far it is. Times are
//! counted from the start of the count.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use super::WriteResult;
use crate::api::ObservedSource;
use crate::core::requeue::Action;

/// Interval at which the job is read while its source is counted.
const CHECK_CHANGES_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the status of the job shows the number of items so far.
const SHOW_COUNT_EVERY: Duration = Duration::from_secs(30);

/// What remains to be done before the number of items is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountStep {
    /// The source is pinned: nothing newer is part of the job.
    Pin,
    /// Its pages are counted.
    Count,
    /// Nothing.
    Done,
}

/// Returns what remains to be done for a source of which this is known.
pub fn count_step(observed: &ObservedSource) -> CountStep {
    if observed.items.is_some() {
        CountStep::Done
    } else if observed.as_of.is_none() {
        CountStep::Pin
    } else {
        CountStep::Count
    }
}

/// When a count has read and shown its job.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountSchedule {
    checked: Duration,
    shown: Duration,
}

impl CountSchedule {
    /// Whether the job has to be read again, which counts as done.
    pub fn checks_changes(&mut self, elapsed: Duration) -> bool {
        begins_again(&mut self.checked, elapsed, CHECK_CHANGES_EVERY)
    }

    /// Whether the number of items so far has to be stored, which counts as done.
    pub fn shows_count(&mut self, elapsed: Duration) -> bool {
        begins_again(&mut self.shown, elapsed, SHOW_COUNT_EVERY)
    }
}

fn begins_again(last: &mut Duration, elapsed: Duration, interval: Duration) -> bool {
    let is_over = elapsed.saturating_sub(*last) >= interval;
    if is_over {
        *last = elapsed;
    }
    is_over
}

/// Decides whether a count goes on after it has stored the number of items so far: not if the job is gone or another
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
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::core::job::pinned_source;

    #[test]
    fn a_source_is_pinned_then_counted_once() {
        assert_eq!(count_step(&ObservedSource::default()), CountStep::Pin);
        let pinned = pinned_source(Timestamp::UNIX_EPOCH, None, false);
        assert_eq!(count_step(&pinned), CountStep::Count);
        let empty = pinned_source(Timestamp::UNIX_EPOCH, None, true);
        assert_eq!(count_step(&empty), CountStep::Done);
    }

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
            checks.extend(schedule.checks_changes(elapsed).then_some(second));
            shows.extend(schedule.shows_count(elapsed).then_some(second));
        }
        assert_eq!(checks, [5, 10, 18, 23, 28, 33, 38, 43, 48, 53, 58, 63, 68]);
        assert_eq!(shows, [30, 60]);
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
