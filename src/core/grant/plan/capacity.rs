//! Who is set aside when the document has no room for all that is to be added.

use super::builder::PlanBuilder;
use crate::core::grant::plan::GrantOutcome;
use crate::core::policy::{Document, POLICY_LIMIT, Statement};

impl PlanBuilder<'_> {
    /// Refuses grants whose additions make the document too large: those that do not fit by themselves, or they would hold
    /// back those that do; else the youngest, as many as must go in any case.
    pub(super) fn check_capacity(&mut self) -> Result<(), Vec<(usize, GrantOutcome)>> {
        if self.add.is_empty() {
            return Ok(());
        }
        let remove: Vec<usize> = self.remove.iter().copied().collect();
        let text = match self.input.document {
            Some(document) => document.splice(&remove, &self.add),
            None => Document::new_document(&self.add),
        };
        let total = text.map_or(0, |text| text.len());
        if total <= POLICY_LIMIT {
            return Ok(());
        }
        // What stays, counted by what is added: a document that would be left without statements still has its frame.
        let before = total.saturating_sub(self.add.iter().map(|text| text.len() + 1).sum());
        let free = POLICY_LIMIT.saturating_sub(before);
        let youngest_first = self.order.iter().rev().copied();
        let adding: Vec<_> = youngest_first
            .filter(|i| self.plan.added.get(*i).is_some_and(|n| *n > 0))
            .map(|i| (i, self.bytes_needed(i)))
            .collect();
        let alone = adding.iter().filter(|(_, needed)| *needed > free);
        let mut refused: Vec<_> = alone.copied().collect();
        if refused.is_empty() {
            let mut over = total - POLICY_LIMIT;
            let mut most = over;
            let mut changes = false;
            for (grant, needed) in adding {
                // Statements that several want go only with the last of them, so that what was counted may not be enough yet.
                // The next ones go too, unless what others let go has changed by now: that needs a new round.
                if most == 0 {
                    if over == 0 || changes {
                        break;
                    }
                    most = over;
                }
                let (saved, moved) = self.withdraw_additions(grant);
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

    /// Bytes that a grant's additions take.
    fn bytes_needed(&self, grant: usize) -> usize {
        let desired = self.desired(grant).map(|w| w.statements.as_slice());
        let added = |s: &&Statement| {
            let group = self.groups.get(s.fingerprint.as_str());
            group.is_some_and(|g| !g.added_by.is_empty())
        };
        let missing = desired.unwrap_or_default().iter().filter(added);
        missing.map(|s| s.text.len() + 1).sum()
    }

    /// Takes a grant's wishes back. Gives the bytes that this saves, and whether somebody's leaving statement now goes or stays
    /// that did not before.
    fn withdraw_additions(&mut self, grant: usize) -> (usize, bool) {
        let (mut saved, mut changes) = (0, false);
        let desired = self.desired(grant).map(|w| w.statements.as_slice());
        for statement in desired.unwrap_or_default() {
            let Some(group) = self.groups.get_mut(statement.fingerprint.as_str()) else {
                continue;
            };
            if group.added_by.remove(&grant) && group.added_by.is_empty() {
                saved += group.text.len() + 1;
            }
            group.desired_by.remove(&grant);
            changes |= group.being_released && group.desired_by.is_empty();
        }
        for entry in self.grants.get(grant).into_iter().flat_map(|m| &m.ledger) {
            if let Some(group) = self.groups.get_mut(entry.fingerprint.as_str()) {
                changes |= group.being_released && group.carried_by.is_empty() && group.desired_by.is_empty();
                group.carried_by.push(grant);
            }
        }
        (saved, changes)
    }
}
