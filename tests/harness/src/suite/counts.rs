//! Counts the tests of a stage from its output: Rust's summary lines, and the last line of the repository's scripts. A
//! stage without either counts as one test.

/// The numbers of passed and failed tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Passed tests.
    pub(super) passed: u32,
    /// Failed tests.
    pub(super) failed: u32,
}

impl Counts {
    /// Returns the counts in a line, or `None` if the line is not a summary.
    pub(super) fn in_line(line: &str) -> Option<Self> {
        let summary = line
            .trim()
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "));
        let (text, separator) = match summary {
            Some((_, rest)) => (rest, ';'),
            None => (line.trim(), ','),
        };
        let mut parts = text.split(separator).map(str::trim);
        let passed = number(parts.next()?, " passed")?;
        let failed = number(parts.next()?, " failed")?;
        // A line without the prefix must consist of the two numbers only; otherwise ordinary sentences would match.
        (summary.is_some() || parts.next().is_none()).then_some(Self { passed, failed })
    }

    /// Returns the counts of a whole stage. A stage that ended with an error has at least one failure, whatever its
    /// summaries contain.
    pub(super) fn of_stage(lines: impl Iterator<Item = Self>, succeeded: bool) -> Self {
        let mut sum = lines.fold(Self::default(), |sum, counts| Self {
            passed: sum.passed + counts.passed,
            failed: sum.failed + counts.failed,
        });
        if succeeded && sum == Self::default() {
            sum.passed = 1;
        }
        if !succeeded && sum.failed == 0 {
            sum.failed = 1;
        }
        sum
    }
}

fn number(text: &str, unit: &str) -> Option<u32> {
    text.strip_suffix(unit)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Counts;

    fn counts(passed: u32, failed: u32) -> Counts {
        Counts { passed, failed }
    }

    #[test]
    fn both_kinds_of_summary_are_read() {
        let rust = "test result: FAILED. 18 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Counts::in_line(rust), Some(counts(18, 2)));
        assert_eq!(Counts::in_line("7 passed, 0 failed"), Some(counts(7, 0)));
    }

    #[test]
    fn a_sentence_is_no_summary() {
        for line in [
            "7 passed, 0 failed, as I hoped",
            "it passed",
            "all 7 passed, 1 failed",
            "",
        ] {
            assert_eq!(Counts::in_line(line), None, "{line}");
        }
    }

    #[test]
    fn a_stage_without_counts_is_one_test() {
        assert_eq!(Counts::of_stage([].into_iter(), true), counts(1, 0));
        assert_eq!(Counts::of_stage([].into_iter(), false), counts(0, 1));
    }

    #[test]
    fn an_error_counts_as_a_failure_even_if_every_summary_passed() {
        let good = [counts(3, 0), counts(4, 0)];
        assert_eq!(Counts::of_stage(good.into_iter(), true), counts(7, 0));
        assert_eq!(Counts::of_stage(good.into_iter(), false), counts(7, 1));
    }
}
