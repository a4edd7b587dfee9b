//! Time as a probe sees it.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;

/// Time as a probe sees it.
pub trait ProbeClock: Send + Sync {
    /// Returns the time of day, for signatures.
    fn now(&self) -> Timestamp;
    /// Returns the time since the clock was made.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn pause(&self, length: Duration) -> BoxFuture<'_, ()>;
}

/// The clock of the machine.
pub struct MachineClock(tokio::time::Instant);

impl MachineClock {
    /// Creates a clock that starts now.
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl ProbeClock for MachineClock {
    fn now(&self) -> Timestamp {
        crate::kubernetes::now()
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
    fn pause(&self, length: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(length))
    }
}
