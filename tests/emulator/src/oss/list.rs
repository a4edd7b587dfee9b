//! Lists objects in key order, with prefix, delimiter and continuation, plain or URL-encoded.
//! Keys are returned in byte order, as OSS returns them, so that a listing can be resumed by key.

use std::ops::Bound;

use super::AuthenticatedRequest;
use crate::answer::{Answer, OssError};
use crate::clock::iso_millis;
use crate::encoding::{element, hex, percent_encode};
use crate::request::value_of;

/// Decodes a continuation token: the last name returned, in hexadecimal. Some clients decode a token before they return
/// it and others do not, so the token must look the same encoded and decoded.
fn name_of(token: &str) -> Result<String, OssError> {
    let bytes = (0..token.len()).step_by(2).map(|at| {
        token
            .get(at..at + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    let name = bytes
        .collect::<Option<Vec<u8>>>()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| {
        OssError::new(
            400,
            "InvalidArgument",
            "The continuation token provided is incorrect.",
        )
    })
}

impl AuthenticatedRequest<'_> {
    pub(super) fn list_objects(&self) -> Result<Answer, OssError> {
        let world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        let query = self.request.oss_query();
        let asked = |name| value_of(&query, name).unwrap_or_default();
        let url_encoded = asked("encoding-type") == "url";
        let shown = |text: &str| {
            if url_encoded {
                percent_encode(text.as_bytes(), true)
            } else {
                text.to_owned()
            }
        };
        let second_version = self.action == "ListObjectsV2";
        let (prefix, delimiter) = (asked("prefix"), asked("delimiter"));
        let most = match asked("max-keys") {
            "" => 100,
            text => text
                .parse::<usize>()
                .ok()
                .filter(|count| (1..=1000).contains(count))
                .ok_or_else(|| {
                    OssError::new(400, "InvalidArgument", "max-keys must be between 1 and 1000.")
                })?,
        };
        let token = asked(if second_version {
            "continuation-token"
        } else {
            "marker"
        });
        let resumed = if second_version {
            name_of(token)?
        } else {
            token.to_owned()
        };
        let after = resumed
            .as_str()
            .max(if second_version { asked("start-after") } else { "" });

        let (mut contents, mut prefixes, mut count, mut last) =
            (String::new(), Vec::<String>::new(), 0, String::new());
        let mut truncated = false;
        // Scans only the map's range from the start of the answer to the end of the prefix.
        let start = if after < prefix {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        let found = bucket.objects.range::<str, _>((start, Bound::Unbounded));
        for (key, object) in found.take_while(|(key, _)| key.starts_with(prefix)) {
            let rest = key.get(prefix.len()..).unwrap_or_default();
            let folder = if delimiter.is_empty() {
                None
            } else {
                rest.split_once(delimiter)
            };
            let folder = folder.map(|(front, _)| format!("{prefix}{front}{delimiter}"));
            let name = folder.as_deref().unwrap_or(key);
            if name <= after || prefixes.last().is_some_and(|given| given == name) {
                continue;
            }
            if count == most {
                truncated = true;
                break;
            }
            count += 1;
            name.clone_into(&mut last);
            if let Some(folder) = folder {
                prefixes.push(folder);
                continue;
            }
            let owner = if second_version && asked("fetch-owner") != "true" {
                String::new()
            } else {
                format!(
                    "<Owner>{}{}</Owner>",
                    element("ID", &bucket.owner),
                    element("DisplayName", &bucket.owner)
                )
            };
            contents.push_str("<Contents>");
            contents.push_str(&element("Key", &shown(key)));
            contents.push_str(&element("LastModified", &iso_millis(object.modified)));
            contents.push_str(&element("ETag", &format!("\"{}\"", object.content.etag)));
            contents.push_str(&element("Type", "Normal"));
            contents.push_str(&element("Size", &object.content.bytes.len().to_string()));
            contents.push_str(&element("StorageClass", object.storage_class.name()));
            if object.restored {
                let restoration = "ongoing-request=\"false\", expiry-date=\"Sat, 01 Jan 2050 00:00:00 GMT\"";
                contents.push_str(&element("RestoreInfo", restoration));
            }
            contents.push_str(&owner);
            contents.push_str("</Contents>");
        }
        let common: Vec<String> = prefixes
            .iter()
            .map(|one| {
                format!(
                    "<CommonPrefixes>{}</CommonPrefixes>",
                    element("Prefix", &shown(one))
                )
            })
            .collect();
        let mut inner = vec![
            element("Name", &bucket.name),
            element("Prefix", &shown(prefix)),
            element("MaxKeys", &most.to_string()),
            element("Delimiter", &shown(delimiter)),
            element("IsTruncated", if truncated { "true" } else { "false" }),
        ];
        if second_version {
            inner.push(element("StartAfter", &shown(asked("start-after"))));
            inner.push(element("KeyCount", &count.to_string()));
            inner.push(if token.is_empty() {
                String::new()
            } else {
                element("ContinuationToken", &shown(token))
            });
        } else {
            inner.push(element("Marker", &shown(token)));
        }
        if truncated {
            inner.push(if second_version {
                element("NextContinuationToken", &hex(last.as_bytes()))
            } else {
                element("NextMarker", &shown(&last))
            });
        }
        if url_encoded {
            inner.push(element("EncodingType", "url"));
        }
        inner.extend([contents, common.concat()]);
        Ok(Answer::xml("ListBucketResult", &inner.concat()))
    }
}
