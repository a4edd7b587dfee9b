//! How many tests a stage ran, read from what it printed: Rust's own summary lines, and the line that our scripts
//! end with. A stage that prints neither counts as one test.

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Passed.
    pub(super) passed: u32,
    /// Failed.
    pub(super) failed: u32,
}

impl Counts {
    /// Counts of one line, if it has any.
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
        // A bare line must be nothing but the two numbers, or any sentence could be one.
        (summary.is_some() || parts.next().is_none()).then_some(Self { passed, failed })
    }

    /// Counts of a whole stage that ended well or not. A failure is never lost: a stage that ended badly has
    /// failed at least once, whatever its summaries say.
    pub(super) fn of_stage(lines: impl Iterator<Item = Self>, ended_well: bool) -> Self {
        let mut sum = lines.fold(Self::default(), |sum, counts| Self {
            passed: sum.passed + counts.passed,
            failed: sum.failed + counts.failed,
        });
        if ended_well && sum == Self::default() {
            sum.passed = 1;
        }
        if !ended_well && sum.failed == 0 {
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
    fn a_bad_end_is_a_failure_even_when_every_summary_is_good() {
        let good = [counts(3, 0), counts(4, 0)];
        assert_eq!(Counts::of_stage(good.into_iter(), true), counts(7, 0));
        assert_eq!(Counts::of_stage(good.into_iter(), false), counts(7, 1));
    }
}
