//! The status of a grant as it is stored: its ledger can have entries that this version cannot verify, which are written back
//! as they were read.

use serde::Deserialize;
use serde_json::Value;

use crate::api::{BucketRef, GrantStatus};
use crate::core::grant::{merge_ledger, split_ledger, upgraded_grant_status};

/// Decodes the status of the grant with this uid, and the entries of its ledger that this version cannot verify. A ledger of
/// another uid, as after a restore from a backup, is cleared. If the rest of the status cannot be decoded, only the ledger is
/// kept. Without a bucket nothing can be verified, and nothing is acted on: the ledger is kept as far as it can be decoded.
pub(super) fn decode_grant_status(
    stored: Option<&Value>,
    uid: &str,
    bucket: Option<&BucketRef>,
) -> (GrantStatus, Vec<Value>) {
    let member = |name: &str| stored.and_then(|members| members.get(name));
    let entries = member("owned")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut status = stored
        .and_then(|members| GrantStatus::deserialize(members).ok())
        .or_else(|| without_ledger(stored))
        .unwrap_or_else(|| GrantStatus {
            ledger_of: member("ledgerOf").and_then(Value::as_str).map(ToOwned::to_owned),
            ..GrantStatus::default()
        });
    status.owned.clear();
    let mut unverified = Vec::new();
    if status.ledger_of.as_ref().is_none_or(|owner| owner == uid) {
        (status.owned, unverified) = match bucket {
            Some(bucket) => split_ledger(&bucket.name, entries),
            None => (decodable(entries), Vec::new()),
        };
    }
    (upgraded_grant_status(status), unverified)
}

/// Decodes a status without its ledger: an entry of a later version must not cost the rest.
fn without_ledger(stored: Option<&Value>) -> Option<GrantStatus> {
    let mut members = stored?.as_object()?.clone();
    members.remove("owned")?;
    serde_json::from_value(Value::Object(members)).ok()
}

fn decodable<T: serde::de::DeserializeOwned>(entries: Vec<Value>) -> Vec<T> {
    let decoded = entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok());
    decoded.collect()
}

/// Returns the status to store for a grant whose ledger had these entries that this version cannot verify.
pub(crate) fn status_to_store(
    status: &GrantStatus,
    unverified: &[Value],
) -> Result<Value, serde_json::Error> {
    let mut stored = serde_json::to_value(status)?;
    if let (false, Some(members)) = (unverified.is_empty(), stored.as_object_mut()) {
        let own = members.get("owned").and_then(|list| list.as_array().cloned());
        let ledger = merge_ledger(own.unwrap_or_default(), unverified);
        members.insert("owned".to_owned(), ledger.into());
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_that_cannot_be_verified_costs_nothing_else_and_is_stored_again() {
        let bucket = BucketRef {
            name: "pics".to_owned(),
            region: "cn-hangzhou".to_owned(),
            owner_uid: "65432".to_owned(),
        };
        let later =
            json!({"fingerprint": "sha256:1", "role": "Metadata", "state": "Applied", "statement": "{}"});
        let stored = json!({"observedGeneration": 3, "ledgerOf": "u", "owned": [later]});
        let (status, unverified) = decode_grant_status(Some(&stored), "u", Some(&bucket));
        assert_eq!((status.observed_generation, status.owned.len()), (Some(3), 0));
        assert_eq!(status_to_store(&status, &unverified).unwrap(), stored);

        let (status, unverified) = decode_grant_status(Some(&stored), "another", Some(&bucket));
        assert_eq!((status.observed_generation, unverified.len()), (Some(3), 0));
    }
}
