//! State of a bucket between reconciles: backoff, and the recent writes that OSS may not return yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::probes::ProbeRead;
use crate::api::ObservedBucket;
use crate::controller::digest::ChangeDigest;
use crate::core::error::CloudError;
use crate::core::grant::{
    ApiWrites, Due, GrantObject, GrantSetKey, GroupRecord, RejectedAdditions, Trust, WriteHistory,
};
use crate::core::tenancy::TenancyRules;
use crate::ports::{AccessKeys, PolicyRead};

/// State of a bucket between reconciles.
#[derive(Default)]
pub struct BucketCache {
    pub(super) grant_sets: BTreeMap<GrantSetKey, GrantSetCache>,
    pub(super) failures: u32,
    pub(super) writes: WriteHistory,
    /// Writes for the grants whose spec names no usable identity or bucket.
    pub(super) unusable_writes: ApiWrites,
}

impl BucketCache {
    /// Makes all groups due at once.
    pub(super) fn clear_backoff(&mut self) {
        self.grant_sets
            .values_mut()
            .for_each(GrantSetCache::clear_backoff);
    }

    /// Makes the groups due at once whose statements the write of another group may have removed: a group restores them with
    /// its own credentials. An identity that has not read the policy has no statement in it. Returns whether there are any.
    pub(super) fn clear_backoff_of_affected(&mut self) -> bool {
        let writers = self.grant_sets.values().filter(|set| set.wrote).count();
        let is_affected =
            |set: &&mut GrantSetCache| set.trust == Trust::Proven && (!set.wrote || writers > 1);
        let affected = self.grant_sets.values_mut().filter(is_affected);
        let affected: Vec<_> = affected.filter(|_| writers > 0).collect();
        let any = !affected.is_empty();
        affected.into_iter().for_each(GrantSetCache::clear_backoff);
        any
    }
}

/// State of a group between reconciles.
#[derive(Default)]
pub(super) struct GrantSetCache {
    pub(super) failures: u32,
    /// Writes for the grants of the group.
    pub(super) api_writes: ApiWrites,
    /// The delay for which the last failed call of this reconcile asked.
    pub(super) asked: Option<Duration>,
    /// When the next reconcile is due.
    pub(super) due: Option<Due>,
    /// Digest of the grants' inputs at the last reconcile; a change makes the group due at once.
    pub(super) last_inputs: Option<ChangeDigest>,
    /// Tenancy rules at the last reconcile; a change makes the group due at once.
    pub(super) rules: Option<Arc<TenancyRules>>,
    /// OSS rejected a write as public: Block Public Access is read again and treated as on.
    pub(super) public_refused: bool,
    /// The grants whose additions OSS has rejected.
    pub(super) rejected: RejectedAdditions,
    /// When the next drift check is due.
    pub(super) next_drift_check: Option<Timestamp>,
    /// Whether the last reconcile wrote the policy.
    pub(super) wrote: bool,
    /// Whether the identity can read the policy.
    pub(super) trust: Trust,
    /// Whether OSS has denied the last policy write of the identity.
    pub(super) write_denied: bool,
    /// When the group was last reconciled.
    pub(super) reconciled_at: Option<Timestamp>,
    /// What a probe read for the next reconcile.
    pub(super) probed: Option<ProbeRead>,
    /// Credentials that last worked, by the uid of the grant that owned statements with them; dropped with that grant.
    pub(super) last_credentials: BTreeMap<String, LastCredentials>,
}

/// Credentials that have read the policy while a grant owned these statements. They only remove these statements, while
/// the reference is closed.
pub(super) struct LastCredentials {
    pub(super) keys: AccessKeys,
    pub(super) fingerprints: BTreeSet<String>,
}

impl GrantSetCache {
    /// Begins a reconcile. Returns the time left if the group is not due and its inputs are unchanged.
    pub(super) fn begin(
        &mut self,
        grants: &[GrantObject],
        rules: Arc<TenancyRules>,
        now: Timestamp,
    ) -> Option<Duration> {
        self.wrote = false;
        let inputs = grants
            .iter()
            .map(|g| (&g.uid, g.generation, (g.deleting, g.abandon), &g.reconcile_at));
        let inputs = Some(ChangeDigest::of(inputs.collect::<Vec<_>>()));
        let rules = Some(rules);
        let left = self.due.and_then(|due| due.left(now));
        if self.last_inputs == inputs && self.rules == rules && left.is_some() {
            return left;
        }
        (self.last_inputs, self.rules) = (inputs, rules);
        self.reconciled_at = Some(now);
        let here = |uid: &String| grants.iter().any(|g| g.uid == *uid);
        self.last_credentials.retain(|uid, _| here(uid));
        self.rejected.retain(here);
        if self.next_drift_check.is_some_and(|time| now >= time) {
            self.rejected.retry_some();
        }
        self.asked = None;
        None
    }

    /// Returns the policy that the probe read, once and if it can serve as a first read.
    pub(super) fn take_probed_policy(&mut self, writes: &WriteHistory, now: Timestamp) -> Option<PolicyRead> {
        let probed = self.probed.take()?;
        probed.policy.filter(|_| writes.is_fresh_read(probed.at, now))
    }

    /// Returns the facts about the bucket that the probe read, once.
    pub(super) fn take_probed_bucket(&mut self) -> Option<ObservedBucket> {
        self.probed.as_mut()?.bucket.take()
    }

    /// Records the end of a policy read or another call.
    pub(super) fn answered(&mut self, error: Option<&CloudError>) {
        self.trust = self.trust.after(error.map(|error| error.kind));
    }

    /// Returns what is known about the group for its turn.
    pub(super) fn record(&self) -> GroupRecord {
        GroupRecord {
            doubted: self.write_denied || self.trust == Trust::Doubtful,
            reconciled_at: self.reconciled_at,
        }
    }

    /// Makes the group due at once: a recheck was requested, or another group's write may have removed a statement
    /// that this group wants.
    pub(super) fn clear_backoff(&mut self) {
        self.due = None;
    }
}
