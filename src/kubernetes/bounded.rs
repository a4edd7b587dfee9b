//! Members of stored objects that other writers can make as large as an object can be: only the part that is used is
//! decoded. A decoded text of two bytes can occupy hundreds, so that one object could exhaust the memory of the process.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::api::{ABANDON, FINALIZER, RECONCILE_AT, REPORT_JOB, REPORT_JOB_UID, STARTED};
use crate::core::condition_builder::truncate;

/// Characters of an annotation or a label that are used.
const MEMBER_LIMIT: usize = 253;
/// Finalizers of an object that are kept beside the operator's own.
pub(crate) const KEPT_FINALIZERS: usize = 32;
/// Bytes of the members of a ledger entry that this version does not know. More are not of another version.
const UNKNOWN_BYTES: usize = 512;
/// The members of a ledger entry that this version knows; the schema limits their lengths.
const KNOWN: [&str; 8] = [
    "fingerprint",
    "role",
    "state",
    "preExisting",
    "statement",
    "copies",
    "unsettledUntil",
    "identity",
];

/// Keeps the operator's own annotations. Others can have 256 KiB together.
pub(super) fn own_annotations<'de, D: Deserializer<'de>>(
    stored: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    kept_members(stored, &[ABANDON, RECONCILE_AT, STARTED])
}

/// Keeps the labels of a report that the operator sets. Others can have as much as an object can.
pub(super) fn report_labels<'de, D: Deserializer<'de>>(
    stored: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    kept_members(stored, &[REPORT_JOB, REPORT_JOB_UID])
}

/// Decodes the members of these names, each cut to the length that a status can hold.
fn kept_members<'de, D: Deserializer<'de>>(
    stored: D,
    names: &'static [&'static str],
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Members(&'static [&'static str]);
    impl<'de> Visitor<'de> for Members {
        type Value = BTreeMap<String, String>;
        fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
            form.write_str("a map of texts")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut kept = BTreeMap::new();
            while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                if self.0.contains(&name.as_ref()) {
                    let value = members.next_value::<Cow<'de, str>>()?;
                    kept.insert(name.into_owned(), truncate(&value, MEMBER_LIMIT));
                } else {
                    members.next_value::<IgnoredAny>()?;
                }
            }
            Ok(kept)
        }
    }
    stored.deserialize_any(Members(names))
}

/// Keeps the first [`KEPT_FINALIZERS`] finalizers, and the operator's own after them. The API server limits the length
/// of a name, not the number of names.
pub(super) fn kept_finalizers<'de, D: Deserializer<'de>>(stored: D) -> Result<Vec<String>, D::Error> {
    struct Finalizers;
    impl<'de> Visitor<'de> for Finalizers {
        type Value = Vec<String>;
        fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
            form.write_str("a list of names")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while let Some(name) = names.next_element::<Cow<'de, str>>()? {
                let own = name == FINALIZER && !kept.iter().any(|known| known == FINALIZER);
                if kept.len() < KEPT_FINALIZERS || own {
                    kept.push(name.into_owned());
                }
            }
            Ok(kept)
        }
    }
    stored.deserialize_any(Finalizers)
}

/// Returns the place of the operator's finalizer among all finalizers.
pub(super) fn position_of_own<'de, D: Deserializer<'de>>(stored: D) -> Result<Option<usize>, D::Error> {
    struct Position;
    impl<'de> Visitor<'de> for Position {
        type Value = Option<usize>;
        fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
            form.write_str("a list of names")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
            let (mut place, mut found) = (0_usize, None);
            while let Some(name) = names.next_element::<Cow<'de, str>>()? {
                if name == FINALIZER {
                    found = found.or(Some(place));
                }
                place = place.saturating_add(1);
            }
            Ok(found)
        }
    }
    stored.deserialize_any(Position)
}

/// Decodes a status. The schema limits all of it, except the ledger.
pub(super) fn kept_status<'de, D: Deserializer<'de>>(stored: D) -> Result<Value, D::Error> {
    struct Status;
    impl<'de> Visitor<'de> for Status {
        type Value = Value;
        fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
            form.write_str("a status")
        }
        fn visit_unit<E>(self) -> Result<Value, E> {
            Ok(Value::Null)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
            let mut status = Map::new();
            while let Some(name) = members.next_key::<String>()? {
                let value = if name == "owned" {
                    members.next_value::<StoredLedger>()?.into()
                } else {
                    members.next_value()?
                };
                status.insert(name, value);
            }
            Ok(Value::Object(status))
        }
    }
    stored.deserialize_any(Status)
}

/// The entries of a ledger, without large members that this version does not know.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct StoredLedger(Vec<StoredEntry>);

impl StoredLedger {
    /// Whether the ledger has no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<StoredLedger> for Value {
    fn from(ledger: StoredLedger) -> Self {
        Self::Array(ledger.0.into_iter().map(|entry| Self::Object(entry.0)).collect())
    }
}

#[derive(Clone, Debug)]
struct StoredEntry(Map<String, Value>);

impl<'de> Deserialize<'de> for StoredEntry {
    fn deserialize<D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = StoredEntry;
            fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
                form.write_str("a ledger entry")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<StoredEntry, A::Error> {
                let (mut entry, mut unknown) = (Map::new(), 0_usize);
                while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                    if KNOWN.contains(&name.as_ref()) {
                        entry.insert(name.into_owned(), members.next_value()?);
                        continue;
                    }
                    let value = members.next_value::<Box<RawValue>>()?;
                    unknown = unknown.saturating_add(name.len() + value.get().len());
                    if unknown <= UNKNOWN_BYTES
                        && let Ok(value) = serde_json::from_str(value.get())
                    {
                        entry.insert(name.into_owned(), value);
                    }
                }
                Ok(StoredEntry(entry))
            }
        }
        stored.deserialize_map(Entry)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::LedgerEntry;

    fn status(owned: &Value) -> Value {
        let text = json!({"owned": owned, "policy": {"bytes": 1}}).to_string();
        kept_status(&mut serde_json::Deserializer::from_str(&text)).unwrap()
    }

    fn entry() -> Value {
        json!({
            "fingerprint": "sha256:1", "role": "Access", "state": "Applied", "preExisting": true, "statement": "{}",
            "copies": 2, "unsettledUntil": "2026-01-01T00:00:00Z", "identity": "sha256:2",
        })
    }

    #[test]
    fn every_member_of_a_ledger_entry_is_known() {
        let decoded: LedgerEntry = serde_json::from_value(entry()).unwrap();
        assert_eq!(decoded.other, BTreeMap::new());
        let written = serde_json::to_value(&decoded).unwrap();
        let names: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(names.len() == KNOWN.len() && names.iter().all(|name| KNOWN.contains(name)));
    }

    #[test]
    fn small_members_of_another_version_survive_and_large_ones_are_not_decoded() {
        let with = |name: &str, value: Value| {
            let mut entry = entry();
            entry[name] = value;
            entry
        };
        let newer = with("approvedBy", json!({"user": "a", "at": ["2026-01-01T00:00:00Z"]}));
        assert_eq!(status(&json!([newer]))["owned"], json!([newer]));
        for large in [json!(vec![json!({"a": 1}); 100_000]), json!("x".repeat(600))] {
            let kept = status(&json!([with("aaa", large.clone()), with("zzz", large)]));
            assert_eq!(kept, json!({"owned": [entry(), entry()], "policy": {"bytes": 1}}));
        }
        let many: Vec<Value> = (0..100)
            .fold(entry(), |mut entry, n| {
                entry[format!("member{n}")] = json!(n);
                entry
            })
            .as_object()
            .map(|entry| vec![Value::Object(entry.clone())])
            .unwrap();
        let kept = status(&json!(many));
        let length = kept["owned"][0].as_object().unwrap().len();
        assert!((KNOWN.len() + 10..100).contains(&length), "{length}");
    }

    #[test]
    fn a_bounded_number_of_finalizers_is_kept_with_our_own() {
        let kept = |names: &[String]| {
            let text = json!(names).to_string();
            kept_finalizers(&mut serde_json::Deserializer::from_str(&text)).unwrap()
        };
        let mut names: Vec<String> = (0..100_000).map(|n| format!("a/{n}")).collect();
        assert_eq!(kept(&names), names[..KEPT_FINALIZERS]);
        names.extend([FINALIZER.to_owned(), FINALIZER.to_owned()]);
        let found = kept(&names);
        assert_eq!(found.len(), KEPT_FINALIZERS + 1);
        assert_eq!(found.last().map(String::as_str), Some(FINALIZER));
        let few = [FINALIZER.to_owned(), "a/b".to_owned()];
        assert_eq!(kept(&few), few);
    }
}
