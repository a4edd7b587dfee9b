//! Statistics of a job's results. They are folded from the results, so after a crash they follow from the stored results.

use std::collections::BTreeMap;

use super::Score;
use super::listed_object::is_unscorable;
use crate::api::{FailureAction, FailureCount, FailureRule, ItemResult, JobSpec, Select, Summary};

/// Maximum number of distinct error codes that are counted separately. A hostile service could send any number.
const MAX_ERROR_CODES: usize = 100;

/// Class of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultClass {
    /// The item has a score.
    Scored {
        /// Whether the score is below the threshold.
        below: bool,
    },
    /// The item failed.
    Failed,
    /// The item failed with a code that a rule ignores.
    Ignored,
    /// The object was deleted before it was scored, or cannot be scored.
    Skipped,
}

/// The parts of a spec that decide the class of a result. All of them are immutable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultClassifier {
    rules: Vec<FailureRule>,
    /// Whether an object may be deleted between listing and scoring (prefix sources). For other sources a missing image
    /// is a failure.
    pub(super) may_vanish: bool,
    min_score: Option<i64>,
}

impl ResultClassifier {
    /// Creates the classifier of a spec.
    pub fn of(spec: &JobSpec) -> Self {
        let min = spec.thresholds.as_ref().and_then(|t| Score::parse(&t.min_score));
        Self {
            rules: spec.failure_rules.clone(),
            may_vanish: spec.source.prefix.is_some(),
            min_score: min.map(|s| s.millionths()),
        }
    }

    /// Returns the action of the first rule that lists the code or a dot-separated prefix of it; `None` without such a
    /// rule.
    pub fn action(&self, code: &str) -> Option<FailureAction> {
        let names = |known: &String| {
            code.strip_prefix(known.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let rule = self.rules.iter().find(|rule| rule.codes.iter().any(names));
        rule.map(|rule| rule.action)
    }

    /// Returns the class of a result.
    pub fn classify(&self, result: &ItemResult) -> ResultClass {
        self.classify_with(score_of(result).as_ref(), result)
    }

    fn classify_with(&self, score: Option<&Score>, result: &ItemResult) -> ResultClass {
        if let Some(score) = score {
            let below = self.min_score.is_some_and(|min| score.millionths() < min);
            return ResultClass::Scored { below };
        }
        self.classify_code(result.code.as_deref().unwrap_or_default())
    }

    fn classify_code(&self, code: &str) -> ResultClass {
        match self.action(code) {
            Some(FailureAction::IgnoreItem) => ResultClass::Ignored,
            None if self.may_vanish && (code.starts_with("ResourceNotFound") || is_unscorable(code)) => {
                ResultClass::Skipped
            }
            Some(FailureAction::FailItem | FailureAction::FailJob | FailureAction::Retry) | None => {
                ResultClass::Failed
            }
        }
    }

    /// Returns `true` if `results.select` keeps a result after the job has finished.
    pub fn keeps(&self, select: Select, result: &ItemResult) -> bool {
        match (select, self.classify(result)) {
            (Select::All, _) => true,
            (Select::BelowThreshold, ResultClass::Scored { below }) => below,
            (_, ResultClass::Failed) => true,
            (_, ResultClass::Scored { .. } | ResultClass::Ignored | ResultClass::Skipped) => false,
        }
    }
}

fn score_of(result: &ItemResult) -> Option<Score> {
    result.score.as_deref().and_then(Score::parse)
}

/// Counts and score statistics of results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Items with a score.
    pub succeeded: usize,
    /// Items that failed.
    pub failed: usize,
    /// Items whose failure a rule ignores.
    pub ignored: usize,
    /// Items whose objects were deleted before they were scored, or cannot be scored.
    pub skipped: usize,
    /// Items with a score below the threshold.
    pub below: usize,
    /// The first code for which a rule fails the whole job.
    pub fatal: Option<String>,
    codes: BTreeMap<String, FailureCount>,
    /// Number of results by score in millionths: sufficient for the median.
    scores: BTreeMap<i64, usize>,
    sum: i64,
    only: Option<Score>,
    lowest: Option<Score>,
    highest: Option<Score>,
}

impl Stats {
    /// Adds a result.
    pub fn add(&mut self, rules: &ResultClassifier, result: &ItemResult) {
        let score = score_of(result);
        match rules.classify_with(score.as_ref(), result) {
            ResultClass::Scored { below } => {
                self.succeeded += 1;
                self.below += usize::from(below);
            }
            ResultClass::Failed => self.failed += 1,
            ResultClass::Ignored => self.ignored += 1,
            ResultClass::Skipped => self.skipped += 1,
        }
        if let Some(score) = score {
            self.add_score(score);
        } else if let Some(code) = &result.code {
            if self.fatal.is_none() && rules.action(code) == Some(FailureAction::FailJob) {
                self.fatal = Some(code.clone());
            }
            let known = self.codes.contains_key(code) || self.codes.len() < MAX_ERROR_CODES;
            let code = if known { code.as_str() } else { "Other" };
            let fresh = || FailureCount {
                code: code.to_owned(),
                count: 0,
                sample_index: result.index,
            };
            self.codes.entry(code.to_owned()).or_insert_with(fresh).count += 1;
        }
    }

    fn add_score(&mut self, score: Score) {
        *self.scores.entry(score.millionths()).or_default() += 1;
        self.sum += score.millionths();
        self.only = (self.succeeded == 1).then(|| score.clone());
        if self.lowest.as_ref().is_none_or(|low| score < *low) {
            self.lowest = Some(score.clone());
        }
        if self.highest.as_ref().is_none_or(|high| score > *high) {
            self.highest = Some(score);
        }
    }

    /// Number of items that are done.
    pub fn done(&self) -> usize {
        self.succeeded + self.failed + self.ignored + self.skipped
    }

    /// Returns the statistics of the scores; `None` without a score.
    pub fn summary(&self) -> Option<Summary> {
        let (lowest, highest) = (self.lowest.as_ref()?, self.highest.as_ref()?);
        let mut histogram = vec![0; 10];
        let (mut seen, mut median) = (0, None);
        let middle = self.succeeded.div_ceil(2);
        for (millionths, count) in &self.scores {
            seen += count;
            if median.is_none() && seen >= middle {
                median = Some(Score::from_millionths(*millionths));
            }
            // The last bin includes 1.
            let bin = usize::try_from(millionths / 100_000).unwrap_or(0).min(9);
            if let Some(bin) = histogram.get_mut(bin) {
                *bin += i32::try_from(*count).unwrap_or(i32::MAX);
            }
        }
        let mean = match &self.only {
            Some(only) => only.clone(),
            None => Score::mean_of(self.sum, self.succeeded)?,
        };
        Some(Summary {
            min: lowest.to_string(),
            max: highest.to_string(),
            mean: mean.to_string(),
            p50: self.only.clone().or(median)?.to_string(),
            histogram,
        })
    }

    /// Returns the items without a score by error code: at most 20 codes, the most frequent first.
    pub fn failures(&self) -> Vec<FailureCount> {
        let mut list: Vec<FailureCount> = self.codes.values().cloned().collect();
        list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.code.cmp(&b.code)));
        list.truncate(20);
        list
    }

    /// Returns the most frequent code of the items that failed, as a part of a message; empty if none failed.
    pub fn most_frequent_failure(&self, rules: &ResultClassifier) -> String {
        let failed = |count: &FailureCount| rules.classify_code(&count.code) == ResultClass::Failed;
        match self.failures().into_iter().find(failed) {
            Some(FailureCount { code, count, .. }) if usize::try_from(count) == Ok(self.failed) => {
                format!(" with {code}")
            }
            Some(FailureCount { code, .. }) => format!(", most often with {code}"),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(index: i32, score: &str) -> ItemResult {
        ItemResult {
            index,
            uri: String::new(),
            score: Some(score.to_owned()),
            code: None,
        }
    }

    #[test]
    fn the_summary_has_the_median_the_histogram_and_the_text_of_a_single_score() {
        let rules = ResultClassifier {
            min_score: Some(600_000),
            ..ResultClassifier::default()
        };
        let mut stats = Stats::default();
        stats.add(&rules, &scored(0, "0.7270"));
        assert_eq!(stats.summary().unwrap().mean, "0.7270");
        for (index, score) in ["0.1", "0.6", "0.599999", "1"].iter().enumerate() {
            stats.add(&rules, &scored(i32::try_from(index).unwrap(), score));
        }
        let summary = stats.summary().unwrap();
        assert_eq!((summary.p50.as_str(), summary.mean.as_str()), ("0.6", "0.605"));
        assert_eq!(summary.histogram, [0, 1, 0, 0, 0, 1, 1, 1, 0, 1]);
        assert_eq!(
            (stats.below, stats.done()),
            (2, 5),
            "a score of exactly 0.6 passes"
        );
    }

    #[test]
    fn the_most_frequent_code_is_one_of_the_failed_items() {
        let rules = ResultClassifier {
            may_vanish: true,
            ..ResultClassifier::default()
        };
        let mut stats = Stats::default();
        assert_eq!(stats.most_frequent_failure(&rules), "");
        let failures = [
            ("ResourceNotFound", ""),
            ("ResourceNotFound", ""),
            ("InvalidArgument", " with InvalidArgument"),
            ("Odd", ", most often with InvalidArgument"),
            ("Odd", ", most often with Odd"),
        ];
        for (code, expected) in failures {
            let result = ItemResult {
                code: Some(code.to_owned()),
                score: None,
                ..scored(0, "")
            };
            stats.add(&rules, &result);
            assert_eq!(stats.most_frequent_failure(&rules), expected, "{code}");
        }
    }

    #[test]
    fn the_first_rule_that_names_a_code_decides() {
        let rule = |codes: &[&str], action| FailureRule {
            codes: codes.iter().map(|c| (*c).to_owned()).collect(),
            action,
        };
        let rules = ResultClassifier {
            rules: vec![
                rule(&["ResourceNotFound.Object"], FailureAction::FailItem),
                rule(&["ResourceNotFound", "Odd"], FailureAction::IgnoreItem),
                rule(&["Fatal", "Odd"], FailureAction::FailJob),
            ],
            may_vanish: true,
            min_score: None,
        };
        let mut stats = Stats::default();
        for (code, class) in [
            ("ResourceNotFound.Object", ResultClass::Failed),
            ("ResourceNotFound.Project", ResultClass::Ignored),
            ("ResourceNotFoundElse", ResultClass::Skipped),
            ("Odd", ResultClass::Ignored),
            ("Oddly", ResultClass::Failed),
            ("Fatal.Code", ResultClass::Failed),
        ] {
            let result = ItemResult {
                code: Some(code.to_owned()),
                score: None,
                ..scored(0, "")
            };
            assert_eq!(rules.classify(&result), class, "{code}");
            assert_eq!(stats.fatal, None);
            stats.add(&rules, &result);
        }
        assert_eq!((stats.failed, stats.ignored, stats.skipped), (3, 2, 1));
        assert_eq!(stats.done(), 6);
        assert_eq!(stats.fatal.as_deref(), Some("Fatal.Code"));
    }

    #[test]
    fn codes_beyond_the_first_hundred_are_counted_together() {
        let mut stats = Stats::default();
        for index in 0..150 {
            let result = ItemResult {
                code: Some(format!("Code{index}")),
                score: None,
                ..scored(index, "")
            };
            stats.add(&ResultClassifier::default(), &result);
        }
        assert_eq!(stats.codes.len(), MAX_ERROR_CODES + 1);
        let failures = stats.failures();
        let first = failures.first().unwrap();
        assert_eq!((first.code.as_str(), first.count), ("Other", 50));
        assert_eq!((first.sample_index, failures.len()), (100, 20));
    }
}
