//! The entries of a ledger as they are stored. Other writers can make their members as large as an object can be, and a
//! decoded text of two bytes can occupy hundreds: of the members that this version does not know, a bounded part is
//! decoded.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Bytes of the members of an entry that this version does not know. More of them are copied as text when the ledger is
/// written.
const UNKNOWN_BYTES: usize = 512;
/// The members of an entry that this version knows; the schema limits their lengths.
pub(super) const KNOWN: [&str; 8] = [
    "fingerprint",
    "role",
    "state",
    "preExisting",
    "statement",
    "copies",
    "unsettledUntil",
    "identity",
];

/// The entries of a ledger, without large members that this version does not know.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct StoredLedger(Vec<StoredEntry>);

impl StoredLedger {
    /// Whether the ledger has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an entry has members that were not decoded.
    pub fn has_more(&self) -> bool {
        self.0.iter().any(|entry| entry.has_more)
    }
}

impl From<StoredLedger> for Value {
    fn from(ledger: StoredLedger) -> Self {
        Self::Array(ledger.0.into_iter().map(|entry| entry.members).collect())
    }
}

/// An entry of a ledger, without large members that this version does not know.
#[derive(Clone, Debug)]
pub(super) struct StoredEntry {
    /// An object; null if the entry is none.
    pub(super) members: Value,
    /// Whether there are more members, which were not decoded.
    has_more: bool,
}

impl StoredEntry {
    /// Decodes the text of an entry.
    pub(super) fn of_text(text: &RawValue) -> Self {
        struct EntryMembers(Map<String, Value>, bool);
        impl<'de> Deserialize<'de> for EntryMembers {
            fn deserialize<D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
                struct EntryVisitor;
                impl<'de> Visitor<'de> for EntryVisitor {
                    type Value = EntryMembers;
                    fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
                        form.write_str("a ledger entry")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<EntryMembers, A::Error> {
                        let (mut entry, mut unknown, mut has_more) = (Map::new(), 0_usize, false);
                        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                            if KNOWN.contains(&name.as_ref()) {
                                entry.insert(name.into_owned(), members.next_value()?);
                                continue;
                            }
                            let value = members.next_value::<&'de RawValue>()?;
                            unknown = unknown.saturating_add(name.len() + value.get().len());
                            if unknown <= UNKNOWN_BYTES
                                && let Ok(value) = serde_json::from_str(value.get())
                            {
                                entry.insert(name.into_owned(), value);
                            } else {
                                has_more = true;
                            }
                        }
                        Ok(EntryMembers(entry, has_more))
                    }
                }
                stored.deserialize_map(EntryVisitor)
            }
        }
        let decoded = serde_json::from_str::<EntryMembers>(text.get());
        decoded.map_or(
            Self {
                members: Value::Null,
                has_more: false,
            },
            |EntryMembers(members, has_more)| Self {
                members: Value::Object(members),
                has_more,
            },
        )
    }
}

impl<'de> Deserialize<'de> for StoredEntry {
    fn deserialize<D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(stored)?;
        Ok(Self::of_text(&text))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::api::LedgerEntry;

    fn entry() -> Value {
        json!({
            "fingerprint": "sha256:1", "role": "Access", "state": "Applied", "preExisting": true, "statement": "{}",
            "copies": 2, "unsettledUntil": "2026-01-01T00:00:00Z", "identity": "sha256:2",
        })
    }

    fn ledger(owned: &Value) -> StoredLedger {
        serde_json::from_str(&owned.to_string()).unwrap()
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
    fn small_members_of_another_version_are_decoded_and_large_ones_are_recorded() {
        let with = |name: &str, value: Value| {
            let mut entry = entry();
            entry[name] = value;
            entry
        };
        let newer = with(
            "approvedByTheOwner",
            json!({"user": "a", "at": ["2026-01-01T00:00:00Z"]}),
        );
        let kept = ledger(&json!([newer]));
        assert!(!kept.has_more());
        assert_eq!(Value::from(kept), json!([newer]));
        for large in [json!(vec![json!({"a": 1}); 100_000]), json!("x".repeat(600))] {
            let kept = ledger(&json!([with("aaa", large.clone()), with("zzz", large)]));
            assert!(kept.has_more());
            assert_eq!(Value::from(kept), json!([entry(), entry()]));
        }
        let many = (0..100).fold(entry(), |mut entry, n| {
            entry[format!("member{n}")] = json!(n);
            entry
        });
        let kept = Value::from(ledger(&json!([many])));
        let length = kept[0].as_object().unwrap().len();
        assert!((KNOWN.len() + 10..100).contains(&length), "{length}");
    }

    #[test]
    fn an_entry_that_is_no_object_costs_nothing_else() {
        let kept = ledger(&json!([
            7,
            "x".repeat(1_000),
            vec![json!({"a": 1}); 100_000],
            entry()
        ]));
        assert!(!kept.is_empty());
        assert_eq!(Value::from(kept), json!([null, null, null, entry()]));
        assert!(ledger(&json!([])).is_empty());
    }
}
