//! Resumes the progress of a job from its status and from its stored reports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::jiff::Timestamp;

use super::canary::Canary;
use super::read_ahead::ReadAhead;
use super::retry::Retry;
use super::settle::untrack;
use super::{KnownFacts, Progress, Reading};
use crate::api::{Deferred, ItemResult, JobSpec, JobStatus, Report, Requests};
use crate::core::job::first_calls::FirstCalls;
use crate::core::job::result_buffer::ResultBuffer;
use crate::core::job::{ResultClassifier, Stats};
use crate::core::json::serialized_len;

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

/// Adds a stored result.
pub(super) fn restore_result(progress: &mut Progress, result: &ItemResult) {
    progress.stats.add(&progress.rules, result);
    // A result without a possible index is counted, and belongs to no item.
    let Ok(index) = usize::try_from(result.index) else {
        return;
    };
    if let Some(retry) = progress.retries.remove(&index) {
        untrack(progress, &retry.uri);
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
