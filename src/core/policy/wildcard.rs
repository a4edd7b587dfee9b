//! Patterns of a policy: `*` matches any text. Other wildcards are not documented by OSS.

/// Returns `true` if a text exists that matches both patterns; `*` matches any text. The cost is linear in the sum of the
/// lengths, also for a hostile policy.
pub(super) fn patterns_overlap(a: &str, b: &str) -> bool {
    match (a.split_once('*'), b.split_once('*')) {
        (None, None) => a == b,
        (Some((head, rest)), None) => glob_matches(b, head, rest),
        (None, Some((head, rest))) => glob_matches(a, head, rest),
        // The `*` of each pattern matches the middle of the other, so only the heads and the tails can differ.
        (Some((head, rest)), Some((other_head, other_rest))) => {
            let tail = rest.rsplit('*').next().unwrap_or_default();
            let other_tail = other_rest.rsplit('*').next().unwrap_or_default();
            (head.starts_with(other_head) || other_head.starts_with(head))
                && (tail.ends_with(other_tail) || other_tail.ends_with(tail))
        }
    }
}

/// Returns `true` if a text matches the pattern `head*rest`. Each piece is matched at its first occurrence, which
/// leaves the most text for the others.
fn glob_matches(text: &str, head: &str, rest: &str) -> bool {
    let mut pieces = rest.split('*');
    let tail = pieces.next_back().unwrap_or_default();
    let between = text.strip_prefix(head).and_then(|t| t.strip_suffix(tail));
    let left = between.and_then(|t| pieces.try_fold(t, |left, piece| Some(left.split_once(piece)?.1)));
    left.is_some()
}

/// Returns `true` if a pattern matches a text.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, rest)) => glob_matches(text, head, rest),
        None => pattern == text,
    }
}

/// Returns `true` if a pattern matches every text that starts with `start`.
pub(super) fn covers_all_after(pattern: &str, start: &str) -> bool {
    // With another end than `*`, the pattern misses the texts with a different end.
    pattern.ends_with('*') && pattern_matches(pattern, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_when_one_text_matches_both() {
        for (a, b, expected) in [
            ("*", "", true),
            ("a*", "*b", true),
            ("a*c", "ab*", true),
            ("abc", "abd", false),
            ("acs:oss:*:*:pics/*", "acs:oss:*:6543:pics/p/*", true),
            ("pics", "pics/*", false),
            ("*a", "*b", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(patterns_overlap(a, b), expected, "{a} {b}");
            assert_eq!(patterns_overlap(b, a), expected, "{b} {a}");
        }
    }

    /// The definition itself, at exponential cost.
    fn patterns_overlap_by_definition(a: &[u8], b: &[u8]) -> bool {
        match (a, b) {
            ([], []) => true,
            ([b'*', rest @ ..], _) if patterns_overlap_by_definition(rest, b) => true,
            (_, [b'*', rest @ ..]) if patterns_overlap_by_definition(a, rest) => true,
            ([b'*', ..], [_, rest @ ..]) => patterns_overlap_by_definition(a, rest),
            ([_, rest @ ..], [b'*', ..]) => patterns_overlap_by_definition(rest, b),
            ([x, left @ ..], [y, right @ ..]) => x == y && patterns_overlap_by_definition(left, right),
            ([], [..]) | ([..], []) => false,
        }
    }

    #[test]
    fn the_overlap_of_all_short_patterns_equals_the_definition() {
        let mut patterns = vec![String::new()];
        for length in 0..5 {
            let longest: Vec<_> = patterns.iter().filter(|p| p.len() == length).cloned().collect();
            patterns.extend(
                longest
                    .iter()
                    .flat_map(|p| ["a", "b", "*"].map(|end| format!("{p}{end}"))),
            );
        }
        for a in &patterns {
            for b in &patterns {
                assert_eq!(
                    patterns_overlap(a, b),
                    patterns_overlap_by_definition(a.as_bytes(), b.as_bytes()),
                    "{a} {b}"
                );
            }
        }
    }

    #[test]
    fn a_pattern_covers_all_texts_with_a_start_only_if_each_of_them_matches() {
        for (pattern, start, expected) in [
            ("*", "", true),
            ("pics/*", "pics/", true),
            ("pics/*", "pics/p/", true),
            ("pics/p/*", "pics/", false),
            ("*/p/*", "pics/p/", true),
            ("pics/*.jpg", "pics/", false),
            ("pics/*.jpg*", "pics/", false),
            ("pics/", "pics/", false),
            ("pics*", "pics/", true),
        ] {
            assert_eq!(covers_all_after(pattern, start), expected, "{pattern} {start}");
        }
    }

    /// The process has one thread: a quadratic algorithm would block it for minutes, and it would lose its lease.
    #[test]
    fn long_patterns_cost_no_more_than_their_length() {
        let long = "a".repeat(1_000_000);
        for (a, b, expected) in [
            (format!("{long}*"), format!("{long}b*"), true),
            (format!("{long}c*"), format!("{long}b*"), false),
            (format!("{}b", "*a".repeat(500_000)), long.clone(), false),
            (format!("*{long}*"), format!("{long}{long}"), true),
            ("*".repeat(1_000_000), long.clone(), true),
        ] {
            assert_eq!(patterns_overlap(&a, &b), expected);
        }
    }
}
