//! Text of messages: counts with their nouns, and a limit of length.

use std::fmt::Display;

/// Formats a count with its noun, for example `1 statement` or `2 statements`.
pub fn counted<N: Copy + Display + PartialEq + From<bool>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(true) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Truncates a text to at most `limit` characters; the last one is then an ellipsis.
pub fn truncate(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}
