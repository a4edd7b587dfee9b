//! State of a bucket between reconciles: backoff, and the recent writes that OSS may not return yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::probes::ProbeRead;
use crate::api::ObservedBucket;
use crate::controller::digest::ChangeDigest;
use crate::core::error::CloudError;
use crate::core::grant::{GrantSetKey, GroupRecord, RejectedAdditions, Trust, WriteHistory};
use crate::core::requeue::exponential_backoff;
use crate::core::tenancy::TenancyRules;
use crate::ports::AccessKeys;

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

/// Consecutive reconciles in which the API server rejected a status or the removal of a finalizer.
#[derive(Default)]
pub(super) struct ApiWrites {
    failures: u32,
}

impl ApiWrites {
    /// Records whether all writes of a reconcile succeeded. Returns the time until the failed ones are tried again; `None`
    /// when there are none.
    pub(super) fn retry_after(&mut self, all_stored: bool, seed: &str) -> Option<Duration> {
        self.failures = if all_stored {
            0
        } else {
            self.failures.saturating_add(1)
        };
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        (!all_stored).then(|| exponential_backoff(self.failures, first, most, seed))
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
    /// When the next reconcile is due, after the time at which that was decided.
    pub(super) not_before: Option<(Timestamp, Timestamp)>,
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
        self.not_before = None;
    }
}
