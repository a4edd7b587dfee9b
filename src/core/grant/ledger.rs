//! The entries of a stored ledger that this version can verify, and the others: forged ones, those that another program
//! has damaged, and those of a later version. What cannot be verified is kept as it is and never acted on.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::LedgerEntry;
use crate::core::policy::is_plausible;

/// Splits the entries of the ledger of a grant on `bucket` into those that this version could have written and the
/// others.
pub fn split_ledger(bucket: &str, stored: Vec<Value>) -> (Vec<LedgerEntry>, Vec<Value>) {
    let (mut verified, mut others) = (Vec::new(), Vec::new());
    for value in stored {
        let entry = serde_json::from_value::<LedgerEntry>(value.clone()).ok();
        match entry.filter(|e| is_plausible(bucket, &e.statement, &e.fingerprint)) {
            Some(entry) => verified.push(entry),
            None => others.push(value),
        }
    }
    (verified, others)
}

/// Returns the ledger to store: the entries of this version, and those that it cannot verify. An entry of this version
/// takes the place of one with the same fingerprint.
pub fn merge_ledger(mut own: Vec<Value>, unverified: &[Value]) -> Vec<Value> {
    let fingerprint = |entry: &Value| {
        entry
            .get("fingerprint")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
    };
    let taken: BTreeSet<_> = own.iter().filter_map(fingerprint).collect();
    let kept = unverified
        .iter()
        .filter(|entry| fingerprint(entry).is_none_or(|f| !taken.contains(&f)));
    own.extend(kept.cloned());
    own
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Grantee, OssAction};
    use crate::core::policy::access_statement;

    #[test]
    fn what_cannot_be_verified_is_written_back_as_it_was_read() {
        let grantee: Grantee = serde_json::from_value(json!({"accountUID": "12345"})).unwrap();
        let own = access_statement("pics", "65432", &grantee, &[OssAction::GetObject], &[]);
        let entry = |text: &str, fingerprint: &str| {
            json!({"fingerprint": fingerprint, "role": "Access", "state": "Applied", "preExisting": false,
                "statement": text})
        };
        let ours = entry(&own.text, &own.fingerprint);
        let mut of_later_version = entry("{}", "sha256:2");
        of_later_version["role"] = json!("Metadata");
        of_later_version["more"] = json!([1]);
        let others = vec![entry(&own.text, "sha256:1"), of_later_version, json!(7)];
        let stored = [vec![ours.clone()], others.clone()].concat();
        let (verified, unverified) = split_ledger("pics", stored);
        assert_eq!((verified.len(), &unverified), (1, &others));
        assert_eq!(
            merge_ledger(vec![ours.clone()], &unverified),
            [vec![ours.clone()], others].concat()
        );
        let forged = entry("{}", &own.fingerprint);
        assert_eq!(merge_ledger(vec![ours.clone()], &[forged]), [ours]);
    }
}
