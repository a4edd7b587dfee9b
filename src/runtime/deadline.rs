//! Deadlines on the clock of the process. Delays are bounded where they become deadlines: a delay can come from a time
//! that a user has stored, and the timers of the runtime panic beyond two years.

use std::time::Duration;

use tokio::time::Instant;

/// The longest delay. A reconcile that is due later is reconciled at this time, and returns the rest.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// Returns the deadline that is `wait` after `start`, at most [`MAX_DELAY`].
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    start.checked_add(wait.min(MAX_DELAY)).unwrap_or(start)
}
