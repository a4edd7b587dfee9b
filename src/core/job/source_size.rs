//! The size of a source: the limits of a job, and the memory that it occupies.

use k8s_openapi::jiff::Timestamp;

use super::planned_size::results_bytes;
use super::source_ends::source_too_long;
use super::{End, JobObject, SourceItem, SourcePosition};
use crate::api::{ITEMS_LIMIT, JobReason, JobSpec, ObservedSource};
use crate::core::json::serialized_len;
use crate::core::time::whole_seconds;

/// Maximum size of all results of a job in bytes.
const RESULTS_LIMIT: i64 = 64 * 1024 * 1024;
/// Copies of a list of images in memory while its job runs: of the object, of its spec, as names, and as items.
const LIST_COPIES: usize = 4;
/// Bytes of an image in such a copy beside its URI.
const COPY_BYTES: usize = 64;
/// Bytes of a job beside its images and its results.
const JOB_BYTES: usize = 4 * 1024;

/// Longest ETag that is compared: a longer one cannot be stored.
const ETAG_BYTES: usize = 128;

/// Limits of a source: pages of a listing (of up to 1,000 objects each), and bytes of a manifest.
const MAX_PAGES: usize = 5_000;
const MAX_MANIFEST_BYTES: u64 = 64 * 1024 * 1024;

/// Pins a source: nothing newer than `as_of`, and no other version of a manifest, is part of the job. An empty
/// manifest has no ETag: it is counted at once, so that no item of a later version is added.
pub fn pinned_source(as_of: Timestamp, etag: Option<String>, is_empty: bool) -> ObservedSource {
    let count = is_empty.then_some(0);
    ObservedSource {
        as_of: Some(whole_seconds(as_of)),
        etag: etag.filter(|etag| !etag.is_empty() && etag.len() <= ETAG_BYTES),
        items: count,
        uri_bytes: count.map(i64::from),
    }
}

/// Counts the items and the URI bytes of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemCounter {
    pages: usize,
    items: i32,
    uri_bytes: i64,
}

impl ItemCounter {
    /// Adds a batch of a page.
    ///
    /// # Errors
    /// The end of the job if the source has more items than it may have, or if the results would exceed 64 MiB.
    pub fn add(&mut self, batch: &[SourceItem], spec: &JobSpec) -> Result<(), End> {
        let most = spec.source.prefix.as_ref().map_or(ITEMS_LIMIT, |p| p.max_objects);
        let added: usize = batch.iter().map(|f| serialized_len(&f.uri)).sum();
        self.items = self
            .items
            .saturating_add(i32::try_from(batch.len()).unwrap_or(i32::MAX));
        self.uri_bytes = self
            .uri_bytes
            .saturating_add(i64::try_from(added).unwrap_or(i64::MAX));
        if self.items > most {
            let fix = if most < ITEMS_LIMIT {
                "create another job with a higher maxObjects (at most 250000), or split the source"
            } else {
                "split the source over several jobs"
            };
            return Err(too_large(format!(
                "The source holds at least {} items, and the maximum is {most}: {fix}",
                self.items
            )));
        }
        if results_bytes(self.items, self.uri_bytes) > RESULTS_LIMIT {
            return Err(too_large(format!(
                "The results of {} or more items would exceed 64 MiB: split the source over several jobs",
                self.items
            )));
        }
        Ok(())
    }

    /// Ends a page; `next` is the position of the next one.
    ///
    /// # Errors
    /// The end of the job if the source is longer than the operator reads.
    pub fn end_page(&mut self, spec: &JobSpec, next: Option<&SourcePosition>) -> Result<(), End> {
        self.pages = self.pages.saturating_add(1);
        let long = matches!(next, Some(SourcePosition::Byte(at)) if *at > MAX_MANIFEST_BYTES);
        if long || self.pages > MAX_PAGES {
            return Err(too_large(source_too_long(spec).to_owned()));
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

fn too_large(message: String) -> End {
    End::Failed(JobReason::SourceTooLarge, message)
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

    fn message(ended: Result<(), End>) -> String {
        match ended {
            Err(End::Failed(JobReason::SourceTooLarge, message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_source_is_limited_by_its_items_and_by_the_bytes_of_its_results() {
        let prefix = |most: i32| spec(&json!({"prefix": {"bucket": "pics", "maxObjects": most}}));
        let mut counter = ItemCounter::default();
        assert_eq!(counter.add(&page(2), &prefix(2)), Ok(()));
        let seen = counter.source_seen(&ObservedSource::default());
        // With quotation marks.
        assert_eq!((seen.items, seen.uri_bytes), (Some(2), Some(36)));
        let most = |most| {
            let items = page(usize::try_from(most).unwrap() + 2);
            message(ItemCounter::default().add(&items, &prefix(most)))
        };
        assert!(most(3).contains("maxObjects"));
        let largest = most(ITEMS_LIMIT);
        assert!(!largest.contains("maxObjects"), "{largest}");

        let bytes = RESULTS_LIMIT - RESULT_BYTES - 18;
        let filled = |uri_bytes| ItemCounter {
            uri_bytes,
            ..ItemCounter::default()
        };
        assert_eq!(filled(bytes).add(&page(1), &prefix(9)), Ok(()));
        assert!(message(filled(bytes + 1).add(&page(1), &prefix(9))).contains("64 MiB"));
    }

    /// The numbers of docs/src/operate/capacity.md, section "Length of the URIs".
    #[test]
    fn the_longer_the_uris_the_fewer_items_a_job_has() {
        let prefix = spec(&json!({"prefix": {"bucket": "pics", "maxObjects": ITEMS_LIMIT}}));
        for (bytes, most) in [(200, 215_092), (300, 162_885), (500, 109_655), (1_000, 60_349)] {
            let item = SourceItem {
                uri: format!("oss://pics/{}", "a".repeat(bytes - 11)),
                resume_after: None,
                reject_code: None,
            };
            let with = |items: i32| ItemCounter {
                items: items - 1,
                uri_bytes: i64::from(items - 1) * i64::try_from(bytes + 2).unwrap(),
                ..ItemCounter::default()
            };
            let add = |items: i32| with(items).add(std::slice::from_ref(&item), &prefix);
            assert_eq!(add(most), Ok(()), "{bytes}");
            assert!(message(add(most + 1)).contains("64 MiB"), "{bytes}");
        }
        let longest =
            |bytes: i64| results_bytes(ITEMS_LIMIT, i64::from(ITEMS_LIMIT) * (bytes + 2)) <= RESULTS_LIMIT;
        assert!(longest(156) && !longest(157));
    }

    #[test]
    fn a_source_is_limited_by_the_pages_of_a_listing_and_the_bytes_of_a_manifest() {
        let prefix = spec(&json!({"prefix": {"bucket": "pics"}}));
        let mut counter = ItemCounter::default();
        for _ in 0..MAX_PAGES {
            assert_eq!(counter.end_page(&prefix, None), Ok(()));
        }
        assert!(message(counter.end_page(&prefix, None)).starts_with("The prefix"));
        let manifest = spec(&json!({"manifest": {"uri": "oss://pics/list.txt"}}));
        let at = |byte| ItemCounter::default().end_page(&manifest, Some(&SourcePosition::Byte(byte)));
        assert_eq!(at(MAX_MANIFEST_BYTES), Ok(()));
        assert!(message(at(MAX_MANIFEST_BYTES + 1)).starts_with("The manifest"));
    }

    #[test]
    fn an_empty_manifest_is_counted_when_it_is_pinned_and_a_long_etag_is_left_out() {
        let now = Timestamp::from_millisecond(1_500).unwrap();
        let pinned = pinned_source(now, Some("\"1\"".to_owned()), false);
        assert_eq!(pinned.as_of.as_ref().map(|t| t.0.as_millisecond()), Some(1_000));
        assert_eq!((pinned.etag.as_deref(), pinned.items), (Some("\"1\""), None));
        let empty = pinned_source(now, Some(String::new()), true);
        assert_eq!(
            (empty.etag, empty.items, empty.uri_bytes),
            (None, Some(0), Some(0))
        );
        assert_eq!(pinned_source(now, Some("e".repeat(129)), false).etag, None);
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
