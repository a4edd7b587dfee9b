//! The rounds of a lane: plan on what was read; store the ledgers; read once more, and start over if it changed; write;
//! read again, and plan on that. A round that finds nothing to do ends the pass with its reports.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::cache::GrantSetCache;
use super::grant_set::{GrantSet, GrantWork, next_drift_check};
use super::observation::{PolicyView, count_owned};
use super::short_backoff;
use crate::api::BucketRef;
use crate::core::condition_builder::truncate;
use crate::core::error::CloudError;
use crate::core::grant::{
    Change, Disposition, GrantInput, GrantOutcome, GrantState, OnDrift, Plan, PlanInput, drift, plan,
};
use crate::core::policy::Document;
use crate::ports::{AccessKeys, PolicyBackup, PolicyRead};

/// Rounds in one pass: others may change the policy between two of our reads a few times, not for ever.
const MAX_ROUNDS: usize = 6;
/// How far back a write is dated, so that OSS (which accepts 15 minutes) refuses it five minutes later.
const SIGNED_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// Longest time from a ledger's promise to the read that dates the write: the minute in `WRITE_LIFE_SECONDS`, less a call.
const MAX_LEDGER_AGE: SignedDuration = SignedDuration::from_secs(50);

impl GrantSet<'_> {
    pub(super) async fn converge(
        &mut self,
        mut batch: Vec<GrantWork>,
        place: &BucketRef,
        keys: &AccessKeys,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let started = self.context.ports.now();
        // The first pass of a process is no regular look: a restart of a healthy operator writes nothing.
        let regular = cache.next_drift_check.is_some_and(|time| started >= time);
        if regular || cache.next_drift_check.is_none() {
            cache.next_drift_check = Some(started + next_drift_check(&batch, regular));
        }
        let mut read = match self.read_policy(place, keys, cache).await {
            Ok(read) => read,
            Err(error) => return self.on_cloud_error(batch, &error, cache).await,
        };
        for _ in 0..MAX_ROUNDS {
            let now = self.context.ports.now();
            let document = match read.bytes.as_deref().map(Document::parse).transpose() {
                Ok(document) => document,
                Err(why) => {
                    let written = self.write_all(batch, &GrantState::PolicyUnreadable(why)).await;
                    return Duration::from_secs(if written { 3600 } else { 30 });
                }
            };
            if self.writes.is_stale_read(&read.bytes, now) {
                self.context.metrics.stale_read();
                self.write_all(batch, &GrantState::Planned(GrantOutcome::Propagating))
                    .await;
                return Duration::from_secs(2);
            }
            let members: Vec<GrantInput> = batch.iter().map(|p| p.input.clone()).collect();
            let input = PlanInput {
                document: document.as_ref(),
                now,
                unsettled_until: self.outstanding_until(&members),
                absence_untrusted: self.writes.absence_untrusted(&read.bytes, now),
                placed_by_others: Some(&self.placed_by_others),
                confirmed_removed: Some(&self.writes.confirmed_removed),
            };
            let plan = plan(input, &members);
            if note_drift(&mut batch, &plan, now) {
                continue;
            }
            if plan.change == Change::Keep {
                cache.failures = 0;
                return self.finish(batch, plan, input, regular).await;
            }
            if !self.store_ledgers(&mut batch, &plan, document.as_ref()).await {
                continue;
            }
            // Before the second read: whatever takes time after it widens the window in which a foreign change would be lost.
            self.back_up_policy(&mut batch, &plan, place, document.as_ref())
                .await;
            let second = match self.read_policy(place, keys, cache).await {
                Ok(second) => second,
                Err(error) => return self.on_cloud_error(batch, &error, cache).await,
            };
            let read_at = self.context.ports.now();
            // The ledgers promise how long the write can live; what took too long is planned and recorded anew, as is what
            // somebody else changed meanwhile.
            if second.bytes != read.bytes || read_at.duration_since(now) > MAX_LEDGER_AGE {
                read = second;
                continue;
            }
            if self.recheck_tenancy(&mut batch, &plan).await {
                continue;
            }
            let signed_at = second.server_time.unwrap_or(read_at) - SIGNED_BEFORE;
            self.writes
                .attempted(second.bytes.clone(), document_after(&plan.change), read_at);
            let (written, call) = match &plan.change {
                Change::Put(text) => (
                    self.context.ports.put_policy(place, keys, text, signed_at).await,
                    "PutBucketPolicy",
                ),
                Change::Delete | Change::Keep => (
                    self.context.ports.delete_policy(place, keys, signed_at).await,
                    "DeleteBucketPolicy",
                ),
            };
            self.context
                .metrics
                .cloud_call(call, if written.is_ok() { "ok" } else { "failed" });
            if let Err(error) = written {
                return self.on_write_failed(batch, &plan, &error, cache).await;
            }
            cache.wrote = true;
            self.on_write_confirmed(&mut batch, &plan, read_at);
            read = match self.read_policy(place, keys, cache).await {
                Ok(read) => read,
                Err(error) => return self.on_cloud_error(batch, &error, cache).await,
            };
            self.read_public(&mut batch, &plan, place, keys).await;
        }
        self.write_all(batch, &GrantState::WriteConflict).await;
        cache.failures = cache.failures.saturating_add(1);
        short_backoff(cache.failures, &self.identity.jitter_seed())
    }

    /// The rules are applied again directly before a write: they, or a namespace's labels, may have changed meanwhile.
    async fn recheck_tenancy(&self, batch: &mut [GrantWork], plan: &Plan) -> bool {
        let mut any = false;
        for (index, work) in batch.iter_mut().enumerate() {
            let gains = plan.added.get(index).is_some_and(|n| *n > 0);
            if gains && let Some(denied) = self.tenancy_denial(&work.grant).await {
                work.outcome = Some(denied);
                work.input.disposition = Disposition::Carried;
                any = true;
            }
        }
        any
    }

    /// Asks OSS whether the policy is public now, for those that the write was for.
    async fn read_public(&self, batch: &mut [GrantWork], plan: &Plan, place: &BucketRef, keys: &AccessKeys) {
        if !matches!(plan.change, Change::Put(_)) {
            return;
        }
        let public = self.context.ports.is_public(place, keys).await;
        self.context.metrics.cloud_call(
            "GetBucketPolicyStatus",
            if public.is_some() { "ok" } else { "failed" },
        );
        for work in batch.iter_mut().filter(|p| p.was_written()) {
            work.public = public;
        }
    }

    /// Keeps a copy of what is about to be replaced. Without one the write still goes on: every foreign byte is in it.
    async fn back_up_policy(
        &self,
        batch: &mut [GrantWork],
        plan: &Plan,
        place: &BucketRef,
        document: Option<&Document>,
    ) {
        let Some(document) = document else { return };
        let touched = |counts: &[usize], index: usize| counts.get(index).is_some_and(|n| *n > 0);
        let concerned: Vec<usize> = (0..batch.len())
            .filter(|i| touched(&plan.added, *i) || touched(&plan.removed, *i))
            .collect();
        let names = concerned
            .iter()
            .filter_map(|i| batch.get(*i))
            .map(|p| p.grant.key.to_string());
        let backup = PolicyBackup {
            bucket: place.name.clone(),
            document: document.text().to_owned(),
            time: self.context.ports.now(),
            writer: truncate(&names.collect::<Vec<_>>().join(", "), 1024),
        };
        match self.context.ports.store_policy_backup(backup).await {
            Ok(kept) => {
                for index in concerned {
                    if let Some(work) = batch.get_mut(index) {
                        work.backup.clone_from(&kept);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(bucket = place.name, %error, "no copy of the policy could be kept");
            }
        }
    }

    async fn read_policy(
        &self,
        place: &BucketRef,
        keys: &AccessKeys,
        cache: &mut GrantSetCache,
    ) -> Result<PolicyRead, CloudError> {
        let read = self.context.ports.get_policy(place, keys).await;
        self.context
            .metrics
            .cloud_call("GetBucketPolicy", if read.is_ok() { "ok" } else { "failed" });
        if read.is_ok() {
            cache.last_credentials = Some(keys.clone());
        }
        read
    }

    /// Until when an unanswered write, of this or an earlier process, could still take effect.
    fn outstanding_until(&self, members: &[GrantInput]) -> Option<Timestamp> {
        let own = members
            .iter()
            .flat_map(|m| &m.ledger)
            .filter_map(|e| e.unsettled_until.as_ref())
            .map(|t| t.0)
            .max();
        own.max(self.writes.unsettled())
    }

    /// Stores the ledgers that the plan needs before the write. A grant whose ledger cannot be stored is set aside, and
    /// only it; `false` asks for a new plan without it.
    pub(super) async fn store_ledgers(
        &self,
        batch: &mut [GrantWork],
        plan: &Plan,
        document: Option<&Document>,
    ) -> bool {
        let mut complete = true;
        let ours = count_owned(&plan.ledgers, document);
        for (index, work) in batch.iter_mut().enumerate() {
            let Some(planned) = plan.ledgers.get(index) else {
                continue;
            };
            // Nothing leaves a stored ledger before the write: what the plan drops may still be another grant's to take over.
            let mut ledger = planned.clone();
            let dropped = work
                .input
                .ledger
                .iter()
                .filter(|old| !planned.iter().any(|e| e.fingerprint == old.fingerprint));
            ledger.extend(dropped.cloned());
            if ledger == work.grant.status.owned {
                continue;
            }
            let outcome = plan.outcomes.get(index).cloned().unwrap_or(GrantOutcome::Carried);
            let state = work.outcome.clone().unwrap_or(GrantState::Planned(outcome));
            let mut observation = work.observe(Some(PolicyView {
                document,
                ours,
                scheduled_check: false,
                absence_trusted: false,
            }));
            observation.ledger = ledger;
            let status = work.status_before_write(&state, observation, self.context.ports.now());
            if self.store_status(&mut work.grant, status).await {
                self.publish_drift(work).await;
            } else {
                work.input.disposition = Disposition::Carried;
                work.outcome = None;
                complete = false;
            }
        }
        complete
    }
}

/// Takes note of statements that were found gone. `true` when a quarrel began or goes on, so that they are not put back now
/// and a new plan is needed.
fn note_drift(batch: &mut [GrantWork], plan: &Plan, now: Timestamp) -> bool {
    let mut retry = false;
    for (index, work) in batch.iter_mut().enumerate() {
        let drifted = plan.missing.get(index).copied().unwrap_or(0);
        if drifted == 0 || work.missing > 0 {
            continue;
        }
        work.missing = drifted;
        work.unreported_drift = drifted;
        if let Disposition::Enforced(desired) = &mut work.input.disposition
            && desired.on_drift == OnDrift::Restore
        {
            let repeated_drift = drift::on_removed(work.repeated_drift.as_ref(), now);
            if drift::backoff_left(Some(&repeated_drift), now).is_some() {
                desired.on_drift = OnDrift::Report;
                retry = true;
            }
            work.repeated_drift = Some(repeated_drift);
        }
    }
    retry
}

/// The document that a change leaves behind.
fn document_after(change: &Change) -> Option<Vec<u8>> {
    match change {
        Change::Put(text) => Some(text.clone().into_bytes()),
        Change::Delete | Change::Keep => None,
    }
}
