//! Converges the policy to the plan, in rounds. A round plans from the policy that was read, stores the ledgers, backs
//! the policy up, reads the policy again (and starts over if it changed), writes, and reads the result for the next
//! round. A round without a change ends the reconcile and writes the statuses.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::audit::{PolicyWrite, log_write};
use super::cache::GrantSetCache;
use super::grant_set::{GrantSet, GrantWork, drift_interval, next_drift_check};
use super::observation::{PolicyView, count_owned};
use super::permission::Recheck;
use super::short_backoff;
use super::write_outcome::WriteFailure;
use crate::api::BucketRef;
use crate::core::condition_builder::truncate;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{
    Change, Disposition, GrantInput, GrantOutcome, GrantState, OnDrift, Plan, PlanInput, drift, plan,
};
use crate::core::policy::Document;
use crate::core::time;
use crate::ports::{AccessKeys, PolicyBackup, PolicyRead};

/// Rounds in one reconcile: other writers may change the policy between our two reads a few times, but not forever.
const MAX_ROUNDS: usize = 6;
/// How far a write is dated back: OSS accepts a signature for 15 minutes, and so rejects the write after 5 minutes.
const SIGNED_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// Longest time from the plan, which dates the ledgers, to the read that dates the write: the minute in
/// `WRITE_LIFE_SECONDS`, less the time of a call.
const MAX_LEDGER_AGE: SignedDuration = SignedDuration::from_secs(50);

impl GrantSet<'_> {
    /// Runs the rounds. Returns the time until the next reconcile of the group. After [`MAX_ROUNDS`] rounds the grants
    /// report a write conflict, and the group backs off.
    pub(super) async fn converge(
        &mut self,
        mut batch: Vec<GrantWork>,
        place: &BucketRef,
        keys: &AccessKeys,
        cache: &mut GrantSetCache,
    ) -> Duration {
        let started = self.context.ports.now();
        // The first reconcile of a process is no scheduled check: restarting a healthy operator writes no status.
        let regular = cache.next_drift_check.is_some_and(|time| started >= time);
        let next_check = match cache.next_drift_check {
            // The interval may have become shorter.
            Some(due) if !regular => due.min(time::after(started, time::signed(drift_interval(&batch)))),
            _ => time::after(started, next_drift_check(&batch, regular)),
        };
        cache.next_drift_check = Some(next_check);
        let identity = self.identity.digest();
        let mut read = match self.read_policy(&batch, place, keys, cache).await {
            Ok(read) => read,
            Err(error) => return self.on_cloud_error(batch, &error, cache).await,
        };
        for round in 0..MAX_ROUNDS {
            if round > 0
                && let Some((problem, retry)) = self.lost_access(&batch, place).await
            {
                self.write_all(batch, &problem).await;
                return retry;
            }
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
                unsettled_until: self.outstanding_until(&members, now),
                absence_untrusted: self.writes.absence_untrusted(&read.bytes, now),
                placed_by_others: Some(&self.placed_by_others),
                explained_by_others: Some(&self.explained_by_others),
                confirmed_removed: Some(&self.writes.confirmed_removed),
                identity: Some(&identity),
                shared_identity: self.identity.is_operator(),
            };
            let plan = plan(input, &members);
            if note_drift(&mut batch, &plan, now) {
                continue;
            }
            if plan.change == Change::Keep {
                cache.failures = 0;
                return self.finish(batch, plan, input, regular).await;
            }
            match self.verify_owner(&mut batch, place, keys).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => return self.on_cloud_error(batch, &error, cache).await,
            }
            if !self.store_ledgers(&mut batch, &plan, document.as_ref()).await {
                continue;
            }
            // Before the second read: time spent after that read widens the window in which another writer's change is
            // lost.
            self.back_up_policy(&mut batch, &plan, place, document.as_ref())
                .await;
            let second = match self.read_policy(&batch, place, keys, cache).await {
                Ok(second) => second,
                Err(error) => return self.on_cloud_error(batch, &error, cache).await,
            };
            let read_at = self.context.ports.now();
            // The ledgers record until when the write can take effect. Plan and record again if storing took too long,
            // or if another writer changed the policy.
            if second.bytes != read.bytes || read_at.duration_since(now) > MAX_LEDGER_AGE {
                read = second;
                continue;
            }
            let keys = match self.recheck(&mut batch, &plan, place, keys).await {
                Recheck::Unchanged(keys) => keys,
                Recheck::Replan => continue,
                Recheck::Refused(state, retry) => {
                    self.write_all(batch, &state).await;
                    return retry;
                }
            };
            let keys = &keys;
            for work in &mut batch {
                work.roll_back = false;
            }
            let signed_at = time::before(second.server_time.unwrap_or(read_at), SIGNED_BEFORE);
            let uids = batch.iter().map(|work| work.grant.uid.as_str());
            self.writes.forget_rejections(uids, &plan);
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
            let after = document_after(&plan.change);
            let write = PolicyWrite {
                bucket: &place.name,
                call,
                identity: &self.identity,
                before: second.bytes.as_deref(),
                after: after.as_deref(),
                answer: written.as_ref().map(Option::as_deref),
            };
            log_write(&write, &batch, &plan);
            if let Err(error) = written {
                // OSS does not document that a rejection by its lock has no effect.
                let no_effect = if error.kind == CloudErrorKind::BucketLocked {
                    let read = self.read_policy(&batch, place, keys, cache).await;
                    read.is_ok_and(|read| read.bytes == second.bytes)
                } else {
                    error.had_no_effect()
                };
                let failure = WriteFailure { error, no_effect };
                return self.on_write_failed(batch, &plan, &failure, cache).await;
            }
            cache.wrote = true;
            self.on_write_confirmed(&mut batch, &plan, read_at);
            read = match self.read_policy(&batch, place, keys, cache).await {
                Ok(read) => read,
                Err(error) => return self.on_cloud_error(batch, &error, cache).await,
            };
            self.read_public(&mut batch, &plan, place, keys).await;
        }
        self.write_all(batch, &GrantState::WriteConflict).await;
        cache.failures = cache.failures.saturating_add(1);
        short_backoff(cache.failures, &self.identity.jitter_seed())
    }

    /// Reads whether OSS considers the policy public after a write, for the grants that the write was for.
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

    /// Backs up the policy that is about to be replaced. Without a backup the write continues: it preserves every byte
    /// of the foreign statements.
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
                tracing::warn!(bucket = place.name, %error, "failed to back up policy; continuing without backup");
            }
        }
    }

    /// Reads the policy, and keeps the credentials of a successful read.
    ///
    /// # Errors
    /// Returns the error of OSS.
    async fn read_policy(
        &self,
        batch: &[GrantWork],
        place: &BucketRef,
        keys: &AccessKeys,
        cache: &mut GrantSetCache,
    ) -> Result<PolicyRead, CloudError> {
        if let Some(probed) = self.take_probed_policy(cache) {
            self.remember_credentials(batch, keys, cache);
            return Ok(probed);
        }
        let read = self.context.ports.get_policy(place, keys).await;
        self.context
            .metrics
            .cloud_call("GetBucketPolicy", if read.is_ok() { "ok" } else { "failed" });
        cache.answered(read.as_ref().err());
        if let Ok(read) = &read {
            self.context
                .metrics
                .policy_read(read.bytes.as_ref().map_or(0, Vec::len));
            self.remember_credentials(batch, keys, cache);
        }
        read
    }

    /// Returns until when an unanswered write, of this or an earlier process, can still take effect; `None` without
    /// one.
    fn outstanding_until(&mut self, members: &[GrantInput], now: Timestamp) -> Option<Timestamp> {
        let entries = members.iter().flat_map(|m| &m.ledger);
        let own = self.writes.expiry_of(entries, now);
        own.max(self.writes.unsettled())
    }

    /// Stores the ledgers that the plan needs before the write. `false` when a ledger could not be stored: only that
    /// grant is carried instead, and a new plan is needed.
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
            // No entry leaves a stored ledger before the write: another grant may still have to adopt the entry that
            // the plan drops.
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
                work.roll_back = true;
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

/// Records statements that are missing from the policy. Returns `true` when the drift backoff starts or continues: the
/// statements are not restored now, and a new plan is needed.
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

/// Returns the policy after a change; `None` when the change deletes the policy.
fn document_after(change: &Change) -> Option<Vec<u8>> {
    match change {
        Change::Put(text) => Some(text.clone().into_bytes()),
        Change::Delete | Change::Keep => None,
    }
}
