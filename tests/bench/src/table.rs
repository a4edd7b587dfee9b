//! Formats the results as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

/// The samples of one measurement.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Sorts the samples. NaN values are a bug of the benchmark.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Returns the sample at the given quantile, or NaN without samples.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = f64::from(u32::try_from(self.0.len().saturating_sub(1)).unwrap_or(u32::MAX));
        let wanted = (share * last).round();
        let place = self.0.iter().zip(0_u32..).find(|(_, i)| f64::from(*i) >= wanted);
        place.map_or(f64::NAN, |(value, _)| *value)
    }

    /// Returns the median, or NaN without samples.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// An alternative, measured in the same run.
#[derive(Debug, Serialize)]
pub struct Peer {
    pub name: &'static str,
    pub measured: f64,
}

/// One row of results.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub id: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub measured: f64,
    /// The lowest and the highest sample, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<(f64, f64)>,
    /// The theoretical limit, or the limit set by the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The most it shall be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    pub peers: Vec<Peer>,
    /// How the number was measured, as far as needed to interpret it.
    pub note: String,
}

impl Row {
    /// Returns a row with one measurement.
    pub fn new(id: &'static str, what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self {
            id,
            what: what.into(),
            unit,
            measured,
            ..Self::default()
        }
    }

    /// Returns a row with the median of several samples.
    pub fn of(id: &'static str, what: impl Into<String>, samples: &Samples, unit: &'static str) -> Self {
        Self {
            spread: Some((samples.quantile(0.0), samples.quantile(1.0))),
            ..Self::new(id, what, samples.median(), unit)
        }
    }

    /// Sets the theoretical limit.
    pub fn limit(self, limit: f64) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }

    /// The most it shall be.
    pub fn goal(self, goal: f64) -> Self {
        Self {
            goal: Some(goal),
            met: Some(self.measured <= goal),
            ..self
        }
    }

    /// Adds the number of an alternative.
    pub fn peer(mut self, name: &'static str, measured: f64) -> Self {
        self.peers.push(Peer { name, measured });
        self
    }

    /// Sets the note that explains the row.
    pub fn note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    fn cells(&self) -> [String; 7] {
        let measured = match self.spread {
            Some((low, high)) if low < high => format!(
                "{} {} ({}..{})",
                short(self.measured),
                self.unit,
                short(low),
                short(high)
            ),
            _ => format!("{} {}", short(self.measured), self.unit),
        };
        let peers = self
            .peers
            .iter()
            .map(|p| format!("{} {}", p.name, short(p.measured)));
        let or_dash = |value: Option<f64>| value.map_or("-".to_owned(), short);
        [
            self.id.to_owned(),
            self.what.clone(),
            measured,
            or_dash(self.limit),
            or_dash(self.limit.filter(|l| *l > 0.0).map(|limit| self.measured / limit)),
            peers.collect::<Vec<_>>().join(", "),
            match (self.goal, self.met) {
                (Some(goal), Some(true)) => format!("{} met", short(goal)),
                (Some(goal), _) => format!("{} NOT MET", short(goal)),
                (None, _) => "-".to_owned(),
            },
        ]
    }
}

/// Formats a number with three significant digits.
pub fn short(value: f64) -> String {
    let text = match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Returns the table in Markdown, ready for a documentation page, followed by the notes.
pub fn render(rows: &[Row]) -> String {
    let head = ["id", "what", "measured", "limit", "÷ limit", "peers", "goal"].map(ToOwned::to_owned);
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0_usize; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // Writing to a String cannot fail.
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let padded = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "| {} |", padded.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        }
    }
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        let _ = write!(text, "\n- {} {}: {}", row.id, row.what, row.note);
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_ends_are_samples() {
        let samples = Samples::new(vec![5.0, 1.0, 3.0, 2.0]);
        let found = [0.0, 0.5, 0.99, 1.0].map(|share| short(samples.quantile(share)));
        assert_eq!(found, ["1", "3", "5", "5"]);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn a_missed_goal_is_shown_and_a_ratio_needs_a_limit() {
        let row = Row::new("B0", "a", 30.0, "MB")
            .limit(10.0)
            .goal(12.0)
            .peer("p", 300.0);
        let text = render(&[row, Row::new("B1", "b", 0.5, "s").goal(0.5)]);
        assert!(text.contains("| 30 MB "), "{text}");
        assert!(
            text.contains("| 3 ") && text.contains("| p 300 ") && text.contains("12 NOT MET"),
            "{text}"
        );
        assert!(text.contains("0.5 met") && text.contains("| -  "), "{text}");
    }
}
