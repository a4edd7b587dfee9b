//! A score as a decimal number: compared and averaged in millionths, displayed as IMM returned it. Floats are not used.
//! Nor is a library for decimals: sums and comparisons of millionths are exact in an `i64`, and which text of a billed
//! answer counts as a score is decided more strictly than by a parser.

use std::fmt;

/// A score from 0 to 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// The value in millionths, rounded half up.
    millionths: i64,
    text: String,
}

impl Score {
    /// Parses a decimal number such as `0.727`, with an optional exponent. Returns `None` for anything else and for
    /// values outside 0 to 1.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || whole.len() + fraction.len() > 40 {
            return None;
        }
        if !(-40..=40).contains(&exponent) {
            return None;
        }
        // Position of the decimal point among all digits, after the exponent is applied.
        let point = i32::try_from(whole.len()).ok()? + exponent;
        let digit_at = |place: i32| -> i64 {
            let index = usize::try_from(point + place).ok();
            index
                .and_then(|i| whole.bytes().chain(fraction.bytes()).nth(i))
                .map_or(0, |b| i64::from(b - b'0'))
        };
        let above: i64 = (-point..0)
            .take(41)
            .map(digit_at)
            .fold(0, |n, d| (n * 10 + d).min(2));
        let below: i64 = (0..6).map(digit_at).fold(0, |n, d| n * 10 + d);
        let millionths = above * 1_000_000 + below + i64::from(digit_at(6) >= 5);
        if !(0..=1_000_000).contains(&millionths) {
            return None;
        }
        let short = exponent == 0 && fraction.len() <= 6 && text.len() <= 8;
        let text = if short { text.to_owned() } else { show(millionths) };
        Some(Self { millionths, text })
    }

    /// Creates a score from millionths.
    pub fn from_millionths(millionths: i64) -> Self {
        Self {
            millionths,
            text: show(millionths),
        }
    }

    /// Returns the score in millionths.
    pub fn millionths(&self) -> i64 {
        self.millionths
    }

    /// Returns the displayed text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Returns the mean of `count` scores with a sum of `sum` millionths, rounded half up to three decimal places;
    /// `None` if `count` is 0.
    pub fn mean_of(sum: i64, count: usize) -> Option<Self> {
        let count = i64::try_from(count).ok().filter(|n| *n > 0)?;
        Some(Self::from_millionths((sum + count * 500) / (count * 1000) * 1000))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Formats millionths as a decimal with one to six places.
fn show(millionths: i64) -> String {
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    let trimmed = text.trim_end_matches('0');
    if trimmed.ends_with('.') {
        format!("{trimmed}0")
    } else {
        trimmed.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_their_text_and_are_rounded_beyond_six_places() {
        for (text, millionths, shown) in [
            ("0.727", 727_000, "0.727"),
            ("0", 0, "0"),
            ("1", 1_000_000, "1"),
            ("1.0", 1_000_000, "1.0"),
            ("0.600", 600_000, "0.600"),
            ("0.5999995", 600_000, "0.6"),
            ("0.59999949", 599_999, "0.599999"),
            ("7.27e-1", 727_000, "0.727"),
            ("0.00727E2", 727_000, "0.727"),
            ("0.859000027179718", 859_000, "0.859"),
            // 40 digits.
            ("0.500000000000000000000000000000000000000", 500_000, "0.5"),
        ] {
            let score = Score::parse(text).unwrap();
            assert_eq!(
                (score.millionths(), score.to_string().as_str()),
                (millionths, shown),
                "{text}"
            );
        }
        for bad in [
            "",
            "-0.1",
            "1.1",
            "2",
            "NaN",
            "\"0.7\"",
            "0.7.1",
            "1e40",
            "0.5000000000000000000000000000000000000000",
            ".5",
            "1e99999999999",
        ] {
            assert_eq!(Score::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mean_is_rounded_half_up_to_three_places() {
        for (sum, count, mean) in [
            (500_000, 3, "0.167"),
            (499, 1, "0.0"),
            (500, 1, "0.001"),
            (2_999, 2, "0.001"),
            (3_000, 2, "0.002"),
        ] {
            assert_eq!(
                Score::mean_of(sum, count).unwrap().to_string(),
                mean,
                "{sum} / {count}"
            );
        }
        assert_eq!(Score::mean_of(0, 0), None);
    }
}
