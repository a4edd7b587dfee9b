//! Members of stored objects that other writers can make as large as an object can be: only the part that is used is
//! decoded. A decoded text of two bytes can occupy hundreds, so that one object could exhaust the memory of the process.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::api::{ABANDON, FINALIZER, RECONCILE_AT, REPORT_JOB, REPORT_JOB_UID, STARTED};
use crate::core::grant::StoredLedger;
use crate::core::text::truncate;

/// Characters of an annotation or a label that are used.
const MEMBER_LIMIT: usize = 253;
/// Finalizers of an object that are kept beside the operator's own.
pub(crate) const KEPT_FINALIZERS: usize = 32;
/// Memory of a decoded value beside its text, in bytes.
const VALUE_BYTES: usize = 64;

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
    struct NamedMembers(&'static [&'static str]);
    impl<'de> Visitor<'de> for NamedMembers {
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
    stored.deserialize_any(NamedMembers(names))
}

/// Keeps the first [`KEPT_FINALIZERS`] finalizers, and the operator's own after them. The API server limits the length
/// of a name, not the number of names.
pub(super) fn kept_finalizers<'de, D: Deserializer<'de>>(stored: D) -> Result<Vec<String>, D::Error> {
    fold_names(stored, |kept: &mut Vec<String>, name| {
        let own = name == FINALIZER && !kept.iter().any(|known| known == FINALIZER);
        if kept.len() < KEPT_FINALIZERS || own {
            kept.push(name.into_owned());
        }
    })
}

/// Returns the place of the operator's finalizer among all finalizers.
pub(super) fn position_of_own<'de, D: Deserializer<'de>>(stored: D) -> Result<Option<usize>, D::Error> {
    let (_, found) = fold_names(stored, |(place, found): &mut (usize, Option<usize>), name| {
        if name == FINALIZER {
            *found = found.or(Some(*place));
        }
        *place = place.saturating_add(1);
    })?;
    Ok(found)
}

/// Decodes a list of names one after the other; null is an empty list.
fn fold_names<'de, D: Deserializer<'de>, T: Default>(
    stored: D,
    take: impl FnMut(&mut T, Cow<'de, str>),
) -> Result<T, D::Error> {
    struct NamesVisitor<T, F>(T, F);
    impl<'de, T, F: FnMut(&mut T, Cow<'de, str>)> Visitor<'de> for NamesVisitor<T, F> {
        type Value = T;
        fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
            form.write_str("a list of names")
        }
        fn visit_unit<E>(self) -> Result<T, E> {
            Ok(self.0)
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut names: A) -> Result<T, A::Error> {
            while let Some(name) = names.next_element()? {
                (self.1)(&mut self.0, name);
            }
            Ok(self.0)
        }
    }
    stored.deserialize_any(NamesVisitor(T::default(), take))
}

/// A status without large members of its ledger that this version does not know.
#[derive(Default)]
pub(super) struct KeptStatus {
    pub(super) members: Value,
    /// Whether entries of its ledger have such members.
    pub(super) has_more: bool,
}

/// Decodes a status. The schema limits all of it, except the ledger.
impl<'de> Deserialize<'de> for KeptStatus {
    fn deserialize<D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
        struct Status;
        impl<'de> Visitor<'de> for Status {
            type Value = KeptStatus;
            fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
                form.write_str("a status")
            }
            fn visit_unit<E>(self) -> Result<KeptStatus, E> {
                Ok(KeptStatus::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<KeptStatus, A::Error> {
                let (mut status, mut has_more) = (Map::new(), false);
                while let Some(name) = members.next_key::<String>()? {
                    let value = if name == "owned" {
                        let ledger = members.next_value::<Option<StoredLedger>>()?.unwrap_or_default();
                        has_more = ledger.has_more();
                        ledger.into()
                    } else {
                        members.next_value()?
                    };
                    status.insert(name, value);
                }
                let members = Value::Object(status);
                Ok(KeptStatus { members, has_more })
            }
        }
        stored.deserialize_any(Status)
    }
}

/// Returns roughly how much memory a value takes, in bytes.
pub(super) fn memory_of(value: &Value) -> usize {
    let parts = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(memory_of).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| name.len().saturating_add(memory_of(member)))
            .sum(),
    };
    parts.saturating_add(VALUE_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn large_members_of_a_ledger_are_recorded_and_no_other_part_of_a_status_is_dropped() {
        let small = json!({"owned": [{"a": 1}], "policy": {"bytes": 1}});
        let large = json!({"owned": [{"a": "x".repeat(1_000)}], "policy": {"bytes": 1}});
        let decoded = |status: &Value| serde_json::from_str::<KeptStatus>(&status.to_string()).unwrap();
        let kept = decoded(&small);
        assert_eq!((kept.members, kept.has_more), (small, false));
        let kept = decoded(&large);
        assert_eq!(
            (kept.members, kept.has_more),
            (json!({"owned": [{}], "policy": {"bytes": 1}}), true)
        );
        assert_eq!(decoded(&json!({"owned": null})).members, json!({"owned": []}));
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

    #[test]
    fn the_memory_of_a_value_is_about_that_of_its_texts() {
        let prefixes = vec!["p".repeat(512); 50];
        let bytes = memory_of(&serde_json::json!({ "prefixes": prefixes }));
        assert!((25_600..32_000).contains(&bytes), "{bytes}");
    }
}
