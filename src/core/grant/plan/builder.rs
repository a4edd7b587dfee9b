//! A plan in the making: one round over all grants, in which some may be set aside.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::{Change, Plan, Scene, Verdict};
use crate::api::{AdoptionPolicy, EntryState, LEDGER_LIMIT, LedgerEntry};
use crate::core::grant::{Leave, Member, Restore, Stance, WRITE_LIFE_SECONDS, Wanted};
use crate::core::policy::{Document, STATEMENT_LIMIT, Statement};

/// What happens to one equal group of statements.
#[derive(Default)]
pub(super) struct Group<'a> {
    /// Copies in the document.
    pub(super) live: Vec<usize>,
    /// Members that want it and may.
    pub(super) wanted_by: BTreeSet<usize>,
    /// Equal statements may be spelled differently (order of prefixes): the first grant's text stands for all.
    pub(super) text: &'a str,
    /// What the ledgers hold of it.
    pub(super) entries: Vec<&'a LedgerEntry>,
    /// Members whose ledgers hold it and that are only carried.
    pub(super) carried_by: Vec<usize>,
    /// Members that the plan adds it for.
    pub(super) added_by: BTreeSet<usize>,
    /// Whether it is live and somebody who owns it does not want it.
    pub(super) let_go: bool,
    /// Whether it belongs to somebody else.
    pub(super) pre_existing: bool,
}

pub(super) struct Draft<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) members: &'a [Member],
    pub(super) order: Vec<usize>,
    pub(super) frozen: &'a BTreeMap<usize, Verdict>,
    pub(super) groups: BTreeMap<&'a str, Group<'a>>,
    pub(super) plan: Plan,
    pub(super) add: Vec<String>,
    pub(super) remove: BTreeSet<usize>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(scene: Scene<'a>, members: &'a [Member], frozen: &'a BTreeMap<usize, Verdict>) -> Self {
        let count = members.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|i| members.get(*i).map(|m| (m.created, &m.key)));
        let plan = Plan {
            change: Change::Keep,
            ledgers: members.iter().map(|m| m.ledger.clone()).collect(),
            verdicts: vec![Verdict::Frozen; count],
            added: vec![0; count],
            removed: vec![0; count],
            drifted: vec![0; count],
        };
        let mut draft = Self {
            scene,
            members,
            order,
            frozen,
            groups: BTreeMap::new(),
            plan,
            add: Vec::new(),
            remove: BTreeSet::new(),
        };
        draft.group();
        draft
    }

    pub(super) fn active(&self, member: usize) -> Option<&'a Wanted> {
        match self.members.get(member).map(|m| &m.stance) {
            Some(Stance::Active(wanted)) if !self.frozen.contains_key(&member) => Some(wanted),
            _ => None,
        }
    }

    pub(super) fn leaving(&self, member: usize) -> Option<Leave> {
        match self.members.get(member).map(|m| &m.stance) {
            Some(Stance::Leaving(leave)) => Some(*leave),
            _ => None,
        }
    }

    pub(super) fn carried(&self, member: usize) -> bool {
        self.active(member).is_none() && self.leaving(member).is_none()
    }

    /// Sorts every statement that is wanted or owned into groups of equal meaning, and says whose each group is.
    pub(super) fn group(&mut self) {
        for index in self.order.iter().copied() {
            let wanted = self.active(index).map(|w| w.statements.as_slice());
            for statement in wanted.unwrap_or_default() {
                let group = self.groups.entry(&statement.fingerprint).or_default();
                if group.wanted_by.is_empty() {
                    group.text = &statement.text;
                }
                group.wanted_by.insert(index);
            }
            let carried = self.carried(index);
            for entry in self.members.get(index).into_iter().flat_map(|m| &m.ledger) {
                let group = self.groups.entry(&entry.fingerprint).or_default();
                group.entries.push(entry);
                if carried {
                    group.carried_by.push(index);
                }
            }
        }
        let found = self.scene.document.map(Document::statements).unwrap_or_default();
        for (index, statement) in found.iter().enumerate() {
            let fingerprint = statement.fingerprint.as_deref();
            if let Some(group) = fingerprint.and_then(|f| self.groups.get_mut(f)) {
                group.live.push(index);
            }
        }
        for group in self.groups.values_mut() {
            let entries = &group.entries;
            let live_text = |entry: &LedgerEntry| {
                let document = self.scene.document?;
                let texts = group.live.iter().filter_map(|i| document.statements().get(*i));
                Some(
                    texts
                        .map(|s| document.text_of(s))
                        .any(|text| text == entry.statement),
                )
            };
            // An intended write that cannot be told from somebody else's is ours only byte by byte.
            let landed = |e: &LedgerEntry| e.state == EntryState::Intended && live_text(e) == Some(true);
            let intended_only =
                !entries.is_empty() && entries.iter().all(|e| e.state == EntryState::Intended);
            group.pre_existing = if entries.iter().any(|e| landed(e)) {
                false
            } else {
                entries.iter().any(|e| e.pre_existing) || intended_only || entries.is_empty()
            };
        }
    }

    /// Whether an absence proves that a statement has left for good.
    pub(super) fn settled(&self) -> bool {
        self.scene
            .unsettled_until
            .is_none_or(|until| self.scene.now >= until)
    }

    pub(super) fn write_life(&self) -> Time {
        Time(self.scene.now + SignedDuration::from_secs(WRITE_LIFE_SECONDS))
    }

    pub(super) fn finish(mut self) -> Result<Plan, Vec<(usize, Verdict)>> {
        let mut unfit = Vec::new();
        for member in self.order.clone() {
            unfit.extend(self.keep_wanted(member).err());
        }
        // All of them at once: each round takes time, and a bucket may have any number of grants.
        if !unfit.is_empty() {
            return Err(unfit);
        }
        for member in self.order.clone() {
            self.drop_unwanted(member);
        }
        self.check_room()?;
        let remove: Vec<usize> = self.remove.iter().copied().collect();
        if !remove.is_empty() || !self.add.is_empty() {
            let text = match self.scene.document {
                Some(document) => document.splice(&remove, &self.add),
                None => Document::new_document(&self.add),
            };
            self.plan.change = text.map_or(Change::Delete, Change::Put);
        }
        Ok(self.plan)
    }

    /// Makes sure that each statement a grant wants is in the policy, or is added, and is in its ledger.
    pub(super) fn keep_wanted(&mut self, member: usize) -> Result<(), (usize, Verdict)> {
        let Some(wanted) = self.active(member) else {
            if let (Some(slot), Some(verdict)) =
                (self.plan.verdicts.get_mut(member), self.frozen.get(&member))
            {
                *slot = verdict.clone();
            }
            return Ok(());
        };
        let mut verdict = Verdict::Applied;
        for statement in &wanted.statements {
            if statement.text.len() > STATEMENT_LIMIT {
                return Err((
                    member,
                    Verdict::StatementTooLong {
                        bytes: statement.text.len(),
                    },
                ));
            }
            let Some(group) = self.groups.get(statement.fingerprint.as_str()) else {
                continue;
            };
            let (live, foreign) = (!group.live.is_empty(), group.pre_existing);
            let entry = self.entry(member, &statement.fingerprint);
            let is_new = entry.is_none_or(|e| e.state == EntryState::Intended);
            if live {
                if foreign && is_new && wanted.adoption == AdoptionPolicy::Fail {
                    return Err((member, Verdict::ExistingStatement));
                }
                let pre_existing = foreign && wanted.adoption != AdoptionPolicy::TakeOwnership;
                let unsettled = entry
                    .and_then(|e| e.unsettled_until.clone())
                    .filter(|t| t.0 > self.scene.now);
                let text = entry.map_or(&statement.text, |e| &e.statement).clone();
                self.record(
                    member,
                    statement,
                    EntryState::Applied,
                    pre_existing,
                    text,
                    unsettled,
                )?;
            } else if self.scene.lagging {
                verdict = Verdict::Settling;
            } else {
                if entry.is_some_and(|e| e.state == EntryState::Applied) {
                    bump(&mut self.plan.drifted, member);
                }
                let lost = entry.filter(|e| matches!(e.state, EntryState::Applied | EntryState::Missing));
                if let (Some(lost), Restore::Leave) = (lost, wanted.restore) {
                    let (owned, text) = (lost.pre_existing, lost.statement.clone());
                    self.record(
                        member,
                        statement,
                        EntryState::Missing,
                        owned,
                        text,
                        lost.unsettled_until.clone(),
                    )?;
                    verdict = Verdict::Missing;
                    continue;
                }
                self.add_for(member, statement)?;
                if verdict != Verdict::Missing {
                    verdict = Verdict::Writing;
                }
            }
        }
        if let Some(slot) = self.plan.verdicts.get_mut(member) {
            *slot = verdict;
        }
        Ok(())
    }

    /// Adds a statement, once for all that want it; grants that are only carried but own it are told as well.
    pub(super) fn add_for(&mut self, member: usize, statement: &Statement) -> Result<(), (usize, Verdict)> {
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
        group.added_by.insert(member);
        bump(&mut self.plan.added, member);
        let until = Some(self.write_life());
        for owner in [member].into_iter().chain(owners) {
            self.record(
                owner,
                statement,
                EntryState::Intended,
                false,
                text.to_owned(),
                until.clone(),
            )?;
        }
        Ok(())
    }

    pub(super) fn entry(&self, member: usize, fingerprint: &str) -> Option<&'a LedgerEntry> {
        self.members
            .get(member)
            .and_then(|m| m.ledger.iter().find(|e| e.fingerprint == fingerprint))
    }

    pub(super) fn record(
        &mut self,
        member: usize,
        statement: &Statement,
        state: EntryState,
        pre_existing: bool,
        text: String,
        unsettled_until: Option<Time>,
    ) -> Result<(), (usize, Verdict)> {
        let Some(ledger) = self.plan.ledgers.get_mut(member) else {
            return Ok(());
        };
        let full = ledger.len() >= LEDGER_LIMIT;
        let entry = LedgerEntry {
            fingerprint: statement.fingerprint.clone(),
            role: statement.role,
            state,
            pre_existing,
            statement: text,
            copies: None,
            unsettled_until,
        };
        match ledger.iter_mut().find(|e| e.fingerprint == statement.fingerprint) {
            Some(slot) => *slot = entry,
            None if full => return Err((member, Verdict::LedgerFull)),
            None => ledger.push(entry),
        }
        Ok(())
    }
}

pub(super) fn bump(counts: &mut [usize], member: usize) {
    if let Some(count) = counts.get_mut(member) {
        *count += 1;
    }
}
