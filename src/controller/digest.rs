//! A 64-bit digest for values that are only compared with their previous value.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A digest. Two different values compare as equal once in 2^64 comparisons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChangeDigest(u64);

impl ChangeDigest {
    /// Returns the digest of `parts`.
    pub(super) fn of(parts: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Self(hasher.finish())
    }
}
