//! One identity's grants of one bucket: read the policy, plan, write what the plan says, look again, report.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::cache::{GrantSetCache, WriteHistory};
use super::release::{publish_event, release, release_retained};
use super::write_status::write_status;
use super::{PlacedByGrant, placed_fingerprints, short_backoff, time_left};
use crate::api::{BackupRef, EventReason, GrantStatus, ObservedBucket, RepeatedDrift};
use crate::controller::context::Context;
use crate::controller::digest::ChangeDigest;
use crate::core::error::{CloudError, CloudErrorKind, CredentialsError};
use crate::core::grant::{Desired, GrantInput, GrantObject, GrantState, PassRoleDecision, PublicAccessBlock};
use crate::core::identity::{Identity, SessionScope};
use crate::core::requeue;

/// A lane of a pass.
pub(super) struct GrantSet<'a> {
    pub(super) context: &'a Context,
    pub(super) identity: Identity,
    /// The latest writes of all lanes of the bucket.
    pub(super) writes: &'a mut WriteHistory,
    /// Statements that grants of other identities have put into the policy, by fingerprint.
    pub(super) placed_by_others: BTreeSet<String>,
    /// What this lane's own grants have put there, as it is stored.
    pub(super) placed: Mutex<PlacedByGrant>,
}

/// A grant on its way through the lane.
pub(super) struct GrantWork {
    pub(super) grant: GrantObject,
    pub(super) input: GrantInput,
    pub(super) pass_role: Option<PassRoleDecision>,
    /// Known without the policy: paused, invalid, denied, or on the wrong bucket.
    pub(super) outcome: Option<GrantState>,
    /// What it would want if it were enforced; only in preview.
    pub(super) preview: Option<Desired>,
    /// What the cloud says about the bucket, when it was asked.
    pub(super) bucket: Option<ObservedBucket>,
    /// Statements added and taken out for it in this pass, and found gone.
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) missing: usize,
    /// Whether a write of an earlier pass turned out to have landed.
    pub(super) late_write_seen: bool,
    /// Statements found gone that nobody was told of yet, and the quarrel as it stands.
    pub(super) unreported_drift: usize,
    pub(super) repeated_drift: Option<RepeatedDrift>,
    /// When the policy was written for it in this pass, whether it is public since, and the copy from before.
    pub(super) last_write: Option<Timestamp>,
    pub(super) public: Option<bool>,
    pub(super) backup: Option<BackupRef>,
}

/// What was asked about the bucket before boarding.
#[derive(Clone, Default)]
pub(super) struct BucketFacts {
    pub(super) block: Option<PublicAccessBlock>,
    pub(super) bucket: Option<ObservedBucket>,
}

impl GrantSet<'_> {
    /// Makes a pass; gives the time until the next one.
    pub(super) async fn reconcile(
        &mut self,
        grants: Vec<GrantObject>,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let now = self.context.ports.now();
        cache.wrote = false;
        let asked = grants
            .iter()
            .map(|g| (&g.uid, g.generation, (g.deleting, g.abandon), &g.reconcile_at));
        let asked = Some(ChangeDigest::of(asked.collect::<Vec<_>>()));
        let rules = Some(self.context.ports.tenancy_rules());
        if cache.last_inputs == asked
            && cache.rules == rules
            && let Some(time) = cache.not_before.filter(|time| *time > now)
        {
            return time_left(now, time);
        }
        (cache.last_inputs, cache.rules) = (asked, rules);
        let (grants, all_gone) = release_retained(self.context, grants).await;
        let wait = if all_gone {
            self.reconcile_grants(grants, cache).await
        } else {
            Duration::from_secs(1)
        };
        let now = self.context.ports.now();
        // A look that is overdue was not taken because this pass could not: it waits for the next one that can.
        let look = cache.next_drift_check.filter(|time| *time > now);
        let wait = look.map_or(wait, |time| wait.min(time_left(now, time)));
        cache.not_before = Some(now + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO));
        wait
    }

    pub(super) async fn reconcile_grants(
        &mut self,
        grants: Vec<GrantObject>,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let Some(place) = grants.iter().find_map(|g| g.bucket.clone()) else {
            return Duration::from_secs(3600);
        };
        let mut batch = Vec::new();
        for grant in grants {
            batch.push(self.validate(grant).await);
        }
        let interval = drift_interval(&batch);
        // Nobody here may or wants to look: no call is made for them.
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
        let keys = self
            .context
            .credentials
            .fetch_cached(
                self.context.ports.as_ref(),
                &self.identity,
                &SessionScope::bucket(&place),
            )
            .await;
        let keys = match keys {
            Ok(keys) => keys,
            Err(problem) => {
                // Nobody else can be looked at; but what they own is theirs still.
                for work in batch.iter_mut().filter(|p| !p.grant.deleting) {
                    let known = &mut work.outcome;
                    known.get_or_insert_with(|| GrantState::CredentialsFailed(problem.clone()));
                }
                let leaving = batch.iter().any(|p| p.grant.deleting && !p.owns_nothing());
                // Without its Role a Secret reads as denied, which is how a terminating namespace looks from here.
                let denied = matches!(
                    problem,
                    CredentialsError::SecretAccessDenied { .. } | CredentialsError::TokenRequestDenied { .. }
                );
                let last = cache.last_credentials.clone().filter(|_| denied);
                let retry = if problem.is_transient() {
                    short_backoff(2, &self.identity.jitter_seed())
                } else {
                    Duration::from_secs(30)
                };
                let Some(keys) = last.filter(|_| leaving) else {
                    self.write_all(batch, &GrantState::CredentialsFailed(problem))
                        .await;
                    return retry;
                };
                // A terminating namespace loses its Secret before our finalizer runs: the last keys that worked are used
                // for one thing, taking its statements out.
                return self.converge(batch, &place, &keys, cache).await.min(retry);
            }
        };
        let known = match self.read_bucket_facts(&batch, &place, &keys, cache).await {
            Ok(known) => known,
            Err(error) => return self.on_cloud_error(batch, &error, cache).await,
        };
        let mut all_aboard = true;
        for work in &mut batch {
            all_aboard &= self.prepare(work, &known).await;
        }
        let failures = cache.failures;
        let wait = self.converge(batch, &place, &keys, cache).await;
        if !all_aboard {
            cache.failures = failures.saturating_add(1);
            return wait.min(short_backoff(cache.failures, &self.identity.jitter_seed()));
        }
        wait
    }

    /// Stores a status. What cannot be stored may be all the same: then only what the grant holds either way counts for the
    /// other lanes.
    pub(super) async fn store_status(&self, grant: &mut GrantObject, status: GrantStatus) -> bool {
        let before = placed_fingerprints(grant.deleting, &grant.status.owned);
        let after = placed_fingerprints(grant.deleting, &status.owned);
        let stored = write_status(self.context, grant, status).await;
        let holds = if stored { after } else { &before & &after };
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.insert(grant.uid.clone(), holds);
        stored
    }

    /// A failed call: what everyone is told, and when to try again.
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
        // A session that ended before its time is opened anew; nobody needs to hear of it unless that fails too.
        if error.kind == CloudErrorKind::CredentialsExpired
            && cache.failures == 0
            && self.identity.uses_sts_session()
        {
            cache.failures = 1;
            return Duration::from_secs(1);
        }
        let interval = drift_interval(&batch);
        let mut retry = false;
        for work in batch {
            if work.grant.deleting && error.kind == CloudErrorKind::NoSuchBucket {
                let note = "The bucket no longer exists, so no statement has to be removed".to_owned();
                publish_event(self.context, &work.grant, EventReason::BucketGone, note, false).await;
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
            // An expired session is opened anew at once; keys that stay refused are tried each minute.
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

/// The shortest drift interval, spread by a tenth.
pub(super) fn drift_interval(batch: &[GrantWork]) -> Duration {
    let (interval, seed) = shortest_drift_interval(batch);
    requeue::jittered(interval, seed)
}

/// Until the next look although nothing changes. The first one of a process is anywhere in the interval: it passes over all
/// buckets when it starts, and would look at them together again and again.
pub(super) fn next_drift_check(batch: &[GrantWork], regular: bool) -> SignedDuration {
    let wait = if regular {
        drift_interval(batch)
    } else {
        let (interval, seed) = shortest_drift_interval(batch);
        requeue::initial_jitter(interval, seed)
    };
    SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_secs(600))
}

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
