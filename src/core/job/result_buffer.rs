//! Where results are kept until and while they are stored: all of a small job in its status, those of a large one in reports
//! of bounded size. The report that is not full yet is written again as it grows; what is to be written is drawn up at one
//! moment, and results that come while it is written belong to the next draft.

use std::collections::{BTreeMap, VecDeque};

use super::{ResultClassifier, Stats};
use crate::api::{ItemResult, REPORT_BYTES, REPORT_ITEMS, Report};
use crate::core::json::serialized_len;

/// Bytes of a report beside its results.
const REPORT_OVERHEAD_BYTES: usize = 1024;

/// Results of a job that are stored, or to be stored.
#[derive(Clone, Debug)]
pub enum ResultBuffer {
    /// In status, by index.
    Inline(BTreeMap<usize, ItemResult>),
    /// In reports.
    Reports(ReportBuffer),
}

/// The end of a row of reports.
#[derive(Clone, Debug, Default)]
pub struct ReportBuffer {
    /// Full reports that are not stored yet, by number.
    full: VecDeque<(usize, Vec<ItemResult>)>,
    /// Number of the report that is being filled.
    number: usize,
    open: Vec<ItemResult>,
    bytes: usize,
    /// How many results of the open report are stored.
    kept: usize,
    /// Whether the open report takes no more: it is not full, but what comes until it is written next would not fit.
    closed: bool,
    /// Results in all reports.
    filed: usize,
    /// Number and size of the reports in the last draft.
    drafted: Vec<(usize, usize)>,
}

impl ResultBuffer {
    /// An empty one.
    pub fn new(inline: bool) -> Self {
        if inline {
            Self::Inline(BTreeMap::new())
        } else {
            Self::Reports(ReportBuffer::default())
        }
    }

    /// The reports of a large job.
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

    /// Takes in a stored report; the last of them is filled further. Whether this is the last so far.
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

    /// The reports that are to be stored now, by number; the open one when it has news, or when `always`. It is closed
    /// when it is more than half full and would not hold as much again as came since it was written: topping it up would
    /// cost one more write of all of it.
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

    /// Results that are not stored.
    pub fn unpersisted(&self) -> usize {
        let full: usize = self.full.iter().map(|(_, results)| results.len()).sum();
        full + self.open.len() - self.kept
    }

    /// The last draft is stored.
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

    /// Whether the open report holds anything, so that it can carry a reservation.
    pub fn can_carry_reservation(&self) -> bool {
        !self.open.is_empty()
    }

    /// Number of reports, and results in them.
    pub fn count(&self) -> (usize, usize) {
        (self.number + usize::from(!self.open.is_empty()), self.filed)
    }
}

/// Bytes of a result as it is stored, with its comma.
fn result_bytes(result: &ItemResult) -> usize {
    serialized_len(result) + 1
}

/// A report's body.
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

/// The name of a report: the job's, a part of its uid, and the number. Two objects of one name never share reports.
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
    fn a_report_is_full_by_items_or_by_bytes_and_the_last_one_is_filled_further() {
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
    fn a_report_that_would_be_topped_up_is_closed_and_what_comes_meanwhile_is_in_the_next_draft() {
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
            "it still tells what is reserved"
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
}
