//! How statements leave: handed over to another owner, left where they are, or taken out and forgotten once it is certain
//! that they are gone.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::builder::{Draft, bump};
use crate::api::{EntryState, LedgerEntry};
use crate::core::grant::Leave;
use crate::core::grant::plan::Verdict;

impl Draft<'_> {
    /// Lets go of each statement that a grant owns and does not want.
    pub(super) fn drop_unwanted(&mut self, member: usize) {
        if self.carried(member) {
            return;
        }
        let Some(current) = self.members.get(member) else {
            return;
        };
        let wanted: BTreeSet<&str> = self
            .active(member)
            .map(|w| w.statements.iter().map(|s| s.fingerprint.as_str()).collect())
            .unwrap_or_default();
        let mut residual = 0;
        for entry in current
            .ledger
            .iter()
            .filter(|e| !wanted.contains(e.fingerprint.as_str()))
        {
            if let Some(group) = self.groups.get_mut(entry.fingerprint.as_str()) {
                group.let_go = !group.live.is_empty();
            }
            let Some(group) = self.groups.get(entry.fingerprint.as_str()) else {
                continue;
            };
            let others_want = group.wanted_by.iter().any(|other| *other != member);
            let others_hold = !group.carried_by.is_empty();
            if self.leaving(member) == Some(Leave::Keep) {
                residual += usize::from(!group.live.is_empty());
                self.forget(member, &entry.fingerprint);
                self.give_up(&entry.fingerprint);
            } else if others_want || others_hold || self.held_elsewhere(&entry.fingerprint) {
                self.forget(member, &entry.fingerprint);
            } else if entry.state == EntryState::Intended
                && !self.settled()
                && (group.live.is_empty() || group.pre_existing)
            {
                // The write that carries it may still arrive, and it must find an owner then.
            } else if entry.pre_existing || (group.pre_existing && !group.live.is_empty()) {
                residual += usize::from(!group.live.is_empty());
                self.forget(member, &entry.fingerprint);
            } else if self.active(member).is_some() && self.settles(member) {
                // What takes its place could not be added yet: until then it stays, or the grant would lose both.
            } else {
                self.take_out(member, entry);
            }
        }
        let left = self.plan.ledgers.get(member).is_none_or(Vec::is_empty);
        if self.leaving(member).is_some() {
            let verdict = if left {
                Verdict::Gone { residual }
            } else if self.plan.removed.get(member).is_some_and(|n| *n > 0) {
                Verdict::Writing
            } else {
                Verdict::Settling
            };
            if let Some(slot) = self.plan.verdicts.get_mut(member) {
                *slot = verdict;
            }
        }
    }

    /// Whether a statement that a grant wants may be there although it was not seen.
    fn settles(&self, member: usize) -> bool {
        self.plan.verdicts.get(member) == Some(&Verdict::Settling)
    }

    /// Whether a grant of another identity has put the statement there with its own credentials.
    fn held_elsewhere(&self, fingerprint: &str) -> bool {
        self.scene
            .elsewhere
            .is_some_and(|held| held.contains(fingerprint))
    }

    /// Whether we have taken the statement out already.
    fn taken(&self, fingerprint: &str) -> bool {
        self.scene
            .taken_out
            .is_some_and(|taken| taken.contains(fingerprint))
    }

    /// Takes a statement of ours out, or forgets it once it is certain that it has gone.
    fn take_out(&mut self, member: usize, entry: &LedgerEntry) {
        let live = self
            .groups
            .get(entry.fingerprint.as_str())
            .map(|g| g.live.clone())
            .unwrap_or_default();
        let copies = i32::try_from(live.len()).unwrap_or(i32::MAX);
        let one_fewer =
            entry.state == EntryState::Removing && entry.copies.is_some_and(|before| copies < before);
        let another = entry.state == EntryState::Removing && self.settled() && self.taken(&entry.fingerprint);
        if live.is_empty() || one_fewer || another {
            if self.settled() && !self.scene.lagging {
                self.forget(member, &entry.fingerprint);
            } else {
                // An earlier write that carries it may still arrive: it stays ours until that is impossible.
                self.mark_removing(member, entry, entry.copies, entry.unsettled_until.clone());
            }
            return;
        }
        let document = self.scene.document;
        let text_at = |i: &usize| document.and_then(|d| d.statements().get(*i).map(|s| d.text_of(s)));
        let same_bytes = live.iter().find(|i| text_at(i) == Some(entry.statement.as_str()));
        // Of several equal ones at most one goes; without a byte-equal one the last, because ours are added at the end.
        if let Some(victim) = same_bytes.or(live.last()) {
            self.remove.insert(*victim);
            bump(&mut self.plan.removed, member);
            self.mark_removing(
                member,
                entry,
                (copies > 1).then_some(copies),
                Some(self.write_life()),
            );
        }
    }

    fn mark_removing(
        &mut self,
        member: usize,
        entry: &LedgerEntry,
        copies: Option<i32>,
        until: Option<Time>,
    ) {
        let slot = self
            .plan
            .ledgers
            .get_mut(member)
            .and_then(|l| l.iter_mut().find(|e| e.fingerprint == entry.fingerprint));
        if let Some(slot) = slot {
            *slot = LedgerEntry {
                state: EntryState::Removing,
                copies,
                unsettled_until: until,
                ..entry.clone()
            };
        }
    }

    fn forget(&mut self, member: usize, fingerprint: &str) {
        if let Some(ledger) = self.plan.ledgers.get_mut(member) {
            ledger.retain(|e| e.fingerprint != fingerprint);
        }
    }

    /// One owner leaves a statement behind on purpose: for the other owners it was there before them.
    fn give_up(&mut self, fingerprint: &str) {
        for entry in self
            .plan
            .ledgers
            .iter_mut()
            .flatten()
            .filter(|e| e.fingerprint == fingerprint)
        {
            entry.pre_existing = true;
        }
    }
}
