//! Objects as the watches decode them: the fields that decide which keys are reconciled, and what is needed of a grant
//! whose finalizer is missing.

use std::borrow::Cow;

use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::index::{ChangeToken, WatchedGrant};
use crate::api::{ABANDON, FINALIZER, GrantReason, RECONCILE_AT, STARTED};
use crate::core::grant::{FinalizerFacts, GrantObject, ObjectKey, StoredLedger};
use crate::core::hash::ChangeDigest;
use crate::core::object_state::{JobStage, JobState, ShownCondition, state_and_reason};
use crate::kubernetes::decode::{decode_grant, decode_metadata, dynamic_object, key_of};
use crate::runtime::metrics::ObjectLabels;

/// The fields of a spec that decide which keys are reconciled. All are optional: an object that an older version
/// stored must not stop the watch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialSpec {
    bucket: Value,
    mode: Option<String>,
    grant_ref: Option<PartialReference>,
    results: PartialResults,
    allowed_consumers: Option<Value>,
    /// The items of a job are not decoded.
    source: IgnoredAny,
    /// The other fields, which the last object of a deleted grant needs.
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// The fields that decide whether the results of a finished job may still change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialResults {
    select: Option<String>,
    ttl_seconds_after_finished: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartialReference {
    name: String,
    namespace: Option<String>,
}

/// The fields of a status that show whether a job has finished and which generation is acknowledged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialStatus {
    completion_time: Option<String>,
    observed_generation: Option<i64>,
    conditions: Vec<PartialCondition>,
    /// The progress of a job, as it is printed.
    progress: Option<String>,
    /// The ledger of a grant, and the uid of the object that it belongs to.
    owned: StoredLedger,
    ledger_of: Option<String>,
    policy: Option<PartialPolicy>,
    plan: Option<PartialPlan>,
    /// The objects that a Deny covers.
    denied_objects: Vec<String>,
}

/// The time of the last policy write, from which a job waits for the propagation delay.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialPolicy {
    last_write_time: Option<String>,
}

/// The number of statements that a grant in preview mode would add.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartialPlan {
    add: Vec<IgnoredAny>,
}

/// What a condition says, without its time and its message.
#[derive(Clone, Debug, Default, Deserialize, Hash)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartialCondition {
    r#type: String,
    status: String,
    reason: String,
    observed_generation: Option<i64>,
}

impl PartialObject {
    /// What the metrics say about the object, with one of the reasons that are known.
    pub(super) fn labels(
        &self,
        kind: &'static str,
        known: impl Iterator<Item = &'static str>,
    ) -> ObjectLabels {
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        let shown = conditions.map(|condition| ShownCondition {
            kind: &condition.r#type,
            status: &condition.status,
            reason: &condition.reason,
        });
        let (state, reason) = state_and_reason(&shown.collect::<Vec<_>>(), known);
        ObjectLabels { kind, state, reason }
    }
}

/// An object as a watch decodes it. kube's `Object` would decode the whole object before most of it is dropped.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PartialObject {
    #[serde(deserialize_with = "decode_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PartialSpec,
    status: Option<PartialStatus>,
}

impl Resource for PartialObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }
    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }
    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }
    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PartialObject {
    pub(super) fn key(&self) -> ObjectKey {
        key_of(self)
    }

    pub(super) fn change_token(&self) -> ChangeToken {
        let annotation = |name: &str| self.annotations().get(name).cloned();
        ChangeToken {
            uid: self.uid().unwrap_or_default(),
            generation: self.metadata.generation.unwrap_or_default(),
            deleting: self.metadata.deletion_timestamp.is_some(),
            reconcile_at: annotation(RECONCILE_AT),
            abandon: annotation(ABANDON),
            foreign_mark: annotation(STARTED).is_some_and(|uid| Some(uid) != self.uid()),
        }
    }

    /// Returns a grant for the index.
    pub(super) fn watched_grant(&self) -> WatchedGrant {
        WatchedGrant {
            token: self.change_token(),
            bucket: self.bucket_name().to_owned(),
            labels: self.labels(
                "ImmBucketGrant",
                GrantReason::ALL.iter().map(|reason| reason.as_str()),
            ),
            finalizer: self.finalizer_facts(),
            readiness: self.readiness(),
            consumers: self.consumers(),
        }
    }

    /// Digest of everything that decides whether a job may use the grant.
    fn readiness(&self) -> ChangeDigest {
        let status = self.status.as_ref();
        let written = status.and_then(|s| s.policy.as_ref()?.last_write_time.as_ref());
        let missing = status.and_then(|s| Some(s.plan.as_ref()?.add.len()));
        ChangeDigest::of((
            (self.uid(), self.metadata.generation),
            self.metadata.deletion_timestamp.is_some(),
            status.map(|s| (&s.conditions, s.observed_generation)),
            (written, missing),
            status.map(|s| &s.denied_objects),
        ))
    }

    fn consumers(&self) -> Vec<String> {
        let listed = self.spec.allowed_consumers.as_ref();
        let listed = listed.and_then(|allowed| allowed.get("namespaces")?.as_array());
        let names = listed.into_iter().flatten().filter_map(Value::as_str);
        names.map(ToOwned::to_owned).collect()
    }

    /// The bucket of a grant; empty without one.
    fn bucket_name(&self) -> &str {
        let name = self.spec.bucket.get("name");
        name.and_then(Value::as_str).unwrap_or_default()
    }

    fn finalizer_facts(&self) -> FinalizerFacts {
        let status = self.status.as_ref();
        FinalizerFacts {
            present: self.finalizers().iter().any(|f| f == FINALIZER),
            owns: status.is_some_and(|status| !status.owned.is_empty()),
            preview: self.spec.mode.as_deref() == Some("Preview"),
            deleting: self.metadata.deletion_timestamp.is_some(),
        }
    }

    /// Returns a grant with its spec and its ledger; the rest of the status is not decoded.
    pub(super) fn into_grant(self) -> GrantObject {
        let mut spec = self.spec.rest;
        spec.insert("bucket".to_owned(), self.spec.bucket);
        spec.extend(self.spec.mode.map(|mode| ("mode".to_owned(), mode.into())));
        let consumers = self.spec.allowed_consumers;
        spec.extend(consumers.map(|allowed| ("allowedConsumers".to_owned(), allowed)));
        let status = self.status.unwrap_or_default();
        let ledger_of = status.ledger_of.map_or(Value::Null, Value::from);
        let ledger = [
            ("owned".to_owned(), status.owned.into()),
            ("ledgerOf".to_owned(), ledger_of),
        ];
        decode_grant(&dynamic_object(
            self.metadata,
            spec.into(),
            Value::Object(ledger.into_iter().collect()),
        ))
    }

    /// Returns a digest of the progress that a job shows.
    pub(super) fn progress(&self) -> ChangeDigest {
        ChangeDigest::of(self.status.as_ref().map(|status| &status.progress))
    }

    /// Whether the started annotation of a job holds the job's own uid.
    pub(super) fn has_own_started_annotation(&self) -> bool {
        self.annotations()
            .get(STARTED)
            .is_some_and(|uid| Some(uid) == self.metadata.uid.as_ref())
    }

    pub(super) fn job_state(&self) -> JobState {
        let (status, results) = (self.status.as_ref(), &self.spec.results);
        let stage = JobStage {
            completed: status.is_some_and(|status| status.completion_time.is_some()),
            acknowledged: status.is_some_and(|status| status.observed_generation == self.metadata.generation),
            select: results.select.as_deref(),
            expires: results.ttl_seconds_after_finished.is_some(),
        };
        stage.state()
    }

    /// Returns the grant that a job references; `None` without a reference.
    pub(super) fn grant_reference(&self) -> Option<ObjectKey> {
        let reference = self.spec.grant_ref.as_ref()?;
        let namespace = reference.namespace.clone().or_else(|| self.namespace());
        Some(ObjectKey {
            namespace: namespace.unwrap_or_default(),
            name: reference.name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{DeletionPolicy, OssAction};
    use crate::core::policy::access_statement;

    fn grant(status: &Value) -> PartialObject {
        let object = json!({
            "metadata": {
                "name": "g", "namespace": "media", "uid": "u1", "generation": 2, "resourceVersion": "9",
                "annotations": {ABANDON: "true"},
            },
            "spec": {
                "bucket": {"name": "pics", "region": "cn-hangzhou", "ownerUID": "6543210987654321"},
                "grantee": {"accountUID": "1234567890123456"},
                "credentials": {"source": "Secret", "secretRef": {"name": "owner"}},
                "deletionPolicy": "Retain",
                "mode": "Enforce",
            },
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_last_object_of_a_deleted_grant_has_what_its_removal_needs() {
        let grantee = serde_json::from_value(json!({"accountUID": "1234567890123456"})).unwrap();
        let own = access_statement("pics", "6543210987654321", &grantee, &[OssAction::GetObject], &[]);
        let entry = json!({
            "fingerprint": own.fingerprint, "role": "Access", "state": "Applied", "statement": own.text,
        });
        let grant = grant(&json!({"owned": [entry], "ledgerOf": "u1", "conditions": [{"type": "Ready"}]}));
        assert!(grant.finalizer_facts().must_restore(false));
        assert_eq!(grant.bucket_name(), "pics");
        let grant = grant.into_grant();
        assert_eq!(
            (grant.key.to_string().as_str(), grant.uid.as_str()),
            ("media/g", "u1")
        );
        assert!(grant.abandon && grant.retain && grant.identity.is_some() && grant.bucket.is_some());
        assert_eq!(grant.spec.unwrap().deletion_policy, DeletionPolicy::Retain);
        assert_eq!(grant.status.owned.len(), 1);
    }

    #[test]
    fn the_labels_show_the_conditions() {
        let stalled = json!([
            {"type": "Ready", "status": "False", "reason": "AccessDenied"},
            {"type": "Stalled", "status": "True", "reason": "Other"},
        ]);
        let labels = grant(&json!({"conditions": stalled})).labels("K", ["AccessDenied"].into_iter());
        assert_eq!(
            (labels.kind, labels.state, labels.reason),
            ("K", "Stalled", "AccessDenied")
        );
    }

    #[test]
    fn everything_that_decides_whether_a_job_may_call_wakes_the_jobs() {
        let condition = |kind: &str, status: &str, reason: &str, generation: i64| json!({"type": kind, "status": status, "reason": reason, "observedGeneration": generation});
        let status = json!({
            "conditions": [condition("Granted", "True", "Applied", 2), condition("Effective", "Unknown", "PartialDeny", 2)],
            "observedGeneration": 2,
            "policy": {"lastWriteTime": "2026-01-01T00:00:00Z", "bytes": 10},
            "plan": {"add": []},
            "deniedObjects": ["private/*"],
        });
        let digest = |pointer: &str, value: Value| {
            let mut status = status.clone();
            *status.pointer_mut(pointer).unwrap() = value;
            grant(&status).readiness()
        };
        let unchanged = grant(&status).readiness();
        for (pointer, value) in [
            ("/conditions/0", condition("Granted", "False", "Applied", 2)),
            ("/conditions/0", condition("Granted", "True", "Missing", 2)),
            ("/conditions/0", condition("Granted", "True", "Applied", 1)),
            ("/observedGeneration", json!(1)),
            ("/policy/lastWriteTime", json!("2026-01-01T00:00:01Z")),
            ("/plan/add", json!(["{}"])),
            ("/deniedObjects", json!(["private/*", "secret/*"])),
            ("/deniedObjects", json!([])),
        ] {
            assert!(digest(pointer, value.clone()) != unchanged, "{pointer} {value}");
        }
        assert!(digest("/policy/bytes", json!(11)) == unchanged);
    }

    #[test]
    fn a_ledger_of_another_object_is_not_the_grants_own() {
        let grantee = serde_json::from_value(json!({"accountUID": "1234567890123456"})).unwrap();
        let own = access_statement("pics", "6543210987654321", &grantee, &[OssAction::GetObject], &[]);
        let entry = json!({
            "fingerprint": own.fingerprint, "role": "Access", "state": "Applied", "statement": own.text,
        });
        let grant = grant(&json!({"owned": [entry], "ledgerOf": "u0"})).into_grant();
        assert!(grant.status.owned.is_empty());
    }
}
