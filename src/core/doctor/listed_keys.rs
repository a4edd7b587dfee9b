//! Whether the keys of a listing are those of the objects: the operator lists them percent-encoded, because XML
//! cannot contain every character, and a listing without that encoding has most of them as they are.

use crate::core::error::CloudError;

/// The first page of a bucket, listed in both ways.
#[derive(Clone, Debug)]
pub enum ListedKeys {
    /// Both pages were compared.
    Compared(KeyComparison),
    /// The pages have other objects: some came or went between two listings, or an answer left some out.
    Changed,
    /// The listing without an encoding failed.
    Failed(CloudError),
}

/// What a comparison of two pages says. It has no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyComparison {
    /// Keys with special characters, as far as XML can contain them.
    pub special: usize,
    /// Those of them that the other page has in another form.
    pub differing: usize,
    /// The special characters, by their kind.
    pub characters: Vec<&'static str>,
}

/// A kind of characters.
type Kind = (&'static str, fn(char) -> bool);

/// The kinds of special characters, in the order of a report.
const KINDS: [Kind; 5] = [
    ("space", |c| c == ' '),
    ("+", |c| c == '+'),
    ("%", |c| c == '%'),
    ("other ASCII", |c| {
        c.is_ascii() && !matches!(c, ' ' | '+' | '%') && is_special(c)
    }),
    ("beyond ASCII", |c| !c.is_ascii()),
];

/// Whether a percent-encoding changes a character of a key.
fn is_special(c: char) -> bool {
    !c.is_ascii_alphanumeric() && !matches!(c, '/' | '-' | '_' | '.' | '~')
}

/// Whether XML can contain a key.
fn fits_xml(key: &str) -> bool {
    !key.contains(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

impl KeyComparison {
    /// Compares the keys of two pages of the same objects: as they come out of the encoding, and as they were listed
    /// without one. A key that is not UTF-8 is `None`. Spaces at the ends of a text are not compared, because a
    /// reader of XML may drop them.
    pub fn of<'a>(decoded: impl Iterator<Item = Option<&'a str>>, plain: &[String]) -> Self {
        let mut found = Self::default();
        let mut seen = [false; KINDS.len()];
        for (decoded, plain) in decoded.zip(plain) {
            let Some(key) = decoded.filter(|key| fits_xml(key)) else {
                continue;
            };
            let differs = key.trim() != plain.trim();
            if !differs && !key.contains(is_special) {
                continue;
            }
            found.special += 1;
            found.differing += usize::from(differs);
            for ((_, is_kind), seen) in KINDS.iter().zip(&mut seen) {
                *seen |= key.contains(is_kind);
            }
        }
        let kinds = KINDS.iter().zip(seen).filter(|(_, seen)| *seen);
        found.characters = kinds.map(|((name, _), _)| *name).collect();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_an_encoding_changes_are_compared() {
        type Row<'a> = (&'a [&'a str], &'a [&'a str], usize, usize, &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            (&["a/b-1_c.jpg~"], &["a/b-1_c.jpg~"], 0, 0, &[]),
            (
                &["a b", "a+b", "ü"],
                &["a b", "a+b", "ü"],
                3,
                0,
                &["space", "+", "beyond ASCII"],
            ),
            (&["a+b", "x"], &["a b", "x"], 1, 1, &["+"]),
            // Without an encoding, the key is another one although it has no special character.
            (&["ab"], &["a%b"], 1, 1, &[]),
            (&["a%20b", "a#"], &["a%2520b", "a#"], 2, 1, &["%", "other ASCII"]),
            (&[" a"], &["a"], 1, 0, &["space"]),
            (&["a\u{1}b"], &["ab"], 0, 0, &[]),
        ];
        for (decoded, plain, special, differing, characters) in rows {
            let plain: Vec<String> = plain.iter().map(|key| (*key).to_owned()).collect();
            let found = KeyComparison::of(decoded.iter().map(|key| Some(*key)), &plain);
            assert_eq!(
                (found.special, found.differing, found.characters.as_slice()),
                (*special, *differing, *characters),
                "{decoded:?}"
            );
        }
        let found = KeyComparison::of(std::iter::once(None), &["%FF".to_owned()]);
        assert_eq!(found, KeyComparison::default());
    }
}
