//! A grant set during a reconcile (the grants of a bucket that share an identity and a region), and the writes to its
//! grants: the status, with one event per change of state, and the finalizer. A grant that was deleted without its
//! finalizer has its status in memory instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::api::GrantStatus;
use crate::controller::context::Context;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::{access_remains, drift_detected, state_change};
use crate::core::grant::{
    Claims, ClaimsByGrant, GrantObject, GrantSetKey, GrantWork, WriteHistory, status_of_released,
};
use crate::core::identity::Identity;
use crate::runtime::metric_labels::DeletionOutcome;

/// A grant set during a reconcile.
pub(super) struct GrantSet<'a> {
    pub(super) context: &'a Context,
    pub(super) identity: Identity,
    /// Recent policy writes of all sets of the bucket.
    pub(super) writes: &'a mut WriteHistory,
    /// Fingerprints of the statements that the grants of other sets hold.
    pub(super) placed_by_others: BTreeSet<String>,
    /// Fingerprints of the statements whose copy in the policy grants of other sets have written.
    pub(super) explained_by_others: BTreeSet<String>,
    /// What the grants of this set claim, as stored in their ledgers.
    pub(super) claims: Mutex<ClaimsByGrant>,
    /// Whether the reference of the identity is closed, so that the last credentials that worked are in use.
    pub(super) reference_closed: bool,
    /// Whether the owner of the bucket was read in this reconcile.
    pub(super) owner_read: bool,
    /// Whether the API server rejected a write of this reconcile, which therefore has to be tried again.
    pub(super) write_failed: AtomicBool,
}

impl<'a> GrantSet<'a> {
    /// Returns a set whose grants claim `claims`, beside the sets whose grants claim `others`.
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

    /// Stores a status. `false` when the write failed. A failed write may still have been stored: the other sets
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

    /// Publishes one event for missing statements, however many reconciles they stay missing.
    pub(super) async fn publish_drift(&self, work: &mut GrantWork) {
        if work.unreported_drift == 0 {
            return;
        }
        self.context.metrics.drift.inc();
        let policy = work.grant.status.policy.as_ref();
        let event = drift_detected(work.unreported_drift, policy.and_then(|p| p.backup_ref.as_ref()));
        work.unreported_drift = 0;
        publish_grant_event(self.context, &work.grant, event).await;
    }

    fn note_write(&self, succeeded: bool) -> bool {
        self.write_failed.fetch_or(!succeeded, Relaxed);
        succeeded
    }
}

/// Replaces the status if it differs. Returns `false`, and leaves `grant` unchanged, if the write failed.
pub(super) async fn write_status(context: &Context, grant: &mut GrantObject, status: GrantStatus) -> bool {
    if status == grant.status {
        return true;
    }
    // An error of the API server ends a reconcile that would add statements for a grant that was deleted meanwhile.
    if !context.leaving.store_status(&grant.uid, &status) {
        let replaced = context.ports.replace_grant_status(grant, &status).await;
        context.grant_reads.changed(&grant.key);
        match replaced {
            Ok(version) => grant.resource_version = version,
            Err(error) => {
                tracing::info!(grant = %grant.key, %error, "failed to store status");
                return false;
            }
        }
    }
    let before = std::mem::replace(&mut grant.status, status);
    if let Some(event) = state_change(grant, &before) {
        publish_grant_event(context, grant, event).await;
    }
    true
}

/// Removes the finalizer of a grant that owns nothing any more, and says which access remains. `false` when a write
/// failed and the release has to be retried.
pub(super) async fn release(context: &Context, mut grant: GrantObject, residual: usize) -> bool {
    for event in access_remains(residual, grant.only_stored.unverified) {
        publish_grant_event(context, &grant, event).await;
    }
    if let Some(status) = status_of_released(&grant)
        && !write_status(context, &mut grant, status).await
    {
        return false;
    }
    if context.leaving.finished(&grant.uid) {
        context.metrics.unprotected_deletion(DeletionOutcome::Finished);
        tracing::info!(grant = %grant.key, "deleted grant without finalizer owns no statement any more");
        return true;
    }
    context.leaving.releasing(&grant);
    let Err(error) = context.ports.remove_finalizer(&grant).await else {
        return true;
    };
    if error.had_no_effect() {
        context.leaving.not_released(&grant);
    }
    tracing::info!(grant = %grant.key, %error, "failed to remove finalizer; retrying");
    false
}
