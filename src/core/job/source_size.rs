//! The size of a source: the limits of a job, and the memory that it occupies.

use super::JobObject;
use super::planned_size::results_bytes;
use super::source::SourceItem;
use crate::api::{ITEMS_LIMIT, JobSpec, ObservedSource};
use crate::core::json::serialized_len;

/// Maximum size of all results of a job in bytes.
const RESULTS_LIMIT: i64 = 64 * 1024 * 1024;
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
        if results_bytes(self.items, self.uri_bytes) > RESULTS_LIMIT {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::planned_size::RESULT_BYTES;
    use super::*;
    use crate::api::ItemResult;
    use crate::core::job::spec_with;

    fn spec(source: &serde_json::Value) -> JobSpec {
        spec_with(&json!({"source": source}))
    }

    fn page(items: usize) -> Vec<SourceItem> {
        let item = SourceItem {
            uri: "oss://pics/a.jpg".to_owned(),
            resume_after: None,
            reject_code: None,
        };
        vec![item; items]
    }

    #[test]
    fn a_source_is_limited_by_its_items_and_by_the_bytes_of_its_results() {
        let mut counter = ItemCounter::default();
        assert_eq!(counter.add(&page(2), 2), Ok(()));
        let seen = counter.source_seen(&ObservedSource::default());
        // With quotation marks.
        assert_eq!((seen.items, seen.uri_bytes), (Some(2), Some(36)));
        let most = |most| ItemCounter::default().add(&page(usize::try_from(most).unwrap() + 2), most);
        assert!(most(3).unwrap_err().contains("maxObjects"));
        let largest = most(ITEMS_LIMIT).unwrap_err();
        assert!(!largest.contains("maxObjects"), "{largest}");

        let bytes = RESULTS_LIMIT - RESULT_BYTES - 18;
        let filled = |uri_bytes| ItemCounter { items: 0, uri_bytes };
        assert_eq!(filled(bytes).add(&page(1), 9), Ok(()));
        assert!(filled(bytes + 1).add(&page(1), 9).unwrap_err().contains("64 MiB"));
    }

    #[test]
    fn the_memory_of_a_job_grows_with_its_images_and_its_results() {
        let mut job = JobObject::bare("media", "one", Err("unknown field".to_owned()));
        assert_eq!(decoded_bytes(&job), 4_096);
        job.spec = Ok(spec(&json!({"uris": ["oss://pics/a.jpg"]})));
        assert_eq!(decoded_bytes(&job), 4_096 + 4 * (16 + 64));
        let result = json!({"index": 0, "uri": "oss://pics/a.jpg", "score": "0.5"});
        let result: ItemResult = serde_json::from_value(result).unwrap();
        job.status.results = vec![result];
        assert_eq!(decoded_bytes(&job), 4_096 + 4 * (16 + 64) + 16 + 64);
        job.status.unreadable.insert("results".to_owned(), json!(7));
        assert_eq!(decoded_bytes(&job), usize::MAX);
    }
}
