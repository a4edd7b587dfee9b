//! Applies the result of a policy write to the ledgers.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::cache::GrantSetCache;
use super::cloud_error::on_cloud_error;
use super::finish::write_state;
use super::grant_set::{GrantSet, GrantWork};
use super::observation::{PolicyView, count_owned};
use crate::api::{EntryState, LedgerEntry};
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::grant::{Change, GrantObject, GrantState, PassRoleDecision, Plan, confirm_entries};
use crate::core::policy::Document;
use crate::runtime::metric_labels::WriteDirection;

/// Time until the next attempt to write what was held back, because OSS has rejected it together with other additions.
pub(super) const NEXT_ADDITION: Duration = Duration::from_secs(1);

/// A policy write that failed.
pub(super) struct WriteFailure {
    pub(super) error: CloudError,
    /// Whether it certainly had no effect.
    pub(super) no_effect: bool,
}

/// Applies an answered write: the ledgers become the planned ones, and no write of this reconcile is outstanding.
/// From now on an added statement is recognized semantically, even if OSS formats it differently.
pub(super) fn on_write_confirmed(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    read_at: Timestamp,
    cache: &mut GrantSetCache,
) {
    let now = set.context.ports.now();
    set.writes.confirmed(plan, now);
    cache.rejected.written();
    cache.write_denied = false;
    let text = match &plan.change {
        Change::Put(text) => Some(text.as_bytes()),
        Change::Delete | Change::Keep => None,
    };
    let document = text.and_then(|text| Document::parse(text).ok());
    for (work, planned) in batch.iter_mut().zip(&plan.grants) {
        if planned.added > 0 {
            cache.rejected.accepted(&work.grant.uid);
        }
        work.added += planned.added;
        work.removed += planned.removed;
        if planned.changes_policy() {
            work.last_write = Some(now);
            let written = PolicyView {
                document: document.as_ref(),
                ours: count_owned(plan, document.as_ref()),
                scheduled_check: false,
                absence_trusted: false,
            };
            work.written_policy = Some(work.policy_seen(written));
        }
        let earlier = std::mem::take(&mut work.input.ledger);
        let mut ledger = planned.ledger.clone();
        let open = |e: &LedgerEntry| e.state == EntryState::Intended;
        let recorded = ledger.iter().filter(|e| open(e)).cloned().collect::<Vec<_>>();
        confirm_entries(&mut ledger, &earlier, document.as_ref(), now);
        // An edit can come before the confirmed ledger is stored, so that the stored one keeps the intended write.
        let left = |e: &&LedgerEntry| {
            ledger
                .iter()
                .any(|now| open(now) && now.fingerprint == e.fingerprint)
        };
        let confirmed = recorded.iter().filter(|e| !left(e));
        set.writes.write_sent(&work.grant.uid, confirmed, now);
        work.input.ledger = ledger;
    }
    let reason = if plan.added() > 0 {
        WriteDirection::Added
    } else {
        WriteDirection::Removed
    };
    let window = now.duration_since(read_at).as_secs_f64();
    set.context.metrics.policy_write(reason, window);
}

/// Applies a failed write. A rejected write had no effect, so the ledgers return to their entries from before. Any
/// other failed write may still take effect, so the ledgers keep the recorded entries. If OSS rejects what several grants
/// add or what is written for others too, the error is that of one grant, and the next writes find out of which. Returns the time
/// until the retry.
pub(super) async fn on_write_failed(
    set: &mut GrantSet<'_>,
    batch: Vec<GrantWork>,
    plan: &Plan,
    failure: &WriteFailure,
    cache: &mut GrantSetCache,
) -> Duration {
    let WriteFailure { error, no_effect } = failure;
    if error.kind == CloudErrorKind::PublicAccessBlocked
        && batch
            .iter()
            .any(|p| p.pass_role.is_some_and(PassRoleDecision::is_written))
    {
        cache.public_refused = true;
    }
    cache.write_denied |= error.kind == CloudErrorKind::AccessDenied;
    let now = set.context.ports.now();
    if *no_effect {
        set.writes.rejected();
    } else {
        set.writes.unanswered(plan, now);
    }
    let content = *no_effect && !cache.public_refused && error.rejects_content();
    let adding = batch
        .iter()
        .zip(&plan.grants)
        .filter(|(_, planned)| planned.added > 0);
    let added: Vec<&GrantObject> = adding.map(|(work, _)| &work.grant).collect();
    let waiting = batch.iter().filter(|work| work.held_back);
    let held: Vec<&GrantObject> = waiting.map(|work| &work.grant).collect();
    if content {
        cache.rejected.record(&added, &held, error);
    }
    let (split, several) = (content && !added.is_empty(), added.len() > 1);
    let mut left = split && !held.is_empty();
    let (mut involved, mut others) = (Vec::new(), Vec::new());
    for (mut work, planned) in batch.into_iter().zip(&plan.grants) {
        let uid = &work.grant.uid;
        let recorded = if planned.added > 0 {
            planned.ledger.as_slice()
        } else {
            &[]
        };
        if *no_effect {
            work.roll_back = true;
            // What was not restored is still missing at the next check, and was removed only once.
            work.repeated_drift.clone_from(&work.earlier_drift);
            set.writes.write_rejected(uid, recorded, &work.input.ledger, now);
        } else {
            let added = recorded.iter().filter(|e| e.state == EntryState::Intended);
            set.writes.write_sent(uid, added, now);
            work.input.ledger.clone_from(&work.grant.status.owned);
        }
        let known = cache.rejected.error_of(&work.grant).filter(|_| work.held_back);
        if let (Some(known), None) = (known, &work.outcome) {
            work.outcome = Some(GrantState::CloudFailed(known.clone()));
        }
        let blamed = if split {
            planned.added > 0 && !several
        } else {
            planned.changes_policy()
        };
        // What this plan records for a grant that is not to blame is planned again without the rejected additions.
        let again = planned.changes_policy() || planned.is_too_large() || planned.ledger != work.input.ledger;
        left |= split && !blamed && again;
        if blamed {
            involved.push(work);
        } else {
            others.push((work, planned.outcome.clone()));
        }
    }
    for (work, outcome) in others {
        write_state(set, work, GrantState::Planned(outcome), None).await;
    }
    if involved.is_empty() {
        return NEXT_ADDITION;
    }
    let wait = on_cloud_error(set, involved, error, cache).await;
    if cache.public_refused || left {
        NEXT_ADDITION
    } else {
        wait
    }
}
