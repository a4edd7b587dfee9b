//! Arithmetic of times that cannot fail. A time in an object can have any value that the API server stores, and `+` and
//! `-` panic at the ends of the range: `src/lib.rs` forbids both on times outside this file and `runtime/deadline.rs`.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Returns the time that is `wait` after `time`, or the end of the range.
pub fn after(time: Timestamp, wait: SignedDuration) -> Timestamp {
    // Only calendar units can fail, and a duration has none.
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// Returns the time that is `wait` before `time`, or the end of the range.
pub fn before(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.saturating_sub(wait).unwrap_or(Timestamp::MIN)
}

/// Truncates to whole seconds: the API server stores no finer time, and a status must equal the one that is read back.
pub fn whole_seconds(now: Timestamp) -> Time {
    let fraction = SignedDuration::from_nanos(i64::from(now.subsec_nanosecond()));
    Time(before(now, fraction))
}

/// Returns a duration with a sign; the longest one for a duration that has no counterpart.
pub fn signed(wait: Duration) -> SignedDuration {
    SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)
}

/// Returns the time left from `now` until `time`; zero if it has passed.
pub fn left_until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or_default()
}

/// Returns the time left until `time`, at least 100 ms.
pub fn time_left(now: Timestamp, time: Timestamp) -> Duration {
    let left = time.duration_since(now).max(SignedDuration::from_millis(100));
    Duration::try_from(left).unwrap_or(Duration::from_millis(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_range_are_no_failure() {
        let (first, last) = (Timestamp::MIN, Timestamp::MAX);
        for wait in [SignedDuration::MIN, SignedDuration::MAX, SignedDuration::ZERO] {
            for time in [first, Timestamp::UNIX_EPOCH, last] {
                let (later, earlier) = (after(time, wait), before(time, wait));
                assert!(later >= first && later <= last && earlier >= first && earlier <= last);
            }
        }
        assert_eq!(after(last, SignedDuration::from_secs(1)), last);
        assert_eq!(before(first, SignedDuration::from_secs(1)), first);
        assert_eq!(left_until(first, last), Duration::ZERO);
        assert!(left_until(last, first) > Duration::from_secs(500_000_000_000));
        assert_eq!(signed(Duration::MAX), SignedDuration::MAX);
        assert_eq!(time_left(last, first), Duration::from_millis(100));
        assert_eq!(
            time_left(first, after(first, SignedDuration::from_secs(2))),
            Duration::from_secs(2)
        );
    }
}
