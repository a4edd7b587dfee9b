//! Signature nonces already seen: a second use is refused, which finds clients that sign once and send twice.
//! Whether the real service checks this is not documented; a client that reuses one has a mistake anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Twice the accepted age of a signature.
const KEPT: SignedDuration = SignedDuration::from_mins(30);

#[derive(Debug, Default)]
pub(crate) struct Nonces {
    seen: Mutex<HashMap<String, Timestamp>>,
}

impl Nonces {
    /// Notes a nonce; false if it was used before.
    pub(crate) fn is_fresh(&self, nonce: &str, now: Timestamp) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > 50_000 {
            seen.retain(|_, used| now.duration_since(*used) < KEPT);
        }
        seen.insert(nonce.to_owned(), now).is_none()
    }
}
