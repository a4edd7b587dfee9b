//! Invariants of every policy write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imm_operator::api::{AdoptionPolicy, EntryState};
use imm_operator::core::grant::GrantObject;
use imm_operator::core::identity::Identity;

use super::super::fake_world::statements;
use super::audit::meaning;
use super::cloud::only;
use super::world::World;

/// A policy write that arrives.
pub struct Arrival<'a> {
    pub bucket: &'a str,
    pub text: Option<&'a str>,
    /// What the process had read, the number of foreign changes by then, and the version at which it had listed the
    /// grants.
    pub read: Option<&'a str>,
    pub edits: usize,
    pub listed: u64,
    pub identity: &'a Identity,
    /// Whether its process has received an answer or has ended already.
    pub late: bool,
    /// Whether it was answered before, and so is no longer expected.
    pub again: bool,
}

/// Whether a grant is about a bucket.
fn is_at(bucket: &str) -> impl Fn(&Arc<GrantObject>) -> bool {
    move |grant| grant.bucket.as_ref().is_some_and(|place| place.name == bucket)
}

impl World {
    /// Checks I1, I2 and I3 of a policy write, that it is recorded, and that it takes nothing from another grant.
    pub fn check_write(&mut self, write: &Arrival<'_>) {
        let before: Vec<String> = write.read.map(statements).unwrap_or_default();
        let after: Vec<String> = write.text.map(statements).unwrap_or_default();
        let states = self.since(write.bucket, write.listed);
        for grant in &states {
            self.audit.rendered(grant);
        }
        let live = self.cloud.texts(write.bucket);
        // A foreign statement with the meaning of one of ours may have become ours.
        let foreign: BTreeSet<String> = {
            let apart = |text: &&String| !self.audit.ours.contains(&meaning(text));
            self.foreign.iter().filter(apart).cloned().collect()
        };
        let (read, kept) = (only(&before, &foreign), only(&after, &foreign));
        self.audit.must(read == kept, || {
            format!("I1: foreign statements were {read:?} and are now {kept:?}")
        });
        let edits = self.cloud.buckets.get(write.bucket).map_or(0, |b| b.edits);
        if only(&live, &foreign) != kept && !write.late {
            let in_between = edits > write.edits || self.cloud.was_stale(self.true_time());
            self.audit.must(in_between, || {
                format!("I2: a foreign change that was read is undone: {kept:?}")
            });
        }
        // The ledger of a grant that was deleted without its finalizer ends with the process.
        let without_ledger = write.late && self.audit.lost.iter().any(is_at(write.bucket));
        if write.again || without_ledger {
            // What other writes have changed since is undone, and no ledger expects it.
            let of = |text: &String| (write.bucket.to_owned(), meaning(text));
            self.audit.ambiguous.extend(after.iter().map(of));
        }
        for added in after.iter().filter(|s| !before.contains(s)) {
            self.note(|| format!("    adds {added}"));
            let of = (write.bucket.to_owned(), meaning(added));
            let asks = |g: &&Arc<GrantObject>| {
                self.asks(g, write.identity, write.listed) && self.audit.renders(g, &of.1)
            };
            let asked = states.iter().any(|g| asks(&g));
            self.audit.must(asked || write.late, || {
                format!("I3: no grant that may use {:?} asks for {added}", write.identity)
            });
            let recorded = states
                .iter()
                .flat_map(|g| &g.status.owned)
                .any(|e| e.fingerprint == of.1);
            self.audit.must(recorded || write.late, || {
                format!("ledger: {added} is written without being recorded")
            });
            if write.listed < self.audit.restored_at {
                self.audit.ambiguous.insert(of.clone());
            }
            self.audit.written_at.insert(of.clone(), self.true_time());
            let writers = self.audit.placed.entry(of).or_default();
            writers.insert(write.identity.clone());
        }
        for gone in before.iter().filter(|s| !after.contains(s)) {
            self.note(|| format!("    removes {gone}"));
            self.audit
                .written_at
                .insert((write.bucket.to_owned(), meaning(gone)), self.true_time());
            self.check_removal(write, gone, &after, &states);
        }
    }

    /// Checks the removal of a statement.
    fn check_removal(
        &mut self,
        write: &Arrival<'_>,
        gone: &str,
        after: &[String],
        states: &[Arc<GrantObject>],
    ) {
        let of = (write.bucket.to_owned(), meaning(gone));
        let left = after.iter().any(|s| meaning(s) == of.1);
        if write.late || left {
            return;
        }
        let entry = |g: &Arc<GrantObject>| g.status.owned.iter().any(|e| e.fingerprint == of.1);
        let recorded = states.iter().any(entry);
        self.audit.must(recorded, || {
            format!("ledger: {gone} is removed without being recorded")
        });
        let take = |g: &Arc<GrantObject>| {
            g.spec
                .as_ref()
                .is_ok_and(|s| s.adoption_policy == AdoptionPolicy::TakeOwnership)
        };
        let ours = self.audit.placed.contains_key(&of)
            || self.audit.ambiguous.contains(&of)
            || states.iter().any(take);
        self.audit.must(ours, || {
            format!("I1: {gone} is removed, and no write of the operator has added it")
        });
        if self.audit.ambiguous.contains(&of) {
            return;
        }
        // A grant that has written the statement and has asked for it all the time must not lose it to another one.
        let mut last: BTreeMap<&str, bool> = BTreeMap::new();
        for grant in states {
            let rendered = self.audit.renders(grant, &of.1);
            let owns = grant
                .status
                .owned
                .iter()
                .any(|e| e.fingerprint == of.1 && e.state == EntryState::Applied && !e.pre_existing);
            let identity = grant.identity.as_ref();
            let active = identity.is_some_and(|i| self.asks(grant, i, write.listed));
            let holds = rendered && owns && active && !self.audit.forged.contains(&grant.uid);
            let all = last.entry(grant.uid.as_str()).or_insert(true);
            *all &= holds;
        }
        let robbed = last
            .iter()
            .find(|(_, all)| **all)
            .map(|(uid, _)| (*uid).to_owned());
        self.audit.must(robbed.is_none(), || {
            format!("G11: {gone} is removed although {robbed:?} has written it and asks for it")
        });
    }
}
