//! Adds stored results after a restart and items of the source to a progress, and moves the cursor past items that are
//! stored or deferred.

use super::{CursorSlot, Item, Progress, Reading};
use crate::api::{Cursor, ItemResult, Report, Requests};
use crate::core::job::SourceItem;
use crate::core::job::result_buffer::ResultBuffer;
use crate::core::policy::is_denied;

/// Code of an item that fails without a call, because a Deny covers its object.
const EXPLICIT_DENY: &str = "ExplicitDeny";

/// No job comes near this number of requests, and adding to it cannot overflow.
const MOST_REQUESTS: i64 = 1 << 40;

/// Returns counters as stored, each within the range that a job can reach.
pub(super) fn plausible(stored: &Requests) -> Requests {
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

impl Progress {
    /// Adds a stored report. Reports are stored before the status, so their results can be newer. The report with the
    /// highest number contains the latest reservation.
    pub fn restore_report(&mut self, report: &Report) {
        for result in &report.results {
            self.restore_result(result);
        }
        let ResultBuffer::Reports(reports) = &mut self.results else {
            return;
        };
        if reports.restore_report(report) {
            self.requests.sent = self.spent.max(report.reserved.min(MOST_REQUESTS));
            self.requests.reserved = self.requests.sent;
        }
    }

    pub(super) fn restore_result(&mut self, result: &ItemResult) {
        self.stats.add(&self.rules, result);
        // A result without a possible index is counted, and belongs to no item.
        let Ok(index) = usize::try_from(result.index) else {
            return;
        };
        if let Some(retry) = self.retries.remove(&index) {
            self.untrack(&retry.uri);
        }
        // For a prefix, an item whose key is after the cursor's key can have a lower index: objects that were created
        // again have taken the indexes in between.
        let key = result.uri.splitn(4, '/').nth(3);
        let behind = self.rules.may_vanish && self.cursor.key.is_some() && key > self.cursor.key.as_deref();
        if index >= self.next_index || behind {
            self.stored_ahead.insert(index);
            if self.rules.may_vanish {
                self.stored_ahead_by_uri.insert(result.uri.clone(), index);
            }
        }
    }

    /// Sets the patterns of the objects that a Deny covers, see [`crate::core::policy::Denies`]. Their items fail with
    /// code `ExplicitDeny` without a call, also those that wait for a retry.
    pub fn deny(&mut self, patterns: Vec<String>) {
        self.denied = patterns;
        let denied: Vec<(usize, String)> = self
            .retries
            .iter()
            .filter(|(_, retry)| is_denied(&self.denied, &retry.uri))
            .map(|(index, retry)| (*index, retry.uri.clone()))
            .collect();
        for (index, uri) in denied {
            self.untrack(&uri);
            self.record_result(index, uri, None, Some(EXPLICIT_DENY.to_owned()));
        }
    }

    /// Adds the next items of the source; `last` if there are no more. Objects of a prefix can be deleted between two
    /// runs: stored results keep their indexes, and no index is assigned twice. Items with a reject code become failed
    /// results at once.
    pub fn add_items(&mut self, found: Vec<SourceItem>, last: bool) {
        for SourceItem {
            uri,
            resume_after,
            reject_code,
        } in found
        {
            let known = self.stored_ahead_by_uri.remove(&uri);
            let index = known.unwrap_or_else(|| self.free_index());
            // The cursor moves by index and must not pass items that reappeared before it and are not done.
            let resume_after = resume_after.filter(|_| index >= self.next_index);
            // A stored item can follow new items that have taken higher indexes than its own.
            self.next_index = self.next_index.max(index + 1);
            let settled = self.stored_ahead.remove(&index);
            self.cursor_slots.insert(
                index,
                CursorSlot {
                    resume_after,
                    settled,
                },
            );
            let denied = is_denied(&self.denied, &uri).then_some(EXPLICIT_DENY);
            match reject_code.or(denied) {
                _ if settled => {}
                Some(code) => self.record_result(index, uri, None, Some(code.to_owned())),
                None => self.pending_items.push_back(Item { index, uri }),
            }
        }
        self.reading = if last { Reading::Done } else { Reading::Idle };
        self.total = self.total.max(self.next_index);
        self.advance_cursor();
    }

    /// Returns the next free index. For a prefix, an index in use belongs to a stored object that was deleted.
    fn free_index(&self) -> usize {
        let mut index = self.next_index;
        while self.rules.may_vanish && self.stored_ahead.contains(&index) {
            index += 1;
        }
        index
    }

    /// Adds the images of a spec that lists them.
    pub fn add_listed(&mut self, uris: &[String]) {
        let rest = uris.get(self.next_index..).unwrap_or_default().iter();
        let found = rest.map(|uri| SourceItem {
            uri: uri.clone(),
            resume_after: None,
            reject_code: None,
        });
        self.add_items(found.collect(), true);
    }

    /// Returns `true` if an item remains to be sent, or the source is not read to its end.
    pub fn has_open_items(&self) -> bool {
        let idle = self.pending_items.is_empty() && self.retries.is_empty();
        !(idle && self.reading == Reading::Done)
    }

    /// Records a failed read: the page is read again.
    pub fn read_failed(&mut self) {
        self.reading = Reading::Idle;
    }

    /// Marks an item as stored or deferred, so that the cursor can pass it.
    pub(super) fn mark_settled(&mut self, index: usize) {
        if let Some(slot) = self.cursor_slots.get_mut(&index) {
            slot.settled = true;
        }
        self.advance_cursor();
    }

    fn advance_cursor(&mut self) {
        while let Some(first) = self.cursor_slots.first_entry().filter(|e| e.get().settled) {
            let (index, slot) = first.remove_entry();
            // An item without a position cannot be the cursor. A resume starts before it and finds it stored.
            if self.listed || slot.resume_after.is_some() {
                self.cursor = Cursor {
                    index: i32::try_from(index + 1).unwrap_or(i32::MAX),
                    key: slot.resume_after,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::api::{JobSpec, JobStatus};

    #[test]
    fn no_index_is_assigned_twice_when_an_object_reappears_before_a_stored_one() {
        let spec: JobSpec = serde_json::from_value(json!({
            "project": {"name": "p", "region": "cn-hangzhou", "accountUID": "12345"},
            "credentials": {"source": "Secret", "secretRef": {"name": "s"}},
            "source": {"prefix": {"bucket": "pics"}},
        }))
        .unwrap();
        let status = JobStatus {
            cursor: Some(Cursor {
                index: 10,
                key: Some("09".to_owned()),
            }),
            ..JobStatus::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut progress = Progress::resume(&spec, &status, (14, false), now, "uid");
        let stored = ItemResult {
            index: 12,
            uri: "oss://pics/12".to_owned(),
            score: Some("0.5".to_owned()),
            code: None,
        };
        progress.restore_result(&stored);
        let found = |key: &str| SourceItem {
            uri: format!("oss://pics/{key}"),
            resume_after: Some(key.to_owned()),
            reject_code: None,
        };
        progress.add_items(["10", "10a", "11", "12", "13"].map(found).into(), true);
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
        let mut again = Progress::resume(&spec, &status, (15, false), now, "uid");
        again.restore_result(&stored);
        again.add_items(["12", "13"].map(found).into(), true);
        let left: Vec<&str> = again.pending_items.iter().map(|item| item.uri.as_str()).collect();
        assert_eq!(left, ["oss://pics/13"]);
    }
}
