//! The size of a source: the limits of a job, and whether its results fit into the status.

use super::JobObject;
use super::source::SourceItem;
use crate::api::{ITEMS_LIMIT, JobSpec, ObservedSource};
use crate::core::json::serialized_len;

/// Maximum size of all results of a job in bytes.
const RESULTS_LIMIT: i64 = 64 * 1024 * 1024;
/// Results are kept in the status up to this number of items and bytes, and in reports above either.
const INLINE_ITEMS: i32 = 100;
const INLINE_BYTES: i64 = 64 * 1024;
/// Bytes of a result besides its URI: index, score or code, and punctuation.
const RESULT_BYTES: i64 = 110;

/// Copies of a list of images in memory while its job runs: of the object, of its spec, as names, and as items.
const LIST_COPIES: usize = 4;
/// Bytes of an image in such a copy beside its URI.
const COPY_BYTES: usize = 64;
/// Bytes of a job beside its images and its results.
const JOB_BYTES: usize = 4 * 1024;

/// Counts the items and the URI bytes of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemCounter {
    items: i32,
    uri_bytes: i64,
}

impl ItemCounter {
    /// Adds a page.
    ///
    /// # Errors
    /// A message for users if the source has more than `most` items, or if the results would exceed 64 MiB.
    pub fn add(&mut self, page: &[SourceItem], most: i32) -> Result<(), String> {
        let added: usize = page.iter().map(|f| serialized_len(&f.uri)).sum();
        self.items = self
            .items
            .saturating_add(i32::try_from(page.len()).unwrap_or(i32::MAX));
        self.uri_bytes = self
            .uri_bytes
            .saturating_add(i64::try_from(added).unwrap_or(i64::MAX));
        if self.items > most {
            let fix = if most < ITEMS_LIMIT {
                "create another job with a higher maxObjects (at most 250000), or split the source"
            } else {
                "split the source over several jobs"
            };
            return Err(format!(
                "The source holds at least {} items, and the maximum is {most}: {fix}",
                self.items
            ));
        }
        let results = self
            .uri_bytes
            .saturating_add(i64::from(self.items) * RESULT_BYTES);
        if results > RESULTS_LIMIT {
            return Err(format!(
                "The results of {} or more items would exceed 64 MiB: split the source over several jobs",
                self.items
            ));
        }
        Ok(())
    }

    /// Returns the number of items so far.
    pub fn items(&self) -> i32 {
        self.items
    }

    /// Returns the observed source with the counts added.
    pub fn source_seen(&self, before: &ObservedSource) -> ObservedSource {
        ObservedSource {
            items: Some(self.items),
            uri_bytes: Some(self.uri_bytes),
            ..before.clone()
        }
    }
}

/// Returns the memory of the images that a spec lists while its job runs, in bytes.
pub fn list_bytes(spec: &JobSpec) -> usize {
    let uris = spec.source.uris.iter();
    let images = uris.map(|uri| uri.len().saturating_add(COPY_BYTES));
    images.fold(0, usize::saturating_add).saturating_mul(LIST_COPIES)
}

/// Returns the memory of a job that is read and does not run yet, in bytes.
pub fn decoded_bytes(job: &JobObject) -> usize {
    // What cannot be decoded can have any size.
    if !job.status.unreadable.is_empty() {
        return usize::MAX;
    }
    let results = job.status.results.iter();
    let results = results.map(|result| result.uri.len().saturating_add(COPY_BYTES));
    let list = job.spec.as_ref().map_or(0, list_bytes);
    results.fold(list.saturating_add(JOB_BYTES), usize::saturating_add)
}

/// Returns the number of items and `true` if their results fit into the status; `None` before the source is counted.
/// Decided before the first billed call and never changed.
pub fn planned_size(spec: &JobSpec, seen: Option<&ObservedSource>) -> Option<(usize, bool)> {
    let (items, uri_bytes) = if spec.source.uris.is_empty() {
        (seen?.items?, seen?.uri_bytes?)
    } else {
        let all: usize = spec.source.uris.iter().map(serialized_len).sum();
        (
            i32::try_from(spec.source.uris.len()).ok()?,
            i64::try_from(all).ok()?,
        )
    };
    let results = uri_bytes.saturating_add(i64::from(items) * RESULT_BYTES);
    let inline = items <= INLINE_ITEMS && results <= INLINE_BYTES;
    Some((usize::try_from(items).ok()?, inline))
}
