//! Checks a planned write of a policy before it is sent. Nothing here is used to plan: the documents are taken apart with
//! a parser of its own, and only what the ledgers record may differ between them.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::document::POLICY_LIMIT;
use super::statement::{fingerprint, is_plausible, is_removed_verbatim_only};
use crate::api::{EntryState, LedgerEntry, StatementRole};

/// Why a planned write is not sent. Each is a fault of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PlanFault {
    /// A document has no array of statements.
    #[error("a document has no array of statements")]
    Unreadable,
    /// Text outside the statements differs.
    #[error("text outside the statements differs")]
    Frame,
    /// A statement that no ledger removes is missing, or the order differs.
    #[error("a statement is missing or moved that no ledger removes")]
    Removed,
    /// A statement was added that no ledger records.
    #[error("a statement was added that no ledger records")]
    Added,
    /// A statement of ours is for everybody.
    #[error("an added statement is for everybody")]
    Everybody,
    /// Effect, Action, Resource or the recorded fingerprint of a statement of ours is not one that the operator writes.
    #[error("an added statement is not one that the operator writes, or its fingerprint differs")]
    NotAsRendered,
    /// The document is larger than OSS accepts.
    #[error("the document is larger than OSS accepts")]
    Size,
    /// The plan leaves the policy as it is.
    #[error("the plan changes nothing")]
    Unchanged,
}

/// A document that may replace a policy: it has all foreign statements of the policy, byte for byte and in their order,
/// and otherwise only statements that a ledger records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPolicy(String);

impl CheckedPolicy {
    /// Checks a document that is to replace the policy of a bucket; `stored` are the entries of the ledgers as the API
    /// server has them.
    ///
    /// # Errors
    /// Returns the first fault that is found.
    pub fn of(
        bucket: &str,
        before: Option<&[u8]>,
        after: &str,
        stored: &[&LedgerEntry],
    ) -> Result<Self, PlanFault> {
        let old = before.map(Shape::parse).transpose()?;
        let new = Shape::parse(after.as_bytes())?;
        if old.as_ref().is_some_and(|old| old.frame != new.frame) {
            return Err(PlanFault::Frame);
        }
        if after.len() > POLICY_LIMIT && after.len() > before.map_or(0, <[u8]>::len) {
            return Err(PlanFault::Size);
        }
        let old = old.map(|old| old.statements).unwrap_or_default();
        let (mut removed, mut added, mut at) = (Vec::new(), Vec::new(), 0);
        for text in new.statements {
            match old.iter().skip(at).position(|before| *before == text) {
                Some(skipped) if added.is_empty() => {
                    removed.extend(old.iter().skip(at).take(skipped).copied());
                    at += skipped + 1;
                }
                // Ours are added after all others.
                Some(_) => return Err(PlanFault::Removed),
                None if added.contains(&text) => return Err(PlanFault::Added),
                None => added.push(text),
            }
        }
        removed.extend(old.iter().skip(at).copied());
        check_removed(bucket, &removed, stored)?;
        added
            .iter()
            .try_for_each(|text| check_added(bucket, text, stored))?;
        Ok(Self(after.to_owned()))
    }

    /// Returns the document.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The permission to delete a policy: a ledger removes every statement in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedDeletion(());

impl CheckedDeletion {
    /// Checks a policy that is to be deleted, as [`CheckedPolicy::of`].
    ///
    /// # Errors
    /// Returns the first fault that is found.
    pub fn of(bucket: &str, before: Option<&[u8]>, stored: &[&LedgerEntry]) -> Result<Self, PlanFault> {
        let old = before.map(Shape::parse).transpose()?;
        check_removed(bucket, &old.map(|old| old.statements).unwrap_or_default(), stored)?;
        Ok(Self(()))
    }
}

/// A document: the text around its array of statements, and the statements.
struct Shape<'a> {
    frame: (&'a str, &'a str),
    statements: Vec<&'a str>,
}

#[derive(Deserialize)]
struct StatementMember<'a> {
    #[serde(rename = "Statement", borrow)]
    statement: &'a RawValue,
}

impl<'a> Shape<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, PlanFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| PlanFault::Unreadable)?;
        let members: StatementMember<'a> = serde_json::from_str(text).map_err(|_| PlanFault::Unreadable)?;
        let array = members.statement.get();
        let statements: Vec<&RawValue> = serde_json::from_str(array).map_err(|_| PlanFault::Unreadable)?;
        let start = array.as_ptr().addr() - text.as_ptr().addr();
        let frame = text.split_at_checked(start).ok_or(PlanFault::Unreadable)?;
        let after = frame.1.get(array.len()..).ok_or(PlanFault::Unreadable)?;
        Ok(Self {
            frame: (frame.0, after),
            statements: statements.into_iter().map(RawValue::get).collect(),
        })
    }
}

/// Checks that each removed statement is one that a ledger removes: with the same bytes, or at least with the same
/// meaning, because OSS documents no form in which it returns a statement.
fn check_removed(bucket: &str, removed: &[&str], stored: &[&LedgerEntry]) -> Result<(), PlanFault> {
    let is_ours = |e: &&LedgerEntry| is_plausible(bucket, &e.statement, &e.fingerprint);
    let removing = stored.iter().copied().filter(is_ours);
    let mut removing: Vec<_> = removing.filter(|e| e.state == EntryState::Removing).collect();
    for text in removed {
        let meaning = fingerprint(text);
        let same_meaning = |e: &LedgerEntry| {
            meaning.as_ref() == Some(&e.fingerprint) && !is_removed_verbatim_only(&e.statement)
        };
        let bytes = removing.iter().position(|e| e.statement == *text);
        let found = bytes.or_else(|| removing.iter().position(|e| same_meaning(e)));
        removing.swap_remove(found.ok_or(PlanFault::Removed)?);
    }
    Ok(())
}

/// Checks that a ledger records an added statement, that it is not for everybody, and that its other parts and its
/// fingerprint are as the operator writes them.
fn check_added(bucket: &str, text: &str, stored: &[&LedgerEntry]) -> Result<(), PlanFault> {
    let mut entries = stored.iter();
    let entry = entries.find(|e| e.state == EntryState::Intended && e.statement == *text);
    let entry = entry.ok_or(PlanFault::Added)?;
    let statement: Value = serde_json::from_str(text).map_err(|_| PlanFault::Added)?;
    let is_procedure = entry.role == StatementRole::PassRole
        && statement.get("Action") == Some(&Value::from(vec!["ram:PassRole"]))
        && statement.get("Principal") == Some(&Value::Array(Vec::new()));
    let names = statement.get("Principal").and_then(Value::as_array);
    let somebody = names.is_some_and(|names| {
        !names.is_empty()
            && names
                .iter()
                .all(|name| name.as_str().is_some_and(|name| name != "*"))
    });
    if !is_procedure && !somebody {
        return Err(PlanFault::Everybody);
    }
    let is_ours = is_plausible(bucket, text, &entry.fingerprint);
    is_ours.then_some(()).ok_or(PlanFault::NotAsRendered)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const OURS: &str = r#"{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["arn:sts::12345:assumed-role/r/*"],"Resource":["acs:oss:*:1:b/*"]}"#;
    const PROCEDURE: &str = r#"{"Effect":"Allow","Action":["ram:PassRole"],"Principal":[],"Resource":["arn:sts::12345:assumed-role/r/*"]}"#;

    fn entry(text: &str, state: EntryState, role: StatementRole) -> LedgerEntry {
        LedgerEntry {
            fingerprint: fingerprint(text).unwrap_or_default(),
            role,
            state,
            pre_existing: false,
            statement: text.to_owned(),
            copies: None,
            unsettled_until: None,
            identity: None,
            other: BTreeMap::new(),
        }
    }

    fn intended(text: &str) -> LedgerEntry {
        entry(text, EntryState::Intended, StatementRole::Access)
    }

    fn removing(text: &str) -> LedgerEntry {
        entry(text, EntryState::Removing, StatementRole::Access)
    }

    fn document(statements: &[&str]) -> String {
        format!(r#"{{"Version":"1","Statement":[{}]}}"#, statements.join(","))
    }

    fn check(before: &str, after: &str, entry: &LedgerEntry) -> Result<(), PlanFault> {
        CheckedPolicy::of("b", Some(before.as_bytes()), after, &[entry]).map(|_| ())
    }

    #[test]
    fn a_plan_changes_nothing_but_what_the_ledgers_record() {
        let (a, b) = (r#"{"Sid":"a"}"#, r#"{"Sid": "b"}"#);
        let before = document(&[a, b]);
        let added = document(&[a, b, OURS]);
        assert_eq!(check(&before, &added, &intended(OURS)), Ok(()));
        assert_eq!(check(&added, &before, &removing(OURS)), Ok(()));
        let new = document(&[OURS]);
        assert!(CheckedPolicy::of("b", None, &new, &[&intended(OURS)]).is_ok());
        for (after, entry, fault) in [
            (document(&[a, OURS]), intended(OURS), PlanFault::Removed),
            (document(&[b, a, OURS]), intended(OURS), PlanFault::Removed),
            (document(&[OURS, a, b]), intended(OURS), PlanFault::Removed),
            (
                document(&[a, r#"{"Sid":"b"}"#]),
                removing(OURS),
                PlanFault::Removed,
            ),
            (added.clone(), removing(OURS), PlanFault::Added),
            (
                document(&[a, b, OURS, OURS, "1"]),
                intended(OURS),
                PlanFault::Added,
            ),
            (
                added.replace("Version", "version"),
                intended(OURS),
                PlanFault::Frame,
            ),
            (
                added.replace("Statement", "statement"),
                intended(OURS),
                PlanFault::Unreadable,
            ),
            (added.clone() + " ", intended(OURS), PlanFault::Frame),
        ] {
            assert_eq!(check(&before, &after, &entry), Err(fault), "{after}");
        }
    }

    #[test]
    fn one_entry_removes_one_copy() {
        let [none, one, two] = [&[][..], &[OURS], &[OURS, OURS]].map(document);
        assert_eq!(check(&two, &one, &removing(OURS)), Ok(()));
        assert_eq!(check(&two, &none, &removing(OURS)), Err(PlanFault::Removed));
    }

    #[test]
    fn a_document_does_not_grow_beyond_what_oss_accepts() {
        let large = format!(r#"{{"Sid":"{}"}}"#, "x".repeat(POLICY_LIMIT));
        let (before, after) = (document(&[&large]), document(&[&large, OURS]));
        assert_eq!(check(&before, &after, &intended(OURS)), Err(PlanFault::Size));
        assert_eq!(check(&after, &before, &removing(OURS)), Ok(()));
        let other = OURS.replace("12345", "12346");
        let same_size = document(&[&large, &other]);
        let entries = [&removing(OURS), &intended(&other)];
        assert!(CheckedPolicy::of("b", Some(after.as_bytes()), &same_size, &entries).is_ok());
        let most = POLICY_LIMIT - document(&[r#"{"Sid":""}"#, OURS]).len();
        for (filler, expected) in [(most, Ok(())), (most + 1, Err(PlanFault::Size))] {
            let sid = format!(r#"{{"Sid":"{}"}}"#, "x".repeat(filler));
            let (before, after) = (document(&[&sid]), document(&[&sid, OURS]));
            assert_eq!(check(&before, &after, &intended(OURS)), expected, "{filler}");
        }
    }

    #[test]
    fn no_statement_for_everybody_but_the_one_of_the_procedure_is_added() {
        let before = document(&[]);
        let of = |text: &str, role| {
            let entry = entry(text, EntryState::Intended, role);
            check(&before, &document(&[text]), &entry)
        };
        assert_eq!(of(PROCEDURE, StatementRole::PassRole), Ok(()));
        assert_eq!(of(PROCEDURE, StatementRole::Access), Err(PlanFault::Everybody));
        let named = r#"["arn:sts::12345:assumed-role/r/*"]"#;
        for principal in [
            "[]",
            r#"["*"]"#,
            r#"["12345","*"]"#,
            r#""*""#,
            r#"{"RAM":"*"}"#,
            "null",
        ] {
            let text = OURS.replace(named, principal);
            for role in [StatementRole::Access, StatementRole::PassRole] {
                assert_eq!(of(&text, role), Err(PlanFault::Everybody), "{text}");
            }
        }
        let without = OURS.replace("\"Principal\"", "\"NotPrincipal\"");
        assert_eq!(of(&without, StatementRole::Access), Err(PlanFault::Everybody));
    }

    #[test]
    fn a_statement_of_ours_has_the_parts_and_the_fingerprint_that_the_operator_writes() {
        let before = document(&[]);
        for (from, to) in [
            ("Allow", "Deny"),
            ("oss:GetObject", "oss:PutObject"),
            ("oss:GetObject", "oss:*"),
            (":b/*", ":c/*"),
            (":b/*", ":*"),
            (":b/*", ":b/*\",\"acs:oss:*:1:c/*"),
            ("}", ",\"Condition\":{}}"),
        ] {
            let text = OURS.replace(from, to);
            let (adds, removes) = (document(&[&text]), removing(&text));
            assert_eq!(
                check(&before, &adds, &intended(&text)),
                Err(PlanFault::NotAsRendered),
                "{text}"
            );
            assert_eq!(check(&adds, &before, &removes), Err(PlanFault::Removed), "{text}");
            let deletion = CheckedDeletion::of("b", Some(adds.as_bytes()), &[&removes]);
            assert_eq!(deletion, Err(PlanFault::Removed), "{text}");
        }
        let other = LedgerEntry {
            fingerprint: fingerprint(PROCEDURE).unwrap(),
            ..intended(OURS)
        };
        assert_eq!(
            check(&before, &document(&[OURS]), &other),
            Err(PlanFault::NotAsRendered)
        );
    }

    #[test]
    fn a_policy_is_deleted_only_if_every_statement_is_removed() {
        let deletion = |statements: &[&str], entry: &LedgerEntry| {
            CheckedDeletion::of("b", Some(document(statements).as_bytes()), &[entry]).map(|_| ())
        };
        assert_eq!(deletion(&[OURS], &removing(OURS)), Ok(()));
        assert_eq!(deletion(&[OURS], &intended(OURS)), Err(PlanFault::Removed));
        assert_eq!(deletion(&[OURS, OURS], &removing(OURS)), Err(PlanFault::Removed));
        assert_eq!(
            deletion(&[r#"{"Sid":"a"}"#, OURS], &removing(OURS)),
            Err(PlanFault::Removed)
        );
        let account = OURS.replace("arn:sts::12345:assumed-role/r/*", "12345");
        let spaced = |text: &str| text.replace("\":", "\": ");
        assert_eq!(
            deletion(&[&spaced(&account)], &removing(&account)),
            Err(PlanFault::Removed)
        );
        assert_eq!(
            deletion(&[&spaced(OURS)], &removing(OURS)),
            Ok(()),
            "the same meaning"
        );
        assert_eq!(deletion(&[&account], &removing(&account)), Ok(()));
    }

    proptest! {
        #[test]
        fn a_plan_that_loses_moves_or_alters_a_foreign_statement_is_refused(
            sids in proptest::collection::btree_set("[a-z]{1,3}", 2..6),
            at in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
            fault in 0..3,
        ) {
            let foreign: Vec<String> = sids.iter().map(|sid| format!(r#"{{"Sid":"{sid}"}}"#)).collect();
            let texts = |list: &[String]| document(&list.iter().map(String::as_str).collect::<Vec<_>>());
            let before = texts(&foreign);
            let mut after = [foreign.clone(), vec![OURS.to_owned()]].concat();
            prop_assert_eq!(check(&before, &texts(&after), &intended(OURS)), Ok(()));
            let (at, to) = (at.index(foreign.len()), to.index(foreign.len()));
            match fault {
                0 => {
                    after.remove(at);
                }
                1 => after[at] = after[at].replace(':', ": "),
                _ => {
                    prop_assume!(at != to);
                    after.swap(at, to);
                }
            }
            prop_assert!(check(&before, &texts(&after), &intended(OURS)).is_err());
        }
    }
}
