//! How fast a run finishes items, for the progress message of its status.

use std::time::Duration;

/// The mean rate of a run. The rate changes only together with the number of finished items, so that a status is never
/// written for the sake of the rate alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throughput {
    first: Option<usize>,
    done: usize,
    per_second: u32,
}

impl Throughput {
    /// Records that `done` items of the job are finished, `elapsed` after the start of the run.
    pub fn record(&mut self, done: usize, elapsed: Duration) {
        let first = *self.first.get_or_insert(done);
        if done == self.done {
            return;
        }
        self.done = done;
        let milliseconds = usize::try_from(elapsed.as_millis()).unwrap_or(usize::MAX).max(1);
        let rate = (done - first.min(done)).saturating_mul(1000) / milliseconds;
        self.per_second = u32::try_from(rate).unwrap_or(u32::MAX);
    }

    /// Items per second, for a status; 0 below one item per second.
    pub fn per_second(self) -> u32 {
        self.per_second
    }
}

/// The time that `left` items take at a rate, in the largest unit that keeps it short; `None` without a rate.
pub(super) fn time_left(left: i32, per_second: u32) -> Option<String> {
    let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
    let rate = u64::from(per_second);
    let seconds = left.checked_add(rate.checked_sub(1)?)? / rate;
    Some(match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_run_and_changes_only_with_the_count() {
        let mut throughput = Throughput::default();
        throughput.record(400, Duration::ZERO);
        assert_eq!(throughput.per_second(), 0, "items of an earlier run do not count");
        throughput.record(600, Duration::from_secs(2));
        assert_eq!(throughput.per_second(), 100);
        throughput.record(600, Duration::from_secs(20));
        assert_eq!(throughput.per_second(), 100);
    }

    #[test]
    fn the_time_left_has_a_short_unit() {
        for (left, rate, shown) in [
            (60, 100, Some("1 s")),
            (8_900, 100, Some("89 s")),
            (9_001, 100, Some("2 min")),
            (3_000_000, 98, Some("9 h")),
            (0, 100, None),
            (5, 0, None),
        ] {
            assert_eq!(time_left(left, rate).as_deref(), shown, "{left} at {rate}");
        }
    }
}
