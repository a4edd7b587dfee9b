//! Records what is done with an item, and moves the cursor past items that are stored or deferred.

use super::Progress;
use crate::api::{Cursor, ItemResult};
use crate::core::json::serialized_len;

/// Adds the result of an item that is done.
pub(super) fn record_result(
    progress: &mut Progress,
    index: usize,
    uri: String,
    score: Option<String>,
    code: Option<String>,
) {
    progress.retries.remove(&index);
    progress.canary.settled(index);
    let result = ItemResult {
        index: i32::try_from(index).unwrap_or(i32::MAX),
        uri,
        score,
        code,
    };
    progress.stats.add(&progress.rules, &result);
    progress.results.add(result);
    mark_settled(progress, index);
}

/// Marks an item as stored or deferred, so that the cursor can pass it.
pub(super) fn mark_settled(progress: &mut Progress, index: usize) {
    progress.read_ahead.settle(index);
    advance_cursor(progress);
}

/// Moves the cursor past the items that are stored or deferred.
pub(super) fn advance_cursor(progress: &mut Progress) {
    while let Some((index, key)) = progress.read_ahead.pass() {
        // An item without a position cannot be the cursor. A resume starts before it and finds it stored.
        if progress.listed || key.is_some() {
            progress.cursor = Cursor {
                index: i32::try_from(index + 1).unwrap_or(i32::MAX),
                key,
            };
        }
    }
}

/// Removes an item from the count of items that wait for a retry or are in flight.
pub(super) fn untrack(progress: &mut Progress, uri: &str) {
    let (items, bytes) = progress.under_way;
    progress.under_way = (items - 1, bytes - serialized_len(uri));
}
