//! Where results are kept until and while they are stored: all of a small job in its status, those of a large one in reports
//! of bounded size. The report that is not full yet is written again as it grows.

use std::collections::{BTreeMap, VecDeque};

use super::{ItemRules, Tally};
use crate::api::{ItemResult, REPORT_BYTES, REPORT_ITEMS, Report};

/// Bytes of a report beside its results.
const FRAME: usize = 1024;

/// Results of a job that are stored, or to be stored.
#[derive(Clone, Debug)]
pub enum Filing {
    /// In status, by index.
    Inline(BTreeMap<usize, ItemResult>),
    /// In reports.
    Reports(Reports),
}

/// The end of a row of reports.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// Full reports that are not stored yet, by number.
    full: VecDeque<(usize, Vec<ItemResult>)>,
    /// Number of the report that is being filled.
    number: usize,
    open: Vec<ItemResult>,
    bytes: usize,
    /// Results in all reports.
    filed: usize,
    /// Whether the open report holds results that are not stored.
    dirty: bool,
}

impl Filing {
    /// An empty one.
    pub fn new(inline: bool) -> Self {
        if inline {
            Self::Inline(BTreeMap::new())
        } else {
            Self::Reports(Reports::default())
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

impl Reports {
    fn add(&mut self, result: ItemResult) {
        let size = size(&result);
        if self.open.len() >= REPORT_ITEMS || self.bytes + size > REPORT_BYTES - FRAME {
            self.full.push_back((self.number, std::mem::take(&mut self.open)));
            self.number += 1;
            self.bytes = 0;
        }
        self.bytes += size;
        self.open.push(result);
        self.filed += 1;
        self.dirty = true;
    }

    /// Takes in a stored report; the last of them is filled further. Whether this is the last so far.
    pub fn recall(&mut self, report: &Report) -> bool {
        let number = usize::try_from(report.number).unwrap_or_default();
        self.filed += report.results.len();
        let last = number >= self.number;
        if last {
            self.number = number;
            self.bytes = report.results.iter().map(size).sum();
            self.open.clone_from(&report.results);
        }
        last
    }

    /// The report that is to be stored next: its number and results; the open one counts when it has news, or when `always`.
    pub fn next(&self, always: bool) -> Option<(usize, &[ItemResult])> {
        if let Some((number, results)) = self.full.front() {
            return Some((*number, results));
        }
        ((self.dirty || always) && !self.open.is_empty()).then_some((self.number, &self.open))
    }

    /// A report is stored.
    pub fn stored(&mut self, number: usize) {
        if self.full.front().is_some_and(|(full, _)| *full == number) {
            self.full.pop_front();
        } else if number == self.number {
            self.dirty = false;
        }
    }

    /// Whether the open report holds anything, so that it can carry a reservation.
    pub fn carries(&self) -> bool {
        !self.open.is_empty()
    }

    /// Number of reports, and results in them.
    pub fn count(&self) -> (usize, usize) {
        (self.number + usize::from(!self.open.is_empty()), self.filed)
    }
}

/// Bytes of a result as it is stored, with its comma.
fn size(result: &ItemResult) -> usize {
    serde_json::to_string(result).map_or(0, |text| text.len() + 1)
}

/// A report's body.
pub fn body(job: &str, number: usize, results: &[ItemResult], reserved: i64) -> Report {
    let mut results = results.to_vec();
    results.sort_by_key(|r| r.index);
    let mut tally = Tally::default();
    let rules = ItemRules::default();
    for result in &results {
        tally.add(&rules, result);
    }
    let summary = tally.summary();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    Report {
        job: job.to_owned(),
        number: count(number),
        first_index: results.first().map_or(0, |r| r.index),
        last_index: results.last().map_or(0, |r| r.index),
        items: count(results.len()),
        succeeded: count(tally.succeeded),
        failed: count(results.len() - tally.succeeded),
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
            let mut reports = Reports::default();
            let mut most = -1;
            while reports.count().0 < 2 {
                most += 1;
                reports.add(result(most, &uri));
            }
            let (number, full) = reports.next(false).unwrap();
            assert_eq!((number, full.len()), (0, usize::try_from(most).unwrap()));
            assert!(most >= least && most <= 500, "{most}");
            let stored = body("j", number, full, 7);
            assert!(serde_json::to_string(&stored).unwrap().len() <= REPORT_BYTES);
            reports.stored(0);
            assert_eq!(reports.next(false).map(|(n, r)| (n, r.len())), Some((1, 1)));
            reports.stored(1);
            assert_eq!(reports.next(false), None);
            let mut again = Reports::default();
            assert!(again.recall(&stored));
            assert!(again.recall(&body("j", 1, &[result(most, &uri)], 9)));
            again.add(result(most + 1, &uri));
            assert_eq!(again.next(false).map(|(n, r)| (n, r.len())), Some((1, 2)));
            assert_eq!(again.count(), (2, usize::try_from(most).unwrap() + 2));
        }
    }
}
