//! Buffers results until they are stored: in the status of a small job, and in reports of bounded size for a large job.
//! The last report is written again as it grows. Each write takes a snapshot; results that arrive during the write
//! belong to the next snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::api::{ItemResult, REPORT_BYTES, REPORT_ITEMS, Report};
use crate::core::json::serialized_len;

/// Bytes of a report besides its results.
const REPORT_OVERHEAD_BYTES: usize = 1024;
/// Memory of a result besides its URI, at most.
const RESULT_MEMORY: usize = 128;
/// The most memory for the results of a run, both stored and not.
pub(super) const MOST_HELD: usize = 2 * REPORT_BYTES;
/// The least: with less, a job could need more than [`super::report::MAX_REPORTS`].
const LEAST_HELD: usize = REPORT_BYTES / 4;

/// Results of a job that are stored or to be stored.
#[derive(Clone, Debug)]
pub enum ResultBuffer {
    /// In the status, by index.
    Inline(BTreeMap<usize, ItemResult>),
    /// In reports.
    Reports(ReportBuffer),
}

/// A report to store: its number and its results, which are shared with the buffer.
pub type ReportDraft = (usize, Arc<Vec<ItemResult>>);

/// The reports of a job that are not completely stored.
#[derive(Clone, Debug)]
pub struct ReportBuffer {
    /// Full reports that are not stored yet.
    full: VecDeque<ReportDraft>,
    /// Number of the open report.
    number: usize,
    /// Copied by the first result that arrives while it is being stored.
    open: Arc<Vec<ItemResult>>,
    bytes: usize,
    /// Memory of all results here, and from how much on the source is not read on.
    held: usize,
    most: usize,
    /// Memory of the open report once it is stored and closed: the next result frees it.
    freed_next: usize,
    /// Number of results of the open report that are stored.
    kept: usize,
    /// Whether the open report accepts no more results: it is not full, but the next batch would not fit.
    closed: bool,
    /// Number of results in all reports.
    filed: usize,
    /// Number and length of each report in the last snapshot.
    drafted: Vec<(usize, usize)>,
}

impl ResultBuffer {
    /// Creates an empty buffer: in the status if `inline`, else in reports.
    pub fn new(inline: bool) -> Self {
        if inline {
            Self::Inline(BTreeMap::new())
        } else {
            Self::Reports(ReportBuffer::default())
        }
    }

    /// Returns the report buffer; `None` if the results are kept in the status.
    pub fn reports(&self) -> Option<&ReportBuffer> {
        match self {
            Self::Inline(_) => None,
            Self::Reports(reports) => Some(reports),
        }
    }

    /// Limits the memory of results that are kept for reports.
    pub fn limit(&mut self, most: usize) {
        if let Self::Reports(reports) = self {
            reports.limit(most);
        }
    }

    /// Adds a result.
    pub fn add(&mut self, result: ItemResult) {
        match self {
            Self::Inline(results) => {
                results.insert(usize::try_from(result.index).unwrap_or_default(), result);
            }
            Self::Reports(reports) => reports.add(result),
        }
    }
}

impl Default for ReportBuffer {
    fn default() -> Self {
        Self {
            full: VecDeque::new(),
            number: 0,
            open: Arc::default(),
            bytes: 0,
            held: 0,
            most: MOST_HELD,
            freed_next: 0,
            kept: 0,
            closed: false,
            filed: 0,
            drafted: Vec::new(),
        }
    }
}

impl ReportBuffer {
    fn add(&mut self, result: ItemResult) {
        let size = result_bytes(&result);
        if self.closed
            || self.open.len() >= REPORT_ITEMS
            || self.bytes + size > REPORT_BYTES - REPORT_OVERHEAD_BYTES
        {
            self.start_report();
        }
        self.bytes += size;
        self.held += memory(&result);
        Arc::make_mut(&mut self.open).push(result);
        self.filed += 1;
    }

    /// Starts the next report. The results of the last one stay until they are stored.
    fn start_report(&mut self) {
        let full = std::mem::take(&mut self.open);
        if self.kept < full.len() {
            self.full.push_back((self.number, full));
        } else {
            self.held -= memory_of(&full);
        }
        self.number += 1;
        (self.bytes, self.kept, self.closed, self.freed_next) = (0, 0, false, 0);
    }

    /// Limits the memory of the results, see [`Self::is_full`].
    fn limit(&mut self, most: usize) {
        self.most = most.clamp(LEAST_HELD, MOST_HELD);
        self.close_stored();
    }

    /// Whether the source must not be read on before results are stored: rejected items have results without a call,
    /// as fast as the source is read. Results of calls are held in any case.
    pub fn is_full(&self) -> bool {
        self.held - self.freed_next >= self.most
    }

    /// Closes the open report if its results use all the memory and are stored. It stays until the next result,
    /// because it carries the reservation of the run.
    fn close_stored(&mut self) {
        if self.is_full() && self.full.is_empty() && self.kept == self.open.len() {
            self.closed = true;
            self.freed_next = self.held;
        }
    }

    /// Restores a stored report. Returns `true` if it has the highest number so far; it is then the open report.
    pub fn restore_report(&mut self, report: &Report) -> bool {
        let number = usize::try_from(report.number).unwrap_or_default();
        self.filed += report.results.len();
        let last = number >= self.number;
        if last {
            self.number = number;
            self.bytes = report.results.iter().map(result_bytes).sum();
            self.held = memory_of(&report.results);
            self.open = Arc::new(report.results.clone());
            self.kept = self.open.len();
        }
        last
    }

    /// Returns a snapshot of the reports to store, with their numbers. The open report is included if it has new
    /// results, or if `always` is set and it is not empty. It is closed when it is at least half full and has no room
    /// for another batch as large as the one since its last write, because a partial batch would cost one more write
    /// of the whole report; or when it uses all the memory.
    pub fn take_pending(&mut self, always: bool) -> Vec<ReportDraft> {
        let (len, grown) = (self.open.len(), self.open.len() - self.kept);
        let bytes = self.open.iter().skip(self.kept).map(result_bytes).sum::<usize>();
        let fits = len + grown <= REPORT_ITEMS && self.bytes + bytes <= REPORT_BYTES - REPORT_OVERHEAD_BYTES;
        let half = len >= REPORT_ITEMS / 2 || self.bytes >= REPORT_BYTES / 2;
        self.closed |= (half && !fits) || memory_of(&self.open) >= self.most;
        let open = (grown > 0 || (always && len > 0)).then(|| (self.number, Arc::clone(&self.open)));
        let draft: Vec<_> = self.full.iter().cloned().chain(open).collect();
        self.drafted = draft
            .iter()
            .map(|(number, results)| (*number, results.len()))
            .collect();
        draft
    }

    /// Returns the number of results that are not stored.
    pub fn unpersisted(&self) -> usize {
        let full: usize = self.full.iter().map(|(_, results)| results.len()).sum();
        full + self.open.len().saturating_sub(self.kept)
    }

    /// Marks the last snapshot as stored.
    pub fn persisted(&mut self) {
        for (number, len) in std::mem::take(&mut self.drafted) {
            if number == self.number {
                self.kept = len;
            } else {
                let held = &mut self.held;
                self.full.retain(|(full, results)| {
                    let stored = *full == number && results.len() <= len;
                    if stored {
                        *held -= memory_of(results);
                    }
                    !stored
                });
            }
        }
        self.close_stored();
    }

    /// Returns `true` if the open report has results. Only then can it carry a reservation of requests.
    pub fn can_carry_reservation(&self) -> bool {
        !self.open.is_empty()
    }

    /// Returns the number of reports and the number of results in them.
    pub fn count(&self) -> (usize, usize) {
        (self.number + usize::from(!self.open.is_empty()), self.filed)
    }
}

/// Returns the memory of a result, at most.
fn memory(result: &ItemResult) -> usize {
    result.uri.len() + RESULT_MEMORY
}

fn memory_of(results: &[ItemResult]) -> usize {
    results.iter().map(memory).sum()
}

/// Returns the bytes of a stored result, including its comma.
fn result_bytes(result: &ItemResult) -> usize {
    serialized_len(result) + 1
}

#[cfg(test)]
mod tests;
