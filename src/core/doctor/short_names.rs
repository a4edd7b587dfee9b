//! Names of one or two characters in a report: spelled as a word of its sentences, they are told apart by what stands
//! before them.

/// Words of one or two letters in the sentences of a report.
const SHORT_WORDS: [&str; 34] = [
    "a", "an", "as", "at", "be", "by", "do", "ec", "gb", "go", "he", "id", "if", "in", "is", "it", "kb",
    "mb", "me", "ms", "my", "no", "of", "on", "or", "s", "so", "to", "up", "us", "v1", "v3", "v4", "we",
];

/// What stands directly before a name in a report.
const ANNOUNCEMENTS: [&str; 5] = [
    "object ",
    "Secret ",
    "ServiceAccount ",
    "session ",
    "sessionName ",
];

/// Whether a name is spelled as a word, a number or a sign of the sentences of a report.
pub(super) fn is_word(name: &str) -> bool {
    let is_short_word = || SHORT_WORDS.iter().any(|word| word.eq_ignore_ascii_case(name));
    let is_number = || name.chars().all(|c| c.is_ascii_digit());
    let is_sign = || !name.chars().any(char::is_alphanumeric);
    name.chars().count() <= 2 && (is_short_word() || is_number() || is_sign())
}

/// Whether a text ends where the report writes a name: behind the word for it, or inside the path of an object.
pub(super) fn announces_name(text: &str) -> bool {
    let word = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let in_path =
        word.contains("oss:") && word.ends_with('/') && !word.ends_with("oss:/") && !word.ends_with("oss://");
    in_path
        || ANNOUNCEMENTS
            .iter()
            .any(|announcement| text.ends_with(announcement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_announced_by_its_kind_or_by_a_path() {
        for (name, word) in [
            ("a", true),
            ("No", true),
            ("7", true),
            ("/", true),
            ("ü", false),
            ("a/", false),
            ("x", false),
            ("the", false),
        ] {
            assert_eq!(is_word(name), word, "{name}");
        }
        for (text, announced) in [
            ("Secret ", true),
            ("the call about object ", true),
            ("every key below oss://pics/", true),
            ("acs:oss:*:65432:pics/", true),
            ("oss://pics/b/", true),
            ("oss://", false),
            ("see https://example.com/", false),
            ("it is ", false),
            ("", false),
        ] {
            assert_eq!(announces_name(text), announced, "{text}");
        }
    }
}
