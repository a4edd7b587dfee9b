//! Converges the policy to the plan, in rounds. A round plans from the policy that was read, stores the ledgers, backs
//! the policy up, reads the policy again (and starts over if it changed), writes, and reads the result for the next
//! round. A round without a change ends the reconcile and writes the statuses.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::audit::{PolicyWrite, log_write};
use super::cache::GrantSetCache;
use super::cloud_error::on_cloud_error;
use super::finish::{finish, write_all};
use super::grant_set::{GrantSet, GrantWork, drift_interval, next_drift_check};
use super::permission::{Recheck, lost_access, recheck, remember_credentials};
use super::prepare::verify_owner;
use super::probe::take_probed_policy;
use super::store_ledgers::store_ledgers;
use super::write_outcome::{NEXT_ADDITION, WriteFailure, on_write_confirmed, on_write_failed};
use crate::api::{BucketRef, LedgerEntry};
use crate::core::condition_builder::truncate;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{
    Change, Disposition, GrantInput, GrantObject, GrantOutcome, GrantState, OnDrift, Plan, PlanInput,
    RejectedAdditions, drift, plan,
};
use crate::core::policy::{CheckedDeletion, CheckedPolicy, Document, PlanFault};
use crate::core::requeue::short_backoff;
use crate::core::time;
use crate::ports::{AccessKeys, PolicyBackup, PolicyRead};

/// Rounds in one reconcile: other writers may change the policy between our two reads a few times, but not forever.
const MAX_ROUNDS: usize = 6;
/// How far a write is dated back: OSS accepts a signature for 15 minutes, and so rejects the write after 5 minutes.
const SIGNED_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// Longest time from the plan, which dates the ledgers, to the read that dates the write: the minute in
/// `WRITE_LIFE_SECONDS`, less the time of a call.
const MAX_LEDGER_AGE: SignedDuration = SignedDuration::from_secs(50);

/// Runs the rounds. Returns the time until the next reconcile of the group. After [`MAX_ROUNDS`] rounds the grants
/// report a write conflict, and the group backs off; also after a plan that fails its check, which they report.
pub(super) async fn converge(
    set: &mut GrantSet<'_>,
    mut batch: Vec<GrantWork>,
    place: &BucketRef,
    keys: &AccessKeys,
    cache: &mut GrantSetCache,
) -> Duration {
    let started = set.context.ports.now();
    // The first reconcile of a process is no scheduled check: restarting a healthy operator writes no status.
    let regular = cache.next_drift_check.is_some_and(|time| started >= time);
    let next_check = match cache.next_drift_check {
        // The interval may have become shorter.
        Some(due) if !regular => due.min(time::after(started, time::signed(drift_interval(&batch)))),
        _ => time::after(started, next_drift_check(&batch, regular)),
    };
    cache.next_drift_check = Some(next_check);
    let identity = set.identity.digest();
    let mut read = match read_policy(set, &batch, place, keys, cache).await {
        Ok(read) => read,
        Err(error) => return on_cloud_error(set, batch, &error, cache).await,
    };
    let mut end = GrantState::WriteConflict;
    for round in 0..MAX_ROUNDS {
        if round > 0
            && let Some((problem, retry)) = lost_access(set, &batch, place).await
        {
            write_all(set, batch, &problem).await;
            return retry;
        }
        let now = set.context.ports.now();
        let document = match read.bytes.as_deref().map(Document::parse).transpose() {
            Ok(document) => document,
            Err(why) => {
                let written = write_all(set, batch, &GrantState::PolicyUnreadable(why)).await;
                return Duration::from_secs(if written { 3600 } else { 30 });
            }
        };
        if set.writes.is_stale_read(&read.bytes, now) {
            set.context.metrics.stale_reads.inc();
            write_all(set, batch, &GrantState::Planned(GrantOutcome::Propagating)).await;
            return Duration::from_secs(2);
        }
        let members: Vec<GrantInput> = batch.iter().map(|p| p.input.clone()).collect();
        let input = PlanInput {
            document: document.as_ref(),
            now,
            unsettled_until: set.writes.unsettled(),
            absence_untrusted: set.writes.absence_untrusted(&read.bytes, now),
            placed_by_others: Some(&set.placed_by_others),
            explained_by_others: Some(&set.explained_by_others),
            confirmed_removed: Some(&set.writes.confirmed_removed),
            identity: Some(&identity),
            shared_identity: set.identity.is_operator(),
        };
        let plan = plan(input, &members);
        if note_drift(&mut batch, &plan, now) {
            continue;
        }
        let held_back = batch.iter().any(|work| work.held_back);
        if plan.change == Change::Keep {
            cache.failures = 0;
            for (work, planned) in batch.iter().zip(&plan.grants) {
                if planned.outcome == GrantOutcome::Applied {
                    cache.rejected.accepted(&work.grant.uid);
                }
            }
            let next = if held_back && !cache.wrote {
                // What had its turn has to wait for what was held back.
                let is_held = |work: &&GrantWork| work.held_back;
                let held: Vec<&GrantObject> = batch.iter().filter(is_held).map(|work| &work.grant).collect();
                let all: Vec<&GrantObject> = batch.iter().map(|work| &work.grant).collect();
                let times = cache.rejected.nothing_written(&held, &all);
                short_backoff(times, &set.identity.jitter_seed())
            } else {
                NEXT_ADDITION
            };
            let wait = Box::pin(finish(set, batch, plan, input, regular)).await;
            return if held_back { wait.min(next) } else { wait };
        }
        if !held_back && !cache.wrote && hold_back(&mut batch, &plan, &mut cache.rejected) {
            continue;
        }
        match verify_owner(set, &mut batch, place, keys).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => return on_cloud_error(set, batch, &error, cache).await,
        }
        if !store_ledgers(set, &mut batch, &plan, document.as_ref()).await {
            continue;
        }
        // Before the second read: time spent after that read widens the window in which another writer's change is
        // lost.
        back_up_policy(set, &mut batch, &plan, place, document.as_ref()).await;
        let second = match read_policy(set, &batch, place, keys, cache).await {
            Ok(second) => second,
            Err(error) => return on_cloud_error(set, batch, &error, cache).await,
        };
        let read_at = set.context.ports.now();
        // The ledgers record until when the write can take effect. Plan and record again if storing took too long,
        // or if another writer changed the policy.
        if second.bytes != read.bytes || read_at.duration_since(now) > MAX_LEDGER_AGE {
            read = second;
            continue;
        }
        let keys = match recheck(set, &mut batch, &plan, place, keys).await {
            Recheck::Unchanged(keys) => keys,
            Recheck::Replan => continue,
            Recheck::Refused(state, retry) => {
                write_all(set, batch, &state).await;
                return retry;
            }
        };
        let keys = &keys;
        let planned = match PlannedWrite::of(&place.name, second.bytes.as_deref(), &plan.change, &batch) {
            Ok(planned) => planned,
            Err(fault) => {
                tracing::error!(bucket = place.name, %fault, "failed to check planned policy: report this bug");
                end = GrantState::InvalidPlan(fault);
                break;
            }
        };
        for work in &mut batch {
            work.roll_back = false;
        }
        let signed_at = time::before(second.server_time.unwrap_or(read_at), SIGNED_BEFORE);
        let uids = batch.iter().map(|work| work.grant.uid.as_str());
        set.writes.forget_rejections(uids, &plan);
        set.writes
            .attempted(&second.bytes, &document_after(&plan.change), read_at);
        let ports = &set.context.ports;
        let (written, call) = match &planned {
            PlannedWrite::Put(policy) => (
                ports.put_policy(place, keys, policy, signed_at).await,
                "PutBucketPolicy",
            ),
            PlannedWrite::Delete(deletion) => (
                ports.delete_policy(place, keys, deletion, signed_at).await,
                "DeleteBucketPolicy",
            ),
        };
        let after = document_after(&plan.change);
        let write = PolicyWrite {
            bucket: &place.name,
            call,
            identity: &set.identity,
            before: second.bytes.as_deref(),
            after: after.as_deref(),
            answer: written.as_ref().map(Option::as_deref),
        };
        log_write(&write, &batch, &plan);
        if let Err(error) = written {
            // OSS does not document that a rejection by its lock has no effect.
            let no_effect = if error.kind == CloudErrorKind::BucketLocked {
                let read = read_policy(set, &batch, place, keys, cache).await;
                read.is_ok_and(|read| read.bytes == second.bytes)
            } else {
                error.had_no_effect()
            };
            let failure = WriteFailure { error, no_effect };
            return on_write_failed(set, batch, &plan, &failure, cache).await;
        }
        cache.wrote = true;
        on_write_confirmed(set, &mut batch, &plan, read_at, cache);
        read = match read_policy(set, &batch, place, keys, cache).await {
            Ok(read) => read,
            Err(error) => return on_cloud_error(set, batch, &error, cache).await,
        };
        read_public(set, &mut batch, &plan, place, keys).await;
    }
    write_all(set, batch, &end).await;
    cache.failures = cache.failures.saturating_add(1);
    short_backoff(cache.failures, &set.identity.jitter_seed())
}

/// Reads whether OSS considers the policy public after a write, for the grants that the write was for.
async fn read_public(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    place: &BucketRef,
    keys: &AccessKeys,
) {
    if !matches!(plan.change, Change::Put(_)) {
        return;
    }
    let public = set.context.ports.is_public(place, keys).await;
    for work in batch.iter_mut().filter(|p| p.was_written()) {
        work.public = public;
    }
}

/// Backs up the policy that is about to be replaced. Without a backup the write continues: it preserves every byte
/// of the foreign statements.
async fn back_up_policy(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    place: &BucketRef,
    document: Option<&Document>,
) {
    let Some(document) = document else { return };
    let concerned = batch.iter_mut().zip(&plan.grants);
    let concerned = concerned.filter(|(_, planned)| planned.changes_policy());
    let concerned: Vec<&mut GrantWork> = concerned.map(|(work, _)| work).collect();
    let names = concerned.iter().map(|work| work.grant.key.to_string());
    let backup = PolicyBackup {
        bucket: place.name.clone(),
        document: document.text().to_owned(),
        time: set.context.ports.now(),
        writer: truncate(&names.collect::<Vec<_>>().join(", "), 1024),
    };
    match set.context.ports.store_policy_backup(backup).await {
        Ok(kept) => {
            for work in concerned {
                work.backup.clone_from(&kept);
            }
        }
        Err(error) => {
            set.context.metrics.backups_failed.inc();
            tracing::warn!(bucket = place.name, %error, "failed to back up policy; continuing without backup");
        }
    }
}

/// Reads the policy, and keeps the credentials of a successful read.
///
/// # Errors
/// Returns the error of OSS.
async fn read_policy(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    place: &BucketRef,
    keys: &AccessKeys,
    cache: &mut GrantSetCache,
) -> Result<PolicyRead, CloudError> {
    let size = |read: &PolicyRead| read.bytes.as_ref().map_or(0, Vec::len);
    if let Some(probed) = take_probed_policy(set, cache) {
        set.context.policy_sizes.read(&place.name, size(&probed));
        remember_credentials(set, batch, keys, cache);
        return Ok(probed);
    }
    let read = set.context.ports.get_policy(place, keys).await;
    cache.answered(read.as_ref().err());
    match &read {
        Ok(read) => {
            set.context.metrics.policy_read(size(read));
            set.context.policy_sizes.read(&place.name, size(read));
            remember_credentials(set, batch, keys, cache);
        }
        Err(error) if error.kind == CloudErrorKind::NoSuchBucket => {
            set.context.policy_sizes.forget(&place.name);
        }
        Err(_) => {}
    }
    read
}

/// Records statements that are missing from the policy. Returns `true` when the drift backoff starts or continues: the
/// statements are not restored now, and a new plan is needed.
fn note_drift(batch: &mut [GrantWork], plan: &Plan, now: Timestamp) -> bool {
    let mut retry = false;
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        if planned.missing == 0 || work.missing > 0 {
            continue;
        }
        work.missing = planned.missing;
        work.unreported_drift = planned.missing;
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

/// Carries the grants whose additions have to wait, because OSS has rejected a write with them. Returns `true` if there are
/// any, so that a new plan is needed.
fn hold_back(batch: &mut [GrantWork], plan: &Plan, rejected: &mut RejectedAdditions) -> bool {
    let grants: Vec<&GrantObject> = batch.iter().map(|work| &work.grant).collect();
    let held = rejected.held_back(&grants, plan);
    let held_works = batch.iter_mut().zip(&plan.grants).zip(&held);
    for ((work, planned), _) in held_works.filter(|(_, held)| **held) {
        work.input.disposition = Disposition::Carried;
        work.held_back = true;
        let known = rejected.own_error_of(&work.grant).cloned();
        let too_large = planned
            .is_too_large()
            .then(|| GrantState::Planned(planned.outcome.clone()));
        work.outcome = known.map(GrantState::CloudFailed).or(too_large);
        // What is missing is found again by the reconcile that may restore it.
        work.repeated_drift.clone_from(&work.earlier_drift);
        (work.missing, work.unreported_drift) = (0, 0);
    }
    held.contains(&true)
}

/// A write that was checked against the policy that it replaces.
enum PlannedWrite {
    Put(CheckedPolicy),
    Delete(CheckedDeletion),
}

impl PlannedWrite {
    /// Checks a change against the policy that it replaces and the ledgers as they are stored.
    fn of(
        bucket: &str,
        before: Option<&[u8]>,
        change: &Change,
        batch: &[GrantWork],
    ) -> Result<Self, PlanFault> {
        let stored = batch.iter().flat_map(|work| &work.grant.status.owned);
        let stored: Vec<&LedgerEntry> = stored.collect();
        match change {
            Change::Put(text) => CheckedPolicy::of(bucket, before, text, &stored).map(Self::Put),
            Change::Delete | Change::Keep => CheckedDeletion::of(bucket, before, &stored).map(Self::Delete),
        }
    }
}

/// Returns the policy after a change; `None` when the change deletes the policy.
fn document_after(change: &Change) -> Option<Vec<u8>> {
    match change {
        Change::Put(text) => Some(text.clone().into_bytes()),
        Change::Delete | Change::Keep => None,
    }
}
