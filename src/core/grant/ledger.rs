//! The entries of a stored ledger that this version can verify, and the others: forged ones, those that another program
//! has damaged, and those of a later version. What cannot be verified is never acted on, and is kept as it is, as are the
//! members of an entry that this version does not know. Both can be large: a write copies them as text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::stored_entry::{KNOWN, StoredEntry};
use crate::api::LedgerEntry;
use crate::core::policy::is_plausible;

/// What of a stored ledger is only in the store. A write copies it from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnlyStored {
    /// Number of entries that this version cannot verify.
    pub unverified: usize,
    /// Whether the other entries have large members that this version does not know.
    pub large_members: bool,
}

impl OnlyStored {
    /// Whether a write needs nothing from the store.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Returns the entries of the ledger of a grant on `bucket` that this version could have written, and the number of the
/// others. Without a bucket nothing can be verified, and nothing is acted on: each entry that can be decoded is returned.
pub fn split_ledger(bucket: Option<&str>, stored: Vec<Value>) -> (Vec<LedgerEntry>, usize) {
    let count = stored.len();
    let verified: Vec<_> = stored
        .into_iter()
        .filter_map(|members| verified(bucket, members))
        .collect();
    let unverified = count.saturating_sub(verified.len());
    (verified, unverified)
}

fn verified(bucket: Option<&str>, members: Value) -> Option<LedgerEntry> {
    let entry = serde_json::from_value::<LedgerEntry>(members).ok()?;
    let could_write = |bucket: &str| is_plausible(bucket, &entry.statement, &entry.fingerprint);
    bucket.is_none_or(could_write).then_some(entry)
}

/// Returns the ledger to store in place of a stored one: the entries of this version with the members that it does not
/// know, and after them the entries that it cannot verify. An entry of this version takes the place of one with the same
/// fingerprint.
///
/// # Errors
/// Returns an error if an entry cannot be serialized.
pub fn merge_ledger(
    bucket: Option<&str>,
    own: &[LedgerEntry],
    stored: Vec<Box<RawValue>>,
) -> serde_json::Result<Vec<Box<RawValue>>> {
    let (mut known, mut unverified) = (BTreeMap::new(), Vec::new());
    for text in stored {
        let members = StoredEntry::of_text(&text).members;
        let fingerprint = members.get("fingerprint").and_then(Value::as_str);
        let place = own
            .iter()
            .position(|entry| Some(entry.fingerprint.as_str()) == fingerprint);
        if let Some(place) = place {
            known.insert(place, text);
        } else if verified(bucket, members).is_none() {
            // An entry that was verified and is not written any more has left the ledger.
            unverified.push(text);
        }
    }
    let written = own.iter().enumerate();
    let written = written.map(|(place, entry)| match known.get(&place) {
        Some(text) => with_stored_members(entry, text),
        None => to_raw_value(entry),
    });
    written.chain(unverified.into_iter().map(Ok)).collect()
}

/// Returns the text of an entry, with the members of the stored one that this version does not know.
fn with_stored_members(entry: &LedgerEntry, stored: &RawValue) -> serde_json::Result<Box<RawValue>> {
    let known = LedgerEntry {
        other: BTreeMap::new(),
        ..entry.clone()
    };
    let mut text = serde_json::to_string(&known)?;
    text.reserve_exact(stored.get().len());
    text.pop();
    UnknownMembers(&mut text).deserialize(&mut serde_json::Deserializer::from_str(stored.get()))?;
    text.push('}');
    RawValue::from_string(text)
}

/// Appends the members of an entry that this version does not know to a text.
struct UnknownMembers<'t>(&'t mut String);

impl<'de> DeserializeSeed<'de> for UnknownMembers<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, stored: D) -> Result<(), D::Error> {
        stored.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for UnknownMembers<'_> {
    type Value = ();
    fn expecting(&self, form: &mut fmt::Formatter) -> fmt::Result {
        form.write_str("a ledger entry")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            if KNOWN.contains(&name.as_ref()) {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = members.next_value::<&'de RawValue>()?;
            self.0.push(',');
            self.0
                .push_str(&serde_json::to_string(&name).map_err(A::Error::custom)?);
            self.0.push(':');
            self.0.push_str(value.get());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Grantee, OssAction};
    use crate::core::policy::access_statement;

    fn texts(entries: &[Value]) -> Vec<Box<RawValue>> {
        entries.iter().map(|entry| to_raw_value(entry).unwrap()).collect()
    }

    /// Returns the ledger that replaces a stored one.
    fn merged(own: &[LedgerEntry], stored: &[Value]) -> Vec<Value> {
        let merged = merge_ledger(Some("pics"), own, texts(stored)).unwrap();
        let values = merged
            .iter()
            .map(|text| serde_json::from_str(text.get()).unwrap());
        values.collect()
    }

    fn entry(text: &str, fingerprint: &str) -> Value {
        json!({"fingerprint": fingerprint, "role": "Access", "state": "Applied", "preExisting": false,
            "statement": text})
    }

    #[test]
    fn what_cannot_be_verified_is_written_back_as_it_was_read() {
        let grantee: Grantee = serde_json::from_value(json!({"accountUID": "12345"})).unwrap();
        let own = access_statement("pics", "65432", &grantee, &[OssAction::GetObject], &[]);
        let ours = entry(&own.text, &own.fingerprint);
        let mut of_later_version = entry("{}", "sha256:2");
        of_later_version["role"] = json!("Metadata");
        of_later_version["more"] = json!([1]);
        let others = vec![entry(&own.text, "sha256:1"), of_later_version, json!(7)];
        let stored = [vec![ours.clone()], others.clone()].concat();
        let (verified, unverified) = split_ledger(Some("pics"), stored.clone());
        assert_eq!((verified.len(), unverified), (1, others.len()));
        assert_eq!(
            merged(&verified, &stored),
            [vec![ours.clone()], others.clone()].concat()
        );
        assert_eq!(merged(&[], &stored), others, "a verified entry leaves the ledger");
        let forged = entry("{}", &own.fingerprint);
        assert_eq!(merged(&verified, &[forged]), [ours]);
    }

    #[test]
    fn without_a_bucket_an_entry_that_cannot_be_decoded_is_kept() {
        let stored = [entry("{}", "sha256:1"), json!({"fingerprint": 7})];
        let (decoded, others) = split_ledger(None, stored.to_vec());
        assert_eq!((decoded.len(), others), (1, 1));
        let merged = merge_ledger(None, &decoded, texts(&stored)).unwrap();
        assert_eq!(serde_json::to_value(merged).unwrap(), json!(stored));
    }

    #[test]
    fn a_member_of_another_version_is_written_back_once() {
        let grantee: Grantee = serde_json::from_value(json!({"accountUID": "12345"})).unwrap();
        let own = access_statement("pics", "65432", &grantee, &[OssAction::GetObject], &[]);
        let mut stored = entry(&own.text, &own.fingerprint);
        stored["approvedBy"] = json!("owner");
        let (verified, _) = split_ledger(Some("pics"), vec![stored.clone()]);
        assert_eq!(verified[0].other.len(), 1);
        let merged = merge_ledger(Some("pics"), &verified, texts(&[stored])).unwrap();
        assert_eq!(merged[0].get().matches("approvedBy").count(), 1);
    }
}
