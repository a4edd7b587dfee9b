//! What survives a crash: the objects at the API server and the bucket policies. `checks.rs` has the invariants of each
//! change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use imm_operator::api::{DeletionPolicy, FINALIZER, GrantSpec, GrantStatus};
use imm_operator::core::grant::{GrantObject, ObjectKey, OnlyStored, PublicAccessBlock};
use imm_operator::core::identity::Identity;
use imm_operator::core::policy::Document;
use imm_operator::ports::{AccessKeys, CloudError, CloudErrorKind, CredentialsError, KubeError};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::fault::{Fault, refused};
use super::jobs::JobWorld;

/// The id of credentials that may read every policy and write none.
pub const READER: &str = "reader";

/// Numbers of calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub lists: usize,
    pub reads: usize,
    pub policy_writes: usize,
    pub status_writes: usize,
    pub events: usize,
}

/// Objects, policies, and their history.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own that scenarios set"
)]
pub struct FakeWorld {
    pub grants: BTreeMap<ObjectKey, GrantObject>,
    pub policies: BTreeMap<String, String>,
    pub block: Option<PublicAccessBlock>,
    /// Foreign statements in their order, and all foreign statements that ever existed.
    pub foreign: Vec<String>,
    pub ever_foreign: BTreeSet<String>,
    /// Number of foreign changes so far, and how often a write of ours undid one.
    pub foreign_edits: usize,
    pub lost: usize,
    pub rival_has_edited: bool,
    pub counts: Counts,
    /// Numbers of calls when a scenario recorded them.
    pub recorded: Counts,
    pub broken: Vec<String>,
    /// How many seconds a read may be stale.
    pub lag: i64,
    /// The error that every call to the cloud currently returns.
    pub refuses: Option<CloudErrorKind>,
    /// Why the Secret with the credentials cannot be read.
    pub no_secret: Option<CredentialsError>,
    /// How long the API server takes to return a Secret.
    pub secret_time: Duration,
    /// The API server rejects every new finalizer.
    pub no_finalizer: bool,
    /// OSS rejects a policy that contains this text.
    pub poison: Option<&'static str>,
    /// Whether the session expires at the next write; number of sessions so far, and how many of them have expired.
    pub session_ends_at_write: bool,
    pub sessions: usize,
    pub ended_sessions: usize,
    /// The reason of Ready that a grant has at rest, if it is not `Applied`.
    pub expected: BTreeMap<&'static str, &'static str>,
    /// OSS has rejected a public policy, so that a grant may omit its `ram:PassRole` statement.
    pub public_refused: bool,
    /// Whether the user has changed an object, so that a watch event is due.
    pub changed: bool,
    /// Whether the process is to be replaced now.
    pub replace_process: bool,
    /// Grants that were deleted, or lost their finalizer, by others: the watch is to show them.
    pub deleted: Vec<GrantObject>,
    pub unprotected: Vec<GrantObject>,
    /// Ledgers of grants that were deleted without their finalizer.
    pub left: Vec<GrantObject>,
    /// Policy writes in flight.
    pub under_way: usize,
    /// The grants before each change, for stale lists.
    pub past: Vec<BTreeMap<ObjectKey, GrantObject>>,
    /// The policies before each change, and until when each was current.
    pub history: Vec<(String, Timestamp, Option<String>)>,
    version: u64,
    /// Jobs, and everything that they reach.
    pub jobs: JobWorld,
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: "media".to_owned(),
        name: name.to_owned(),
    }
}

impl FakeWorld {
    fn next_version(&mut self) -> String {
        self.past.push(self.grants.clone());
        self.version += 1;
        self.version.to_string()
    }

    /// A user applies a grant.
    pub fn apply(&mut self, name: &str, spec: GrantSpec) {
        self.changed = true;
        self.apply_as(key(name), spec);
    }

    /// A user of any namespace applies a grant.
    pub fn apply_as(&mut self, key: ObjectKey, spec: GrantSpec) {
        let version = self.next_version();
        let identity = Identity::of(&key.namespace, &spec.credentials);
        let retain = spec.deletion_policy == DeletionPolicy::Retain;
        if let Some(grant) = self.grants.get_mut(&key) {
            grant.generation += 1;
            grant.resource_version = version;
            (grant.identity, grant.retain) = (identity, retain);
            grant.spec = Ok(spec);
            return;
        }
        let grant = GrantObject {
            uid: format!("uid-{}-{version}", key.name),
            resource_version: version,
            generation: 1,
            created: None,
            deleting: false,
            finalizers: Vec::new(),
            reconcile_at: None,
            abandon: false,
            retain,
            bucket: Some(spec.bucket.clone()),
            identity,
            spec: Ok(spec),
            status: GrantStatus {
                observed_generation: Some(-1),
                ..GrantStatus::default()
            },
            only_stored: OnlyStored::default(),
            key: key.clone(),
        };
        self.grants.insert(key, grant);
    }

    /// A user deletes a grant.
    pub fn delete(&mut self, name: &str) {
        self.changed = true;
        let key = key(name);
        let version = self.next_version();
        if let Some(grant) = self.grants.get_mut(&key) {
            grant.deleting = true;
            grant.generation += 1;
            grant.resource_version = version;
            if grant.finalizers.is_empty() {
                self.grants.remove(&key);
            }
        }
    }

    /// A user annotates all grants, which changes their versions.
    pub fn annotate_all(&mut self) {
        let keys: Vec<ObjectKey> = self.grants.keys().cloned().collect();
        for key in keys {
            let version = self.next_version();
            if let Some(grant) = self.grants.get_mut(&key) {
                grant.resource_version = version;
            }
        }
    }

    /// Another writer removes all finalizers of a grant.
    pub fn drop_finalizers(&mut self, name: &str) {
        let version = self.next_version();
        let grant = self.grants.get_mut(&key(name)).unwrap();
        grant.finalizers.clear();
        grant.resource_version = version;
        self.unprotected.push(grant.clone());
    }

    /// A user deletes a grant from which another writer has just removed the finalizer.
    pub fn delete_without_finalizer(&mut self, name: &str) {
        self.next_version();
        let mut grant = self.grants.remove(&key(name)).unwrap();
        grant.finalizers.clear();
        self.left.push(grant.clone());
        self.deleted.push(grant);
        self.changed = true;
    }

    /// Returns the grants of a bucket as they were `behind` changes ago.
    pub fn list(&mut self, bucket: &str, behind: usize) -> Vec<GrantObject> {
        self.counts.lists += 1;
        let past = behind.checked_sub(1).map(|n| self.past.iter().rev().nth(n));
        let grants = past.map_or(Some(&self.grants), |past| past.or(self.past.first()));
        let of_bucket = |g: &&GrantObject| g.bucket.as_ref().is_some_and(|p| p.name == bucket);
        grants
            .unwrap_or(&self.grants)
            .values()
            .filter(of_bucket)
            .cloned()
            .collect()
    }

    /// Returns the stored object, or `Conflict` if its version is not the one that a write was planned from.
    fn current(&mut self, planned: &GrantObject) -> Result<&mut GrantObject, KubeError> {
        let stored = self
            .grants
            .get_mut(&planned.key)
            .filter(|g| g.uid == planned.uid)
            .ok_or(KubeError::NotFound)?;
        if stored.resource_version == planned.resource_version {
            Ok(stored)
        } else {
            Err(KubeError::Conflict)
        }
    }

    /// Replaces a grant's status; `seen` is the policy that the process read last.
    pub fn replace_status(
        &mut self,
        planned: &GrantObject,
        status: &GrantStatus,
        seen: Option<&str>,
    ) -> Result<String, KubeError> {
        let version = self.next_version();
        let stored = self.current(planned)?;
        stored.status = status.clone();
        stored.resource_version.clone_from(&version);
        self.counts.status_writes += 1;
        self.check_status(planned, status, seen);
        Ok(version)
    }

    pub fn add_finalizer(&mut self, planned: &GrantObject) -> Result<String, KubeError> {
        let version = self.next_version();
        let stored = self.grants.get_mut(&planned.key).ok_or(KubeError::NotFound)?;
        // The API server accepts no new finalizer on an object that is being deleted.
        let changed = stored.uid != planned.uid || stored.finalizers != planned.finalizers;
        if self.no_finalizer || changed || stored.deleting {
            return Err(KubeError::Invalid);
        }
        stored.finalizers.push(FINALIZER.to_owned());
        stored.resource_version.clone_from(&version);
        Ok(version)
    }

    pub fn remove_finalizer(&mut self, planned: &GrantObject) -> Result<(), KubeError> {
        let version = self.next_version();
        let stored = self.grants.get(&planned.key).ok_or(KubeError::NotFound)?;
        if stored.uid != planned.uid || stored.finalizers != planned.finalizers {
            return Err(KubeError::Invalid);
        }
        self.check_release(&stored.clone());
        let stored = self.grants.get_mut(&planned.key).ok_or(KubeError::NotFound)?;
        stored.finalizers.retain(|f| f != FINALIZER);
        stored.resource_version = version;
        if stored.deleting && stored.finalizers.is_empty() {
            self.grants.remove(&planned.key);
        }
        Ok(())
    }

    /// Opens a session at STS.
    pub fn open_session(&mut self, now: Timestamp) -> AccessKeys {
        self.sessions += 1;
        AccessKeys {
            id: format!("STS.{}", self.sessions),
            secret: "canary".into(),
            token: Some("canary".into()),
            expires_at: Some(now + SignedDuration::from_hours(1)),
        }
    }

    /// Returns whether a fault would falsely report a bucket as missing; a deleted grant is released on that answer.
    pub fn would_lie(&self, fault: Fault) -> bool {
        let gone = matches!(fault, Fault::Cloud(CloudErrorKind::NoSuchBucket, _));
        gone && self.grants.values().any(|g| g.deleting)
    }

    /// Returns an error if OSS rejects these credentials.
    pub fn admit(&self, keys: &AccessKeys) -> Result<(), CloudError> {
        let session = keys.id.strip_prefix("STS.").and_then(|n| n.parse::<usize>().ok());
        if session.is_some_and(|n| n <= self.ended_sessions) {
            return Err(refused(CloudErrorKind::CredentialsExpired));
        }
        self.refuses.map_or(Ok(()), |kind| {
            // Each rejected call has a request id of its own, as at OSS.
            let request_id = Some(format!("ID-{}", self.counts.lists));
            Err(CloudError {
                request_id,
                ..refused(kind)
            })
        })
    }

    /// Returns the policy as a read shows it: as it was `lag` seconds ago.
    pub fn read_policy(&mut self, bucket: &str, now: Timestamp) -> Option<String> {
        self.counts.reads += 1;
        let since = now - SignedDuration::from_secs(self.lag);
        let newer = self
            .history
            .iter()
            .find(|(name, until, _)| name == bucket && *until > since);
        newer.map_or_else(|| self.policies.get(bucket).cloned(), |(_, _, text)| text.clone())
    }

    pub fn write_policy(
        &mut self,
        write: &Write,
        keys: &AccessKeys,
        now: Timestamp,
    ) -> Result<(), CloudError> {
        if std::mem::take(&mut self.session_ends_at_write) {
            self.ended_sessions = self.sessions;
        }
        self.admit(keys)?;
        if keys.id == READER {
            return Err(refused(CloudErrorKind::AccessDenied));
        }
        let text = write.text.as_deref();
        if self.poison.is_some_and(|p| text.is_some_and(|t| t.contains(p))) {
            return Err(refused(CloudErrorKind::PolicyRejected));
        }
        self.check_write(write);
        let bucket = &write.bucket;
        self.history
            .push((bucket.clone(), now, self.policies.get(bucket).cloned()));
        self.counts.policy_writes += 1;
        match text {
            Some(text) => self.policies.insert(bucket.clone(), text.to_owned()),
            None => self.policies.remove(bucket),
        };
        self.foreign = self.foreign_of(text);
        Ok(())
    }

    pub fn texts(&self, bucket: &str) -> Vec<String> {
        self.policies
            .get(bucket)
            .map(|t| statements(t))
            .unwrap_or_default()
    }
}

/// A policy write in flight.
#[derive(Clone)]
pub struct Write {
    pub bucket: String,
    pub text: Option<String>,
    /// The policy that the process had read last, and the number of foreign changes by then.
    pub based_on: Option<String>,
    pub edits_then: usize,
    /// Whether the write arrives after its process has received an answer or an error.
    pub late: bool,
}

pub fn statements(text: &str) -> Vec<String> {
    let document = Document::parse(text.as_bytes()).unwrap();
    document
        .statements()
        .iter()
        .map(|s| document.text_of(s).to_owned())
        .collect()
}
