//! Pages of a source: how much is read at once and kept, and the items in it, which are made in small batches. A line of
//! four bytes becomes an item of more than a hundred.

use std::collections::VecDeque;
use std::ops::Range;

use k8s_openapi::jiff::Timestamp;

use super::{LINE_PART, ListPosition, ListedObject, SourceItem, items_of_lines, items_of_page};
use crate::api::{Cursor, JobSpec, PrefixSource};

/// Items that are made at once.
pub const BATCH: usize = 250;
/// Bytes of a manifest, or of listed keys, that a run keeps: as many as 1,024 runs can keep together.
const KEPT_BYTES: usize = 24 * 1024;
/// Bytes of a manifest that are read at once while it is counted.
const COUNTED_BYTES: u64 = 1024 * 1024;

/// Position in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePosition {
    /// In a listing.
    Listing(ListPosition),
    /// At a byte offset of a manifest.
    Byte(u64),
}

impl SourcePosition {
    /// Returns the position at which a job with this cursor continues.
    pub fn of(cursor: &Cursor, spec: &JobSpec) -> Self {
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

/// Why a page is read: a count passes over it at once, a run keeps it until its items are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageUse {
    /// The items are counted.
    Count,
    /// The items are scored.
    Run,
}

impl PageUse {
    /// Returns the bytes of a manifest to read at a position.
    pub fn range_from(self, from: u64) -> Range<u64> {
        let length = match self {
            Self::Count => COUNTED_BYTES,
            Self::Run => u64::try_from(KEPT_BYTES).unwrap_or(COUNTED_BYTES),
        };
        from..from.saturating_add(length)
    }

    /// Returns the memory that a page of a manifest occupies beside what a run keeps.
    pub fn manifest_memory(self) -> Option<u64> {
        match self {
            Self::Count => Some(2 * COUNTED_BYTES),
            Self::Run => None,
        }
    }
}

/// What is left of a page.
#[derive(Debug)]
pub struct PageItems(Rest);

#[derive(Debug)]
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

impl PageItems {
    /// A page without items, at the end of a source.
    pub fn none() -> Self {
        Self(Rest::Nothing)
    }

    /// Returns the items of a page of a listing that was read `after` a position, and the position of the next page;
    /// `None` at the end. `token` is the one with which OSS continues. A run keeps the first objects only and lists
    /// the others again.
    pub fn listed(
        source: &PrefixSource,
        as_of: Timestamp,
        objects: Vec<ListedObject>,
        token: Option<String>,
        after: &ListPosition,
        purpose: PageUse,
    ) -> (Self, Option<SourcePosition>) {
        let mut objects = VecDeque::from(objects);
        let mut next = token.map(|token| ListPosition {
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
        let source = Box::new(source.clone());
        let rest = Rest::Listed {
            source,
            as_of,
            objects,
        };
        (Self(rest), next.map(SourcePosition::Listing))
    }

    /// Returns the items of a chunk of a manifest that begins at a byte, and the position of the next chunk; `None`
    /// at the end.
    pub fn lines(mut bytes: Vec<u8>, from: u64, last: bool) -> (Self, Option<SourcePosition>) {
        let complete = complete_bytes(&bytes, last);
        bytes.truncate(complete);
        let next = from.saturating_add(u64::try_from(complete).unwrap_or(u64::MAX));
        let rest = Rest::Lines {
            bytes,
            used: 0,
            offset: from,
            last,
        };
        (Self(rest), (!last).then_some(SourcePosition::Byte(next)))
    }

    /// Whether no batch is left.
    pub fn is_used_up(&self) -> bool {
        match &self.0 {
            Rest::Nothing => true,
            Rest::Listed { objects, .. } => objects.is_empty(),
            Rest::Lines { bytes, used, .. } => *used >= bytes.len(),
        }
    }

    /// Returns the next items, at most [`BATCH`]; there can be none in a batch.
    pub fn next_batch(&mut self) -> Vec<SourceItem> {
        match &mut self.0 {
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

    #[test]
    fn a_page_yields_its_items_in_small_batches() {
        let (mut page, next) = PageItems::lines(b"xxx\n".repeat(6_000), 0, true);
        assert_eq!(next, None);
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
        for (part, complete) in [(LINE_PART, 2 + LINE_PART), (LINE_PART - 1, 2)] {
            let chunk = [b"a\n".as_slice(), &vec![b'x'; part]].concat();
            assert_eq!(complete_bytes(&chunk, false), complete, "{part}");
        }
        let many = [b"a\n".repeat(LINE_PART), b"half".to_vec()].concat();
        assert_eq!(complete_bytes(&many, false), 2 * LINE_PART);
        let (page, next) = PageItems::lines(b"a\nb\nhalf".to_vec(), 100, false);
        assert_eq!(
            (page.is_used_up(), next),
            (false, Some(SourcePosition::Byte(104)))
        );
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

    #[test]
    fn a_count_uses_a_page_as_a_whole_and_a_run_lists_again_what_it_does_not_keep() {
        let source: PrefixSource = serde_json::from_str(r#"{"bucket": "pics"}"#).unwrap();
        let after = ListPosition {
            max_keys: 700,
            ..ListPosition::default()
        };
        let page = |length: usize, purpose| {
            let objects = (0..700).map(|n| ListedObject {
                key: Ok(format!("{n:04}{}", "k".repeat(length))),
                modified: Timestamp::UNIX_EPOCH,
                size: None,
                archived: false,
            });
            let token = Some("token".to_owned());
            let (mut page, next) =
                PageItems::listed(&source, Timestamp::MAX, objects.collect(), token, &after, purpose);
            let mut items = 0;
            while !page.is_used_up() {
                items += page.next_batch().len();
            }
            let Some(SourcePosition::Listing(next)) = next else {
                panic!("the listing continues");
            };
            let number = next
                .key
                .map(|key| key.get(..4).unwrap().parse::<usize>().unwrap());
            (items, number, next.token.is_some(), next.max_keys)
        };
        for length in [1, 1_000] {
            assert_eq!(page(length, PageUse::Count), (700, Some(699), true, 700));
        }
        let (items, number, token, keys) = page(1, PageUse::Run);
        assert_eq!((items, number, token, keys), (700, Some(699), true, 1_000));
        let (items, number, token, keys) = page(1_000, PageUse::Run);
        assert!(items < 30 && keys <= items, "{items} {keys}");
        assert_eq!((number, token), (Some(items - 1), false));
        let end = PageItems::listed(&source, Timestamp::MAX, Vec::new(), None, &after, PageUse::Run);
        assert!(end.0.is_used_up() && end.1.is_none());
        assert!(PageItems::none().is_used_up());
    }
}
