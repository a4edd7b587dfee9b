//! OSS: lists a bucket and reads an object in chunks. Source: OSS pages ListObjectsV2 and GetObject.

use std::borrow::Cow;
use std::ops::Range;

use k8s_openapi::jiff::Timestamp;
use percent_encoding::percent_decode_str;
use reqwest::Method;
use serde::Deserialize;

use super::classify;
use super::client::{Cloud, HttpResponse, MAX_RESPONSE_BYTES};
use super::oss_policy::{OssCall, bucket_call, error_of, send_oss, server_date};
use crate::api::RequestPayer;
use crate::core::job::ListedObject;
use crate::core::place::{BucketPlace, ObjectPlace};
use crate::ports::{AccessKeys, CloudError, ListPosition, ObjectChunk, ObjectPage};

/// The members in use of `<ListBucketResult>`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListBucketResult {
    #[serde(default)]
    contents: Vec<Contents>,
    next_continuation_token: Option<String>,
    #[serde(default)]
    is_truncated: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    last_modified: String,
    size: Option<u64>,
    #[serde(default)]
    storage_class: String,
    /// State of a restoration; absent without one (OSS page "Restore objects").
    #[serde(default)]
    restore_info: String,
}

impl Contents {
    /// Whether the object must be restored before it can be read.
    fn is_archived(&self) -> bool {
        matches!(
            self.storage_class.as_str(),
            "Archive" | "ColdArchive" | "DeepColdArchive"
        ) && !self.restore_info.contains("ongoing-request=\"false\"")
    }
}

/// Returns the next page of objects with a prefix, in key order. Fails with `Unanswered` if the response is incomplete.
pub async fn list_objects(
    cloud: &Cloud,
    bucket: &BucketPlace,
    prefix: &str,
    after: &ListPosition,
    payer: RequestPayer,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<ObjectPage, CloudError> {
    let (answer, list) = list(cloud, bucket, prefix, after, ("url", payer), keys, now).await?;
    let objects = list
        .contents
        .iter()
        .map(|contents| listed_object(contents, prefix))
        .collect::<Option<Vec<_>>>();
    let more = list.is_truncated.trim() == "true";
    let token = list
        .next_continuation_token
        .map(|t| percent_decoded(&t).unwrap_or(t));
    if more && token.is_none() {
        return Err(classify::unanswered("NoTokenInAnswer"));
    }
    Ok(ObjectPage {
        objects: objects.ok_or_else(|| classify::unanswered("NoListInAnswer"))?,
        next: token.filter(|_| more),
        server_time: server_date(&answer, now),
    })
}

/// Returns the keys of the first page of objects with a prefix, as OSS writes them without an encoding. XML cannot
/// contain all of them, so they are of use for a comparison only.
pub async fn plain_keys(
    cloud: &Cloud,
    bucket: &BucketPlace,
    prefix: &str,
    payer: RequestPayer,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<Vec<String>, CloudError> {
    let first = ListPosition::default();
    let (_, list) = list(cloud, bucket, prefix, &first, ("", payer), keys, now).await?;
    Ok(list.contents.into_iter().map(|contents| contents.key).collect())
}

/// Lists a page with an encoding of the keys; an empty text stands for none.
async fn list(
    cloud: &Cloud,
    bucket: &BucketPlace,
    prefix: &str,
    after: &ListPosition,
    (encoding, payer): (&str, RequestPayer),
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<(HttpResponse, ListBucketResult), CloudError> {
    let mut query = vec![
        ("list-type".to_owned(), "2".to_owned()),
        ("encoding-type".to_owned(), encoding.to_owned()),
        ("max-keys".to_owned(), after.max_keys.to_string()),
        ("prefix".to_owned(), prefix.to_owned()),
    ];
    match after {
        ListPosition {
            token: Some(token), ..
        } => query.push(("continuation-token".to_owned(), token.clone())),
        ListPosition { key: Some(key), .. } => query.push(("start-after".to_owned(), key.clone())),
        ListPosition { .. } => {}
    }
    // `canonical_query` drops the `=` of an empty value, which would change the parameter's meaning.
    query.retain(|(_, value)| !value.is_empty());
    let call = OssCall {
        query,
        headers: payer_header(payer).into_iter().collect(),
        ..get_call(bucket, None, after.answer_bytes(), now)
    };
    let answer = send_oss(cloud, keys, call).await?;
    if answer.status != 200 {
        return Err(error_of(&answer));
    }
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    let list = quick_xml::de::from_str(text).map_err(|_| classify::unanswered("NoListInAnswer"))?;
    Ok((answer, list))
}

/// Returns the bytes of a range of an object. With an ETag, fails if the object has another version. A server that ignores
/// ranges returns the whole object, of which no more is read than the range and an error may have.
pub async fn read_object(
    cloud: &Cloud,
    object: &ObjectPlace,
    range: Range<u64>,
    etag: Option<&str>,
    payer: RequestPayer,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<ObjectChunk, CloudError> {
    let (from, last) = (range.start, range.end.saturating_sub(1));
    let length = usize::try_from(range.end.saturating_sub(from)).unwrap_or(usize::MAX);
    let cap = length.saturating_add(MAX_RESPONSE_BYTES);
    let mut headers = vec![
        ("range", format!("bytes={from}-{last}").into()),
        // Without this header OSS returns the whole object for a range beyond its end.
        ("x-oss-range-behavior", "standard".into()),
    ];
    headers.extend(payer_header(payer));
    headers.extend(etag.map(|etag| ("if-match", etag.to_owned().into())));
    let call = OssCall {
        headers,
        ..get_call(object.bucket(), Some(object.key()), cap, now)
    };
    let answer = send_oss(cloud, keys, call).await?;
    let etag = answer.header("etag").unwrap_or_default().to_owned();
    let server_time = server_date(&answer, now);
    match answer.status {
        206 => {
            let total = answer
                .header("content-range")
                .and_then(|range| range.rsplit_once('/')?.1.parse::<u64>().ok())
                .ok_or_else(|| classify::unanswered("NoRangeInAnswer"))?;
            let read = from.saturating_add(u64::try_from(answer.body.len()).unwrap_or(0));
            Ok(ObjectChunk {
                last: read >= total,
                bytes: answer.body,
                etag,
                server_time,
            })
        }
        200 => {
            let skipped = usize::try_from(from).unwrap_or(usize::MAX);
            let bytes = answer.body.get(skipped..).unwrap_or_default().to_vec();
            Ok(ObjectChunk {
                bytes,
                last: true,
                etag,
                server_time,
            })
        }
        // The object is empty or ends at byte `from`.
        416 => Ok(ObjectChunk {
            bytes: Vec::new(),
            last: true,
            etag,
            server_time,
        }),
        _ => Err(error_of(&answer)),
    }
}

fn get_call<'a>(bucket: &'a BucketPlace, key: Option<&'a str>, cap: usize, time: Timestamp) -> OssCall<'a> {
    OssCall {
        key,
        query: Vec::new(),
        cap,
        ..bucket_call(Method::GET, bucket, "", time)
    }
}

/// The header with which the caller accepts the costs (OSS page "Pay-by-requester").
fn payer_header(payer: RequestPayer) -> Option<(&'static str, Cow<'static, str>)> {
    (payer == RequestPayer::Requester).then(|| ("x-oss-request-payer", "requester".into()))
}

/// Converts an entry of a page; `None` if its time is invalid or its key does not begin with the prefix: such a page
/// is not the answer to the request. Keys are percent-encoded, because XML cannot contain every character; a key that
/// is not UTF-8 is kept encoded and marked as an error.
fn listed_object(contents: &Contents, prefix: &str) -> Option<ListedObject> {
    let mut bytes = percent_decode_str(&contents.key);
    if !prefix.bytes().all(|byte| bytes.next() == Some(byte)) {
        return None;
    }
    Some(ListedObject {
        key: percent_decoded(&contents.key).ok_or_else(|| contents.key.chars().take(1000).collect()),
        modified: contents.last_modified.parse().ok()?,
        size: contents.size,
        archived: contents.is_archived(),
    })
}

/// Percent-decodes a text; `None` if the result is not UTF-8. A plus sign is not a space.
fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outside_the_prefix_is_not_listed() {
        for (key, prefix, listed) in [
            ("photos/a.jpg", "photos/", true),
            ("photos%2Fa.jpg", "photos/", true),
            ("%C3%BC%FF", "\u{fc}", true),
            ("a", "", true),
            ("photo", "photos/", false),
            ("secret/a.jpg", "photos/", false),
        ] {
            let found = listed_object(&contents(key, ""), prefix);
            assert_eq!(found.is_some(), listed, "{key} {prefix}");
        }
    }

    #[test]
    fn an_archived_object_can_be_read_once_it_is_restored() {
        for (more, size, archived) in [
            ("", None, false),
            ("<Size>0</Size><StorageClass>IA</StorageClass>", Some(0), false),
            ("<StorageClass>Archive</StorageClass>", None, true),
            (
                "<StorageClass>ColdArchive</StorageClass><RestoreInfo>ongoing-request=\"true\"</RestoreInfo>",
                None,
                true,
            ),
            (
                "<StorageClass>DeepColdArchive</StorageClass><RestoreInfo>ongoing-request=\"false\", expiry-date=\"Sat, 01 Jan 2050 00:00:00 GMT\"</RestoreInfo>",
                None,
                false,
            ),
        ] {
            let found = listed_object(&contents("a.jpg", more), "").unwrap();
            assert_eq!((found.size, found.archived), (size, archived), "{more}");
        }
    }

    fn contents(key: &str, more: &str) -> Contents {
        let text = format!(
            "<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>{more}</Contents>"
        );
        quick_xml::de::from_str(&text).unwrap()
    }

    #[test]
    fn keys_come_out_of_their_encoding_as_they_are() {
        for (text, key) in [
            ("a%20b%2Bc%25.jpg", Some("a b+c%.jpg")),
            ("%C3%BC/..//x", Some("ü/..//x")),
            ("100%", Some("100%")),
            ("a+b", Some("a+b")),
            ("%FF", None),
        ] {
            assert_eq!(percent_decoded(text).as_deref(), key, "{text}");
        }
    }
}
