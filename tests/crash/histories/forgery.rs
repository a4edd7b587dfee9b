//! What a tenant with rights on statuses can write into them.

use std::collections::BTreeMap;

use imm_operator::api::{Drift, DriftKind, EntryState, LedgerEntry, RepeatedDrift, StatementRole};
use imm_operator::core::grant::GrantObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::step::Forgery;
use super::world::World;

/// A year that every component can still represent.
fn far_future() -> Time {
    Time(Timestamp::from_second(253_000_000_000).unwrap())
}

impl World {
    pub fn forge_status(&mut self, grant: &mut GrantObject, what: Forgery) {
        let until = Time(self.operator_time() + SignedDuration::from_mins(6));
        let own: Vec<(String, String)> = self.audit.rendered(grant);
        let unanswered = |grant: &GrantObject| grant.status.owned.iter().any(|e| e.unsettled_until.is_some());
        let had_unanswered = unanswered(grant);
        let entries = |statements: Vec<(String, String)>, state| {
            let entry = |(statement, fingerprint): (String, String)| LedgerEntry {
                role: if statement.contains("ram:PassRole") {
                    StatementRole::PassRole
                } else {
                    StatementRole::Access
                },
                fingerprint,
                state,
                pre_existing: false,
                statement,
                copies: None,
                unsettled_until: (state != EntryState::Applied).then(|| until.clone()),
                identity: None,
                other: BTreeMap::new(),
            };
            statements.into_iter().map(entry).collect::<Vec<_>>()
        };
        match what {
            Forgery::Intended => grant.status.owned = entries(own, EntryState::Intended),
            Forgery::Applied => grant.status.owned = entries(own, EntryState::Applied),
            Forgery::Removing => grant.status.owned = entries(own, EntryState::Removing),
            Forgery::OfAnother => {
                let bucket = grant.bucket.as_ref().unwrap().name.clone();
                let others = self
                    .grants_of(&bucket)
                    .filter(|g| g.key != grant.key)
                    .cloned()
                    .collect::<Vec<_>>();
                let theirs = others
                    .iter()
                    .flat_map(|g| self.audit.rendered(g))
                    .take(12)
                    .collect();
                let mut theirs = entries(theirs, EntryState::Applied);
                theirs.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
                theirs.dedup_by(|a, b| a.fingerprint == b.fingerprint);
                grant.status.owned = theirs;
            }
            Forgery::Cleared => {
                let bucket = grant.bucket.as_ref().unwrap().name.clone();
                let lost = grant.status.owned.iter();
                let lost: Vec<_> = lost.map(|e| (bucket.clone(), e.fingerprint.clone())).collect();
                self.audit.ambiguous.extend(lost);
                grant.status.owned.clear();
            }
            Forgery::FarFuture => {
                for entry in &mut grant.status.owned {
                    entry.unsettled_until = Some(far_future());
                }
                grant.status.last_drift = Some(Drift {
                    time: far_future(),
                    kind: DriftKind::StatementRemoved,
                    count: i32::MAX,
                });
                grant.status.repeated_drift = Some(RepeatedDrift {
                    removals: vec![far_future()],
                    level: i32::MAX,
                    hold_until: Some(far_future()),
                });
                for condition in &mut grant.status.conditions {
                    condition.last_transition_time = far_future();
                }
            }
            Forgery::Nonsense => {
                grant.status.observed_generation = Some(-7);
                grant.status.overlaps = Some(-1);
                grant.status.last_handled_reconcile_at = Some("x".repeat(253));
                grant.status.conditions.clear();
                grant.status.pass_role_statement = None;
                grant.status.bucket = None;
            }
        }
        if unanswered(grant) {
            grant.status.ledger_of = Some(grant.uid.clone());
        } else if had_unanswered {
            // Nobody knows any more that a write without an answer can bring back what other grants remove now.
            let bucket = &grant.bucket.as_ref().unwrap().name;
            let there = self.audit.placed.keys().filter(|(of, _)| of == bucket);
            self.audit.ambiguous.extend(there.cloned());
        }
        // A replaced ledger forgets what the grant has written before.
        if matches!(
            what,
            Forgery::Intended | Forgery::Applied | Forgery::Removing | Forgery::OfAnother
        ) {
            let bucket = grant.bucket.as_ref().unwrap().name.clone();
            let stored = self.grants.get(&grant.key).cloned();
            let lost = stored.iter().flat_map(|g| &g.status.owned);
            let lost: Vec<_> = lost.map(|e| (bucket.clone(), e.fingerprint.clone())).collect();
            // An intention says nothing about what is live.
            let settled = |e: &&LedgerEntry| e.state != EntryState::Intended;
            let forged = grant.status.owned.iter().filter(settled);
            let forged: Vec<_> = forged.map(|e| (bucket.clone(), e.fingerprint.clone())).collect();
            self.audit.ambiguous.extend(lost);
            self.audit.ambiguous.extend(forged);
        }
    }
}
