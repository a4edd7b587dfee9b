//! The items of a source that are read, from the first one that is not done.

use std::collections::BTreeMap;

/// The source is not read on while at least this many items, or bytes of their positions, are behind an item that is not
/// done: rejected items need no call, and would otherwise be kept up to the end of the source while one call takes long.
const MOST_ITEMS: usize = 4_000;
const MOST_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug)]
struct ReadItem {
    resume_after: Option<String>,
    settled: bool,
}

/// Items by index. The cursor passes an item once it and all before it are settled: stored, or recorded for a retry.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadAhead {
    items: BTreeMap<usize, ReadItem>,
    bytes: usize,
}

impl ReadAhead {
    /// Adds an item with the position after which the source is read on once it is passed.
    pub(super) fn add(&mut self, index: usize, resume_after: Option<String>, settled: bool) {
        self.bytes += resume_after.as_ref().map_or(0, String::len);
        let item = ReadItem {
            resume_after,
            settled,
        };
        self.items.insert(index, item);
    }

    /// Marks an item as settled.
    pub(super) fn settle(&mut self, index: usize) {
        if let Some(item) = self.items.get_mut(&index) {
            item.settled = true;
        }
    }

    /// Removes the first item if it is settled. Returns its index and position.
    pub(super) fn pass(&mut self) -> Option<(usize, Option<String>)> {
        let first = self.items.first_entry().filter(|e| e.get().settled)?;
        let (index, item) = first.remove_entry();
        self.bytes -= item.resume_after.as_ref().map_or(0, String::len);
        Some((index, item.resume_after))
    }

    /// Whether the source must not be read on.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= MOST_ITEMS || self.bytes >= MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_their_positions_behind_an_open_item_are_limited() {
        for (position, most) in [(1, MOST_ITEMS), (1_000, MOST_BYTES.div_ceil(1_000))] {
            let mut ahead = ReadAhead::default();
            for index in 0..most {
                assert!(!ahead.is_full(), "{position} {index}");
                ahead.add(index, Some("k".repeat(position)), index > 0);
            }
            assert!(ahead.is_full(), "{position}");
            assert_eq!(ahead.pass(), None);
            ahead.settle(0);
            let passed = std::iter::from_fn(|| ahead.pass()).count();
            assert_eq!((passed, ahead.bytes), (most, 0));
        }
    }
}
