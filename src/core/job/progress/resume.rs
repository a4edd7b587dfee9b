//! Adds stored results after a restart and items of the source to a progress, and moves the cursor past items that are
//! stored or deferred.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::jiff::Timestamp;

use super::canary::Canary;
use super::read_ahead::ReadAhead;
use super::retry::Retry;
use super::{Item, KnownFacts, Progress, Reading};
use crate::api::{Deferred, ItemResult, JobSpec, JobStatus, Report, Requests};
use crate::core::job::first_calls::FirstCalls;
use crate::core::job::result_buffer::ResultBuffer;
use crate::core::job::{ResultClassifier, SourceItem, Stats};
use crate::core::json::serialized_len;
use crate::core::policy::is_denied;

/// Code of an item that fails without a call, because a Deny covers its object.
const EXPLICIT_DENY: &str = "ExplicitDeny";

/// No job comes near this number of requests, and adding to it cannot overflow.
const MOST_REQUESTS: i64 = 1 << 40;

/// Returns counters as stored, each within the range that a job can reach.
fn plausible(stored: &Requests) -> Requests {
    let count = |number: i64| number.clamp(0, MOST_REQUESTS);
    Requests {
        reserved: count(stored.reserved),
        sent: count(stored.sent),
        retried: count(stored.retried),
        client_errors: count(stored.client_errors),
        server_errors: count(stored.server_errors),
        unanswered: count(stored.unanswered),
        throttled: count(stored.throttled),
        estimated_billable: count(stored.estimated_billable),
    }
}

/// Resumes a job from its status. `size` is the number of items and whether results are kept in the status;
/// `restore_report` adds the results in reports. Requests reserved earlier count as spent.
pub fn resume_progress(
    spec: &JobSpec,
    status: &JobStatus,
    size: (usize, bool),
    now: Timestamp,
    seed: &str,
) -> Progress {
    let index = |i: i32| usize::try_from(i).unwrap_or_default();
    let mut requests = plausible(&status.requests.clone().unwrap_or_default());
    requests.sent = requests.sent.max(requests.reserved);
    requests.reserved = requests.sent;
    let cursor = status.cursor.clone().unwrap_or_default();
    let retry = |d: &Deferred| {
        usize::try_from(d.index).ok()?;
        let listed = spec.source.uris.get(index(d.index));
        let uri = d.uri.clone().or_else(|| listed.cloned())?;
        let retry = Retry {
            uri,
            attempts: d.attempts,
            throttles: 0,
            due: now,
        };
        Some((index(d.index), retry))
    };
    let mut progress = Progress {
        rules: ResultClassifier::of(spec),
        stats: Stats::default(),
        results: ResultBuffer::new(size.1),
        total: size.0,
        listed: !spec.source.uris.is_empty(),
        denied: Vec::new(),
        pending_items: VecDeque::new(),
        read_ahead: ReadAhead::default(),
        retries: status.deferred.iter().filter_map(retry).collect(),
        in_flight: BTreeMap::new(),
        under_way: (0, 0),
        stored_ahead: BTreeSet::new(),
        stored_ahead_by_uri: BTreeMap::new(),
        next_index: index(cursor.index),
        cursor,
        reading: Reading::Idle,
        exhausted: 0,
        spent: requests.sent,
        requests,
        allowance: 0,
        pending: 0,
        canary: Canary::default(),
        authenticated: false,
        first_calls: FirstCalls::default(),
        known: KnownFacts::default(),
        backoff_limit: spec.backoff_limit_per_item,
        seed: seed.to_owned(),
    };
    let open = progress.retries.values().map(|retry| serialized_len(&retry.uri));
    progress.under_way = open.fold((0, 0), |(count, all), more| (count + 1, all + more));
    for result in &status.results {
        restore_result(&mut progress, result);
        progress.results.add(result.clone());
    }
    progress
}

/// Adds a stored report. Reports are stored before the status, so their results can be newer. The report with the
/// highest number contains the latest reservation.
pub fn restore_report(progress: &mut Progress, report: &Report) {
    for result in &report.results {
        restore_result(progress, result);
    }
    let ResultBuffer::Reports(reports) = &mut progress.results else {
        return;
    };
    if reports.restore_report(report) {
        progress.requests.sent = progress.spent.max(report.reserved.min(MOST_REQUESTS));
        progress.requests.reserved = progress.requests.sent;
    }
}

fn restore_result(progress: &mut Progress, result: &ItemResult) {
    progress.stats.add(&progress.rules, result);
    // A result without a possible index is counted, and belongs to no item.
    let Ok(index) = usize::try_from(result.index) else {
        return;
    };
    if let Some(retry) = progress.retries.remove(&index) {
        progress.untrack(&retry.uri);
    }
    // For a prefix, an item whose key is after the cursor's key can have a lower index: objects that were created
    // again have taken the indexes in between.
    let key = result.uri.splitn(4, '/').nth(3);
    let behind =
        progress.rules.may_vanish && progress.cursor.key.is_some() && key > progress.cursor.key.as_deref();
    if index >= progress.next_index || behind {
        progress.stored_ahead.insert(index);
        if progress.rules.may_vanish {
            progress.stored_ahead_by_uri.insert(result.uri.clone(), index);
        }
    }
}

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
        progress.untrack(&uri);
        progress.record_result(index, uri, None, Some(EXPLICIT_DENY.to_owned()));
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
            Some(code) => progress.record_result(index, uri, None, Some(code.to_owned())),
            None => progress.pending_items.push_back(Item { index, uri }),
        }
    }
    progress.reading = if last { Reading::Done } else { Reading::Idle };
    progress.advance_cursor();
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

    use super::*;
    use crate::api::Cursor;
    use crate::core::job::spec_with;

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
            progress.record_result(index, uri, Some("0.5".to_owned()), None);
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
