//! Matches `*` (any text) and `?` (one character).
//! Policies are untrusted input: the running time is bounded by the product of the two lengths.

/// Returns whether `text` matches `pattern`, case-sensitively.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Row by row: `reached[j]` says whether the pattern so far can end before text position j. The work is bounded for
    // every pattern, whereas a backtracking matcher can take exponential time.
    let mut reached = vec![false; text.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for symbol in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut any_before = false;
        for (position, slot) in next.iter_mut().enumerate() {
            let here = reached.get(position).copied().unwrap_or(false);
            let before = position.checked_sub(1);
            any_before = any_before || here;
            *slot = if symbol == '*' {
                any_before
            } else {
                before.is_some_and(|index| {
                    reached.get(index).copied().unwrap_or(false)
                        && text
                            .get(index)
                            .is_some_and(|found| symbol == '?' || *found == symbol)
                })
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Like `matches`, ignoring ASCII case.
pub(crate) fn matches_ignoring_case(pattern: &str, text: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*b*", "abab", true),
            ("", "a", false),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(matches_ignoring_case("oss:get*", "oss:GetObject"));
    }
}
