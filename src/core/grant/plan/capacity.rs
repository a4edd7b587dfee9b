//! Decides which grants are set aside when the document has no room for all additions.

use super::builder::PlanBuilder;
use super::types::GrantOutcome;
use crate::api::EntryState;
use crate::core::policy::{Document, POLICY_LIMIT, Statement};

/// Checks that the planned document fits into the size limit of OSS.
///
/// # Errors
/// The grants to set aside. Grants whose additions alone do not fit come first, because they would block those that
/// do fit. If there are none, the youngest grants are set aside, and no more of them than necessary.
pub(super) fn check_capacity(builder: &mut PlanBuilder<'_>) -> Result<(), Vec<(usize, GrantOutcome)>> {
    if builder.add.is_empty() {
        return Ok(());
    }
    let remove: Vec<usize> = builder.remove.iter().copied().collect();
    let text = Document::edited(builder.input.document, &remove, &builder.add);
    let total = text.map_or(0, |text| text.len());
    if total <= POLICY_LIMIT {
        return Ok(());
    }
    // Subtract the additions instead of counting what stays: a document without statements still has its frame.
    let before = total.saturating_sub(builder.add.iter().map(|text| text.len() + 1).sum());
    let free = POLICY_LIMIT.saturating_sub(before);
    let youngest_first = builder.order.iter().rev().copied();
    let adding: Vec<_> = youngest_first
        .filter(|i| builder.plan.grants.get(*i).is_some_and(|plan| plan.added > 0))
        .map(|i| (i, bytes_needed(builder, i)))
        .collect();
    let alone = adding.iter().filter(|(_, needed)| *needed > free);
    let mut refused: Vec<_> = alone.copied().collect();
    if refused.is_empty() {
        let mut over = total - POLICY_LIMIT;
        let mut most = over;
        let mut changes = false;
        for (grant, needed) in adding {
            // `most` counts shared statements for every grant, `over` only for the last one that desires them. When
            // `most` is used up and `over` is not, set further grants aside, unless the planned removals have
            // changed: that needs a new round.
            if most == 0 {
                if over == 0 || changes {
                    break;
                }
                most = over;
            }
            let (saved, moved) = withdraw_additions(builder, grant);
            over = over.saturating_sub(saved);
            most = most.saturating_sub(needed);
            changes |= moved;
            refused.push((grant, needed));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let too_large = |(grant, needed)| (grant, GrantOutcome::TooLarge { needed, free });
    Err(refused.into_iter().map(too_large).collect())
}

/// Returns the bytes that a grant's additions take.
fn bytes_needed(builder: &PlanBuilder<'_>, grant: usize) -> usize {
    let desired = builder.desired(grant).map(|w| w.statements.as_slice());
    let added = |s: &&Statement| {
        let group = builder.groups.get(s.fingerprint.as_str());
        group.is_some_and(|g| !g.added_by.is_empty())
    };
    let missing = desired.unwrap_or_default().iter().filter(added);
    missing.map(|s| s.text.len() + 1).sum()
}

/// Withdraws a grant's additions. Returns the bytes that this saves, and `true` if it changes which statements of
/// other grants are removed.
fn withdraw_additions(builder: &mut PlanBuilder<'_>, grant: usize) -> (usize, bool) {
    let (mut saved, mut changes) = (0, false);
    let desired = builder.desired(grant).map(|w| w.statements.as_slice());
    for statement in desired.unwrap_or_default() {
        let Some(group) = builder.groups.get_mut(statement.fingerprint.as_str()) else {
            continue;
        };
        if group.added_by.remove(&grant) && group.added_by.is_empty() {
            saved += group.text.len() + 1;
        }
        group.desired_by.remove(&grant);
        changes |= group.being_released && group.desired_by.is_empty();
    }
    for entry in builder.grants.get(grant).into_iter().flat_map(|m| &m.ledger) {
        if let Some(group) = builder.groups.get_mut(entry.fingerprint.as_str()) {
            group.carried_by.push(grant);
            // A grant that is set aside removes nothing, not even what an unanswered write of it may have placed.
            changes |= group.being_released && group.held_by.is_empty() && group.desired_by.is_empty();
            if entry.state != EntryState::Intended {
                group.held_by.push(grant);
            }
        }
    }
    (saved, changes)
}
