//! Progress of a job as a value: the next item, the stored results, and the reserved requests.
//!
//! The first call of every run is a canary call: a wrong project, role or grant then costs one billed request. Requests
//! are reserved before they are sent, so that a crash never spends more than was recorded. Stored results
//! enter in `resume.rs`, items in `add_items.rs`; responses are evaluated in `response.rs`, and what is done is
//! recorded in `settle.rs`.

mod add_items;
mod canary;
mod read_ahead;
mod response;
mod resume;
mod retry;
mod settle;
mod step;

pub use self::add_items::{add_items, add_listed, deny_objects};
pub use self::response::{ResponseEffect, apply_response};
pub use self::resume::{restore_report, resume_progress};
pub use self::step::Step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::jiff::Timestamp;

use self::canary::Canary;
use self::read_ahead::ReadAhead;
use self::retry::Retry;
use super::first_calls::FirstCalls;
use super::result_buffer::{ReportBuffer, ReportDraft, ResultBuffer};
use super::{ResultClassifier, Stats};
use crate::api::{Cursor, Deferred, Requests};
use crate::core::json::serialized_len;

/// Maximum number of items that wait for a retry or are in flight, and of their URI bytes as JSON: they must fit into the
/// status.
const DEFERRED_LIMIT: usize = 256;
const DEFERRED_BYTES: usize = 90 * 1024;
/// The next page of the source is read when fewer items than this are buffered.
const REFILL_BELOW: usize = 250;
/// The same after a refusal before the first score: the next calls are spread over a page of a listing, which has
/// 1,000 objects.
const REFILL_AFTER_REFUSAL: usize = 751;

/// An item to send or in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Index in the source.
    pub index: usize,
    /// URI of the image.
    pub uri: String,
}

/// How far the source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// More items remain, and no read is in progress.
    Idle,
    /// A read is in progress.
    UnderWay,
    /// The source is read to its end.
    Done,
}

/// The next item to send.
enum Candidate {
    /// A retry of the item with this index.
    Retry(usize),
    /// The next item of the source.
    Fresh,
}

/// What is certain before a call fails. It takes precedence over the text of an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnownFacts {
    /// OSS has confirmed that the bucket of every item is in the region of the project.
    pub region: bool,
    /// IMM has returned the project in this run.
    pub project: bool,
}

/// The progress of a job.
#[derive(Clone, Debug)]
pub struct Progress {
    pub(super) rules: ResultClassifier,
    pub(super) stats: Stats,
    pub(super) results: ResultBuffer,
    pub(super) total: usize,
    /// Whether the spec lists the URIs. A deferred item is then stored without its URI.
    pub(super) listed: bool,
    /// Patterns of the objects that a Deny covers; their items fail without a call.
    pub(super) denied: Vec<String>,
    pub(super) pending_items: VecDeque<Item>,
    read_ahead: ReadAhead,
    retries: BTreeMap<usize, Retry>,
    pub(super) in_flight: BTreeMap<usize, Item>,
    /// Number of items that wait for a retry or are in flight, and bytes of their URIs.
    pub(super) under_way: (usize, usize),
    /// Items after the cursor that an earlier run has stored: by index, and for a prefix also by URI.
    pub(super) stored_ahead: BTreeSet<usize>,
    pub(super) stored_ahead_by_uri: BTreeMap<String, usize>,
    pub(super) cursor: Cursor,
    pub(super) next_index: usize,
    pub(super) reading: Reading,
    /// Items that failed because their retries were used up.
    pub(super) exhausted: usize,
    pub(super) requests: Requests,
    /// Requests that the status records as spent.
    pub(super) spent: i64,
    /// Requests that are reserved, stored, and not used yet by this process.
    pub(super) allowance: i64,
    /// Requests that are reserved but not stored yet: no call may use them.
    pub(super) pending: i64,
    canary: Canary,
    /// Whether IMM has accepted the credentials of a call of this run.
    pub(super) authenticated: bool,
    pub(super) first_calls: FirstCalls,
    pub(super) known: KnownFacts,
    pub(super) backoff_limit: i32,
    pub(super) seed: String,
}

impl Progress {
    /// Returns the position at which the source is read after a resume.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Returns `true` if a call of this run has returned a score, and no call was denied since.
    pub fn canary_passed(&self) -> bool {
        self.canary.has_passed()
    }

    /// Decides the next step, with at most `ceiling` calls in flight and at most `budget` requests in total.
    pub fn next_step(&mut self, now: Timestamp, ceiling: usize, budget: Option<i64>) -> Step {
        let idle = self.pending_items.is_empty() && self.retries.is_empty() && self.in_flight.is_empty();
        if self.reading == Reading::Done && idle {
            return Step::Finished;
        }
        let much = self.results.reports().is_some_and(ReportBuffer::is_full) || self.read_ahead.is_full();
        let wanted = if self.first_calls.is_refused() && !self.canary.has_passed() {
            REFILL_AFTER_REFUSAL
        } else {
            REFILL_BELOW
        };
        if self.reading == Reading::Idle && self.pending_items.len() < wanted && !much {
            self.reading = Reading::UnderWay;
            return Step::Read;
        }
        let ceiling = if self.canary.has_passed() { ceiling } else { 1 };
        if self.in_flight.len() >= ceiling || self.next_candidate(now).is_none() {
            return Step::Wait(self.retries.values().map(|r| r.due).filter(|t| *t > now).min());
        }
        // The budget can be lowered below the requests that are already reserved.
        let spent = budget.is_some_and(|limit| self.requests.sent >= limit);
        if self.allowance > 0 && !spent {
            return Step::Send;
        }
        if self.pending > 0 && !spent {
            return Step::Wait(None);
        }
        match budget {
            Some(limit) if self.requests.reserved >= limit && self.in_flight.is_empty() => Step::OutOfBudget,
            Some(limit) if self.requests.reserved >= limit => Step::Wait(None),
            _ => Step::Reserve,
        }
    }

    /// Returns the next item: the first due retry that is not in flight, else the next item of the source. While a call
    /// that decides waits for its retry, no other item is sent. Once the job has a score, a new image decides rather than
    /// one that was not scored before.
    fn next_candidate(&self, now: Timestamp) -> Option<Candidate> {
        let (open, uri_bytes) = self.under_way;
        let room = open < DEFERRED_LIMIT && (self.listed || uri_bytes < DEFERRED_BYTES);
        let fresh = room && !self.pending_items.is_empty();
        let passed = self.canary.has_passed();
        let deciding = self.canary.item().filter(|_| !passed);
        if !passed && deciding.is_none() && self.stats.succeeded > 0 {
            if fresh {
                return Some(Candidate::Fresh);
            }
            // The next page has new images.
            if room && self.reading != Reading::Done {
                return None;
            }
        }
        let due = self.retries.iter().filter(|(index, retry)| {
            retry.is_due(now)
                && !self.in_flight.contains_key(index)
                && deciding.is_none_or(|deciding| deciding == **index)
        });
        let due = due.map(|(index, _)| *index);
        if let Some(index) = due.min_by_key(|index| self.canary.was_denied(*index)) {
            return Some(Candidate::Retry(index));
        }
        let waits = !passed && !self.retries.is_empty();
        (fresh && !waits).then_some(Candidate::Fresh)
    }

    /// Takes the next item to send and uses one reserved request; `None` if no item can be sent now.
    pub fn take_next(&mut self, now: Timestamp) -> Option<Item> {
        let item = match self.next_candidate(now)? {
            Candidate::Retry(index) => {
                let retry = self.retries.get(&index)?;
                self.requests.retried += 1;
                Item {
                    index,
                    uri: retry.uri.clone(),
                }
            }
            Candidate::Fresh => {
                let open = self.pending_items.len();
                let position = self.first_calls.position(open).max(self.canary.position(open));
                let item = self.pending_items.remove(position)?;
                self.under_way = (self.under_way.0 + 1, self.under_way.1 + serialized_len(&item.uri));
                item
            }
        };
        self.allowance -= 1;
        self.requests.sent += 1;
        self.canary.sent(item.index);
        self.in_flight.insert(item.index, item.clone());
        Some(item)
    }

    /// Reserves requests until `rate` are available, or one for the canary call, within the budget. They can be used
    /// after `persisted`.
    pub fn reserve(&mut self, rate: i64, budget: Option<i64>) {
        let open = self
            .total
            .saturating_sub(self.stats.done() + self.in_flight.len());
        let left = i64::try_from(open).unwrap_or(i64::MAX);
        let target = if self.canary.has_passed() {
            rate.min(left).max(1)
        } else {
            1
        };
        let room = budget.map_or(i64::MAX, |limit| (limit - self.requests.reserved).max(0));
        let granted = (target - self.allowance - self.pending).clamp(0, room);
        self.requests.reserved += granted;
        self.pending += granted;
    }

    /// Returns the reports to store: those with new results, and the open one if it was filed with another number of
    /// reserved requests. Results that are kept in the status are in no report.
    pub fn reports_to_store(&mut self, filed: Option<i64>) -> Vec<ReportDraft> {
        match &mut self.results {
            ResultBuffer::Inline(_) => Vec::new(),
            ResultBuffer::Reports(reports) => reports.take_pending(filed != Some(self.requests.reserved)),
        }
    }

    /// Marks the last snapshot as stored: its reservation can be used.
    pub fn persisted(&mut self) {
        self.allowance += std::mem::take(&mut self.pending);
        if let ResultBuffer::Reports(reports) = &mut self.results {
            reports.persisted();
        }
    }

    /// Releases reserved requests that were not used. For a clean stop of the run.
    pub fn release(&mut self) {
        self.requests.reserved -= self.allowance + self.pending;
        (self.allowance, self.pending) = (0, 0);
    }

    /// Returns the requests so far, with the estimate of billable ones: all sent requests without server errors.
    pub fn requests(&self) -> Requests {
        let estimated_billable = self.requests.sent - self.requests.server_errors;
        Requests {
            estimated_billable,
            ..self.requests.clone()
        }
    }

    /// Returns the statistics of the results. Once a prefix is read to its end and no item is left, counted objects
    /// that were not found again are skipped items.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        let idle = self.pending_items.is_empty() && self.retries.is_empty() && self.in_flight.is_empty();
        if self.rules.may_vanish && self.reading == Reading::Done && idle {
            stats.skipped += self.total.saturating_sub(stats.done());
        }
        stats
    }

    /// Returns the result buffer.
    pub fn results(&self) -> &ResultBuffer {
        &self.results
    }

    /// Returns the result buffer for changes.
    pub fn results_mut(&mut self) -> &mut ResultBuffer {
        &mut self.results
    }

    /// Returns the number of items that are done.
    pub fn done(&self) -> usize {
        self.stats.done()
    }

    /// Returns the number of calls in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns the number of items of the job.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Returns the number of items that failed because their retries were used up.
    pub fn exhausted(&self) -> usize {
        self.exhausted
    }

    /// Returns the items before the cursor that wait for a retry.
    pub fn deferred(&self) -> Vec<Deferred> {
        let before = self
            .retries
            .iter()
            .take_while(|(index, _)| i32::try_from(**index).is_ok_and(|i| i < self.cursor.index));
        before
            .map(|(index, retry)| Deferred {
                index: i32::try_from(*index).unwrap_or(i32::MAX),
                uri: (!self.listed).then(|| retry.uri.clone()),
                attempts: retry.attempts,
            })
            .collect()
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

    /// Returns what is certain about the job, for changes.
    pub fn known_mut(&mut self) -> &mut KnownFacts {
        &mut self.known
    }

    /// Returns the number of refused calls and their code if no image has a score and these refusals prove that the
    /// remaining calls would be refused too.
    pub fn first_calls_refused(&self) -> Option<(usize, &str)> {
        let open = self.stats.done() < self.total && self.stats.succeeded == 0;
        self.first_calls.proof().filter(|_| open)
    }
}

#[cfg(test)]
mod tests;
