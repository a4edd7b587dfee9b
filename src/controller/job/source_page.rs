//! Pages of a source: how much is read at once and kept, and the items in it, which are made in small batches. A line of
//! four bytes becomes an item of more than a hundred.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Cursor, JobSpec, ObservedSource, PrefixSource};
use crate::controller::context::Context;
use crate::core::job::{LINE_PART, ListedObject, SourceItem, SourceSpec, items_of_lines, items_of_page};
use crate::core::tenancy::TenancyRules;
use crate::ports::{AccessKeys, CloudError, ListPosition};
use crate::runtime::memory_budget::Reservation;

/// Items that are made at once.
const BATCH: usize = 250;
/// Bytes of a manifest, or of listed keys, that a run keeps: as many as 1,024 runs can keep together.
const KEPT_BYTES: usize = 24 * 1024;
/// Bytes of a manifest that are read at once while it is counted.
const COUNTED_BYTES: u64 = 1024 * 1024;

/// Position in a source.
#[derive(Clone, Debug)]
pub(super) enum SourcePosition {
    /// In a listing.
    Listing(ListPosition),
    /// At a byte offset of a manifest.
    Byte(u64),
}

impl SourcePosition {
    /// Returns the position at which a job with this cursor continues.
    pub(super) fn of(cursor: &Cursor, spec: &JobSpec) -> Self {
        if spec.source.prefix.is_some() {
            let key = cursor.key.clone();
            return Self::Listing(ListPosition {
                key,
                ..ListPosition::default()
            });
        }
        Self::Byte(cursor.key.as_deref().and_then(|at| at.parse().ok()).unwrap_or(0))
    }
}

/// The source of a run.
#[derive(Default)]
pub(super) struct SourceState {
    /// Position of the next page; `None` at the end, and for a list of URIs.
    pub(super) position: Option<SourcePosition>,
    /// The page whose items are not all handed out.
    pub(super) page: Option<SourcePage>,
    pub(super) allowed: AllowedBuckets,
    /// Consecutive failures to read the page at this position.
    pub(super) failures: usize,
}

/// Buckets of manifest lines that the tenancy rules allow: a batch of lines mostly names the same ones as the last.
#[derive(Default)]
pub(super) struct AllowedBuckets {
    rules: Option<Arc<TenancyRules>>,
    names: BTreeSet<String>,
}

impl AllowedBuckets {
    pub(super) fn contain(&self, rules: &Arc<TenancyRules>, buckets: &[&str]) -> bool {
        let same = self.rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, rules));
        same && buckets.iter().all(|bucket| self.names.contains(*bucket))
    }

    pub(super) fn add(&mut self, rules: Arc<TenancyRules>, buckets: &[&str]) {
        let same = self
            .rules
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &rules));
        // A manifest can name another bucket in each line.
        if !same || self.names.len() > BATCH {
            self.names.clear();
        }
        self.rules = Some(rules);
        self.names
            .extend(buckets.iter().map(|bucket| (*bucket).to_owned()));
    }
}

/// Why a page is read: a count passes over it at once, a run keeps it until its items are done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PageUse {
    Count,
    Run,
}

/// A page of a source.
pub(super) struct SourcePage {
    rest: Rest,
    /// Position of the next page; `None` at the end.
    pub(super) next: Option<SourcePosition>,
    /// The part of the memory budget that the page of a count occupies.
    _memory: Option<Reservation>,
}

/// What is left of a page.
enum Rest {
    Nothing,
    Listed {
        source: Box<PrefixSource>,
        as_of: Timestamp,
        objects: VecDeque<ListedObject>,
    },
    Lines {
        bytes: Vec<u8>,
        used: usize,
        offset: u64,
        last: bool,
    },
}

impl SourcePage {
    /// Returns a page without items at the end of a source.
    pub(super) fn empty() -> Self {
        Self {
            rest: Rest::Nothing,
            next: None,
            _memory: None,
        }
    }

    /// Whether a batch is left.
    pub(super) fn is_used_up(&self) -> bool {
        match &self.rest {
            Rest::Nothing => true,
            Rest::Listed { objects, .. } => objects.is_empty(),
            Rest::Lines { bytes, used, .. } => *used >= bytes.len(),
        }
    }

    /// Returns the next items, at most [`BATCH`]; there can be none in a batch.
    pub(super) fn next_batch(&mut self) -> Vec<SourceItem> {
        match &mut self.rest {
            Rest::Nothing => Vec::new(),
            Rest::Listed {
                source,
                as_of,
                objects,
            } => {
                let batch = objects.drain(..BATCH.min(objects.len())).collect();
                items_of_page(source, *as_of, batch)
            }
            Rest::Lines {
                bytes,
                used,
                offset,
                last,
            } => {
                let rest = bytes.get(*used..).unwrap_or_default();
                let at = offset.saturating_add(u64::try_from(*used).unwrap_or(u64::MAX));
                let (found, more) = items_of_lines(rest, at, *last, BATCH);
                // What is left is the beginning of a line, with which the next page begins.
                *used = if more == 0 {
                    bytes.len()
                } else {
                    used.saturating_add(more)
                };
                found
            }
        }
    }
}

/// Reads the page of a source at a position, once the memory budget has room for it.
///
/// # Errors
/// Returns the error of OSS.
pub(super) async fn read_page(
    context: &Context,
    (namespace, spec, source_spec): (&str, &JobSpec, &SourceSpec),
    observed: &ObservedSource,
    keys: &AccessKeys,
    place: &SourcePosition,
    purpose: PageUse,
) -> Result<SourcePage, CloudError> {
    match place {
        SourcePosition::Listing(after) => {
            let Some(prefix) = &spec.source.prefix else {
                return Ok(SourcePage::empty());
            };
            let bytes = u64::try_from(after.answer_bytes()).unwrap_or(u64::MAX);
            let memory = context.memory.reserve(namespace, bytes).await;
            let page = context
                .ports
                .list_objects(
                    &spec.project.region,
                    &prefix.bucket,
                    &prefix.prefix,
                    after,
                    prefix.request_payer,
                    keys,
                )
                .await?;
            let as_of = observed.as_of.as_ref();
            let mut objects = VecDeque::from(page.objects);
            let mut next = page.next.map(|token| ListPosition {
                key: objects.iter().rev().find_map(|o| o.key.clone().ok()),
                token: Some(token),
                max_keys: after.max_keys,
            });
            if purpose == PageUse::Run {
                if let Some(key) = shorten(&mut objects) {
                    next = Some(ListPosition {
                        key: Some(key),
                        ..ListPosition::default()
                    });
                }
                if let Some(next) = &mut next {
                    next.max_keys = keys_to_keep(&objects);
                }
            }
            Ok(SourcePage {
                rest: Rest::Listed {
                    source: Box::new(prefix.clone()),
                    as_of: as_of.map_or_else(|| context.ports.now(), |time| time.0),
                    objects,
                },
                next: next.map(SourcePosition::Listing),
                _memory: (purpose == PageUse::Count).then_some(memory),
            })
        }
        SourcePosition::Byte(from) => {
            let SourceSpec::Manifest(object) = source_spec else {
                return Ok(SourcePage::empty());
            };
            let range = range_from(*from, purpose);
            let memory = match purpose {
                PageUse::Count => Some(context.memory.reserve(namespace, 2 * COUNTED_BYTES).await),
                PageUse::Run => None,
            };
            let etag = observed.etag.as_deref();
            let region = &spec.project.region;
            let piece = context
                .ports
                .read_object(region, object, range, etag, spec.source.request_payer(), keys)
                .await?;
            let complete = complete_bytes(&piece.bytes, piece.last);
            let next = from.saturating_add(u64::try_from(complete).unwrap_or(u64::MAX));
            let mut bytes = piece.bytes;
            bytes.truncate(complete);
            Ok(SourcePage {
                rest: Rest::Lines {
                    bytes,
                    used: 0,
                    offset: *from,
                    last: piece.last,
                },
                next: (!piece.last).then_some(SourcePosition::Byte(next)),
                _memory: memory,
            })
        }
    }
}

/// Returns the bytes of a manifest to read at a position.
fn range_from(from: u64, purpose: PageUse) -> Range<u64> {
    let length = match purpose {
        PageUse::Count => COUNTED_BYTES,
        PageUse::Run => u64::try_from(KEPT_BYTES).unwrap_or(COUNTED_BYTES),
    };
    from..from.saturating_add(length)
}

/// Returns the number of bytes of a chunk that are complete lines, or parts of an overlong line: the next chunk begins
/// there.
fn complete_bytes(chunk: &[u8], last: bool) -> usize {
    if last {
        return chunk.len();
    }
    let lines = chunk
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    // The rest of the chunk has no line ending: it is a line that begins here, and may be overlong.
    lines + (chunk.len() - lines) / LINE_PART * LINE_PART
}

/// Keeps the first objects of a page, up to [`KEPT_BYTES`]. Returns the key after which the listing continues; `None` if
/// all objects are kept.
fn shorten(objects: &mut VecDeque<ListedObject>) -> Option<String> {
    let mut bytes = 0;
    let end = objects.iter().position(|object| {
        bytes += key_length(object);
        bytes >= KEPT_BYTES && object.key.is_ok()
    })?;
    if end + 1 == objects.len() {
        return None;
    }
    objects.truncate(end + 1);
    objects.back()?.key.clone().ok()
}

/// Returns the number of keys that fit into [`KEPT_BYTES`] if the next ones are as long as these: what a run does not
/// keep of a page is listed again.
fn keys_to_keep(objects: &VecDeque<ListedObject>) -> usize {
    let bytes: usize = objects.iter().map(key_length).sum();
    KEPT_BYTES
        .saturating_mul(objects.len())
        .checked_div(bytes)
        .map_or(ListPosition::MAX_KEYS, |keys| {
            keys.clamp(1, ListPosition::MAX_KEYS)
        })
}

fn key_length(object: &ListedObject) -> usize {
    object.key.as_ref().map_or_else(String::len, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> SourcePage {
        SourcePage {
            rest: Rest::Lines {
                bytes: text.to_vec(),
                used: 0,
                offset: 0,
                last: true,
            },
            next: None,
            _memory: None,
        }
    }

    #[test]
    fn a_page_yields_its_items_in_small_batches() {
        let mut page = lines(&b"xxx\n".repeat(6_000));
        let mut items = 0;
        while !page.is_used_up() {
            let batch = page.next_batch();
            assert!(!batch.is_empty() && batch.len() <= BATCH);
            items += batch.len();
        }
        assert_eq!(items, 6_000);
    }

    #[test]
    fn a_chunk_ends_where_the_next_one_can_begin() {
        assert_eq!(complete_bytes(b"a\nb\nhalf", false), 4);
        assert_eq!(complete_bytes(b"a\nb\nhalf", true), 8);
        let overlong = [b"a\n".as_slice(), &vec![b'x'; 2 * LINE_PART + 5]].concat();
        assert_eq!(complete_bytes(&overlong, false), 2 + 2 * LINE_PART);
    }

    #[test]
    fn a_run_keeps_a_bounded_part_of_a_page_and_continues_after_it() {
        let object = |key: String| ListedObject {
            key: Ok(key),
            modified: Timestamp::UNIX_EPOCH,
            size: None,
            archived: false,
        };
        let mut long: VecDeque<_> = (0..1_000)
            .map(|n| object(format!("{n:04}{}", "k".repeat(1_000))))
            .collect();
        let next = shorten(&mut long).unwrap();
        assert!(long.len() < 30 && long.back().unwrap().key.as_ref() == Ok(&next));
        let kept = keys_to_keep(&long);
        assert!((20..=long.len()).contains(&kept), "{kept}");
        long.truncate(kept);
        assert_eq!(shorten(&mut long), None, "the next page is kept as a whole");
        let mut short: VecDeque<_> = (0..1_000).map(|n| object(format!("photos/{n:07}.jpg"))).collect();
        assert_eq!((shorten(&mut short), short.len()), (None, 1_000));
        assert_eq!(keys_to_keep(&short), 1_000);
        assert_eq!(keys_to_keep(&VecDeque::new()), 1_000);
    }
}
