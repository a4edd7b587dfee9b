//! Carries out a plan: stores the ledgers, backs the policy up, reads the policy again, writes, and reads the result.
//! Each step can find that the plan no longer holds, so that the next round plans again.

use k8s_openapi::jiff::Timestamp;

use super::grant_set::GrantSet;
use super::prepare::Prepared;
use super::read_policy::{RoundInput, read_policy};
use super::recheck::{recheck, verify_owner};
use crate::core::error::CloudError;
use crate::core::grant::{
    Change, Disposition, EarlyEnd, FailedWrite, GrantSetCache, GrantWork, Plan, PlannedWrite, PolicyView,
    apply_confirmed, apply_failed, audit_names, backup_writer, is_effect_unknown, is_outdated,
    is_without_effect, signed_at, status_before_write,
};
use crate::core::hash::sha256;
use crate::core::identity::Identity;
use crate::ports::{AccessKeys, PolicyBackup, PolicyRead};
use crate::runtime::metric_labels::WriteDirection;

/// A write that is about to be sent.
struct Attempt<'a> {
    prepared: &'a Prepared,
    plan: &'a Plan,
    write: PlannedWrite,
    keys: AccessKeys,
    /// The policy right before the write.
    before: PolicyRead,
    read_at: Timestamp,
}

/// Carries out a plan that changes the policy. Returns the policy from which the next round plans; `None` if that is
/// the same one.
///
/// # Errors
/// Returns why the write was not sent, or its error.
pub(super) async fn write(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    prepared: &Prepared,
    plan: &Plan,
    input: &RoundInput,
    cache: &mut GrantSetCache,
) -> Result<Option<PolicyRead>, EarlyEnd> {
    if !verify_owner(set, batch, prepared).await? || !store_ledgers(set, batch, plan, input).await {
        return Ok(None);
    }
    // Both before the second read: time spent after that read widens the window in which another writer's change is lost.
    back_up_policy(set, batch, plan, prepared, input).await;
    set.context.ports.wait_until_writable().await;
    let before = read_policy(set, batch, prepared, &prepared.keys, cache).await?;
    let read_at = set.context.ports.now();
    if is_outdated(
        (input.read.bytes.as_deref(), input.now),
        (before.bytes.as_deref(), read_at),
    ) {
        return Ok(Some(before));
    }
    let Some(keys) = recheck(set, batch, plan, prepared).await? else {
        return Ok(None);
    };
    let bucket = &prepared.place.name;
    let write = PlannedWrite::of(bucket, before.bytes.as_deref(), &plan.change, batch);
    let write = write.map_err(|fault| {
        tracing::error!(bucket, %fault, "failed to check planned policy: report this bug");
        EarlyEnd::InvalidPlan(fault)
    })?;
    let attempt = Attempt {
        prepared,
        plan,
        write,
        keys,
        before,
        read_at,
    };
    send(set, batch, &attempt, cache).await?;
    let read = read_policy(set, batch, prepared, &attempt.keys, cache).await?;
    read_public(set, batch, &attempt).await;
    Ok(Some(read))
}

/// Sends a write, and applies its result to the grants.
///
/// # Errors
/// Returns the error of OSS.
async fn send(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    attempt: &Attempt<'_>,
    cache: &mut GrantSetCache,
) -> Result<(), EarlyEnd> {
    let Attempt { plan, before, .. } = attempt;
    for work in &mut *batch {
        work.roll_back = false;
    }
    let uids = batch.iter().map(|work| work.grant.uid.as_str());
    set.writes.forget_rejections(uids, plan);
    let after = attempt.write.after().map(|text| text.as_bytes().to_vec());
    set.writes.attempted(&before.bytes, &after, attempt.read_at);
    let signed_at = signed_at(before.server_time, attempt.read_at);
    let (ports, place, keys) = (&set.context.ports, &attempt.prepared.place, &attempt.keys);
    let answer = match &attempt.write {
        PlannedWrite::Put(policy) => ports.put_policy(place, keys, policy, signed_at).await,
        PlannedWrite::Delete(deletion) => ports.delete_policy(place, keys, deletion, signed_at).await,
    };
    log_write(&set.identity, batch, attempt, &answer);
    match answer {
        Ok(_) => {
            on_confirmed(set, batch, attempt, cache);
            Ok(())
        }
        Err(error) => Err(on_failed(set, batch, attempt, error, cache).await),
    }
}

fn on_confirmed(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    attempt: &Attempt<'_>,
    cache: &mut GrantSetCache,
) {
    let now = set.context.ports.now();
    cache.written();
    apply_confirmed(batch, attempt.plan, set.writes, &mut cache.rejected, now);
    let reason = if attempt.plan.added() > 0 {
        WriteDirection::Added
    } else {
        WriteDirection::Removed
    };
    let window = now.duration_since(attempt.read_at).as_secs_f64();
    set.context.metrics.policy_write(reason, window);
}

async fn on_failed(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    attempt: &Attempt<'_>,
    error: CloudError,
    cache: &mut GrantSetCache,
) -> EarlyEnd {
    let read = if is_effect_unknown(&error) {
        read_policy(set, batch, attempt.prepared, &attempt.keys, cache)
            .await
            .ok()
    } else {
        None
    };
    let read = read.as_ref().map(|read| read.bytes.as_deref());
    let no_effect = is_without_effect(&error, attempt.before.bytes.as_deref(), read);
    cache.write_failed(batch, &error);
    let failure = FailedWrite {
        error: &error,
        no_effect,
        public_refused: cache.public_refused,
    };
    let now = set.context.ports.now();
    let plan_again = apply_failed(batch, attempt.plan, failure, set.writes, &mut cache.rejected, now);
    EarlyEnd::WriteFailed { error, plan_again }
}

/// Reads whether OSS considers the policy public after a write, for the grants that the write was for.
async fn read_public(set: &GrantSet<'_>, batch: &mut [GrantWork], attempt: &Attempt<'_>) {
    if !matches!(attempt.plan.change, Change::Put(_)) {
        return;
    }
    let place = &attempt.prepared.place;
    let public = set.context.ports.is_public(place, &attempt.keys).await;
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
    prepared: &Prepared,
    input: &RoundInput,
) {
    let Some(document) = &input.document else { return };
    let bucket = prepared.place.name.clone();
    let backup = PolicyBackup {
        bucket: bucket.clone(),
        document: document.text().to_owned(),
        time: set.context.ports.now(),
        writer: backup_writer(batch, plan),
    };
    match set.context.ports.store_policy_backup(backup).await {
        Ok(kept) => {
            let planned = batch.iter_mut().zip(&plan.grants);
            for (work, _) in planned.filter(|(_, planned)| planned.changes_policy()) {
                work.backup.clone_from(&kept);
            }
        }
        Err(error) => {
            set.context.metrics.backups_failed.inc();
            tracing::warn!(bucket, %error, "failed to back up policy; continuing without backup");
        }
    }
}

/// Stores the ledgers that the plan needs before the write. `false` when a ledger could not be stored: only that
/// grant is carried instead, and a new plan is needed.
pub(super) async fn store_ledgers(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    input: &RoundInput,
) -> bool {
    let mut complete = true;
    let view = PolicyView::of_plan(plan, input.document.as_ref());
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        let now = set.context.ports.now();
        let Some(status) = status_before_write(work, planned, view, now) else {
            continue;
        };
        if set.store_status(&mut work.grant, status).await {
            work.roll_back = true;
            set.publish_drift(work).await;
        } else {
            work.input.disposition = Disposition::Carried;
            work.decided = None;
            complete = false;
        }
    }
    complete
}

/// Logs a policy write with the grants that it is for; `answer` has the request id of OSS, or the error. A digest is
/// empty where the bucket has no policy.
fn log_write(
    identity: &Identity,
    batch: &[GrantWork],
    attempt: &Attempt<'_>,
    answer: &Result<Option<String>, CloudError>,
) {
    let Attempt { plan, write, .. } = attempt;
    let (bucket, call) = (&attempt.prepared.place.name, write.call());
    let grants = audit_names(batch, plan);
    let namespace = identity.namespace();
    let (identity, identity_digest) = (identity.describe(), identity.digest());
    let sha256_before = attempt.before.bytes.as_ref().map(sha256).unwrap_or_default();
    let sha256_after = write.after().map(sha256).unwrap_or_default();
    let (added, removed) = (plan.added(), plan.removed());
    macro_rules! log {
        ($level:ident, $message:literal, $($field:ident = $value:expr),+) => {
            tracing::$level!(
                bucket, call, grants, namespace, identity, identity_digest, $($field = $value,)+
                sha256_before, sha256_after, added, removed, $message
            )
        };
    }
    match answer {
        Ok(id) => log!(
            info,
            "policy written",
            request_id = id.as_deref().unwrap_or_default()
        ),
        Err(error) => log!(
            warn,
            "failed to write policy",
            request_id = error.request_id.as_deref().unwrap_or_default(),
            code = error.code,
            had_no_effect = error.had_no_effect()
        ),
    }
}
