//! Builds a plan in one round over all grants. Grants that cannot be planned are set aside and excluded from the next
//! round.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::ownership::{Evidence, may_have_landed};
use super::types::{Change, GrantOutcome, GrantPlan, Plan, PlanInput};
use crate::api::{AdoptionPolicy, EntryState, LEDGER_LIMIT, LedgerEntry};
use crate::core::grant::{Desired, Disposition, GrantInput, OnDrift, Removal, WRITE_LIFE_SECONDS};
use crate::core::policy::{Document, STATEMENT_LIMIT, Statement};
use crate::core::time;

/// All statements with one fingerprint: the copies in the document, and the grants that desire or own them.
#[derive(Default)]
pub(super) struct StatementGroup<'a> {
    /// Positions of the copies in the document.
    pub(super) live: Vec<usize>,
    /// Grants that desire the statement and are enforced.
    pub(super) desired_by: BTreeSet<usize>,
    /// The text of the first grant that desires it, used for all: equal statements can differ in text (order of
    /// prefixes).
    pub(super) text: &'a str,
    /// Ledger entries with this fingerprint, and whether each is an intended write that can have taken effect.
    pub(super) entries: Vec<(&'a LedgerEntry, bool)>,
    /// Carried grants whose ledgers contain it.
    pub(super) carried_by: Vec<usize>,
    /// Carried grants that hold it. An intended write holds nothing.
    pub(super) held_by: Vec<usize>,
    /// Grants for which the plan adds it.
    pub(super) added_by: BTreeSet<usize>,
    /// Whether it is in the document while one of its owners no longer desires it.
    pub(super) being_released: bool,
    /// Whether it counts as foreign, by [`Evidence::is_pre_existing`].
    pub(super) pre_existing: bool,
}

pub(super) struct PlanBuilder<'a> {
    pub(super) input: PlanInput<'a>,
    pub(super) grants: &'a [GrantInput],
    pub(super) order: Vec<usize>,
    pub(super) set_aside: &'a BTreeMap<usize, GrantOutcome>,
    pub(super) groups: BTreeMap<&'a str, StatementGroup<'a>>,
    pub(super) plan: Plan,
    pub(super) add: Vec<String>,
    pub(super) remove: BTreeSet<usize>,
}

impl<'a> PlanBuilder<'a> {
    pub(super) fn new(
        input: PlanInput<'a>,
        grants: &'a [GrantInput],
        set_aside: &'a BTreeMap<usize, GrantOutcome>,
    ) -> Self {
        let mut order: Vec<usize> = (0..grants.len()).collect();
        order.sort_by_key(|i| grants.get(*i).map(|m| (m.created, &m.key)));
        let unchanged = |grant: &GrantInput| GrantPlan {
            ledger: grant.ledger.clone(),
            outcome: GrantOutcome::Carried,
            added: 0,
            removed: 0,
            missing: 0,
        };
        let plan = Plan {
            change: Change::Keep,
            grants: grants.iter().map(unchanged).collect(),
        };
        let mut builder = Self {
            input,
            grants,
            order,
            set_aside,
            groups: BTreeMap::new(),
            plan,
            add: Vec::new(),
            remove: BTreeSet::new(),
        };
        builder.group_statements();
        builder
    }

    /// Updates the part of the plan for a grant.
    pub(super) fn update(&mut self, grant: usize, update: impl FnOnce(&mut GrantPlan)) {
        if let Some(plan) = self.plan.grants.get_mut(grant) {
            update(plan);
        }
    }

    pub(super) fn desired(&self, grant: usize) -> Option<&'a Desired> {
        match self.grants.get(grant).map(|m| &m.disposition) {
            Some(Disposition::Enforced(desired)) if !self.set_aside.contains_key(&grant) => Some(desired),
            _ => None,
        }
    }

    pub(super) fn removal(&self, grant: usize) -> Option<Removal> {
        match self.grants.get(grant).map(|m| &m.disposition) {
            Some(Disposition::Removing(leave)) => Some(*leave),
            _ => None,
        }
    }

    pub(super) fn is_carried(&self, grant: usize) -> bool {
        self.desired(grant).is_none() && self.removal(grant).is_none()
    }

    /// Groups all desired and owned statements by fingerprint and decides for each group whether it is foreign.
    pub(super) fn group_statements(&mut self) {
        for index in self.order.iter().copied() {
            let desired = self.desired(index).map(|w| w.statements.as_slice());
            for statement in desired.unwrap_or_default() {
                let group = self.groups.entry(&statement.fingerprint).or_default();
                if group.desired_by.is_empty() {
                    group.text = &statement.text;
                }
                group.desired_by.insert(index);
            }
            let carried = self.is_carried(index);
            for entry in self.grants.get(index).into_iter().flat_map(|m| &m.ledger) {
                let may_have_landed = may_have_landed(entry, self.grants.get(index), &self.input);
                let group = self.groups.entry(&entry.fingerprint).or_default();
                group.entries.push((entry, may_have_landed));
                if carried {
                    group.carried_by.push(index);
                    group
                        .held_by
                        .extend((entry.state != EntryState::Intended).then_some(index));
                }
            }
        }
        let found = self.input.document.map(Document::statements).unwrap_or_default();
        for (index, statement) in found.iter().enumerate() {
            let fingerprint = statement.fingerprint.as_deref();
            if let Some(group) = fingerprint.and_then(|f| self.groups.get_mut(f)) {
                group.live.push(index);
            }
        }
        for group in self.groups.values_mut() {
            let live = group.live.iter().filter_map(|i| found.get(*i));
            let live = live.filter_map(|statement| Some(self.input.document?.text_of(statement)));
            let evidence = Evidence {
                entries: &group.entries,
                live: live.collect(),
                identity: self.input.identity,
                shared_identity: self.input.shared_identity,
            };
            group.pre_existing = evidence.is_pre_existing();
        }
    }

    /// Returns `true` if no earlier write can still take effect. Only then is a statement that is absent removed for
    /// good.
    pub(super) fn no_write_outstanding(&self) -> bool {
        self.input
            .unsettled_until
            .is_none_or(|until| self.input.now >= until)
    }

    pub(super) fn write_expiry(&self) -> Time {
        Time(time::after(
            self.input.now,
            SignedDuration::from_secs(WRITE_LIFE_SECONDS),
        ))
    }

    /// Records each desired statement of a grant in its ledger, and adds those that are not in the document.
    ///
    /// # Errors
    /// The grant and the outcome with which it must be set aside.
    pub(super) fn ensure_desired(&mut self, grant: usize) -> Result<(), (usize, GrantOutcome)> {
        let Some(desired) = self.desired(grant) else {
            if let Some(outcome) = self.set_aside.get(&grant) {
                self.update(grant, |plan| plan.outcome = outcome.clone());
            }
            return Ok(());
        };
        let mut outcome = GrantOutcome::Applied;
        for statement in &desired.statements {
            if statement.text.len() > STATEMENT_LIMIT {
                let bytes = statement.text.len();
                return Err((grant, GrantOutcome::StatementTooLong { bytes }));
            }
            let Some(group) = self.groups.get(statement.fingerprint.as_str()) else {
                continue;
            };
            let (live, foreign) = (!group.live.is_empty(), group.pre_existing);
            let entry = self.entry(grant, &statement.fingerprint);
            let is_new = entry.is_none_or(|e| e.state == EntryState::Intended);
            if live {
                if foreign && is_new && desired.adoption == AdoptionPolicy::Fail {
                    return Err((grant, GrantOutcome::ExistingStatement));
                }
                let pre_existing = foreign && desired.adoption != AdoptionPolicy::TakeOwnership;
                let unsettled = entry
                    .and_then(|e| e.unsettled_until.clone())
                    .filter(|t| t.0 > self.input.now);
                let text = entry.map_or(&statement.text, |e| &e.statement).clone();
                let state = (EntryState::Applied, pre_existing);
                self.record(grant, statement, state, text, unsettled)?;
            } else if self.input.absence_untrusted {
                outcome = GrantOutcome::Propagating;
            } else {
                if entry.is_some_and(|e| e.state == EntryState::Applied) {
                    self.update(grant, |plan| plan.missing += 1);
                }
                let lost = entry.filter(|e| matches!(e.state, EntryState::Applied | EntryState::Missing));
                if let (Some(lost), OnDrift::Report) = (lost, desired.on_drift) {
                    let (state, text) = ((EntryState::Missing, lost.pre_existing), lost.statement.clone());
                    self.record(grant, statement, state, text, lost.unsettled_until.clone())?;
                    outcome = GrantOutcome::Missing;
                    continue;
                }
                self.add_statement(grant, statement)?;
                if outcome != GrantOutcome::Missing {
                    outcome = GrantOutcome::Writing;
                }
            }
        }
        self.update(grant, |plan| plan.outcome = outcome);
        Ok(())
    }

    /// Adds a statement, once for all grants that desire it. The ledgers of carried grants that own it are updated as
    /// well.
    ///
    /// # Errors
    /// The grant whose ledger has no room for the entry.
    pub(super) fn add_statement(
        &mut self,
        grant: usize,
        statement: &Statement,
    ) -> Result<(), (usize, GrantOutcome)> {
        let Some(group) = self.groups.get_mut(statement.fingerprint.as_str()) else {
            return Ok(());
        };
        let text = group.text;
        let owners = if group.added_by.is_empty() {
            self.add.push(text.to_owned());
            group.carried_by.clone()
        } else {
            Vec::new()
        };
        group.added_by.insert(grant);
        self.update(grant, |plan| plan.added += 1);
        let until = Some(self.write_expiry());
        for owner in [grant].into_iter().chain(owners) {
            let state = (EntryState::Intended, false);
            self.record(owner, statement, state, text.to_owned(), until.clone())?;
        }
        Ok(())
    }

    pub(super) fn entry(&self, grant: usize, fingerprint: &str) -> Option<&'a LedgerEntry> {
        self.grants
            .get(grant)
            .and_then(|m| m.ledger.iter().find(|e| e.fingerprint == fingerprint))
    }

    pub(super) fn record(
        &mut self,
        grant: usize,
        statement: &Statement,
        (state, pre_existing): (EntryState, bool),
        text: String,
        unsettled_until: Option<Time>,
    ) -> Result<(), (usize, GrantOutcome)> {
        let unverified = self.grants.get(grant).map_or(0, |m| m.unverified);
        let Some(GrantPlan { ledger, .. }) = self.plan.grants.get_mut(grant) else {
            return Ok(());
        };
        let full = ledger.len() + unverified >= LEDGER_LIMIT;
        let earlier = ledger.iter().find(|e| e.fingerprint == statement.fingerprint);
        let known = earlier.and_then(|e| e.identity.clone());
        let identity = match state {
            // The identity of the grant may be used, and has read the document with the statement.
            EntryState::Applied => self.input.identity.map(ToOwned::to_owned).or(known),
            EntryState::Missing | EntryState::Removing => known,
            EntryState::Intended => None,
        };
        let entry = LedgerEntry {
            fingerprint: statement.fingerprint.clone(),
            role: statement.role,
            state,
            pre_existing,
            statement: text,
            copies: None,
            unsettled_until,
            identity,
            other: earlier.map(|e| e.other.clone()).unwrap_or_default(),
        };
        match ledger.iter_mut().find(|e| e.fingerprint == statement.fingerprint) {
            Some(slot) => *slot = entry,
            None if full => return Err((grant, GrantOutcome::LedgerFull)),
            None => ledger.push(entry),
        }
        Ok(())
    }
}
