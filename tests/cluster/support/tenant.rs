//! A tenant: a namespace, a bucket, a project, and one Secret with credentials for each of the two accounts, which the
//! operator may read. Every test has a tenant of its own, so that tests can run at the same time.

use std::sync::Arc;

use imm_emulator::seed::{AccountSeed, KeySeed, SecretText};
use imm_emulator::{BucketSeed, Call, Fault, FaultEffect, FaultMatch, Hold, ProjectSeed, Seed};
use imm_harness::until;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{ACCOUNT_A, ACCOUNT_B, PATIENCE, REGION, Stage, condition, reason};

/// The two kinds.
pub const GRANT: &str = "ImmBucketGrant";
pub const JOB: &str = "ImageScoreJob";

/// A tenant and its stage.
pub struct Tenant {
    pub stage: Arc<Stage>,
    /// The namespace, and the stem of every other name.
    pub name: String,
    pub bucket: String,
    pub project: String,
}

impl Tenant {
    /// Creates a tenant whose bucket has no policy, and Block Public Access on.
    pub async fn new(stage: &Arc<Stage>, name: &str) -> Self {
        Self::with_bucket(
            stage,
            name,
            BucketSeed {
                block_public_access: true,
                ..BucketSeed::default()
            },
        )
        .await
    }

    /// Like `new`, with a policy on the bucket.
    pub async fn with_policy(stage: &Arc<Stage>, name: &str, policy: &str) -> Self {
        let policy = Some(policy.to_owned());
        Self::with_bucket(
            stage,
            name,
            BucketSeed {
                block_public_access: true,
                policy,
                ..BucketSeed::default()
            },
        )
        .await
    }

    /// Like `new`, with any bucket; its name and owner are filled in.
    pub async fn with_bucket(stage: &Arc<Stage>, name: &str, bucket: BucketSeed) -> Self {
        let tenant = Self {
            stage: Arc::clone(stage),
            name: name.to_owned(),
            bucket: format!("{name}-bucket"),
            project: format!("project-{name}"),
        };
        let bucket = BucketSeed {
            name: tenant.bucket.clone(),
            region: if bucket.region.is_empty() {
                REGION.to_owned()
            } else {
                bucket.region
            },
            owner: ACCOUNT_B.to_owned(),
            ..bucket
        };
        stage.cloud.add_bucket(bucket).unwrap();
        stage.add_project(ProjectSeed {
            name: tenant.project.clone(),
            ..ProjectSeed::default()
        });
        tenant.set_permissions("owner", None);
        tenant.set_permissions("caller", None);
        tenant.create_namespace().await;
        tenant
    }

    /// Creates the same tenant in another cluster: the same namespace, credentials, bucket and project.
    pub async fn in_cluster(&self, stage: &Arc<Stage>) -> Self {
        let tenant = Self {
            stage: Arc::clone(stage),
            name: self.name.clone(),
            bucket: self.bucket.clone(),
            project: self.project.clone(),
        };
        tenant.create_namespace().await;
        tenant
    }

    /// Creates the namespace, its Secrets, and the Role that grants the operator access to them.
    async fn create_namespace(&self) {
        let name = &self.name;
        let keys = ["owner", "caller"].map(|who| self.keys(who)).join("\n---\n");
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "read-keys", "namespace": name},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["owner", "caller", "reader"], "verbs": ["get"]}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "read-keys", "namespace": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read-keys"},
            "subjects": [{"kind": "ServiceAccount", "name": "imm-operator", "namespace": "imm-system"}]});
        self.apply(&format!("{namespace}\n---\n{keys}\n---\n{role}\n---\n{binding}"))
            .await;
    }

    /// Returns the Secret of one of the two accounts.
    pub fn keys(&self, who: &str) -> String {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": who, "namespace": self.name},
            "stringData": {"accessKeyId": self.key_id(who), "accessKeySecret": self.secret(who)}})
        .to_string()
    }

    pub fn key_id(&self, who: &str) -> String {
        format!("LTAI-{who}-{}", self.name)
    }

    pub fn secret(&self, who: &str) -> String {
        format!("canary-{who}-{}", self.name)
    }

    /// Sets which actions an AccessKey pair may call; `None` allows all.
    pub fn set_permissions(&self, who: &str, allow: Option<&[&str]>) {
        let key = KeySeed {
            id: self.key_id(who),
            secret: SecretText(self.secret(who)),
            allow: allow.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
            ..KeySeed::default()
        };
        let uid = if who == "caller" { ACCOUNT_A } else { ACCOUNT_B };
        let account = AccountSeed {
            uid: uid.to_owned(),
            keys: vec![key],
            ..AccountSeed::default()
        };
        self.stage
            .cloud
            .add(Seed {
                accounts: vec![account],
                ..Seed::default()
            })
            .unwrap();
    }

    /// Returns a grant on the tenant's bucket; `changes` is merged into its spec.
    pub fn grant(&self, name: &str, changes: &Value) -> String {
        let mut spec = json!({
            "bucket": {"name": self.bucket, "region": REGION, "ownerUID": ACCOUNT_B},
            "grantee": {"accountUID": ACCOUNT_A},
            "credentials": {"source": "Secret", "secretRef": {"name": "owner"}},
        });
        merge(&mut spec, changes);
        self.object_text(GRANT, name, &spec)
    }

    /// Returns a job over keys of the tenant's bucket, without a grant; `changes` is merged into its spec.
    pub fn job(&self, name: &str, keys: &[&str], changes: &Value) -> String {
        let uris: Vec<String> = keys
            .iter()
            .map(|key| format!("oss://{}/{key}", self.bucket))
            .collect();
        let mut spec = json!({
            "project": {"name": self.project, "region": REGION, "accountUID": ACCOUNT_A},
            "credentials": {"source": "Secret", "secretRef": {"name": "caller"}},
            "source": {"uris": uris},
        });
        merge(&mut spec, changes);
        self.object_text(JOB, name, &spec)
    }

    fn object_text(&self, kind: &str, name: &str, spec: &Value) -> String {
        json!({"apiVersion": "immops.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": self.name}, "spec": spec})
        .to_string()
    }

    /// Applies a manifest with kubectl.
    pub async fn apply(&self, manifest: &str) {
        self.stage.plane.apply(manifest).await.unwrap();
    }

    /// Returns kubectl's error for a manifest that must be rejected.
    pub async fn expect_rejection(&self, manifest: &str) -> String {
        match self.stage.plane.apply(manifest).await {
            Err(refusal) => refusal.to_string(),
            Ok(answer) => panic!("accepted: {answer}: {manifest}"),
        }
    }

    /// Applies the usual grant and waits until its reason is Applied.
    pub async fn granted(&self, name: &str, changes: &Value) -> Value {
        self.apply(&self.grant(name, changes)).await;
        self.until_reason(GRANT, name, "Applied").await
    }

    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "immops.dev".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "immops.dev/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
        };
        Api::namespaced_with(self.stage.client.clone(), &self.name, &resource)
    }

    /// Returns the object from the API server; `null` if it does not exist.
    pub async fn object(&self, kind: &str, name: &str) -> Value {
        let found = self.api(kind).get_opt(name).await.unwrap();
        found.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    /// Waits until the object fulfils a condition; returns the object.
    pub async fn until(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(
            &format!("{kind} {}/{name}: {what}", self.name),
            PATIENCE,
            || async {
                let object = self.object(kind, name).await;
                if holds(&object) {
                    Ok(object)
                } else {
                    Err(object["status"].to_string())
                }
            },
        )
        .await
        .unwrap()
    }

    /// Waits until Ready has a reason for the current generation.
    pub async fn until_reason(&self, kind: &str, name: &str, wanted: &str) -> Value {
        self.until(kind, name, wanted, |object| reason(object) == wanted)
            .await
    }

    /// Waits until a condition is True.
    pub async fn until_true(&self, kind: &str, name: &str, wanted: &str) -> Value {
        self.until(kind, name, wanted, |object| {
            condition(object, wanted)[0] == "True"
        })
        .await
    }

    /// Waits until the object does not exist.
    pub async fn until_deleted(&self, kind: &str, name: &str) {
        self.until(kind, name, "to be deleted", Value::is_null).await;
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, kind: &str, name: &str, change: &Value) -> Value {
        let patched = self
            .api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await;
        serde_json::to_value(patched.unwrap()).unwrap()
    }

    /// Requests deletion and does not wait.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind)
            .delete(name, &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }

    /// Requests a reconcile of a grant and waits for its end; the status stored in its middle already has the echoed
    /// token.
    pub async fn reconcile(&self, name: &str) -> Value {
        let token = self.request_reconcile(GRANT, name).await;
        self.until(GRANT, name, "the requested reconcile", |object| {
            object["status"]["lastHandledReconcileAt"] == *token && reason(object) != "Reconciling"
        })
        .await
    }

    /// Requests reconciles until one ends with a reason, for a change at the cloud, which the operator does not watch.
    pub async fn reconcile_until_reason(&self, name: &str, wanted: &str) {
        until(
            &format!("a reconcile of {name} to end with {wanted}"),
            PATIENCE,
            || async {
                let grant = self.reconcile(name).await;
                let [_, seen, message] = condition(&grant, "Ready");
                if seen == wanted {
                    Ok(())
                } else {
                    Err(format!("{seen}: {message}"))
                }
            },
        )
        .await
        .unwrap();
    }

    /// Requests a reconcile; returns the token that the operator echoes.
    pub async fn request_reconcile(&self, kind: &str, name: &str) -> String {
        let token = self.stage.token();
        self.patch(
            kind,
            name,
            &json!({"metadata": {"annotations": {"immops.dev/reconcile-at": token}}}),
        )
        .await;
        token
    }

    /// Returns the events about an object with one reason: the count and the note of each.
    pub async fn events(&self, name: &str, reason: &str) -> Vec<(i32, String)> {
        let events: Api<Event> = Api::namespaced(self.stage.client.clone(), &self.name);
        let list = events.list(&ListParams::default()).await.unwrap();
        let about = list.items.into_iter().filter(|event| {
            event.reason.as_deref() == Some(reason)
                && event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some(name)
        });
        about
            .map(|event| {
                (
                    event.series.map_or(1, |series| series.count),
                    event.note.unwrap_or_default(),
                )
            })
            .collect()
    }

    /// Waits for an event and checks that it was published once; returns its note.
    pub async fn one_event(&self, name: &str, reason: &str) -> String {
        let what = format!("event {reason} about {name}");
        let events = until(&what, PATIENCE, || async {
            let events = self.events(name, reason).await;
            (!events.is_empty()).then_some(events)
        })
        .await
        .unwrap();
        assert!(matches!(events.as_slice(), [(1, _)]), "{what}: {events:?}");
        events[0].1.clone()
    }

    /// Returns the bucket's policy; empty if the bucket has none.
    pub fn policy(&self) -> String {
        self.stage.cloud.policy(&self.bucket).unwrap_or_default()
    }

    /// Returns the policy writes, answered or not.
    pub fn puts(&self) -> Vec<Call> {
        self.stage.calls(&self.bucket, "PutBucketPolicy")
    }

    /// Returns the score requests for images of the bucket.
    pub fn scores(&self) -> Vec<Call> {
        self.stage.calls(&self.bucket, "DetectImageScore")
    }

    /// Adds a fault for calls of one action on the bucket.
    pub fn fault(&self, action: &str, skip: u32, times: u32, effect: FaultEffect) {
        self.stage.cloud.add_fault(Fault {
            matching: self.calls_of(action),
            skip,
            times: Some(times),
            effect,
        });
    }

    /// Holds calls of one action on the bucket, after the first `skip`, until the returned value is dropped.
    pub fn hold(&self, action: &str, skip: u32, times: Option<u32>) -> Hold {
        self.stage.cloud.hold(self.calls_of(action), skip, times)
    }

    fn calls_of(&self, action: &str) -> FaultMatch {
        FaultMatch {
            action: Some(action.to_owned()),
            bucket: Some(self.bucket.clone()),
            ..FaultMatch::default()
        }
    }
}

/// Merges a change into a value, as a merge patch does.
pub fn merge(value: &mut Value, change: &Value) {
    if let (Value::Object(members), Value::Object(changes)) = (&mut *value, change) {
        for (name, change) in changes {
            if change.is_null() {
                members.remove(name);
            } else {
                merge(members.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
    } else {
        *value = change.clone();
    }
}
