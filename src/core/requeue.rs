//! Requeue delays. Backoff and jitter are computed from a seed, so that tests can predict them and objects are not
//! reconciled in step.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// Debounce of a bucket: ten grants that are applied together become one write.
pub const BUCKET_DEBOUNCE: Duration = Duration::from_secs(1);

/// When to reconcile a key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// After this delay, at most a day, or earlier when a trigger arrives.
    Requeue(Duration),
    /// Only when a trigger arrives.
    AwaitChange,
}

impl Action {
    /// Returns this action, or a requeue after `limit` if that is earlier.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        match self {
            Self::Requeue(delay) => Self::Requeue(delay.min(limit)),
            Self::AwaitChange => Self::Requeue(limit),
        }
    }
}

/// Returns a number from 0 to 999, derived from the seed.
fn permille(seed: &str) -> u64 {
    let digest = Sha256::digest(seed.as_bytes());
    digest
        .iter()
        .take(4)
        .fold(0u64, |sum, byte| sum * 256 + u64::from(*byte))
        % 1000
}

/// Returns `base` with ±10 % jitter.
pub fn jittered(base: Duration, seed: &str) -> Duration {
    let tenth = base / 10;
    let steps = u32::try_from(permille(seed)).unwrap_or(0);
    let spread = tenth.saturating_mul(2).saturating_mul(steps) / 1000;
    base.saturating_sub(tenth).saturating_add(spread)
}

/// Returns a duration between `low` and `high`, uniformly distributed over seeds.
pub fn uniform(low: Duration, high: Duration, seed: &str) -> Duration {
    let steps = u32::try_from(permille(seed)).unwrap_or(0);
    let spread = high.saturating_sub(low).saturating_mul(steps) / 1000;
    low.saturating_add(spread)
}

/// Returns a first delay between a tenth of `interval` and `interval`, so that objects that start together are spread.
pub fn initial_jitter(interval: Duration, seed: &str) -> Duration {
    uniform(interval / 10, interval, seed)
}

/// Returns the delay after `failures` consecutive failures: `base`, doubled each time up to `cap`, with jitter over the
/// upper half of the delay.
pub fn exponential_backoff(failures: u32, base: Duration, cap: Duration, seed: &str) -> Duration {
    let factor = 2u32.saturating_pow(failures.saturating_sub(1).min(20));
    let full = base.saturating_mul(factor).min(cap);
    uniform(full / 2, full, &format!("{seed}/{failures}"))
}

/// Exponential backoff from 1 s to 30 s.
pub fn short_backoff(failures: u32, seed: &str) -> Duration {
    exponential_backoff(failures, Duration::from_secs(1), Duration::from_secs(30), seed)
}

/// Returns the delay before a key is reconciled again whose last `panics` reconciles panicked.
pub fn after_panic(panics: u32, seed: &str) -> Duration {
    exponential_backoff(panics, Duration::from_secs(2), Duration::from_secs(600), seed)
}

/// Returns the delay of the `number`th object of a namespace that one change concerns: none for the first ones, then 100
/// a second, at most the interval at which a waiting job checks its grant anyway.
pub fn crowd_delay(number: u32) -> Duration {
    const AT_ONCE: u32 = 32;
    let step = Duration::from_millis(10);
    step.saturating_mul(number.saturating_sub(AT_ONCE))
        .min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_spread_over_a_minute_at_most() {
        for (number, milliseconds) in [
            (1, 0),
            (32, 0),
            (33, 10),
            (133, 1_010),
            (8_000, 60_000),
            (u32::MAX, 60_000),
        ] {
            assert_eq!(
                crowd_delay(number),
                Duration::from_millis(milliseconds),
                "{number}"
            );
        }
    }

    #[test]
    fn an_action_is_at_most_as_late_as_its_limit() {
        let limit = Duration::from_secs(5);
        for (action, seconds) in [
            (Action::AwaitChange, 5),
            (Action::Requeue(Duration::from_secs(9)), 5),
            (Action::Requeue(Duration::from_secs(2)), 2),
        ] {
            assert_eq!(
                action.within(limit),
                Action::Requeue(Duration::from_secs(seconds))
            );
        }
    }

    #[test]
    fn delays_grow_to_their_cap_and_stay_within_bounds() {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(420));
        for failures in 1..40 {
            let delay = exponential_backoff(failures, base, cap, "uid");
            assert!(delay >= base / 2 && delay <= cap, "{failures}: {delay:?}");
        }
        assert!(exponential_backoff(20, base, cap, "uid") >= cap / 2);
        assert!(short_backoff(1, "uid") <= base && short_backoff(40, "uid") <= Duration::from_secs(30));
        assert!(after_panic(1, "uid") <= Duration::from_secs(2));
        assert!(after_panic(u32::MAX, "uid") >= Duration::from_secs(300));
        let spread = jittered(Duration::from_secs(600), "uid");
        assert!(spread >= Duration::from_secs(540) && spread <= Duration::from_secs(660));
        assert_ne!(spread, jittered(Duration::from_secs(600), "another"));
    }

    #[test]
    fn five_hundred_seeds_are_spread_over_the_interval() {
        let mut minutes = [0; 11];
        for number in 0..500 {
            let delay = initial_jitter(Duration::from_secs(600), &format!("uid-{number}"));
            minutes[usize::try_from(delay.as_secs() / 60).unwrap()] += 1;
        }
        // 120 would be two a second.
        assert!(
            minutes[0] == 0 && minutes[1..10].iter().all(|n| (20..120).contains(n)),
            "{minutes:?}"
        );
    }
}
