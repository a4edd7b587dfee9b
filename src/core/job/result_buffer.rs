//! Buffers results until they are stored: in the status of a small job, and in reports of bounded size for a large job.
//! The last report is written again as it grows. Each write takes a snapshot; results that arrive during the write
//! belong to the next snapshot.

use std::collections::{BTreeMap, VecDeque};

use super::{ResultClassifier, Stats};
use crate::api::{ItemResult, REPORT_BYTES, REPORT_ITEMS, Report};
use crate::core::json::serialized_len;

/// Bytes of a report besides its results.
const REPORT_OVERHEAD_BYTES: usize = 1024;

/// Results of a job that are stored or to be stored.
#[derive(Clone, Debug)]
pub enum ResultBuffer {
    /// In the status, by index.
    Inline(BTreeMap<usize, ItemResult>),
    /// In reports.
    Reports(ReportBuffer),
}

/// The reports of a job that are not completely stored.
#[derive(Clone, Debug, Default)]
pub struct ReportBuffer {
    /// Full reports that are not stored yet, with their numbers.
    full: VecDeque<(usize, Vec<ItemResult>)>,
    /// Number of the open report.
    number: usize,
    open: Vec<ItemResult>,
    bytes: usize,
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

impl ReportBuffer {
    fn add(&mut self, result: ItemResult) {
        let size = result_bytes(&result);
        if self.closed
            || self.open.len() >= REPORT_ITEMS
            || self.bytes + size > REPORT_BYTES - REPORT_OVERHEAD_BYTES
        {
            let full = std::mem::take(&mut self.open);
            if self.kept < full.len() {
                self.full.push_back((self.number, full));
            }
            self.number += 1;
            (self.bytes, self.kept, self.closed) = (0, 0, false);
        }
        self.bytes += size;
        self.open.push(result);
        self.filed += 1;
    }

    /// Restores a stored report. Returns `true` if it has the highest number so far; it is then the open report.
    pub fn restore_report(&mut self, report: &Report) -> bool {
        let number = usize::try_from(report.number).unwrap_or_default();
        self.filed += report.results.len();
        let last = number >= self.number;
        if last {
            self.number = number;
            self.bytes = report.results.iter().map(result_bytes).sum();
            self.open.clone_from(&report.results);
            self.kept = self.open.len();
        }
        last
    }

    /// Returns a snapshot of the reports to store, with their numbers. The open report is included if it has new
    /// results, or if `always` is set and it is not empty. It is closed when it is at least half full and has no room
    /// for another batch as large as the one since its last write: a partial batch would cost one more write of the
    /// whole report.
    pub fn take_pending(&mut self, always: bool) -> Vec<(usize, Vec<ItemResult>)> {
        let (len, grown) = (self.open.len(), self.open.len() - self.kept);
        let bytes = self.open.iter().skip(self.kept).map(result_bytes).sum::<usize>();
        let fits = len + grown <= REPORT_ITEMS && self.bytes + bytes <= REPORT_BYTES - REPORT_OVERHEAD_BYTES;
        let half = len >= REPORT_ITEMS / 2 || self.bytes >= REPORT_BYTES / 2;
        self.closed |= half && !fits;
        let open = (grown > 0 || (always && len > 0)).then(|| (self.number, self.open.clone()));
        let draft: Vec<_> = self.full.iter().cloned().chain(open).collect();
        self.drafted = draft
            .iter()
            .map(|(number, results)| (*number, results.len()))
            .collect();
        draft
    }

    /// Returns the number of results that are not stored, and at most the bytes of them.
    pub fn unpersisted(&self) -> (usize, usize) {
        let full: usize = self.full.iter().map(|(_, results)| results.len()).sum();
        let new = self.open.len().saturating_sub(self.kept);
        let open = if new > 0 { self.bytes } else { 0 };
        (full + new, self.full.len() * REPORT_BYTES + open)
    }

    /// Marks the last snapshot as stored.
    pub fn persisted(&mut self) {
        for (number, len) in std::mem::take(&mut self.drafted) {
            if number == self.number {
                self.kept = len;
            } else {
                self.full
                    .retain(|(full, results)| *full != number || results.len() > len);
            }
        }
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

/// Reports that are looked for by number at most. 250,000 results of 64 MiB fill fewer; the number in a status can be forged.
pub const MAX_REPORTS: i32 = 2_048;

/// Returns the bytes of a stored result, including its comma.
fn result_bytes(result: &ItemResult) -> usize {
    serialized_len(result) + 1
}

/// Builds a report from results in any order. `reserved` is the number of requests reserved so far.
pub fn build_report(job: &str, number: usize, mut results: Vec<ItemResult>, reserved: i64) -> Report {
    results.sort_by_key(|r| r.index);
    let mut stats = Stats::default();
    let rules = ResultClassifier::default();
    for result in &results {
        stats.add(&rules, result);
    }
    let summary = stats.summary();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    Report {
        job: job.to_owned(),
        number: count(number),
        first_index: results.first().map_or(0, |r| r.index),
        last_index: results.last().map_or(0, |r| r.index),
        items: count(results.len()),
        succeeded: count(stats.succeeded),
        failed: count(results.len() - stats.succeeded),
        min: summary.as_ref().map(|s| s.min.clone()),
        mean: summary.as_ref().map(|s| s.mean.clone()),
        max: summary.map(|s| s.max),
        reserved,
        results,
    }
}

/// Returns the name of a report: the job's name (at most 230 characters), the first 8 characters of its uid, and the
/// number. A job and its namesake that is created later do not share reports.
pub fn report_name(job: &str, uid: &str, number: usize) -> String {
    let job: String = job.chars().take(230).collect();
    let uid: String = uid.chars().take(8).collect();
    format!("{}-{uid}-{number:05}", job.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(index: i32, uri: &str) -> ItemResult {
        ItemResult {
            index,
            uri: uri.to_owned(),
            score: Some("0.5".to_owned()),
            code: None,
        }
    }

    #[test]
    fn a_report_is_limited_by_items_and_by_bytes_and_the_last_one_is_extended() {
        for (uri, least) in [("oss://pics/a.jpg".to_owned(), 500), ("k\"".repeat(520), 150)] {
            let mut reports = ReportBuffer::default();
            let mut most = -1;
            while reports.count().0 < 2 {
                most += 1;
                reports.add(result(most, &uri));
            }
            let draft = reports.take_pending(false);
            let (number, full) = draft.first().unwrap();
            assert_eq!((*number, full.len()), (0, usize::try_from(most).unwrap()));
            assert!(most >= least && most <= 500, "{most}");
            let stored = build_report("j", 0, full.clone(), 7);
            assert!(serde_json::to_string(&stored).unwrap().len() <= REPORT_BYTES);
            assert_eq!(sizes(&draft), [(0, full.len()), (1, 1)]);
            assert_eq!(
                sizes(&reports.take_pending(false)),
                sizes(&draft),
                "nothing is stored yet"
            );
            reports.persisted();
            assert_eq!(reports.take_pending(false), []);
            let mut again = ReportBuffer::default();
            assert!(again.restore_report(&stored));
            assert!(again.restore_report(&build_report("j", 1, vec![result(most, &uri)], 9)));
            again.add(result(most + 1, &uri));
            assert_eq!(sizes(&again.take_pending(false)), [(1, 2)]);
            assert_eq!(again.count(), (2, usize::try_from(most).unwrap() + 2));
        }
    }

    fn sizes(draft: &[(usize, Vec<ItemResult>)]) -> Vec<(usize, usize)> {
        draft
            .iter()
            .map(|(number, results)| (*number, results.len()))
            .collect()
    }

    #[test]
    fn a_report_without_room_for_another_batch_is_closed_and_later_results_are_in_the_next_snapshot() {
        let mut reports = ReportBuffer::default();
        let mut index = 0;
        let mut writes = Vec::new();
        for _ in 0..10 {
            for _ in 0..98 {
                reports.add(result(index, "oss://pics/a.jpg"));
                index += 1;
            }
            writes.extend(sizes(&reports.take_pending(false)));
            reports.persisted();
        }
        let expected = [98, 196, 294, 392, 490];
        assert_eq!(writes, [0, 1].map(|n| expected.map(|len| (n, len))).concat());
        assert_eq!(
            sizes(&reports.take_pending(true)),
            [(1, 490)],
            "it still carries the reservation"
        );

        reports.add(result(index, "oss://pics/a.jpg"));
        assert_eq!(sizes(&reports.take_pending(false)), [(2, 1)]);
        for more in 1..=600 {
            reports.add(result(index + more, "oss://pics/a.jpg"));
        }
        reports.persisted();
        assert_eq!(sizes(&reports.take_pending(false)), [(2, 500), (3, 101)]);
        reports.persisted();
        assert_eq!(sizes(&reports.take_pending(false)), []);
    }

    #[test]
    fn what_is_not_stored_is_counted_with_its_bytes() {
        let mut reports = ReportBuffer::default();
        assert_eq!(reports.unpersisted(), (0, 0));
        assert!(!reports.can_carry_reservation());
        let first = result(0, "oss://pics/a.jpg");
        let bytes = result_bytes(&first);
        reports.add(first);
        assert_eq!(reports.unpersisted(), (1, bytes));
        assert!(reports.can_carry_reservation());
        reports.take_pending(false);
        reports.persisted();
        assert_eq!(reports.unpersisted(), (0, 0));
        for _ in 0..1_000 {
            reports.add(result(1, "oss://pics/a.jpg"));
        }
        // A full report counts as a whole.
        assert_eq!(reports.unpersisted(), (1_001, 2 * REPORT_BYTES + bytes));
    }

    #[test]
    fn a_namesake_that_is_created_later_has_other_reports() {
        assert_eq!(report_name("pics", "01234567-89ab", 7), "pics-01234567-00007");
        assert_eq!(report_name("pics", "11234567-89ab", 7), "pics-11234567-00007");
        let long = format!("{}.{}", "a".repeat(229), "b".repeat(23));
        let cut = format!("{}-01234567-12345", "a".repeat(229));
        assert_eq!(report_name(&long, "01234567-89ab", 12_345), cut);
    }
}
