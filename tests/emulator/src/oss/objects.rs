//! Objects: head, get with conditions and ranges, put, delete.
//! Only what readers of a bucket need; there are no versions and no multipart uploads.

use super::Visit;
use crate::answer::{Answer, OssError};
use crate::clock::{http_date, read_date};
use crate::world::buckets::Object;

fn no_such_key(key: &str) -> OssError {
    OssError::new(404, "NoSuchKey", "The specified key does not exist.")
        .ec("0026-00000001")
        .detail("Key", key)
}

/// First and last byte of a `Range` header; `None` if there is none, or it is to be ignored.
fn range(header: Option<&str>, length: usize) -> Option<(usize, usize)> {
    let (first, last) = header?.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.min(end)),
        (Ok(first), Err(_)) if last.is_empty() => (first, end),
        (Err(_), Ok(count)) if first.is_empty() => (length.saturating_sub(count), end),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => return None,
    };
    (first <= last).then_some((first, last))
}

impl Visit<'_> {
    fn etag_named(&self, header: &str, object: &Object) -> Option<bool> {
        let named = self.request.header(header)?;
        Some(named.split(',').any(|one| {
            let one = one.trim().trim_matches('"');
            one == "*" || one.eq_ignore_ascii_case(&object.etag)
        }))
    }

    /// 412 or 304, if a condition says so.
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
        let length = object.bytes.len();
        let part = range(self.request.header("range"), length);
        let body = part.map_or_else(
            || object.bytes.clone(),
            |(first, last)| {
                object
                    .bytes
                    .get(first..=last)
                    .map(bytes::Bytes::copy_from_slice)
                    .unwrap_or_default()
            },
        );
        let kind = object
            .content_type
            .as_deref()
            .unwrap_or("application/octet-stream");
        let mut answer = Answer::of(if part.is_some() { 206 } else { 200 }, kind, body.clone())
            .with("ETag", format!("\"{}\"", object.etag))
            .with("Last-Modified", http_date(object.modified))
            .with("Accept-Ranges", "bytes")
            .with("x-oss-object-type", "Normal")
            .with("x-oss-storage-class", "Standard");
        if let Some((first, last)) = part {
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
        let mut object = Object::new(self.request.body.clone(), self.cloud.clock.now(), None);
        object.content_type = self.request.header("content-type").map(str::to_owned);
        let etag = format!("\"{}\"", object.etag);
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
    use super::range;

    #[test]
    fn ranges_are_clipped_and_nonsense_is_ignored() {
        assert_eq!(range(Some("bytes=2-5"), 10), Some((2, 5)));
        assert_eq!(range(Some("bytes=2-"), 10), Some((2, 9)));
        assert_eq!(range(Some("bytes=-3"), 10), Some((7, 9)));
        assert_eq!(range(Some("bytes=5-50"), 10), Some((5, 9)));
        for ignored in ["bytes=8-3", "bytes=20-30", "lines=1-2", "bytes=a-b"] {
            assert_eq!(range(Some(ignored), 10), None, "{ignored}");
        }
    }
}
