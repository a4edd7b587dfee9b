//! Items that wait for a retry.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::core::time;

/// The longest delay of a retry: the longest `Retry-After` that is honored.
pub(super) const LONGEST_DELAY: SignedDuration = SignedDuration::from_secs(120);

/// An item that waits for a retry.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    pub(super) uri: String,
    pub(super) attempts: i32,
    /// Consecutive throttled responses: they lengthen the delay but are not counted as attempts.
    pub(super) throttles: i32,
    pub(super) due: Timestamp,
}

impl Retry {
    /// Whether the retry is due. A due time further away than any delay dates from before the clock was set back.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now || self.due > time::after(now, LONGEST_DELAY)
    }
}
