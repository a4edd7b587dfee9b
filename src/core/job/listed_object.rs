//! A listing of OSS: where it continues, its objects, and whether IMM can score them.

use k8s_openapi::jiff::Timestamp;

/// The largest image that IMM accepts in bytes (IMM page on the limits of image detection).
const MAX_IMAGE_BYTES: u64 = 20 * 1024 * 1024;
const EMPTY: &str = "Empty";
const TOO_LARGE: &str = "TooLarge";
const ARCHIVED: &str = "Archived";

/// Returns whether a code is the one of an object that was not called because IMM cannot score it.
pub(super) fn is_unscorable(code: &str) -> bool {
    [EMPTY, TOO_LARGE, ARCHIVED].contains(&code)
}

/// Where a listing continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// Start after this object key.
    pub key: Option<String>,
    /// Continuation token of the previous page; takes precedence over `key`.
    pub token: Option<String>,
    /// Objects per page, from 1 to [`ListPosition::MAX_KEYS`].
    pub max_keys: usize,
}

impl ListPosition {
    /// The largest page of OSS (OSS page ListObjectsV2, `max-keys`).
    pub const MAX_KEYS: usize = 1000;

    /// Returns the size limit of the answer in bytes: percent-encoded keys of 1,023 bytes with their metadata, and what
    /// the answer repeats of the request.
    pub fn answer_bytes(&self) -> usize {
        self.max_keys.saturating_mul(6 * 1024).saturating_add(64 * 1024)
    }
}

impl Default for ListPosition {
    /// The first page, as large as possible.
    fn default() -> Self {
        Self {
            key: None,
            token: None,
            max_keys: Self::MAX_KEYS,
        }
    }
}

/// An object as listed by OSS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The key; `Err` contains the percent-encoded form of a key that is not UTF-8.
    pub key: Result<String, String>,
    /// Time of the last modification.
    pub modified: Timestamp,
    /// Size in bytes; `None` if OSS does not say.
    pub size: Option<u64>,
    /// Whether the object must be restored before it can be read.
    pub archived: bool,
}

impl ListedObject {
    /// Returns the code of an object that IMM cannot score; a call would be billed and refused.
    pub(super) fn unscorable(&self) -> Option<&'static str> {
        match self.size {
            _ if self.archived => Some(ARCHIVED),
            Some(0) => Some(EMPTY),
            Some(size) if size > MAX_IMAGE_BYTES => Some(TOO_LARGE),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{PrefixSource, RequestPayer};
    use crate::core::job::items_of_page;

    #[test]
    fn what_imm_cannot_score_is_rejected_without_a_call_unless_it_is_included() {
        let listed = |size, archived| ListedObject {
            key: Ok("a.jpg".to_owned()),
            modified: Timestamp::UNIX_EPOCH,
            size,
            archived,
        };
        let source = |include_unscorable| PrefixSource {
            bucket: "pics".to_owned(),
            prefix: String::new(),
            suffixes: Vec::new(),
            max_objects: 10,
            modified_after: None,
            include_unscorable,
            request_payer: RequestPayer::default(),
            credentials: None,
        };
        for (size, archived, code) in [
            (Some(0), false, Some("Empty")),
            (Some(1), false, None),
            (Some(20 * 1024 * 1024), false, None),
            (Some(20 * 1024 * 1024 + 1), false, Some("TooLarge")),
            (Some(1), true, Some("Archived")),
            (None, true, Some("Archived")),
            (None, false, None),
        ] {
            let found = |include| {
                let page = vec![listed(size, archived)];
                items_of_page(&source(include), Timestamp::UNIX_EPOCH, page)[0].reject_code
            };
            assert_eq!(found(false), code, "{size:?} {archived}");
            assert_eq!(found(true), None, "{size:?} {archived}");
            assert!(code.is_none_or(is_unscorable));
        }
    }

    #[test]
    fn the_limit_of_an_answer_has_room_for_each_key() {
        let limit = |max_keys| {
            let position = ListPosition {
                max_keys,
                ..ListPosition::default()
            };
            position.answer_bytes()
        };
        // Percent-encoding makes three bytes of one.
        assert!(limit(1) > 3 * 1_023 + 64 * 1024);
        assert_eq!(limit(1_000) - limit(1), 999 * 6 * 1024);
    }
}
