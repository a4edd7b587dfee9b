//! Invariants of every write, every status, every finalizer release, and of the state at rest.

use imm_operator::api::{ConditionStatus, EntryState, GrantCondition, GrantStatus, PassRoleStatement};
use imm_operator::core::grant::{GrantObject, PassRoleDecision, PublicAccessBlock, parse_spec};
use imm_operator::core::policy::{Document, fingerprint};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::fake_world::{FakeWorld, Write, statements};
use super::specs::BUCKET;

fn meaning(text: &str) -> String {
    fingerprint(text).unwrap_or_else(|| text.to_owned())
}

/// Returns the status and reason of the condition Ready.
fn ready(status: &GrantStatus) -> Option<(ConditionStatus, &str)> {
    let ready = status.conditions.iter().find(|c| c.is(GrantCondition::Ready));
    ready.map(|c| (c.status, c.reason.as_str()))
}

impl FakeWorld {
    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// Checks I1, I2 and I3 of a policy write, and that the ledger records every change.
    pub fn check_write(&mut self, write: &Write) {
        let before: Vec<String> = write.based_on.as_deref().map(statements).unwrap_or_default();
        let after: Vec<String> = write.text.as_deref().map(statements).unwrap_or_default();
        // I1: foreign statements of the version read are written back unchanged, in order, and without additions.
        let (read, kept) = (
            self.foreign_of(write.based_on.as_deref()),
            self.foreign_of(write.text.as_deref()),
        );
        self.must(read == kept, || {
            format!("I1: foreign statements were {read:?} and are now {kept:?}")
        });
        // I2: a foreign change is lost only when it was made between the read and the write.
        if self.foreign != kept {
            self.lost += 1;
            let in_between = self.foreign_edits > write.edits_then || self.lag > 0;
            self.must(in_between, || {
                format!("I2: a foreign change that was read is undone: {kept:?}")
            });
        }
        // A late write can arrive after the ledgers have changed; what it restores must still be owned by a grant.
        let owned = |o: &Self, text: &str, state: EntryState| {
            let meaning = meaning(text);
            let left = o.left.iter().filter(|_| state == EntryState::Removing);
            let left = left.flat_map(|g| &g.status.owned);
            if left.into_iter().any(|e| e.fingerprint == meaning) {
                // The ledger of a deleted grant is in the memory of the process.
                return true;
            }
            let entries = o.grants.values().flat_map(|g| &g.status.owned);
            let mut same = entries.filter(|e| e.fingerprint == meaning);
            same.any(|e| write.late || e.state == state)
        };
        for added in after.iter().filter(|s| !before.contains(s) && !kept.contains(s)) {
            // A reconcile can start before its grant is deleted; the next reconcile then removes the statement.
            let asked_for = self
                .grants
                .values()
                .any(|g| self.rendered(g).iter().any(|r| meaning(r) == meaning(added)));
            self.must(write.late || asked_for, || {
                format!("I3: no live grant renders {added}")
            });
            let recorded = owned(self, added, EntryState::Intended);
            self.must(recorded, || {
                format!("ledger: {added} is written without being recorded")
            });
        }
        let live = self.texts(&write.bucket);
        for gone in before.iter().filter(|s| !after.contains(s) && live.contains(s)) {
            let recorded = self.ever_foreign.contains(gone) || owned(self, gone, EntryState::Removing);
            let rewritten = after.iter().any(|s| meaning(s) == meaning(gone));
            self.must(recorded || rewritten, || {
                format!("ledger: {gone} is removed without being recorded")
            });
        }
        let copies = |list: &[String], text: &String| list.iter().filter(|s| *s == text).count();
        let twice = after.iter().find(|s| copies(&after, s) > copies(&kept, s).max(1));
        let twice = twice.cloned();
        self.must(twice.is_none(), || format!("duplicate statement: {twice:?}"));
    }

    /// Checks I11: a status says Applied only if the policy read last contains the grant's statements.
    pub fn check_status(&mut self, planned: &GrantObject, status: &GrantStatus, seen: Option<&str>) {
        let applied = ready(status) == Some((ConditionStatus::True, "Applied"));
        if !applied || status.observed_generation != Some(planned.generation) {
            return;
        }
        // A process that has not read the policy yet can store a ledger; what the status says stays as it was.
        if seen.is_none() && status.conditions == planned.status.conditions {
            return;
        }
        let document = seen.map(|text| Document::parse(text.as_bytes()).unwrap());
        let with_choice = GrantObject {
            status: status.clone(),
            ..planned.clone()
        };
        for text in self.rendered(&with_choice) {
            let there = document
                .as_ref()
                .is_some_and(|d| !d.positions_of(&meaning(&text)).is_empty());
            self.must(there, || {
                format!("I11: {} is reported as Applied without {text}", planned.key)
            });
        }
    }

    /// Checks that a write is dated back: OSS accepts a signature for 15 minutes, and the write must not take effect more
    /// than five minutes after the read on which it is based.
    pub fn check_signature(&mut self, signed_at: Timestamp, now: Timestamp) {
        let age = now.duration_since(signed_at);
        self.must(age >= SignedDuration::from_mins(10), || {
            format!("a write is signed only {age:?} back")
        });
    }

    /// Checks I5: a finalizer is removed only when no live statement of the grant is without another owner, or when the
    /// grant carries the abandon annotation.
    pub fn check_release(&mut self, grant: &GrantObject) {
        if grant.abandon {
            return;
        }
        for text in self.rendered(grant) {
            let (live, foreign) = self.live(BUCKET, &meaning(&text));
            let others = self
                .grants
                .values()
                .any(|g| g.key != grant.key && self.rendered(g).contains(&text));
            self.must(live <= foreign || others, || {
                format!("I5: {} is released while its statement is live", grant.key)
            });
        }
    }

    /// Checks I2, I4, I11 and I14 at rest: each live grant's statements are present and its status says so, regardless of
    /// the other grants; no statement of ours is left without a grant, and no foreign statement is missing.
    pub fn check_at_rest(&mut self) {
        let gone = self.refuses == Some(imm_operator::ports::CloudErrorKind::NoSuchBucket);
        let grants: Vec<GrantObject> = self.grants.values().cloned().collect();
        let mut wanted = Vec::new();
        for grant in &grants {
            let expected = self.expected.get(grant.key.name.as_str()).copied();
            let reason = ready(&grant.status).map(|(_, reason)| reason.to_owned());
            self.must(reason.as_deref() == Some(expected.unwrap_or("Applied")), || {
                format!("{} has the reason {reason:?}", grant.key)
            });
            let current = !grant.deleting && grant.status.observed_generation == Some(grant.generation);
            self.must(current, || {
                format!("{} has an outdated observedGeneration", grant.key)
            });
            if expected.is_some() {
                // A grant that is not Applied keeps the statements it owns.
                wanted.extend(grant.status.owned.iter().map(|e| e.fingerprint.clone()));
                continue;
            }
            let choice = grant.status.pass_role_statement;
            let omitted = grant
                .spec
                .as_ref()
                .is_ok_and(|spec| spec.access.pass_role_statement == PassRoleStatement::Omit);
            let open =
                matches!(self.block, None | Some(PublicAccessBlock::Off)) && !self.public_refused && !omitted;
            self.must(
                choice.is_some_and(|choice| choice.written) == open || self.public_refused,
                || format!("{}: ram:PassRole is {choice:?}", grant.key),
            );
            let odd = grant
                .status
                .owned
                .iter()
                .find(|e| e.state != EntryState::Applied || e.unsettled_until.is_some());
            self.must(odd.is_none(), || {
                format!("{} has an unfinished ledger entry at rest: {odd:?}", grant.key)
            });
            for text in self.rendered(grant) {
                let there = self.live(BUCKET, &meaning(&text)).0 > 0;
                self.must(there, || format!("a wanted statement is missing: {text}"));
                wanted.push(meaning(&text));
            }
        }
        let texts = self.texts(BUCKET);
        for text in texts
            .iter()
            .filter(|t| !self.ever_foreign.contains(*t))
            .cloned()
            .collect::<Vec<_>>()
        {
            let asked_for = gone || wanted.contains(&meaning(&text));
            self.must(asked_for, || {
                format!("I4: a statement of ours is left over: {text}")
            });
        }
        let live = self.foreign_of(self.policies.get(BUCKET).map(String::as_str));
        let foreign = self.foreign.clone();
        self.must(live == foreign, || {
            format!("I2: foreign statements were {foreign:?} and are now {live:?}")
        });
    }

    /// Returns the final state that runs are compared by: each policy's statements, and each grant's ledger without
    /// times.
    pub fn end(&self) -> String {
        let ledger = |g: &GrantObject| {
            let mut entries: Vec<String> = g
                .status
                .owned
                .iter()
                .map(|e| format!("{} {:?} {}", e.fingerprint, e.state, e.pre_existing))
                .collect();
            entries.sort();
            format!("{}: {}", g.key, entries.join(", "))
        };
        let ledgers: Vec<String> = self.grants.values().map(ledger).collect();
        // Two grants that are applied at once may be written in either order when one of them was delayed.
        let policy = |bucket: &String| {
            let mut texts = self.texts(bucket);
            texts.sort_by_key(|t| {
                if self.ever_foreign.contains(t) {
                    String::new()
                } else {
                    t.clone()
                }
            });
            format!("{bucket}: {}", texts.join("\n"))
        };
        let policies: Vec<String> = self.policies.keys().map(policy).collect();
        format!("{}\n{}", policies.join("\n"), ledgers.join("\n"))
    }

    /// Returns the statements that a grant asks for; whether `ram:PassRole` is one of them follows the grant's status
    /// once the status records that decision.
    pub fn rendered(&self, grant: &GrantObject) -> Vec<String> {
        let choice = match (grant.status.pass_role_statement, self.block) {
            (Some(report), _) if report.written => PassRoleDecision::Included,
            (Some(_), _) => PassRoleDecision::Omitted,
            (None, None | Some(PublicAccessBlock::Off)) => PassRoleDecision::Included,
            (None, Some(state)) => PassRoleDecision::OmittedBecause(state),
        };
        let wanted = grant
            .spec
            .as_ref()
            .ok()
            .and_then(|spec| parse_spec(spec, choice).ok());
        let statements = wanted.map(|w| w.statements).unwrap_or_default();
        statements.into_iter().map(|s| s.text).collect()
    }
}
