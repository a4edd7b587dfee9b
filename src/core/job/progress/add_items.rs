//! Adds the items of the source to a progress.

use super::settle::{advance_cursor, record_result, untrack};
use super::{Item, Progress, Reading};
use crate::core::job::SourceItem;
use crate::core::policy::is_denied;

/// Code of an item that fails without a call, because a Deny covers its object.
const EXPLICIT_DENY: &str = "ExplicitDeny";

/// Sets the patterns of the objects that a Deny covers, see [`crate::core::policy::Denies`]. Their items fail with
/// code `ExplicitDeny` without a call, also those that wait for a retry.
pub fn deny_objects(progress: &mut Progress, patterns: Vec<String>) {
    progress.denied = patterns;
    let denied: Vec<(usize, String)> = progress
        .retries
        .iter()
        .filter(|(_, retry)| is_denied(&progress.denied, &retry.uri))
        .map(|(index, retry)| (*index, retry.uri.clone()))
        .collect();
    for (index, uri) in denied {
        untrack(progress, &uri);
        record_result(progress, index, uri, None, Some(EXPLICIT_DENY.to_owned()));
    }
}

/// Adds the next items of the source; `last` if there are no more. Objects of a prefix can be deleted between two
/// runs: stored results keep their indexes, and no index is assigned twice. Items with a reject code become failed
/// results at once. Returns `false` if the source has more items than were counted: those are not added, because
/// neither `maxObjects` nor the place of the results was decided for them.
#[must_use]
pub fn add_items(progress: &mut Progress, found: Vec<SourceItem>, last: bool) -> bool {
    for SourceItem {
        uri,
        resume_after,
        reject_code,
    } in found
    {
        let known = progress.stored_ahead_by_uri.remove(&uri);
        let index = known.unwrap_or_else(|| free_index(progress));
        if known.is_none() && index >= progress.total {
            return false;
        }
        // The cursor moves by index and must not pass items that reappeared before it and are not done.
        let resume_after = resume_after.filter(|_| index >= progress.next_index);
        // A stored item can follow new items that have taken higher indexes than its own.
        progress.next_index = progress.next_index.max(index + 1);
        let settled = progress.stored_ahead.remove(&index);
        progress.read_ahead.add(index, resume_after, settled);
        let denied = is_denied(&progress.denied, &uri).then_some(EXPLICIT_DENY);
        match reject_code.or(denied) {
            _ if settled => {}
            Some(code) => record_result(progress, index, uri, None, Some(code.to_owned())),
            None => progress.pending_items.push_back(Item { index, uri }),
        }
    }
    progress.reading = if last { Reading::Done } else { Reading::Idle };
    advance_cursor(progress);
    true
}

/// Returns the next free index. For a prefix, an index in use belongs to a stored object that was deleted.
fn free_index(progress: &Progress) -> usize {
    let mut index = progress.next_index;
    while progress.rules.may_vanish && progress.stored_ahead.contains(&index) {
        index += 1;
    }
    index
}

/// Adds the images of a spec that lists them.
pub fn add_listed(progress: &mut Progress, uris: &[String]) {
    let rest = uris.get(progress.next_index..).unwrap_or_default().iter();
    let found = rest.map(|uri| SourceItem {
        uri: uri.clone(),
        resume_after: None,
        reject_code: None,
    });
    // The listed images are the counted items.
    let _ = add_items(progress, found.collect(), true);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::super::resume::restore_result;
    use super::*;
    use crate::api::{Cursor, ItemResult, JobSpec, JobStatus};
    use crate::core::job::{resume_progress, spec_with};

    fn spec(source: &serde_json::Value) -> JobSpec {
        spec_with(&json!({"source": source}))
    }

    fn found(key: &str) -> SourceItem {
        SourceItem {
            uri: format!("oss://pics/{key}"),
            resume_after: Some(key.to_owned()),
            reject_code: None,
        }
    }

    #[test]
    fn no_index_is_assigned_twice_when_an_object_reappears_before_a_stored_one() {
        let spec = spec(&json!({"prefix": {"bucket": "pics"}}));
        let status = JobStatus {
            cursor: Some(Cursor {
                index: 10,
                key: Some("09".to_owned()),
            }),
            ..JobStatus::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut progress = resume_progress(&spec, &status, (15, false), now, "uid");
        let stored = ItemResult {
            index: 12,
            uri: "oss://pics/12".to_owned(),
            score: Some("0.5".to_owned()),
            code: None,
        };
        restore_result(&mut progress, &stored);
        let page = ["10", "10a", "11", "12", "13"].map(found);
        assert!(add_items(&mut progress, page.into(), true));
        let given: Vec<usize> = progress.pending_items.iter().map(|item| item.index).collect();
        let all: BTreeSet<usize> = given.iter().copied().collect();
        assert_eq!((given.len(), all.len()), (4, 4), "{given:?}");
        assert!(!all.contains(&12), "the stored one keeps its index");

        // The cursor does not pass a reappeared item that is not done, and continues before the stored one.
        let score = |progress: &mut Progress, key: &str| {
            let uri = format!("oss://pics/{key}");
            let index = progress
                .pending_items
                .iter()
                .find(|i| i.uri == uri)
                .unwrap()
                .index;
            progress.pending_items.retain(|item| item.uri != uri);
            record_result(progress, index, uri, Some("0.5".to_owned()), None);
        };
        score(&mut progress, "10");
        score(&mut progress, "10a");
        assert_eq!(progress.cursor().key.as_deref(), Some("10a"));
        score(&mut progress, "11");
        let status = JobStatus {
            cursor: Some(progress.cursor().clone()),
            ..JobStatus::default()
        };
        assert_eq!(progress.cursor().key.as_deref(), Some("11"));
        let mut again = resume_progress(&spec, &status, (15, false), now, "uid");
        restore_result(&mut again, &stored);
        assert!(add_items(&mut again, ["12", "13"].map(found).into(), true));
        let left: Vec<&str> = again.pending_items.iter().map(|item| item.uri.as_str()).collect();
        assert_eq!(left, ["oss://pics/13"]);
    }

    /// A restored version of an object, or a renamed one, keeps its time of modification.
    #[test]
    fn no_more_items_are_added_than_were_counted() {
        for source in [
            json!({"prefix": {"bucket": "pics"}}),
            json!({"manifest": {"uri": "oss://pics/list.txt"}}),
        ] {
            let mut progress = resume_progress(
                &spec(&source),
                &JobStatus::default(),
                (2, true),
                Timestamp::UNIX_EPOCH,
                "uid",
            );
            assert!(add_items(&mut progress, ["1", "2"].map(found).into(), false));
            assert!(
                add_items(&mut progress, Vec::new(), false),
                "no further item is no change"
            );
            assert!(!add_items(&mut progress, ["3"].map(found).into(), true));
            assert_eq!((progress.total(), progress.pending_items.len()), (2, 2));
        }
    }
}
