//! An ImageScoreReport: its content and its name.

use super::{ResultClassifier, Stats};
use crate::api::{ItemResult, Report};

/// Reports that are looked for by number at most. 250,000 results of 64 MiB fill fewer; the number in a status can be
/// forged.
pub const MAX_REPORTS: i32 = 2_048;

/// Builds a report from results in any order. `reserved` is the number of requests reserved so far.
pub fn build_report(job: &str, number: usize, results: &[ItemResult], reserved: i64) -> Report {
    let mut results = results.to_vec();
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

/// Whether all items of a stored report are known: it is an earlier version, a write whose answer was lost, or an edited
/// report, and may be replaced. `false` when another process has scored further items, which must not be overwritten.
pub fn may_replace_report(stored: &Report, report: &Report) -> bool {
    let known = |index: i32| report.results.binary_search_by_key(&index, |r| r.index).is_ok();
    stored.results.iter().all(|result| known(result.index))
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

    #[test]
    fn a_report_with_further_items_is_not_replaced() {
        let result = |index| ItemResult {
            index,
            uri: "oss://pics/a.jpg".to_owned(),
            score: None,
            code: None,
        };
        let report = |indexes: &[i32]| {
            let results: Vec<_> = indexes.iter().copied().map(result).collect();
            build_report("pics", 0, &results, 0)
        };
        assert!(may_replace_report(&report(&[4, 2]), &report(&[7, 2, 4])));
        assert!(may_replace_report(&report(&[]), &report(&[])));
        assert!(!may_replace_report(&report(&[2, 5]), &report(&[2, 4])));
    }

    #[test]
    fn a_namesake_that_is_created_later_has_other_reports() {
        assert_eq!(report_name("pics", "01234567-89ab", 7), "pics-01234567-00007");
        assert_eq!(report_name("pics", "11234567-89ab", 7), "pics-11234567-00007");
        let long = format!("{}.{}", "a".repeat(229), "b".repeat(23));
        let cut = format!("{}-01234567-12345", "a".repeat(229));
        assert_eq!(report_name(&long, "01234567-89ab", 12_345), cut);
    }

    #[test]
    fn a_report_has_the_counts_and_the_scores_of_its_results_in_order() {
        let result = |index, score: Option<&str>| ItemResult {
            index,
            uri: "oss://pics/a.jpg".to_owned(),
            score: score.map(ToOwned::to_owned),
            code: score.is_none().then(|| "InvalidImage".to_owned()),
        };
        let results = [
            result(9, Some("0.5")),
            result(3, None),
            result(7, Some("0.2")),
            result(4, None),
        ];
        let results = [results.as_slice(), &[result(5, None)]].concat();
        let report = build_report("pics", 2, &results, 11);
        assert_eq!((report.number, report.reserved), (2, 11));
        assert_eq!((report.first_index, report.last_index), (3, 9));
        assert_eq!((report.items, report.succeeded, report.failed), (5, 2, 3));
        let scores = [report.min, report.mean, report.max].map(Option::unwrap_or_default);
        assert_eq!(scores, ["0.2", "0.35", "0.5"]);
        let order: Vec<i32> = report.results.iter().map(|result| result.index).collect();
        assert_eq!(order, [3, 4, 5, 7, 9]);
    }
}
