//! The cloud of a history: buckets with policies, credentials and their permissions.

use std::collections::{BTreeMap, BTreeSet};

use imm_operator::core::identity::Identity;
use imm_operator::ports::{AccessKeys, CloudError, CloudErrorKind};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::fake_world::statements;
use super::super::fault::refused;
use super::step::Permission;

/// A bucket.
#[derive(Default)]
pub struct Bucket {
    pub policy: Option<String>,
    /// Earlier policies, and until when each was current.
    past: Vec<(Timestamp, Option<String>)>,
    /// Foreign changes so far.
    pub edits: usize,
    /// Policy writes in flight.
    pub under_way: usize,
}

/// An AccessKey pair or a session.
struct Key {
    identity: Identity,
    /// How often the namespace of the identity had been created again.
    life: usize,
    valid: bool,
    expires: Option<Timestamp>,
}

/// Everything at the cloud but IMM.
#[derive(Default)]
pub struct SimulatedCloud {
    pub buckets: BTreeMap<String, Bucket>,
    keys: BTreeMap<String, Key>,
    permissions: BTreeMap<(Identity, String), Permission>,
    /// How many seconds a read of a policy may be stale.
    lag: i64,
    /// When they were last.
    lagged_until: Option<Timestamp>,
}

impl SimulatedCloud {
    /// Issues keys of an identity, whose namespace was created again `life` times; `expires` limits a session.
    pub fn issue(&mut self, identity: Identity, life: usize, expires: Option<Timestamp>) -> AccessKeys {
        let id = format!("KEY{}", self.keys.len());
        let key = Key {
            identity,
            life,
            valid: true,
            expires,
        };
        self.keys.insert(id.clone(), key);
        AccessKeys {
            id,
            secret: "canary".into(),
            token: expires.map(|_| "canary".into()),
            expires_at: expires,
        }
    }

    /// Keys that an identity was issued before are refused from now on.
    pub fn revoke(&mut self, identity: &Identity) {
        for key in self.keys.values_mut().filter(|key| key.identity == *identity) {
            key.valid = false;
        }
    }

    pub fn identity(&self, keys: &AccessKeys) -> Identity {
        self.keys[&keys.id].identity.clone()
    }

    /// Returns the identity of keys, and how often its namespace had been created again when they were issued.
    pub fn owner(&self, keys: &AccessKeys) -> (Identity, usize) {
        (self.identity(keys), self.keys[&keys.id].life)
    }

    pub fn permit(&mut self, identity: Identity, bucket: &str, permission: Permission) {
        self.permissions.insert((identity, bucket.to_owned()), permission);
    }

    /// Returns what an identity may do with a bucket's policy.
    pub fn permission(&self, identity: &Identity, bucket: &str) -> Permission {
        let known = self.permissions.get(&(identity.clone(), bucket.to_owned()));
        known.copied().unwrap_or(Permission::All)
    }

    /// Returns an error if OSS refuses a request with these keys.
    pub fn admit(
        &self,
        keys: &AccessKeys,
        bucket: &str,
        writes: bool,
        now: Timestamp,
    ) -> Result<(), CloudError> {
        let key = &self.keys[&keys.id];
        if !key.valid {
            return Err(refused(CloudErrorKind::CredentialsRejected));
        }
        if key.expires.is_some_and(|end| end <= now) {
            return Err(refused(CloudErrorKind::CredentialsExpired));
        }
        match self.permission(&key.identity, bucket) {
            Permission::All => Ok(()),
            Permission::ReadOnly if !writes => Ok(()),
            Permission::ReadOnly | Permission::Nothing => Err(refused(CloudErrorKind::AccessDenied)),
        }
    }

    /// Sets how many seconds a read of a policy may be stale.
    pub fn set_lag(&mut self, seconds: i64, now: Timestamp) {
        if self.lag > 0 {
            self.lagged_until = Some(now);
        }
        self.lag = seconds;
    }

    pub fn lag(&self) -> i64 {
        self.lag
    }

    /// Whether a read of the last minute can have been stale.
    pub fn was_stale(&self, now: Timestamp) -> bool {
        let lagged = self.lagged_until;
        self.lag > 0 || lagged.is_some_and(|until| now.duration_since(until) < SignedDuration::from_mins(1))
    }

    /// Returns the policy as a read shows it: as it was `lag` seconds ago.
    pub fn read(&self, bucket: &str, now: Timestamp) -> Option<String> {
        let bucket = self.buckets.get(bucket)?;
        let since = now - SignedDuration::from_secs(self.lag);
        let newer = bucket.past.iter().find(|(until, _)| *until > since);
        newer.map_or_else(|| bucket.policy.clone(), |(_, text)| text.clone())
    }

    /// Replaces the policy.
    pub fn put(&mut self, bucket: &str, text: Option<&str>, now: Timestamp) {
        let bucket = self.buckets.entry(bucket.to_owned()).or_default();
        let before = std::mem::replace(&mut bucket.policy, text.map(ToOwned::to_owned));
        bucket.past.push((now, before));
    }

    pub fn texts(&self, bucket: &str) -> Vec<String> {
        let policy = self.buckets.get(bucket).and_then(|b| b.policy.as_deref());
        policy.map(statements).unwrap_or_default()
    }
}

/// Returns the texts of a document, those that are in `of` only.
pub fn only(texts: &[String], of: &BTreeSet<String>) -> Vec<String> {
    texts.iter().filter(|text| of.contains(*text)).cloned().collect()
}
