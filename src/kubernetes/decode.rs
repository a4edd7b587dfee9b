//! Decodes stored objects into the parts that a reconcile uses. Each part is decoded separately, so that a part stored by an
//! older or newer version of the operator does not block the reconcile.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{DynamicObject, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::api::{
    ABANDON, BucketRef, Credentials, DeletionPolicy, GrantStatus, JobStatus, RECONCILE_AT, STARTED,
};
use crate::core::condition_builder::truncate;
use crate::core::grant::{GrantObject, ObjectKey, upgraded_grant_status};
use crate::core::identity::Identity;
use crate::core::job::{JobObject, upgraded_job_status};
use crate::core::place::BucketPlace;

/// The response to listing grants.
#[derive(Deserialize)]
pub(crate) struct GrantList {
    pub(crate) items: Vec<DecodedGrant>,
}

/// A grant, reduced while the list is deserialized: 100 complete objects as JSON trees would take megabytes per worker.
pub(crate) struct DecodedGrant(pub(crate) GrantObject);

impl<'de> Deserialize<'de> for DecodedGrant {
    fn deserialize<D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
        let RawObject {
            metadata,
            spec,
            status,
        } = RawObject::deserialize(stored)?;
        let data = json!({"spec": spec, "status": status});
        let object = DynamicObject {
            types: None,
            metadata,
            data,
        };
        Ok(Self(decode_grant(&object)))
    }
}

#[derive(Deserialize)]
struct RawObject {
    #[serde(deserialize_with = "decode_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// The metadata that is used. `managedFields` is skipped: it is half of a stored object and takes most of the decoding time.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// The response to a write. Only the metadata is decoded.
#[derive(Deserialize)]
pub(crate) struct WriteResponse {
    #[serde(deserialize_with = "decode_metadata")]
    metadata: ObjectMeta,
}

impl WriteResponse {
    /// Returns the `resourceVersion` after the write.
    pub(crate) fn into_resource_version(self) -> String {
        self.metadata.resource_version.unwrap_or_default()
    }
}

/// Decodes the metadata in use. Fails if a field has an unexpected type.
pub(crate) fn decode_metadata<'de, D: Deserializer<'de>>(stored: D) -> Result<ObjectMeta, D::Error> {
    let read = RawMetadata::deserialize(stored)?;
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        generation: read.generation,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        finalizers: read.finalizers,
        annotations: read.annotations,
        ..ObjectMeta::default()
    })
}

fn key_of(object: &DynamicObject) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// Decodes the part of an object's data at a JSON pointer; `None` if it is absent or cannot be decoded.
fn decode_part<T: DeserializeOwned>(data: &Value, pointer: &str) -> Option<T> {
    data.pointer(pointer).and_then(|value| T::deserialize(value).ok())
}

fn decode_spec<T: DeserializeOwned>(data: &Value) -> Result<T, String> {
    T::deserialize(data.get("spec").unwrap_or(&Value::Null)).map_err(|error| {
        format!(
            "Field spec cannot be decoded: {}",
            truncate(&error.to_string(), 200)
        )
    })
}

pub(crate) fn decode_grant(object: &DynamicObject) -> GrantObject {
    let key = key_of(object);
    let credentials: Option<Credentials> = decode_part(&object.data, "/spec/credentials");
    let annotation = |name: &str| object.annotations().get(name).cloned();
    GrantObject {
        identity: credentials.and_then(|c| Identity::of(&key.namespace, &c)),
        bucket: decode_bucket(&object.data),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        created: object.creation_timestamp().map(|time| time.0),
        deleting: object.metadata.deletion_timestamp.is_some(),
        finalizers: object.finalizers().to_vec(),
        reconcile_at: annotation(RECONCILE_AT).map(|text| truncate(&text, 253)),
        abandon: annotation(ABANDON).as_deref() == Some("true"),
        retain: decode_part(&object.data, "/spec/deletionPolicy") == Some(DeletionPolicy::Retain),
        spec: decode_spec(&object.data),
        status: decode_grant_status(&object.data, &object.uid().unwrap_or_default()),
        key,
    }
}

/// Decodes the bucket of a grant; `None` if its name or region does not follow its grammar. The object can be older than the
/// schema, and its deletion uses both for a URL, whatever else of the spec decodes.
fn decode_bucket(data: &Value) -> Option<BucketRef> {
    let text = |pointer: &str| decode_part::<String>(data, pointer);
    let (name, region) = (text("/spec/bucket/name")?, text("/spec/bucket/region")?);
    BucketPlace::new(&name, &region).ok()?;
    Some(BucketRef {
        name,
        region,
        owner_uid: text("/spec/bucket/ownerUID").unwrap_or_default(),
    })
}

/// Decodes a grant's status. A ledger of another object UID, as after a restore from a backup, is cleared. If the status as
/// a whole cannot be decoded, only the ledger is kept, without the entries that cannot be decoded.
fn decode_grant_status(data: &Value, uid: &str) -> GrantStatus {
    let mut status: GrantStatus = decode_part(data, "/status").unwrap_or_else(|| {
        let entries: Vec<Value> = decode_part(data, "/status/owned").unwrap_or_default();
        let owned = entries
            .into_iter()
            .filter_map(|entry| serde_json::from_value(entry).ok())
            .collect();
        GrantStatus {
            owned,
            ledger_of: decode_part(data, "/status/ledgerOf"),
            ..GrantStatus::default()
        }
    });
    if status.ledger_of.as_ref().is_some_and(|owner| owner != uid) {
        status.owned.clear();
    }
    upgraded_grant_status(status)
}

pub(crate) fn decode_job(object: &DynamicObject) -> JobObject {
    let annotation = |name: &str| object.annotations().get(name).cloned();
    JobObject {
        key: key_of(object),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        started: annotation(STARTED),
        reconcile_at: annotation(RECONCILE_AT).map(|text| truncate(&text, 253)),
        spec: decode_spec(&object.data),
        status: decode_job_status(object.data.get("status")),
    }
}

/// Decodes the status of a job member by member. A member that cannot be decoded is kept as it was read, because it may
/// say which items were billed. Conditions are the exception: each reconcile computes them from the other members.
fn decode_job_status(stored: Option<&Value>) -> JobStatus {
    let Some(Value::Object(members)) = stored else {
        return JobStatus::default();
    };
    if let Some(Ok(status)) = stored.map(JobStatus::deserialize) {
        return upgraded_job_status(status);
    }
    let (mut readable, mut unreadable) = (serde_json::Map::new(), BTreeMap::new());
    for (name, value) in members {
        let alone = json!({ name: value });
        if JobStatus::deserialize(alone).is_ok() {
            readable.insert(name.clone(), value.clone());
        } else if name != "conditions" {
            unreadable.insert(name.clone(), value.clone());
        }
    }
    let status = JobStatus::deserialize(Value::Object(readable)).unwrap_or_default();
    upgraded_job_status(JobStatus { unreadable, ..status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_job_status_that_cannot_be_decoded_is_kept_as_it_was_read() {
        let stored = json!({
            "observedGeneration": 3,
            "startTime": "9999-99-99T00:00:00Z",
            "requests": {"sent": 7, "reserved": "many"},
            "progress": "1/2",
            "conditions": [{"type": "Ready"}],
        });
        let status = decode_job_status(Some(&stored));
        let kept: Vec<&str> = status.unreadable.keys().map(String::as_str).collect();
        assert_eq!(kept, ["requests", "startTime"]);
        let written = serde_json::to_value(&status).unwrap();
        assert_eq!(written["requests"], stored["requests"]);
        assert_eq!(written["startTime"], stored["startTime"]);
        assert_eq!(
            (written["observedGeneration"].as_i64(), &written["progress"]),
            (Some(3), &stored["progress"])
        );
        assert!(
            decode_job_status(Some(&json!({"progress": "1/2"})))
                .unreadable
                .is_empty()
        );
    }

    #[test]
    fn only_name_region_and_credentials_of_a_stored_grant_have_to_decode() {
        let grant = |bucket: Value| {
            let spec = json!({"bucket": bucket, "credentials": {"source": "Operator"}, "grantee": "unknown"});
            let object = json!({"metadata": {"name": "g", "namespace": "n"}, "spec": spec});
            decode_grant(&serde_json::from_value(object).unwrap())
        };
        let old = grant(json!({"name": "pics", "region": "cn-hangzhou", "ownerUID": 65432}));
        assert!(old.spec.is_err() && old.identity.is_some());
        let bucket = old.bucket.unwrap();
        assert_eq!(
            (bucket.name.as_str(), bucket.region.as_str()),
            ("pics", "cn-hangzhou")
        );
        for (name, region) in [
            ("127.0.0.1:18443/", "cn-hangzhou"),
            ("pics", "evil.example.com/"),
            ("a,metadata.name=b", "cn-hangzhou"),
        ] {
            let place = json!({"name": name, "region": region, "ownerUID": "65432"});
            assert_eq!(grant(place).bucket, None, "{name} {region}");
        }
    }
}
