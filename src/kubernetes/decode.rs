//! Decodes stored objects into the parts that a reconcile uses. Each part is decoded separately, so that a part
//! stored by an older or newer version of the operator does not block the reconcile.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, Time};
use kube::ResourceExt;
use kube::api::{DynamicObject, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::bounded::{KeptStatus, kept_finalizers, memory_of, own_annotations, report_labels};
use super::stored_ledger::decode_grant_status;
use crate::api::{ABANDON, BucketRef, Credentials, DeletionPolicy, JobStatus, RECONCILE_AT, STARTED};
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::identity::Identity;
use crate::core::job::{JobObject, upgraded_job_status};
use crate::core::place::BucketPlace;
use crate::core::text::truncate;

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct Page<T> {
    #[serde(default)]
    pub(crate) metadata: ListMeta,
    pub(crate) items: Vec<T>,
}

impl<T> Page<T> {
    /// Returns the items, and the continuation token of the next page; `None` on the last page.
    pub(crate) fn into_parts(self) -> (Vec<T>, Option<String>) {
        let next = self.metadata.continue_.filter(|token| !token.is_empty());
        (self.items, next)
    }
}

/// Memory of a grant beside its spec, its status and its finalizers: names, annotations and the struct itself.
const GRANT_BYTES: usize = 2048;
/// Memory of the name of a finalizer beside its text.
const FINALIZER_BYTES: usize = 32;

/// A grant, reduced while it is deserialized: complete objects as JSON trees would take megabytes per worker.
pub(crate) struct DecodedGrant {
    pub(crate) grant: GrantObject,
    /// Roughly how much memory the grant takes.
    pub(crate) bytes: usize,
}

impl<'de> Deserialize<'de> for DecodedGrant {
    fn deserialize<D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
        let object = RawObject::deserialize(stored)?;
        let has_more = object.status.has_more;
        let parts = memory_of(&object.spec).saturating_add(memory_of(&object.status.members));
        let finalizers = object.metadata.finalizers.iter().flatten();
        let names: usize = finalizers
            .map(|name| name.len().saturating_add(FINALIZER_BYTES))
            .sum();
        let bytes = parts.saturating_add(names).saturating_add(GRANT_BYTES);
        let mut grant = decode_grant(&object.into_dynamic());
        // The ledger of another object was dropped: nothing of it is written.
        let is_own = !grant.status.owned.is_empty() || grant.only_stored.unverified > 0;
        grant.only_stored.large_members = has_more && is_own;
        Ok(Self { grant, bytes })
    }
}

/// A job, reduced while it is deserialized.
pub(crate) struct DecodedJob(pub(crate) JobObject);

impl<'de> Deserialize<'de> for DecodedJob {
    fn deserialize<D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
        let object = RawObject::deserialize(stored)?.into_dynamic();
        Ok(Self(decode_job(&object)))
    }
}

/// A report, without the metadata that is not used. Its content is decoded later, so that a report of another version
/// is told apart from a response that cannot be read.
#[derive(Deserialize)]
pub(crate) struct RawReport {
    pub(crate) metadata: ReportMetadata,
    pub(crate) report: Option<Box<RawValue>>,
}

/// The metadata of a report that is used.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReportMetadata {
    pub(crate) name: String,
    pub(crate) resource_version: String,
    #[serde(deserialize_with = "report_labels")]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) owner_references: Vec<ReportOwner>,
}

/// The owner of a report.
#[derive(Deserialize)]
pub(crate) struct ReportOwner {
    pub(crate) uid: String,
}

#[derive(Deserialize)]
struct RawObject {
    #[serde(deserialize_with = "decode_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: KeptStatus,
}

impl RawObject {
    fn into_dynamic(self) -> DynamicObject {
        dynamic_object(self.metadata, self.spec, self.status.members)
    }
}

/// Returns an object of these parts, which are not copied.
pub(crate) fn dynamic_object(metadata: ObjectMeta, spec: Value, status: Value) -> DynamicObject {
    let members = [("spec".to_owned(), spec), ("status".to_owned(), status)];
    DynamicObject {
        types: None,
        metadata,
        data: Value::Object(members.into_iter().collect()),
    }
}

/// The metadata that is used. `managedFields` is skipped: it is half of a stored object and takes most of the
/// decoding time.
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
    #[serde(default, deserialize_with = "kept_finalizers")]
    finalizers: Vec<String>,
    #[serde(default, deserialize_with = "own_annotations")]
    annotations: BTreeMap<String, String>,
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
        finalizers: Some(read.finalizers),
        annotations: Some(read.annotations),
        ..ObjectMeta::default()
    })
}

/// Returns the key of an object.
pub(crate) fn key_of(object: &impl ResourceExt) -> ObjectKey {
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
    let bucket = decode_bucket(&object.data);
    let (status, only_stored) = decode_grant_status(
        object.data.get("status"),
        &object.uid().unwrap_or_default(),
        bucket.as_ref(),
    );
    GrantObject {
        identity: credentials.and_then(|c| Identity::of(&key.namespace, &c)),
        bucket,
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
        status,
        only_stored,
        key,
    }
}

/// Decodes the bucket of a grant; `None` if its name or region does not follow its grammar. The object can be older
/// than the schema, and its deletion uses both for a URL, whatever else of the spec decodes.
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
    fn only_our_annotations_are_kept_and_none_of_them_whole() {
        let long = "é".repeat(100_000);
        let stored = json!({"metadata": {"name": "j", "namespace": "n", "labels": {"a": "b"},
            "annotations": {"others": long, RECONCILE_AT: long, STARTED: "uid"}}});
        let raw: RawObject = serde_json::from_value(stored).unwrap();
        let annotations = raw.metadata.annotations.unwrap();
        let kept: Vec<_> = annotations
            .iter()
            .map(|(name, value)| (name.as_str(), value.chars().count()))
            .collect();
        assert_eq!(kept, [(RECONCILE_AT, 253), (STARTED, 3)]);
        assert_eq!(raw.metadata.labels, None);
        let none: RawObject = serde_json::from_value(json!({"metadata": {"annotations": null}})).unwrap();
        assert_eq!(none.metadata.annotations, Some(BTreeMap::new()));
    }

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
