//! From an object as the API server holds it to what a pass looks at. What an older or newer version stored must not stop a
//! pass: each part is read by itself.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{ABANDON, BucketRef, Credentials, DeletionPolicy, GrantStatus, RECONCILE_AT, STARTED};
use crate::core::condition::cut;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::identity::Identity;
use crate::core::job::JobObject;

fn key_of(object: &DynamicObject) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    }
}

/// A part of an object's data; `None` when it is absent or does not decode.
fn part<T: DeserializeOwned>(data: &Value, pointer: &str) -> Option<T> {
    data.pointer(pointer)
        .and_then(|value| serde_json::from_value(value.clone()).ok())
}

fn spec<T: DeserializeOwned>(data: &Value) -> Result<T, String> {
    let spec = data.get("spec").cloned().unwrap_or_default();
    serde_json::from_value(spec)
        .map_err(|error| format!("spec does not decode: {}", cut(&error.to_string(), 200)))
}

pub(super) fn grant(object: &DynamicObject) -> GrantObject {
    let key = key_of(object);
    let credentials: Option<Credentials> = part(&object.data, "/spec/credentials");
    let annotation = |name: &str| object.annotations().get(name).cloned();
    let place: Option<BucketRef> = part(&object.data, "/spec/bucket");
    GrantObject {
        identity: credentials.and_then(|c| Identity::of(&key.namespace, &c)),
        place,
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        created: object.creation_timestamp().map(|time| time.0),
        deleting: object.metadata.deletion_timestamp.is_some(),
        finalizers: object.finalizers().to_vec(),
        reconcile_at: annotation(RECONCILE_AT).map(|text| cut(&text, 253)),
        abandon: annotation(ABANDON).as_deref() == Some("true"),
        retain: part(&object.data, "/spec/deletionPolicy") == Some(DeletionPolicy::Retain),
        spec: spec(&object.data),
        status: grant_status(&object.data, &object.uid().unwrap_or_default()),
        key,
    }
}

/// The status. A ledger that was written for another object (a restored status) claims nothing, and entries that do not
/// decode are left out one by one.
fn grant_status(data: &Value, uid: &str) -> GrantStatus {
    let mut status: GrantStatus = part(data, "/status").unwrap_or_else(|| {
        let entries: Vec<Value> = part(data, "/status/owned").unwrap_or_default();
        let owned = entries
            .into_iter()
            .filter_map(|entry| serde_json::from_value(entry).ok())
            .collect();
        GrantStatus {
            owned,
            ledger_of: part(data, "/status/ledgerOf"),
            ..GrantStatus::default()
        }
    });
    if status.ledger_of.as_ref().is_some_and(|owner| owner != uid) {
        status.owned.clear();
    }
    status
}

pub(super) fn job(object: &DynamicObject) -> JobObject {
    let annotation = |name: &str| object.annotations().get(name).cloned();
    JobObject {
        key: key_of(object),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        started: annotation(STARTED),
        reconcile_at: annotation(RECONCILE_AT).map(|text| cut(&text, 253)),
        spec: spec(&object.data),
        status: part(&object.data, "/status").unwrap_or_default(),
    }
}
