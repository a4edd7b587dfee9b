//! The status of a grant as it is stored. What of its ledger this version cannot verify or does not know is written
//! back as it is stored: it is read again and copied as text, so that a write needs the memory of one object.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::{BucketRef, GrantStatus};
use crate::core::grant::{GrantObject, OnlyStored, merge_ledger, split_ledger, upgraded_grant_status};
use crate::ports::KubeError;

/// Decodes the status of the grant with this uid. A ledger of another uid, as after a restore from a backup, is
/// cleared. If the rest of the status cannot be decoded, only the ledger is kept.
pub(super) fn decode_grant_status(
    stored: Option<&Value>,
    uid: &str,
    bucket: Option<&BucketRef>,
) -> (GrantStatus, OnlyStored) {
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
    let mut only_stored = OnlyStored::default();
    if status.ledger_of.as_ref().is_none_or(|owner| owner == uid) {
        let bucket = bucket.map(|place| place.name.as_str());
        (status.owned, only_stored.unverified) = split_ledger(bucket, entries);
    }
    (upgraded_grant_status(status), only_stored)
}

/// Decodes a status without its ledger: an entry of a later version must not cost the rest.
fn without_ledger(stored: Option<&Value>) -> Option<GrantStatus> {
    let mut members = stored?.as_object()?.clone();
    members.remove("owned")?;
    serde_json::from_value(Value::Object(members)).ok()
}

/// The ledger of a stored grant as text.
#[derive(Deserialize)]
pub(crate) struct LedgerText {
    metadata: LedgerVersion,
    #[serde(default)]
    status: LedgerEntries,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LedgerVersion {
    #[serde(default)]
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LedgerEntries {
    owned: Vec<Box<RawValue>>,
}

/// A status with all of its ledger.
#[derive(Serialize)]
pub(crate) struct CompleteStatus {
    #[serde(flatten)]
    without_ledger: GrantStatus,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owned: Vec<Box<RawValue>>,
}

impl LedgerText {
    /// Returns the status to store for a grant, with what is only in this ledger.
    ///
    /// # Errors
    /// `Invalid` if an entry cannot be serialized.
    pub(crate) fn complete(
        self,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<CompleteStatus, KubeError> {
        let bucket = grant.bucket.as_ref().map(|place| place.name.as_str());
        let owned = merge_ledger(bucket, &status.owned, self.status.owned).map_err(|_| KubeError::Invalid)?;
        Ok(CompleteStatus {
            without_ledger: GrantStatus {
                owned: Vec::new(),
                ..status.clone()
            },
            owned,
        })
    }

    /// Whether the ledger is of the version that the status of a grant is based on.
    pub(super) fn is_of(&self, grant: &GrantObject) -> bool {
        self.metadata.resource_version == grant.resource_version
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::BodyExt as _;
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::api::{EntryState, Grantee, LedgerEntry, OssAction};
    use crate::core::policy::access_statement;
    use crate::kubernetes::decode::DecodedGrant;
    use crate::kubernetes::{Kubernetes, grants};

    /// Returns the entry of a statement for an account.
    fn entry(account: &str, more: &Value) -> Value {
        let grantee: Grantee = serde_json::from_value(json!({"accountUID": account})).unwrap();
        let own = access_statement("pics", "65432", &grantee, &[OssAction::GetObject], &[]);
        let mut entry = json!({
            "fingerprint": own.fingerprint, "role": "Access", "state": "Applied", "preExisting": false,
            "statement": own.text,
        });
        let members = more.as_object().unwrap().clone();
        entry.as_object_mut().unwrap().extend(members);
        entry
    }

    fn stored(owned: &Value) -> Value {
        json!({
            "metadata": {"name": "g", "namespace": "n", "uid": "u", "resourceVersion": "7"},
            "spec": {"bucket": {"name": "pics", "region": "cn-hangzhou", "ownerUID": "65432"}},
            "status": {"owned": owned, "ledgerOf": "u", "overlaps": 3},
        })
    }

    fn decoded(object: &Value) -> GrantObject {
        serde_json::from_str::<DecodedGrant>(&object.to_string())
            .unwrap()
            .grant
    }

    /// Writes a status to an API server that stores an object. Returns the status that arrives, and its ledger.
    async fn write(
        object: &Value,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<(String, Value), KubeError> {
        let (text, arrived): (String, Arc<Mutex<Vec<u8>>>) = (object.to_string(), Arc::default());
        let seen = Arc::clone(&arrived);
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let (text, seen) = (text.clone(), Arc::clone(&seen));
            async move {
                if request.method() == http::Method::PUT {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    *seen.lock().unwrap() = body.to_vec();
                }
                http::Response::builder().body(Body::from(text.into_bytes()))
            }
        });
        let kubernetes = Kubernetes::new(Client::new(server, "n"), Vec::new(), None, None);
        grants::replace_grant_status(&kubernetes, grant, status).await?;
        let text = String::from_utf8(arrived.lock().unwrap().clone()).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["status"]["overlaps"], 3);
        let owned = written["status"]["owned"].clone();
        Ok((text, owned))
    }

    #[tokio::test]
    async fn what_was_not_decoded_is_written_back_as_it_is_stored() {
        let large = json!({"a\"b": vec![json!({"c": 1.50}); 1_000], "small": [1]});
        let newer = entry("12343", &json!({"role": "Another", "more": "x".repeat(1_000)}));
        let object = stored(&json!([entry("12341", &large), entry("12342", &large), newer]));
        let grant = decoded(&object);
        let known: Vec<Value> = grant.status.owned.iter().map(|e| json!(e.fingerprint)).collect();
        let fingerprint = |account: &str| entry(account, &json!({}))["fingerprint"].clone();
        assert_eq!(known, [fingerprint("12341"), fingerprint("12342")]);
        let expected = OnlyStored {
            unverified: 1,
            large_members: true,
        };
        assert_eq!(grant.only_stored, expected);

        // The first entry changes, the second one leaves the ledger, and another one is added.
        let mut status = grant.status.clone();
        status.owned[0].state = EntryState::Removing;
        status.owned[1] = LedgerEntry::deserialize(entry("12344", &json!({}))).unwrap();
        let (text, owned) = write(&object, &grant, &status).await.unwrap();
        let mut changed = large.clone();
        changed["state"] = json!("Removing");
        assert_eq!(
            owned,
            json!([entry("12341", &changed), entry("12344", &json!({})), newer])
        );
        let members = large.to_string();
        assert!(
            text.contains(members.trim_matches(['{', '}'])),
            "the texts of the members are the same"
        );
    }

    #[tokio::test]
    async fn a_ledger_of_another_version_is_not_mixed_with_a_status() {
        let mut object = stored(&json!([entry("12341", &json!({"a": "x".repeat(1_000)}))]));
        let grant = decoded(&object);
        object["metadata"]["resourceVersion"] = json!("8");
        let written = write(&object, &grant, &grant.status).await;
        assert_eq!(written, Err(KubeError::Conflict));
    }

    #[tokio::test]
    async fn a_ledger_that_was_decoded_is_written_without_a_read() {
        let object = stored(&json!([entry("12341", &json!({"a": 1}))]));
        let grant = decoded(&object);
        assert!(grant.only_stored.is_nothing());
        // The answer to a read would be of another version.
        let answer = json!({"metadata": {"resourceVersion": "8"}});
        let (_, owned) = write(&answer, &grant, &grant.status).await.unwrap();
        assert_eq!(owned, object["status"]["owned"]);
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_verified_costs_nothing_else_and_is_stored_again() {
        let later =
            json!({"fingerprint": "sha256:1", "role": "Metadata", "state": "Applied", "statement": "{}"});
        let mut object = stored(&json!([later]));
        let grant = decoded(&object);
        assert_eq!((grant.status.overlaps, grant.status.owned.len()), (Some(3), 0));
        let (_, owned) = write(&object, &grant, &grant.status).await.unwrap();
        assert_eq!(owned, json!([later]));

        // The ledger of another object is neither kept nor read.
        object["status"]["ledgerOf"] = json!("another");
        object["status"]["owned"][0]["more"] = json!("x".repeat(1_000));
        let grant = decoded(&object);
        assert_eq!(grant.status.overlaps, Some(3));
        assert!(grant.only_stored.is_nothing());
        let (_, owned) = write(&json!({"metadata": {}}), &grant, &grant.status)
            .await
            .unwrap();
        assert_eq!(owned, Value::Null);
    }
}
