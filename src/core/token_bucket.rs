//! A token bucket: a request takes a token, and tokens come back at a rate, up to a number that can be taken at once.

use std::time::Duration;

/// The tokens.
pub struct TokenBucket {
    tokens: f64,
    /// Tokens that come back per second.
    rate: f64,
    /// Most tokens.
    burst: f64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: f64, burst: f64) -> Self {
        Self {
            tokens: burst,
            rate,
            burst,
        }
    }

    /// Returns the tokens of the time that has passed.
    pub fn refill(&mut self, passed: Duration) {
        self.tokens = (self.tokens + passed.as_secs_f64() * self.rate).min(self.burst);
    }

    /// Takes a token. `false` if there is none.
    pub fn take(&mut self) -> bool {
        let free = self.tokens >= 1.0;
        if free {
            self.tokens -= 1.0;
        }
        free
    }

    /// Returns the time until there is a token.
    pub fn time_left(&self) -> Duration {
        let missing = (1.0 - self.tokens).max(0.0) / self.rate;
        Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_at_the_rate_up_to_the_burst() {
        let mut bucket = TokenBucket::new(10.0, 2.0);
        assert_eq!((0..5).filter(|_| bucket.take()).count(), 2);
        assert_eq!(bucket.time_left(), Duration::from_millis(100));
        bucket.refill(Duration::from_millis(50));
        assert!(!bucket.take() && bucket.time_left() == Duration::from_millis(50));
        bucket.refill(bucket.time_left());
        assert!(bucket.take());
        bucket.refill(Duration::from_secs(3600));
        assert_eq!(bucket.time_left(), Duration::ZERO);
        assert_eq!((0..5).filter(|_| bucket.take()).count(), 2);
        assert_eq!(TokenBucket::new(0.0, 0.0).time_left(), Duration::MAX);
    }
}
