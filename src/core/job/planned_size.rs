//! Whether the results of a job fit into its status.

use crate::api::{JobSpec, ObservedSource};
use crate::core::json::serialized_len;

/// Results are kept in the status up to this number of items and bytes, and in reports above either.
const INLINE_ITEMS: i32 = 100;
const INLINE_BYTES: i64 = 64 * 1024;
/// Bytes of a result besides its URI: index, score or code, and punctuation.
pub(super) const RESULT_BYTES: i64 = 110;

/// Returns the number of items and `true` if their results fit into the status; `None` before the source is counted.
/// Decided before the first billed call and never changed.
pub fn planned_size(spec: &JobSpec, seen: Option<&ObservedSource>) -> Option<(usize, bool)> {
    let (items, uri_bytes) = if spec.source.uris.is_empty() {
        (seen?.items?, seen?.uri_bytes?)
    } else {
        let all: usize = spec.source.uris.iter().map(serialized_len).sum();
        (
            i32::try_from(spec.source.uris.len()).ok()?,
            i64::try_from(all).ok()?,
        )
    };
    let inline = items <= INLINE_ITEMS && results_bytes(items, uri_bytes) <= INLINE_BYTES;
    Some((usize::try_from(items).ok()?, inline))
}

/// Returns the size of all results, at most.
pub(super) fn results_bytes(items: i32, uri_bytes: i64) -> i64 {
    uri_bytes.saturating_add(i64::from(items) * RESULT_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::job::spec_with;

    #[test]
    fn results_are_kept_in_the_status_up_to_a_number_of_items_and_of_bytes() {
        let prefix = spec_with(&json!({"source": {"prefix": {"bucket": "pics"}}}));
        assert_eq!(planned_size(&prefix, None), None, "it is not counted yet");
        for (items, uri_bytes, inline) in [
            (100, 1_000, true),
            (101, 1_000, false),
            (1, 65_426, true),
            (1, 65_427, false),
        ] {
            let seen = ObservedSource {
                items: Some(items),
                uri_bytes: Some(uri_bytes),
                ..ObservedSource::default()
            };
            let size = planned_size(&prefix, Some(&seen));
            assert_eq!(size, Some((usize::try_from(items).unwrap(), inline)));
        }
        let listed = spec_with(&json!({"source": {"uris": ["oss://pics/a.jpg"]}}));
        assert_eq!(planned_size(&listed, None), Some((1, true)));
    }
}
