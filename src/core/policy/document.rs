//! The policy document as text. Statements are located by their offsets, and ours are inserted and removed. All other
//! bytes stay unchanged, because OSS stores and returns a policy byte for byte.
//!
//! There is deliberately no function that edits or re-serialises a foreign statement.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use k8s_openapi::jiff::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use super::statement::{fingerprint, principals};

/// Maximum size of a policy that OSS accepts, in bytes (error 0030-00000001).
pub const POLICY_LIMIT: usize = 16_384;

/// The response to reading a bucket policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRead {
    /// The policy document; `None` only when OSS answered 404 `NoSuchBucketPolicy`: the bucket has no policy.
    pub bytes: Option<Vec<u8>>,
    /// The server's clock, from the response's `Date` header; `None` if the header is missing or certainly wrong.
    pub server_time: Option<Timestamp>,
}

impl PolicyRead {
    /// Returns the bytes of the policy, 0 if the bucket has none.
    pub fn size(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// Whether a policy of this size is nearly full: larger than nine tenths of what OSS accepts.
pub fn is_nearly_full(bytes: usize) -> bool {
    bytes > POLICY_LIMIT * 9 / 10
}

/// Reason why a document cannot be edited safely.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum PolicyParseError {
    /// Not UTF-8 text.
    #[error("it is not UTF-8 text")]
    NotUtf8,
    /// The text starts with a byte order mark.
    #[error("it starts with a byte order mark")]
    ByteOrderMark,
    /// Not JSON, with the position of the first error.
    #[error("it is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the first error, from 1.
        line: usize,
        /// Column of the first error, from 1.
        column: usize,
    },
    /// JSON, but not an object.
    #[error("it is not a JSON object")]
    NotObject,
    /// No member named Statement.
    #[error("it has no member Statement")]
    NoStatement,
    /// More than one member named Statement.
    #[error("its member Statement occurs more than once")]
    MultipleStatements,
    /// Statement is not an array.
    #[error("its Statement is not an array")]
    NotArray,
}

/// One statement of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementSpan {
    span: Range<usize>,
    /// Fingerprint of the meaning; `None` for a statement that cannot be ours (duplicate members, not an object, too
    /// deep).
    pub fingerprint: Option<String>,
    /// Entries of the Principal that are strings.
    pub principals: Vec<String>,
}

/// A policy document that can be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    text: String,
    /// Offset after the `[` of the statement array.
    opening: usize,
    statements: Vec<StatementSpan>,
}

impl Document {
    /// Parses a document as returned by OSS and locates its statements.
    ///
    /// # Errors
    /// The reason why the document cannot be edited safely.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyParseError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyParseError::NotUtf8)?;
        if text.starts_with('\u{feff}') {
            return Err(PolicyParseError::ByteOrderMark);
        }
        let not_json = |error: &serde_json::Error| PolicyParseError::NotJson {
            line: error.line(),
            column: error.column(),
        };
        // Check first that the whole text is JSON, so that the error names the actual defect.
        let whole: &RawValue = serde_json::from_str(text).map_err(|e| not_json(&e))?;
        if !whole.get().starts_with('{') {
            return Err(PolicyParseError::NotObject);
        }
        let Members(members) = serde_json::from_str(text).map_err(|e| not_json(&e))?;
        let mut found = members
            .iter()
            .filter(|(name, _)| name == "Statement")
            .map(|(_, value)| *value);
        let array = found.next().ok_or(PolicyParseError::NoStatement)?;
        if found.next().is_some() {
            return Err(PolicyParseError::MultipleStatements);
        }
        if !array.get().starts_with('[') {
            return Err(PolicyParseError::NotArray);
        }
        let items: Vec<&RawValue> = serde_json::from_str(array.get()).map_err(|e| not_json(&e))?;
        let offset = |value: &RawValue| value.get().as_ptr().addr() - text.as_ptr().addr();
        let statements = items
            .iter()
            .map(|item| {
                let start = offset(item);
                StatementSpan {
                    span: start..start + item.get().len(),
                    fingerprint: fingerprint(item.get()),
                    principals: principals(item.get()),
                }
            })
            .collect();
        Ok(Self {
            text: text.to_owned(),
            opening: offset(array) + 1,
            statements,
        })
    }

    /// Returns the document as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the statements in order.
    pub fn statements(&self) -> &[StatementSpan] {
        &self.statements
    }

    /// Returns the exact text of a statement of this document.
    pub fn text_of(&self, statement: &StatementSpan) -> &str {
        self.text.get(statement.span.clone()).unwrap_or_default()
    }

    /// Returns the positions of the statements with this fingerprint.
    pub fn positions_of(&self, fingerprint: &str) -> Vec<usize> {
        let same = |(_, s): &(usize, &StatementSpan)| s.fingerprint.as_deref() == Some(fingerprint);
        self.statements
            .iter()
            .enumerate()
            .filter(same)
            .map(|(index, _)| index)
            .collect()
    }

    /// Returns the document without the statements at `remove` and with `add` after the last one; `None` if no
    /// statement would be left. Adding statements and then removing them restores the same bytes.
    pub fn splice(&self, remove: &[usize], add: &[String]) -> Option<String> {
        let mut kept: Vec<&StatementSpan> = Vec::new();
        let mut cuts: Vec<Range<usize>> = Vec::new();
        let mut pending: Option<usize> = None; // start of a run of removed statements at the front
        for (index, statement) in self.statements.iter().enumerate() {
            if remove.contains(&index) {
                match kept.last() {
                    // Cut from the end of the previous statement, so that the comma and the space between are removed
                    // too.
                    Some(before) => match cuts.last_mut() {
                        Some(cut) if cut.start == before.span.end => cut.end = statement.span.end,
                        _ => cuts.push(before.span.end..statement.span.end),
                    },
                    None => pending = pending.or(Some(statement.span.start)),
                }
            } else {
                if let Some(start) = pending.take() {
                    cuts.push(start..statement.span.start);
                }
                kept.push(statement);
            }
        }
        if kept.is_empty() && add.is_empty() {
            return None;
        }
        if let (Some(start), Some(last)) = (pending, self.statements.last()) {
            cuts.push(start..last.span.end);
        }
        let insert_at = kept.last().map_or(self.opening, |last| last.span.end);
        let lead = if kept.is_empty() { "" } else { "," };
        let addition = if add.is_empty() {
            String::new()
        } else {
            format!("{lead}{}", add.join(","))
        };
        let mut out = String::with_capacity(self.text.len() + addition.len());
        let mut at = 0;
        let mut pieces: Vec<(Range<usize>, &str)> = cuts.into_iter().map(|cut| (cut, "")).collect();
        pieces.push((insert_at..insert_at, &addition));
        pieces.sort_by_key(|(range, text)| (range.start, text.is_empty()));
        for (range, text) in pieces {
            out.push_str(self.text.get(at..range.start).unwrap_or_default());
            out.push_str(text);
            at = at.max(range.end);
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        Some(out)
    }

    /// Returns `before` as [`Self::splice`] changes it; without a document, a new one with `add`.
    pub fn edited(before: Option<&Self>, remove: &[usize], add: &[String]) -> Option<String> {
        match before {
            Some(document) => document.splice(remove, add),
            None => Self::new_document(add),
        }
    }

    /// Returns a new document with only `statements`; `None` if there are none.
    pub fn new_document(statements: &[String]) -> Option<String> {
        (!statements.is_empty())
            .then(|| format!(r#"{{"Version":"1","Statement":[{}]}}"#, statements.join(",")))
    }
}

/// Members of a JSON object in order, including duplicates: a map type would silently drop them.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                // Keys are decoded into owned text, because an escaped key ("\u0053tatement") cannot be borrowed.
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every choice of statements to remove from a document with spaces, with and without statements to add.
    #[test]
    fn exactly_the_given_statements_are_removed_and_all_others_keep_their_bytes() {
        let texts = [
            r#"{"Sid": "a"}"#,
            r#"{"Sid":"b"}"#,
            r#"{ "Sid":"c"}"#,
            r#"{"Sid":"d" }"#,
        ];
        let text = format!(
            "{{\"Statement\": [\n {}\n ], \"Version\":\"1\"}}",
            texts.join(" ,\n ")
        );
        let document = Document::parse(text.as_bytes()).unwrap();
        for choice in 0..16 {
            let (remove, kept): (Vec<usize>, Vec<usize>) =
                (0..4).partition(|index| (choice >> index) & 1 == 1);
            for add in [
                Vec::new(),
                vec![r#"{"Sid":"e"}"#.to_owned(), r#"{"Sid":"f"}"#.to_owned()],
            ] {
                let expected: Vec<&str> = kept.iter().map(|index| texts[*index]).collect();
                let expected = [expected, add.iter().map(String::as_str).collect()].concat();
                let Some(new) = Document::edited(Some(&document), &remove, &add) else {
                    assert!(expected.is_empty());
                    continue;
                };
                assert!(new.starts_with("{\"Statement\": [") && new.ends_with("\n ], \"Version\":\"1\"}"));
                let again = Document::parse(new.as_bytes()).unwrap();
                let found: Vec<&str> = again.statements().iter().map(|s| again.text_of(s)).collect();
                assert_eq!(found, expected, "{remove:?} {new}");
                // What was added is removed without a trace, unless something was removed with it.
                let added: Vec<usize> = (kept.len()..expected.len()).collect();
                if remove.is_empty() && !add.is_empty() {
                    assert_eq!(
                        Document::edited(Some(&again), &added, &[]).as_deref(),
                        Some(document.text())
                    );
                }
            }
        }
    }

    #[test]
    fn a_new_document_has_only_the_given_statements() {
        assert_eq!(Document::edited(None, &[], &[]), None);
        let new = Document::edited(None, &[], &["{}".to_owned(), "7".to_owned()]);
        assert_eq!(new.as_deref(), Some(r#"{"Version":"1","Statement":[{},7]}"#));
    }

    #[test]
    fn a_policy_is_nearly_full_above_nine_tenths() {
        assert!(!is_nearly_full(0) && !is_nearly_full(14_745));
        assert!(is_nearly_full(14_746) && is_nearly_full(POLICY_LIMIT));
    }

    #[test]
    fn the_first_statement_makes_a_document_and_the_last_one_ends_it() {
        let add = ["{}".to_owned()];
        let new = Document::edited(None, &[], &add).unwrap();
        let document = Document::parse(new.as_bytes()).unwrap();
        assert_eq!(Document::edited(Some(&document), &[0], &[]), None);
        assert_eq!(Document::edited(None, &[], &[]), None);
        let both = Document::edited(Some(&document), &[], &add).unwrap();
        assert_eq!(both, new.replace("{}]", "{},{}]"));
    }
}
