//! Removal of statements that a grant no longer desires. A statement is handed over to another owner, left in the
//! policy, or removed. Its ledger entry is deleted once no earlier write can bring the statement back.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::builder::PlanBuilder;
use crate::api::{EntryState, LedgerEntry};
use crate::core::grant::Removal;
use crate::core::grant::plan::GrantOutcome;
use crate::core::policy::is_removed_verbatim_only;

/// Releases each statement that a grant owns and does not desire.
pub(super) fn remove_undesired(builder: &mut PlanBuilder<'_>, grant: usize) {
    if builder.is_carried(grant) {
        return;
    }
    let Some(current) = builder.grants.get(grant) else {
        return;
    };
    let desired: BTreeSet<&str> = builder
        .desired(grant)
        .map(|w| w.statements.iter().map(|s| s.fingerprint.as_str()).collect())
        .unwrap_or_default();
    let mut residual = 0;
    for entry in current
        .ledger
        .iter()
        .filter(|e| !desired.contains(e.fingerprint.as_str()))
    {
        if let Some(group) = builder.groups.get_mut(entry.fingerprint.as_str()) {
            group.being_released = !group.live.is_empty();
        }
        let Some(group) = builder.groups.get(entry.fingerprint.as_str()) else {
            continue;
        };
        let others_want = group.desired_by.iter().any(|other| *other != grant);
        let others_hold = !group.held_by.is_empty();
        let stays_live = !group.live.is_empty();
        if builder.removal(grant) == Some(Removal::Retain) {
            residual += usize::from(stays_live);
            forget(builder, grant, &entry.fingerprint);
            mark_pre_existing(builder, &entry.fingerprint);
        } else if others_want || others_hold || placed_by_other(builder, &entry.fingerprint) {
            // Kept only because a ledger in another namespace may claim it: counted as residual.
            residual += usize::from(stays_live && !others_want && !others_hold);
            if entry.state == EntryState::Applied && !entry.pre_existing {
                hand_over(builder, grant, &entry.fingerprint);
            }
            forget(builder, grant, &entry.fingerprint);
        } else if entry.state == EntryState::Intended
            && !builder.no_write_outstanding()
            && (group.live.is_empty() || group.pre_existing)
        {
            // The write that adds the statement can still take effect. Keep the entry, so that it has an owner then.
        } else if entry.pre_existing || (group.pre_existing && stays_live) {
            residual += usize::from(stays_live);
            forget(builder, grant, &entry.fingerprint);
        } else if builder.desired(grant).is_some() && awaits_addition(builder, grant) {
            // Its replacement is not added yet. Keep it until then, or the grant would lose both.
        } else {
            // What stays under another spelling is not ours.
            let foreign = stays_live && copies_of(builder, entry).is_empty();
            residual += usize::from(foreign);
            plan_removal(builder, grant, entry);
        }
    }
    if builder.removal(grant).is_some() {
        builder.update(grant, |plan| {
            plan.outcome = if plan.ledger.is_empty() {
                GrantOutcome::Released { residual }
            } else if plan.removed > 0 {
                GrantOutcome::Writing
            } else {
                GrantOutcome::Propagating
            };
        });
    }
}

/// Returns `true` if a desired statement was not seen and its absence is not trusted yet.
fn awaits_addition(builder: &PlanBuilder<'_>, grant: usize) -> bool {
    let plan = builder.plan.grants.get(grant);
    plan.is_some_and(|plan| plan.outcome == GrantOutcome::Propagating)
}

/// Returns `true` if a grant of another identity has written the statement with its own credentials.
fn placed_by_other(builder: &PlanBuilder<'_>, fingerprint: &str) -> bool {
    builder
        .input
        .placed_by_others
        .is_some_and(|held| held.contains(fingerprint))
}

/// Returns `true` if a confirmed write of this process has removed the statement.
fn confirmed_removed(builder: &PlanBuilder<'_>, fingerprint: &str) -> bool {
    builder
        .input
        .confirmed_removed
        .is_some_and(|taken| taken.contains_key(fingerprint))
}

/// Returns the positions of the copies of an owned statement: those with its meaning, or only those with its bytes.
fn copies_of(builder: &PlanBuilder<'_>, entry: &LedgerEntry) -> Vec<usize> {
    let group = builder.groups.get(entry.fingerprint.as_str());
    let live = group.map(|g| g.live.clone()).unwrap_or_default();
    if !is_removed_verbatim_only(&entry.statement) {
        return live;
    }
    let document = builder.input.document;
    let text_at = |i: &usize| document.and_then(|d| d.statements().get(*i).map(|s| d.text_of(s)));
    live.into_iter()
        .filter(|i| text_at(i) == Some(entry.statement.as_str()))
        .collect()
}

/// Plans the removal of an owned statement, or deletes its ledger entry once it is removed for good.
fn plan_removal(builder: &mut PlanBuilder<'_>, grant: usize, entry: &LedgerEntry) {
    let live = copies_of(builder, entry);
    let copies = i32::try_from(live.len()).unwrap_or(i32::MAX);
    let one_fewer = entry.state == EntryState::Removing && entry.copies.is_some_and(|before| copies < before);
    let another = entry.state == EntryState::Removing
        && builder.no_write_outstanding()
        && confirmed_removed(builder, &entry.fingerprint);
    if live.is_empty() || one_fewer || another {
        if builder.no_write_outstanding() && !builder.input.absence_untrusted {
            forget(builder, grant, &entry.fingerprint);
        } else {
            // An earlier write that contains it can still take effect: keep the entry until that is impossible.
            mark_removing(builder, grant, entry, entry.copies, entry.unsettled_until.clone());
        }
        return;
    }
    let document = builder.input.document;
    let text_at = |i: &usize| document.and_then(|d| d.statements().get(*i).map(|s| d.text_of(s)));
    let same_bytes = live.iter().find(|i| text_at(i) == Some(entry.statement.as_str()));
    // Remove at most one of several equal statements: the byte-equal one, else the last, because ours are appended.
    if let Some(index) = same_bytes.or(live.last()) {
        builder.remove.insert(*index);
        builder.update(grant, |plan| plan.removed += 1);
        mark_removing(
            builder,
            grant,
            entry,
            (copies > 1).then_some(copies),
            Some(builder.write_expiry()),
        );
    }
}

fn mark_removing(
    builder: &mut PlanBuilder<'_>,
    grant: usize,
    entry: &LedgerEntry,
    copies: Option<i32>,
    until: Option<Time>,
) {
    let removing = LedgerEntry {
        state: EntryState::Removing,
        copies,
        unsettled_until: until,
        ..entry.clone()
    };
    let same = |e: &&mut LedgerEntry| e.fingerprint == entry.fingerprint;
    builder.update(grant, |plan| {
        if let Some(slot) = plan.ledger.iter_mut().find(same) {
            *slot = removing;
        }
    });
}

fn forget(builder: &mut PlanBuilder<'_>, grant: usize, fingerprint: &str) {
    builder.update(grant, |plan| plan.ledger.retain(|e| e.fingerprint != fingerprint));
}

/// Makes the grants that still want or hold a statement its owners: one of them may have found the statement there when
/// only `grant` owned it, under another identity, and would leave it in the policy for good.
fn hand_over(builder: &mut PlanBuilder<'_>, grant: usize, fingerprint: &str) {
    let Some(group) = builder.groups.get(fingerprint) else {
        return;
    };
    let others = group.desired_by.iter().chain(&group.carried_by);
    for other in others.filter(|other| **other != grant) {
        let plan = builder.plan.grants.get_mut(*other);
        let entries = plan.into_iter().flat_map(|plan| &mut plan.ledger);
        entries
            .filter(|e| e.fingerprint == fingerprint)
            .for_each(|e| e.pre_existing = false);
    }
}

/// Marks a statement that one owner retains as pre-existing in the ledgers of its other owners.
fn mark_pre_existing(builder: &mut PlanBuilder<'_>, fingerprint: &str) {
    let entries = builder.plan.grants.iter_mut().flat_map(|plan| &mut plan.ledger);
    entries
        .filter(|e| e.fingerprint == fingerprint)
        .for_each(|e| e.pre_existing = true);
}
