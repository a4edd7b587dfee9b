//! Objects: head, get with conditions and ranges, put, delete.
//! Only the operations that readers of a bucket need; versions and multipart uploads are not modelled.

use super::AuthenticatedRequest;
use crate::answer::{Answer, OssError};
use crate::clock::{http_date, read_date};
use crate::world::StorageClass;
use crate::world::buckets::{Object, Scoring};

fn no_such_key(key: &str) -> OssError {
    OssError::new(404, "NoSuchKey", "The specified key does not exist.")
        .ec("0026-00000001")
        .detail("Key", key)
}

/// The part of an object that a `Range` header selects.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(usize, usize),
    Unsatisfiable,
}

/// Parses a `Range` header as OSS does: a range outside the object is ignored, unless the client requests standard
/// behaviour with `x-oss-range-behavior`. An unparsable range is always ignored.
fn part(header: Option<&str>, standard: bool, length: usize) -> Part {
    let bounds = header
        .and_then(|header| header.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = bounds else {
        return Part::Whole;
    };
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, length.saturating_sub(1).max(first)),
        (Err(_), Ok(count)) if first.is_empty() && count <= length => {
            (length - count, length.saturating_sub(1))
        }
        (Err(_), Ok(_)) if first.is_empty() && standard => (0, length.saturating_sub(1)),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => return Part::Whole,
    };
    match (first < length, last < length) {
        (true, true) => Part::Bytes(first, last),
        (true, false) if standard => Part::Bytes(first, length - 1),
        (false, _) if standard => Part::Unsatisfiable,
        (true | false, _) => Part::Whole,
    }
}

impl AuthenticatedRequest<'_> {
    fn etag_named(&self, header: &str, object: &Object) -> Option<bool> {
        let named = self.request.header(header)?;
        Some(named.split(',').any(|one| {
            let one = one.trim().trim_matches('"');
            one == "*" || one.eq_ignore_ascii_case(&object.content.etag)
        }))
    }

    /// Returns 412 or 304 if a condition of the request is not met, otherwise `None`.
    fn unmet_condition(&self, object: &Object) -> Option<OssError> {
        let second = object.modified.as_second();
        let date = |header| {
            self.request
                .header(header)
                .and_then(read_date)
                .map(jiff::Timestamp::as_second)
        };
        let failed = self.etag_named("if-match", object) == Some(false)
            || date("if-unmodified-since").is_some_and(|limit| second > limit);
        let unchanged = self.etag_named("if-none-match", object) == Some(true)
            || date("if-modified-since").is_some_and(|limit| second <= limit);
        if failed {
            let message = "At least one of the pre-conditions you specified did not hold.";
            return Some(OssError::new(412, "PreconditionFailed", message));
        }
        unchanged.then(|| OssError::new(304, "NotModified", "The object was not modified."))
    }

    pub(super) fn get_object(&self) -> Result<Answer, OssError> {
        let world = self.cloud.world();
        let bucket = self.allowed_bucket(&world)?;
        let key = self.key.as_deref().unwrap_or_default();
        let object = bucket.objects.get(key).ok_or_else(|| no_such_key(key))?;
        if let Some(error) = self.unmet_condition(object) {
            return Err(error);
        }
        if !object.is_readable() && self.request.method != "HEAD" {
            let message = "The operation is not valid for the object's state";
            return Err(OssError::new(403, "InvalidObjectState", message));
        }
        let decrypted = self.caller.as_ref().is_some_and(|caller| caller.decrypts(object));
        if object.kms_key_of.is_some() && !decrypted && self.request.method != "HEAD" {
            return Err(OssError::denied("This request is forbidden by kms."));
        }
        let bytes = &object.content.bytes;
        let length = bytes.len();
        let standard = self.request.header("x-oss-range-behavior") == Some("standard");
        let range = match part(self.request.header("range"), standard, length) {
            Part::Whole => None,
            Part::Bytes(first, last) => Some((first, last)),
            Part::Unsatisfiable => {
                let message = "The requested range cannot be satisfied";
                return Err(OssError::new(416, "InvalidRange", message)
                    .ec("0026-00000201")
                    .detail("ActualObjectSize", length.to_string()));
            }
        };
        let body = range.map_or_else(|| bytes.clone(), |(first, last)| bytes.slice(first..=last));
        let kind = object
            .content_type
            .as_deref()
            .unwrap_or("application/octet-stream");
        let mut answer = Answer::of(if range.is_some() { 206 } else { 200 }, kind, body.clone())
            .with("ETag", format!("\"{}\"", object.content.etag))
            .with("Last-Modified", http_date(object.modified))
            .with("Accept-Ranges", "bytes")
            .with("x-oss-object-type", "Normal")
            .with("x-oss-storage-class", object.storage_class.name());
        if object.kms_key_of.is_some() {
            answer = answer.with("x-oss-server-side-encryption", "KMS");
        }
        if let Some((first, last)) = range {
            answer = answer.with("Content-Range", format!("bytes {first}-{last}/{length}"));
        }
        if self.request.method == "HEAD" {
            answer = answer.with("Content-Length", body.len().to_string());
            answer.body = bytes::Bytes::new();
        }
        Ok(answer)
    }

    pub(super) fn put_object(&self) -> Result<Answer, OssError> {
        let mut world = self.cloud.world();
        self.allowed_bucket(&world)?;
        let key = self.key.clone().unwrap_or_default();
        if key.len() > 1023 || key.starts_with('\\') {
            return Err(OssError::new(
                400,
                "InvalidObjectName",
                "The specified object is not valid.",
            ));
        }
        let mut object = Object::new(self.request.body.clone(), self.cloud.clock.now(), Scoring::Pixels);
        object.content_type = self.request.header("content-type").map(str::to_owned);
        if let Some(name) = self.request.header("x-oss-storage-class") {
            object.storage_class = StorageClass::from_name(name)
                .ok_or_else(|| OssError::new(400, "InvalidArgument", "The storage class is not valid."))?;
        }
        let etag = format!("\"{}\"", object.content.etag);
        world.put_object(&self.bucket, &key, object);
        Ok(Answer::empty(200).with("ETag", etag))
    }

    pub(super) fn delete_object(&self) -> Result<Answer, OssError> {
        let mut world = self.cloud.world();
        self.allowed_bucket(&world)?;
        if let (Some(bucket), Some(key)) = (world.buckets.get_mut(&self.bucket), &self.key) {
            bucket.objects.remove(key);
        }
        Ok(Answer::empty(204))
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, part};

    #[test]
    fn a_range_within_the_object_is_that_part_of_it() {
        for standard in [false, true] {
            for (range, first, last) in [
                ("2-5", 2, 5),
                ("2-", 2, 9),
                ("-3", 7, 9),
                ("0-9", 0, 9),
                ("9-9", 9, 9),
            ] {
                let found = part(Some(&format!("bytes={range}")), standard, 10);
                assert_eq!(found, Part::Bytes(first, last), "{range}");
            }
            for ignored in ["bytes=8-3", "lines=1-2", "bytes=a-b", "bytes=1-2,4-5"] {
                assert_eq!(part(Some(ignored), standard, 10), Part::Whole, "{ignored}");
            }
        }
    }

    #[test]
    fn a_range_that_reaches_beyond_is_ignored_or_clipped_or_refused() {
        for (range, standard) in [
            ("5-50", Part::Bytes(5, 9)),
            ("-20", Part::Bytes(0, 9)),
            ("10-", Part::Unsatisfiable),
            ("10-20", Part::Unsatisfiable),
            ("-0", Part::Unsatisfiable),
        ] {
            let range = format!("bytes={range}");
            assert_eq!(part(Some(&range), false, 10), Part::Whole, "{range}");
            assert_eq!(part(Some(&range), true, 10), standard, "{range}");
        }
        assert_eq!(part(Some("bytes=0-"), true, 0), Part::Unsatisfiable);
        assert_eq!(part(Some("bytes=0-"), false, 0), Part::Whole);
    }
}
