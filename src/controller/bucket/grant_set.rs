//! A group during a reconcile: the grants of a bucket that share an identity and a region.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::grant_writes::{release, write_status};
use crate::api::{BackupRef, GrantStatus, ObservedBucket, ObservedPolicy, RepeatedDrift};
use crate::controller::context::Context;
use crate::core::grant::{
    Claims, ClaimsByGrant, Desired, GrantInput, GrantObject, GrantSetKey, GrantState, PassRoleDecision,
    WriteHistory,
};
use crate::core::identity::Identity;
use crate::core::{requeue, time};

/// A group during a reconcile.
pub(super) struct GrantSet<'a> {
    pub(super) context: &'a Context,
    pub(super) identity: Identity,
    /// Recent policy writes of all groups of the bucket.
    pub(super) writes: &'a mut WriteHistory,
    /// Fingerprints of the statements that the grants of other groups hold.
    pub(super) placed_by_others: BTreeSet<String>,
    /// Fingerprints of the statements whose copy in the policy grants of other groups have written.
    pub(super) explained_by_others: BTreeSet<String>,
    /// What the grants of this group claim, as stored in their ledgers.
    pub(super) claims: Mutex<ClaimsByGrant>,
    /// Whether the reference of the identity is closed, so that the last credentials that worked are in use.
    pub(super) reference_closed: bool,
    /// Whether the owner of the bucket was read in this reconcile.
    pub(super) owner_read: bool,
    /// Whether the API server rejected a write of this reconcile, which therefore has to be tried again.
    pub(super) write_failed: AtomicBool,
}

/// A grant during a reconcile, and what the reconcile finds out about the grant.
pub(super) struct GrantWork {
    pub(super) grant: GrantObject,
    pub(super) input: GrantInput,
    pub(super) pass_role: Option<PassRoleDecision>,
    /// State that is decided without the plan: suspended, invalid, denied, preview, wrong bucket, or failed
    /// credentials.
    pub(super) outcome: Option<GrantState>,
    /// Whether the additions have to wait in this reconcile.
    pub(super) held_back: bool,
    /// Statements that the grant would want if it were enforced; only in mode `Preview`.
    pub(super) preview: Option<Desired>,
    /// Owner and region of the bucket, if they were read in this reconcile.
    pub(super) bucket: Option<ObservedBucket>,
    /// Statements added and removed for the grant in this reconcile, and statements found missing.
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) missing: usize,
    /// Whether a write of an earlier reconcile turned out to have taken effect.
    pub(super) late_write_seen: bool,
    /// Missing statements without an event so far, and the state of the drift backoff.
    pub(super) unreported_drift: usize,
    pub(super) repeated_drift: Option<RepeatedDrift>,
    /// The state of the drift backoff before this reconcile.
    pub(super) earlier_drift: Option<RepeatedDrift>,
    /// Time of the policy write in this reconcile, whether the policy is public since then, and the backup from
    /// before.
    pub(super) last_write: Option<Timestamp>,
    /// The policy as this reconcile wrote it: what the status reports until a read shows it.
    pub(super) written_policy: Option<ObservedPolicy>,
    pub(super) public: Option<bool>,
    pub(super) backup: Option<BackupRef>,
    /// Whether the stored ledger records a write that was not sent, or that OSS has rejected.
    pub(super) roll_back: bool,
}

impl<'a> GrantSet<'a> {
    /// Returns a group whose grants claim `claims`, beside the groups whose grants claim `others`.
    pub(super) fn new(
        context: &'a Context,
        identity: Identity,
        writes: &'a mut WriteHistory,
        claims: ClaimsByGrant,
        others: &BTreeMap<GrantSetKey, ClaimsByGrant>,
    ) -> Self {
        let others = || others.values().flat_map(BTreeMap::values);
        Self {
            context,
            identity,
            writes,
            placed_by_others: others().flat_map(|c| &c.holds).cloned().collect(),
            explained_by_others: others().flat_map(|c| &c.explains).cloned().collect(),
            claims: Mutex::new(claims),
            reference_closed: false,
            owner_read: false,
            write_failed: AtomicBool::new(false),
        }
    }

    /// Returns what the grants claim now.
    pub(super) fn into_claims(self) -> ClaimsByGrant {
        self.claims.into_inner()
    }

    /// Stores a status. `false` when the write failed. A failed write may still have been stored: the other groups
    /// then rely only on the statements that the grant holds in both cases.
    pub(super) async fn store_status(&self, grant: &mut GrantObject, status: GrantStatus) -> bool {
        let before = Claims::of(grant.deleting, &grant.status.owned);
        let after = Claims::of(grant.deleting, &status.owned);
        let stored = write_status(self.context, grant, status).await;
        let certain = if stored {
            after
        } else {
            Claims::either(&before, &after)
        };
        let mut claims = self.claims.lock();
        claims.insert(grant.uid.clone(), certain);
        self.note_write(stored)
    }

    /// Removes the finalizer of a grant that owns nothing. `false` when the write failed.
    pub(super) async fn release(&self, grant: GrantObject, residual: usize) -> bool {
        self.note_write(release(self.context, grant, residual).await)
    }

    fn note_write(&self, succeeded: bool) -> bool {
        self.write_failed.fetch_or(!succeeded, Relaxed);
        succeeded
    }
}

/// Returns the shortest drift interval of the grants, with ±10 % jitter.
pub(super) fn drift_interval(batch: &[GrantWork]) -> Duration {
    let (interval, seed) = shortest_drift_interval(batch);
    requeue::jittered(interval, seed)
}

/// Returns the time until the next drift check. The first check of a process is spread over 10 to 100 % of the
/// interval: all buckets are reconciled at start, and would otherwise be checked at the same time in every interval.
pub(super) fn next_drift_check(batch: &[GrantWork], regular: bool) -> SignedDuration {
    let wait = if regular {
        drift_interval(batch)
    } else {
        let (interval, seed) = shortest_drift_interval(batch);
        requeue::initial_jitter(interval, seed)
    };
    time::signed(wait)
}

/// Returns the shortest drift interval of the grants, from 60 s to 24 h (600 s without a readable spec), and a seed
/// for jitter.
pub(super) fn shortest_drift_interval(batch: &[GrantWork]) -> (Duration, &str) {
    let seconds = batch
        .iter()
        .filter_map(|p| p.grant.spec.as_ref().ok())
        .map(|s| s.drift_interval_seconds)
        .min();
    let seconds = u64::try_from(seconds.unwrap_or(600))
        .unwrap_or(600)
        .clamp(60, 86_400);
    let seed = batch.first().map_or("", |p| p.grant.uid.as_str());
    (Duration::from_secs(seconds), seed)
}
