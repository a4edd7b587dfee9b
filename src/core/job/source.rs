//! The items of a source: which objects of a listed page and which lines of a manifest are items.

use k8s_openapi::jiff::Timestamp;

use super::listed_object::ListedObject;
use crate::api::PrefixSource;
use crate::core::validate::ObjectUri;

/// Bytes of a line of a manifest that are one item; a URI has at most 1,100.
pub const LINE_PART: usize = 8 * 1024;

/// An item as read from a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceItem {
    /// URI of the image. For a rejected item, a printable form of its name.
    pub uri: String,
    /// Position in the source after this item: a key or a byte offset.
    pub resume_after: Option<String>,
    /// Error code of an item that is rejected without a call; `None` for a valid item.
    pub reject_code: Option<&'static str>,
}

/// Whether a page was listed before the second of `as_of` was over: an object that is written in the rest of that
/// second is part of the job, and this page does not have it.
pub fn is_listed_early(as_of: Timestamp, listed_at: Timestamp) -> bool {
    listed_at.as_second() <= as_of.as_second()
}

/// Returns the items among the objects of a page. Objects modified after `as_of` are not part of the job.
pub fn items_of_page(source: &PrefixSource, as_of: Timestamp, page: Vec<ListedObject>) -> Vec<SourceItem> {
    let mut found = Vec::new();
    for object in page {
        let after = source
            .modified_after
            .as_ref()
            .is_none_or(|t| object.modified.as_second() > t.0.as_second());
        // Compare whole seconds, the precision of `as_of`: an object modified within that second belongs to the counted
        // items, also if OSS reports fractions of a second. The next job, whose `modifiedAfter` is that time, leaves
        // it out.
        if object.modified.as_second() > as_of.as_second() || !after {
            continue;
        }
        let unscorable = object.unscorable().filter(|_| !source.include_unscorable);
        let key = match object.key {
            Ok(key) => key,
            Err(raw) => {
                found.push(rejected(uri(&source.bucket, &raw), None, "KeyNotUtf8"));
                continue;
            }
        };
        let ends = |suffix: &String| key.ends_with(suffix.as_str());
        let fits = if source.suffixes.is_empty() {
            !key.ends_with('/')
        } else {
            source.suffixes.iter().any(ends)
        };
        if fits {
            let mut item = item(uri(&source.bucket, &key), Some(key));
            item.reject_code = item.reject_code.or(unscorable);
            found.push(item);
        }
    }
    found
}

fn uri(bucket: &str, key: &str) -> String {
    ["oss://", bucket, "/", key].concat()
}

/// Creates an item. A URI that is not valid yields a rejected item.
fn item(uri: String, place: Option<String>) -> SourceItem {
    if ObjectUri::split("uri", &uri).is_ok() {
        return SourceItem {
            uri,
            resume_after: place,
            reject_code: None,
        };
    }
    rejected(uri.escape_debug().take(1000).collect(), place, "NotAnImageUri")
}

fn rejected(uri: String, resume_after: Option<String>, code: &'static str) -> SourceItem {
    SourceItem {
        uri,
        resume_after,
        reject_code: Some(code),
    }
}

/// Parses at most `most` complete lines of a chunk of a manifest that begins at byte `offset`. Returns the items and the
/// number of bytes consumed. In the last chunk, the text after the last line ending is a line as well. A longer line than
/// [`LINE_PART`] is no URI: each part of it is rejected as an item, and the parts do not depend on the chunks.
pub fn items_of_lines(piece: &[u8], offset: u64, last: bool, most: usize) -> (Vec<SourceItem>, usize) {
    let mut found = Vec::new();
    let mut used = 0;
    while let Some(rest) = piece
        .get(used..)
        .filter(|rest| !rest.is_empty() && found.len() < most)
    {
        let part = rest.get(..LINE_PART);
        let end = part.unwrap_or(rest).iter().position(|b| *b == b'\n');
        let whole = part.map(<[u8]>::len).or_else(|| last.then_some(rest.len()));
        let Some(length) = end.map(|e| e + 1).or(whole) else {
            break;
        };
        let line = rest.get(..length).unwrap_or_default();
        // Strip only the line ending: a key can end with a space.
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let begin = offset + u64::try_from(used).unwrap_or(u64::MAX);
        used += length;
        // A byte order mark is not part of the line.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = Some((offset + u64::try_from(used).unwrap_or(u64::MAX)).to_string());
        match std::str::from_utf8(line) {
            Ok(text) if text.starts_with("oss://") => found.push(item(text.to_owned(), place)),
            // Do not show the text: a job must not disclose the content of an object that is not a manifest.
            other => {
                let shown = if line.starts_with(b"oss://") {
                    line.escape_ascii().to_string().chars().take(1000).collect()
                } else {
                    format!("line at byte {begin}")
                };
                let code = other.map_or("LineNotUtf8", |_| "NotAnImageUri");
                found.push(rejected(shown, place, code));
            }
        }
    }
    (found, used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RequestPayer;

    #[test]
    fn each_line_is_an_item_with_the_offset_to_resume_at() {
        let text =
            b"\xef\xbb\xbfoss://pics/a b.jpg\r\n\noss://pics/\xc3\xbc%2F+.jpg\nnonsense\noss://pics/half";
        let (found, used) = items_of_lines(text, 100, false, 100);
        let shown: Vec<(&str, Option<&str>, bool)> = found
            .iter()
            .map(|f| (f.uri.as_str(), f.resume_after.as_deref(), f.reject_code.is_some()))
            .collect();
        assert_eq!(
            shown,
            [
                ("oss://pics/a b.jpg", Some("123"), false),
                ("oss://pics/ü%2F+.jpg", Some("146"), false),
                ("line at byte 146", Some("155"), true)
            ]
        );
        assert_eq!(text.get(used..).unwrap(), b"oss://pics/half");
        assert_eq!(items_of_lines(b"oss://pics/half", 0, true, 100).0.len(), 1);
        let (bad, _) = items_of_lines(b"oss://pics/\xff\n", 0, false, 100);
        assert_eq!(
            (bad[0].uri.as_str(), bad[0].reject_code),
            ("oss://pics/\\xff", Some("LineNotUtf8"))
        );
    }

    #[test]
    fn the_items_of_a_manifest_do_not_depend_on_the_chunks_in_which_it_is_read() {
        let mut text = b"xxx\n".repeat(3_000);
        text.extend(vec![b'a'; 3 * LINE_PART + 7]);
        text.extend(b"\noss://pics/1.jpg\r\n\noss://pics/2.jpg");
        let walk = |chunk: usize, most: usize| {
            let (mut at, mut found) = (0, Vec::new());
            while at < text.len() {
                let end = text.len().min(at + chunk);
                let (items, used) = items_of_lines(
                    &text[at..end],
                    u64::try_from(at).unwrap(),
                    end == text.len(),
                    most,
                );
                assert!(used > 0 && items.len() <= most);
                found.extend(items);
                at += used;
            }
            found
        };
        let whole = walk(text.len(), usize::MAX);
        assert_eq!(whole.len(), 3_000 + 4 + 2);
        for (chunk, most) in [(LINE_PART, 250), (2 * LINE_PART + 1, 7), (1 << 20, 1_000)] {
            assert_eq!(walk(chunk, most), whole);
        }
    }

    #[test]
    fn newer_objects_folders_and_other_suffixes_are_skipped_and_unusual_keys_are_kept() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let source = PrefixSource {
            bucket: "pics".to_owned(),
            prefix: String::new(),
            suffixes: Vec::new(),
            max_objects: 10,
            modified_after: None,
            include_unscorable: false,
            request_payer: RequestPayer::default(),
            credentials: None,
        };
        let object = |key: &str, second| ListedObject {
            key: Ok(key.to_owned()),
            modified: at(second),
            size: Some(1),
            archived: false,
        };
        let page = vec![
            object("/lead/../x+%41.jpg", 10),
            object("folder/", 10),
            object("new.jpg", 11),
            ListedObject {
                modified: Timestamp::from_millisecond(10_900).unwrap(),
                ..object("same second.jpg", 0)
            },
            object("bell\u{7}.jpg", 10),
        ];
        let found = items_of_page(&source, at(10), page.clone());
        let uris: Vec<(&str, bool)> = found
            .iter()
            .map(|f| (f.uri.as_str(), f.reject_code.is_some()))
            .collect();
        assert_eq!(
            uris,
            [
                ("oss://pics//lead/../x+%41.jpg", false),
                ("oss://pics/same second.jpg", false),
                ("oss://pics/bell\\u{7}.jpg", true)
            ]
        );
        let png = PrefixSource {
            suffixes: vec![".png".to_owned()],
            ..source
        };
        assert!(items_of_page(&png, at(10), page).is_empty());
    }

    #[test]
    fn a_page_is_early_until_the_second_is_over() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (listed_at, early) in [
            ("2026-10-01T02:15:00Z", true),
            ("2026-10-01T02:15:00.999Z", true),
            ("2026-10-01T02:15:01Z", false),
        ] {
            assert_eq!(
                is_listed_early(at("2026-10-01T02:15:00Z"), at(listed_at)),
                early,
                "{listed_at}"
            );
        }
    }

    #[test]
    fn consecutive_jobs_score_each_object_once() {
        let source = |modified_after| -> PrefixSource {
            let mut source = serde_json::json!({"bucket": "pics", "maxObjects": 10});
            if let Some(time) = modified_after {
                source["modifiedAfter"] = serde_json::json!(time);
            }
            serde_json::from_value(source).unwrap()
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (first, second) = (at("2026-10-01T02:15:00Z"), at("2026-10-02T02:15:00Z"));
        for (modified, jobs) in [
            ("2026-10-01T02:14:59Z", (1, 0)),
            ("2026-10-01T02:15:00Z", (1, 0)),
            ("2026-10-01T02:15:00.900Z", (1, 0)),
            ("2026-10-01T02:15:01Z", (0, 1)),
        ] {
            let object = ListedObject {
                key: Ok("a.jpg".to_owned()),
                modified: at(modified),
                size: Some(1),
                archived: false,
            };
            let items =
                |source: &PrefixSource, as_of| items_of_page(source, as_of, vec![object.clone()]).len();
            let next = source(Some("2026-10-01T02:15:00Z"));
            assert_eq!(
                (items(&source(None), first), items(&next, second)),
                jobs,
                "{modified}"
            );
        }
    }
}
