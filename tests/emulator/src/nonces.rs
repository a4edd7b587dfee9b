//! Records signature nonces and refuses a second use, which detects clients that sign once and send twice.
//! Whether the real service checks nonces is not documented; reusing one is a client bug in any case.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Twice the accepted age of a signature.
const KEPT: SignedDuration = SignedDuration::from_mins(30);

/// The nonces of the current and the previous period. Old nonces expire without a search.
#[derive(Debug, Default)]
struct Periods {
    began: Timestamp,
    current: HashSet<String>,
    before: HashSet<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Nonces {
    seen: Mutex<Periods>,
}

impl Nonces {
    /// Records a nonce. Returns `false` if it was used before.
    pub(crate) fn is_fresh(&self, nonce: &str, now: Timestamp) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(seen.began).abs() >= KEPT {
            seen.before = std::mem::take(&mut seen.current);
            seen.began = now;
        }
        !seen.before.contains(nonce) && seen.current.insert(nonce.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_refused_for_as_long_as_its_signature_could_be_accepted() {
        let (nonces, start) = (
            Nonces::default(),
            Timestamp::UNIX_EPOCH + SignedDuration::from_hours(400_000),
        );
        let after = |minutes| start + SignedDuration::from_mins(minutes);
        assert!(nonces.is_fresh("a", start));
        assert!(nonces.is_fresh("b", after(29)));
        assert!(!nonces.is_fresh("b", after(31)), "the period changed meanwhile");
        assert!(!nonces.is_fresh("a", after(31)));
        assert!(nonces.is_fresh("a", after(95)));
    }
}
