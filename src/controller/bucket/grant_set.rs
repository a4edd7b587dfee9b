//! Reconciles one group: the grants of a bucket that share an identity and a region.
//!
//! Flow: return early while the inputs are unchanged and the group is not due; release deleted grants that keep their
//! statements; validate the grants; obtain credentials; read the bucket facts; prepare the grants (finalizer);
//! converge the policy (read, plan, store ledgers, write, read again); write the statuses.
//!
//! Guarantees: no cloud call is made when every grant has a state without one. A ledger is stored before the write
//! that it records, and says until when that write can take effect.
//!
//! The returned duration is the time until the next reconcile of the group. The reconcile of the bucket requeues after
//! the shortest duration of its groups.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::cache::{GrantSetCache, WriteHistory};
use super::claims::{Claims, ClaimsByGrant};
use super::permission::CredentialAccess;
use super::probe::{Admission, ProbeFailure};
use super::release::{release, release_retained};
use super::write_status::write_status;
use super::{short_backoff, time_left};
use crate::api::{
    BackupRef, BucketRef, EventReason, GrantStatus, ObservedBucket, ObservedPolicy, RepeatedDrift,
};
use crate::controller::context::Context;
use crate::controller::digest::ChangeDigest;
use crate::controller::object_events::publish_grant_event;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{Desired, GrantInput, GrantObject, GrantState, PassRoleDecision, PublicAccessBlock};
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
}

/// Returns the time until the next reconcile of a group whose grants have all been released. A released grant that is
/// listed again, because the API server was restored from a snapshot, is released again.
fn nothing_left(cache: &mut GrantSetCache, all_released: bool) -> Duration {
    cache.last_inputs = None;
    Duration::from_secs(if all_released { 3600 } else { 1 })
}

/// A grant during a reconcile, and what the reconcile finds out about the grant.
pub(super) struct GrantWork {
    pub(super) grant: GrantObject,
    pub(super) input: GrantInput,
    pub(super) pass_role: Option<PassRoleDecision>,
    /// State that is decided without the plan: suspended, invalid, denied, preview, wrong bucket, or failed
    /// credentials.
    pub(super) outcome: Option<GrantState>,
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

/// Facts about the bucket, read before the grants are prepared.
#[derive(Clone, Default)]
pub(super) struct BucketFacts {
    pub(super) block: Option<PublicAccessBlock>,
    pub(super) bucket: Option<ObservedBucket>,
}

impl GrantSet<'_> {
    /// Reconciles the group. Returns the time until its next reconcile.
    pub(super) async fn reconcile(
        &mut self,
        grants: Vec<GrantObject>,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let now = self.context.ports.now();
        cache.wrote = false;
        let inputs = grants
            .iter()
            .map(|g| (&g.uid, g.generation, (g.deleting, g.abandon), &g.reconcile_at));
        let inputs = Some(ChangeDigest::of(inputs.collect::<Vec<_>>()));
        let rules = Some(self.context.ports.tenancy_rules());
        if cache.last_inputs == inputs
            && cache.rules == rules
            && let Some(time) = cache.not_before.filter(|time| *time > now)
        {
            return time_left(now, time);
        }
        (cache.last_inputs, cache.rules) = (inputs, rules);
        let here = |uid: &String| grants.iter().any(|g| g.uid == *uid);
        cache.last_credentials.retain(|uid, _| here(uid));
        let (grants, all_released) = release_retained(self.context, grants).await;
        let wait = if all_released {
            self.reconcile_grants(grants, cache).await
        } else {
            Duration::from_secs(1)
        };
        let now = self.context.ports.now();
        // This reconcile could not run an overdue drift check: the next reconcile that reads the policy runs it.
        let next_check = cache.next_drift_check.filter(|time| *time > now);
        let wait = next_check.map_or(wait, |time| wait.min(time_left(now, time)));
        cache.not_before = Some(time::after(now, time::signed(wait)));
        wait
    }

    /// Reconciles the grants that stay in the group. Returns the time until the next reconcile, without the drift
    /// interval.
    pub(super) async fn reconcile_grants(
        &mut self,
        grants: Vec<GrantObject>,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let Some(place) = grants.iter().find_map(|g| g.bucket.clone()) else {
            return nothing_left(cache, true);
        };
        let mut batch = Vec::new();
        for grant in grants {
            batch.push(self.validate(grant).await);
        }
        let (batch, all_released) = self.release_owning_nothing(batch).await;
        if batch.is_empty() {
            return nothing_left(cache, all_released);
        }
        let wait = Box::pin(self.reconcile_owners(batch, &place, cache)).await;
        if all_released {
            wait
        } else {
            wait.min(Duration::from_secs(1))
        }
    }

    /// Reconciles the grants that are kept, or that own something.
    async fn reconcile_owners(
        &mut self,
        mut batch: Vec<GrantWork>,
        place: &BucketRef,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let interval = drift_interval(&batch);
        // Every grant has a state without the policy: no cloud call is made.
        if batch.iter().all(|p| p.outcome.is_some()) {
            let denied = batch.iter().any(|p| {
                matches!(
                    p.outcome,
                    Some(GrantState::Denied(_) | GrantState::NamespaceUnknown)
                )
            });
            self.write_all(batch, &GrantState::Suspended).await;
            return if denied { Duration::from_secs(60) } else { interval };
        }
        let access = match self.admit(&batch, place, cache).await {
            Admission::Admitted => self.request_access(&mut batch, place, cache).await,
            Admission::Waiting(wait) => return wait,
            Admission::Refused(ProbeFailure::Credentials(refusal)) => self.refuse(&mut batch, cache, refusal),
            Admission::Refused(ProbeFailure::Cloud(error)) => {
                return self.on_cloud_error(batch, &error, cache).await;
            }
        };
        let keys = match access {
            CredentialAccess::Granted(keys) => keys,
            // A terminating namespace loses its Secret before our finalizer runs: the last working credentials are used
            // only to remove the statements of deleted grants.
            CredentialAccess::LastWorking(keys, retry) => {
                self.reference_closed = true;
                return self.converge(batch, place, &keys, cache).await.min(retry);
            }
            CredentialAccess::Refused(state, retry) => {
                self.write_all(batch, &state).await;
                return retry;
            }
        };
        let facts = match self.read_bucket_facts(&batch, place, &keys, cache).await {
            Ok(facts) => facts,
            Err(error) => return self.on_cloud_error(batch, &error, cache).await,
        };
        self.owner_read = facts.bucket.is_some();
        let mut all_prepared = true;
        for work in &mut batch {
            all_prepared &= self.prepare(work, &facts).await;
        }
        // The operator's own identity reads no policy of a bucket whose owner is not the one that a grant names.
        let unverified = |work: &GrantWork| work.outcome.is_some() && work.preview.is_none();
        if self.identity.is_operator() && batch.iter().all(unverified) {
            self.write_all(batch, &GrantState::OwnerUnverified).await;
            return interval;
        }
        let failures = cache.failures;
        let wait = self.converge(batch, place, &keys, cache).await;
        if !all_prepared {
            cache.failures = failures.saturating_add(1);
            return wait.min(short_backoff(cache.failures, &self.identity.jitter_seed()));
        }
        wait
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
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.insert(grant.uid.clone(), certain);
        stored
    }

    /// Handles a failed cloud call: forgets rejected credentials, releases deleted grants of a missing bucket, and
    /// writes the error to the other grants. The first expiry of an STS session is retried without a status write.
    /// Returns the time until the retry.
    pub(super) async fn on_cloud_error(
        &self,
        batch: Vec<GrantWork>,
        error: &CloudError,
        cache: &mut GrantSetCache,
    ) -> Duration {
        if matches!(
            error.kind,
            CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
        ) {
            self.context.credentials.forget(&self.identity);
        }
        // A session that expired early is requested again, or read again from its source; the statuses report the error
        // only if that fails too.
        if error.kind == CloudErrorKind::CredentialsExpired && cache.failures == 0 {
            cache.failures = 1;
            return Duration::from_secs(1);
        }
        cache.answered(Some(error));
        let interval = drift_interval(&batch);
        let mut retry = false;
        let gone = error.kind == CloudErrorKind::NoSuchBucket && self.is_bucket_gone(&batch, cache).await;
        for work in batch {
            if work.grant.deleting && gone {
                let note = "The bucket no longer exists, so no statement has to be removed".to_owned();
                publish_grant_event(self.context, &work.grant, EventReason::BucketGone, note, false).await;
                retry |= !release(self.context, work.grant, 0).await;
                continue;
            }
            let free = work.owns_nothing();
            let written = self.write_state(work, GrantState::CloudFailed(error.clone()), None);
            retry |= !written.await && free;
        }
        cache.failures = cache.failures.saturating_add(1);
        if retry {
            let soon = short_backoff(cache.failures, &self.identity.jitter_seed());
            return error.retry_after.map_or(soon, |wait| wait.max(soon));
        }
        match error.kind {
            CloudErrorKind::Throttled | CloudErrorKind::Unavailable | CloudErrorKind::Unanswered => {
                let (first, cap) = (Duration::from_secs(1), Duration::from_secs(420));
                let grown =
                    requeue::exponential_backoff(cache.failures, first, cap, &self.identity.jitter_seed());
                error.retry_after.map_or(grown, |wait| wait.max(grown))
            }
            CloudErrorKind::BucketLocked => {
                let (first, cap) = (Duration::from_secs(1), Duration::from_secs(30));
                requeue::exponential_backoff(cache.failures, first, cap, &self.identity.jitter_seed())
            }
            // An expired session is requested again after 1 s; credentials that stay rejected are tried every 60 s.
            CloudErrorKind::CredentialsExpired if cache.failures <= 1 => Duration::from_secs(1),
            CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired => {
                Duration::from_secs(60)
            }
            CloudErrorKind::AccessDenied
            | CloudErrorKind::PublicAccessBlocked
            | CloudErrorKind::NoSuchBucket
            | CloudErrorKind::NoSuchProject
            | CloudErrorKind::WrongRegion
            | CloudErrorKind::PolicyRejected
            | CloudErrorKind::RequestRejected => interval,
        }
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
