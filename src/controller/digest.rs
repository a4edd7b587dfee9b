//! A few bytes in place of many words, for what is only ever compared with what was there before.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A digest of words. Two that differ are taken for equal once in 2^64 comparisons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChangeDigest(u64);

impl ChangeDigest {
    /// Of these words.
    pub(super) fn of(parts: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Self(hasher.finish())
    }
}
