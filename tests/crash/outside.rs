//! What survives a crash: the API server's objects and the buckets' policies, with the invariants checked at each change.

use std::collections::BTreeMap;

use imm_operator::api::{EntryState, FINALIZER, GrantSpec, GrantStatus};
use imm_operator::core::grant::{BlockState, GrantObject, ObjectKey, PassRoleChoice, parse_spec};
use imm_operator::core::identity::Identity;
use imm_operator::core::policy::Document;
use imm_operator::ports::KubeFailure;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Objects, policies, and what happened to them.
#[derive(Default)]
pub struct Outside {
    pub grants: BTreeMap<ObjectKey, GrantObject>,
    pub policies: BTreeMap<String, String>,
    pub block: Option<BlockState>,
    /// Foreign statements that every write must carry, in order.
    pub foreign: Vec<String>,
    pub policy_writes: usize,
    pub status_writes: usize,
    pub broken: Vec<String>,
    /// Which effects of a process were policy writes.
    pub written_at: Vec<usize>,
    /// How many seconds a read may be behind.
    pub lag: i64,
    /// What the policies were before each change, and until when.
    history: Vec<(String, Timestamp, Option<String>)>,
    version: u64,
}

impl Outside {
    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    /// A user applies a grant.
    pub fn apply(&mut self, name: &str, spec: GrantSpec) {
        let key = ObjectKey {
            namespace: "media".to_owned(),
            name: name.to_owned(),
        };
        let version = self.next_version();
        if let Some(grant) = self.grants.get_mut(&key) {
            grant.generation += 1;
            grant.resource_version = version;
            grant.spec = Ok(spec);
            return;
        }
        let grant = GrantObject {
            uid: format!("uid-{name}-{version}"),
            resource_version: version,
            generation: 1,
            created: None,
            deleting: false,
            finalizers: Vec::new(),
            reconcile_at: None,
            abandon: false,
            retain: false,
            place: Some(spec.bucket.clone()),
            identity: Identity::of("media", &spec.credentials),
            spec: Ok(spec),
            status: GrantStatus {
                observed_generation: Some(-1),
                ..GrantStatus::default()
            },
            key: key.clone(),
        };
        self.grants.insert(key, grant);
    }

    /// A user deletes a grant.
    pub fn delete(&mut self, name: &str) {
        let key = ObjectKey {
            namespace: "media".to_owned(),
            name: name.to_owned(),
        };
        let version = self.next_version();
        if let Some(grant) = self.grants.get_mut(&key) {
            grant.deleting = true;
            grant.generation += 1;
            grant.resource_version = version;
            if grant.finalizers.is_empty() {
                self.grants.remove(&key);
            }
        }
    }

    /// The object as it stands, if the version is the one that a write was planned from.
    fn current(&mut self, planned: &GrantObject) -> Result<&mut GrantObject, KubeFailure> {
        let stored = self
            .grants
            .get_mut(&planned.key)
            .filter(|g| g.uid == planned.uid)
            .ok_or(KubeFailure::NotFound)?;
        if stored.resource_version == planned.resource_version {
            Ok(stored)
        } else {
            Err(KubeFailure::Conflict)
        }
    }

    pub fn replace_status(
        &mut self,
        planned: &GrantObject,
        status: &GrantStatus,
    ) -> Result<String, KubeFailure> {
        let version = self.next_version();
        let stored = self.current(planned)?;
        stored.status = status.clone();
        stored.resource_version.clone_from(&version);
        self.status_writes += 1;
        Ok(version)
    }

    pub fn add_finalizer(&mut self, planned: &GrantObject) -> Result<String, KubeFailure> {
        let version = self.next_version();
        let stored = self.grants.get_mut(&planned.key).ok_or(KubeFailure::NotFound)?;
        if stored.uid != planned.uid || stored.finalizers != planned.finalizers {
            return Err(KubeFailure::Invalid);
        }
        stored.finalizers.push(FINALIZER.to_owned());
        stored.resource_version.clone_from(&version);
        Ok(version)
    }

    /// I5: the finalizer goes only when none of the grant's statements is left that nobody else owns.
    pub fn remove_finalizer(&mut self, planned: &GrantObject) -> Result<(), KubeFailure> {
        let stored = self
            .grants
            .get(&planned.key)
            .ok_or(KubeFailure::NotFound)?
            .clone();
        for text in self.rendered(&stored) {
            let live = self
                .documents()
                .any(|d| d.statements().iter().any(|s| d.text_of(s) == text));
            let others = self
                .grants
                .values()
                .any(|g| g.key != stored.key && self.rendered(g).contains(&text));
            let foreign = self.foreign.contains(&text);
            if live && !others && !foreign {
                self.broken.push(format!(
                    "I5: {} is released while its statement is live",
                    stored.key
                ));
            }
        }
        let stored = self.grants.get_mut(&planned.key).ok_or(KubeFailure::NotFound)?;
        stored.finalizers.retain(|f| f != FINALIZER);
        if stored.deleting && stored.finalizers.is_empty() {
            self.grants.remove(&planned.key);
        }
        Ok(())
    }

    /// The policy as a read shows it: as it was `lag` seconds ago.
    pub fn read_policy(&self, bucket: &str, now: Timestamp) -> Option<String> {
        let since = now - SignedDuration::from_secs(self.lag);
        let newer = self
            .history
            .iter()
            .find(|(name, until, _)| name == bucket && *until > since);
        newer.map_or_else(|| self.policies.get(bucket).cloned(), |(_, _, text)| text.clone())
    }

    /// A policy write, with what must hold of every one: I1 foreign statements unchanged and in order, I3 nothing added that
    /// no live grant renders, and nothing added or removed that is not in a ledger.
    pub fn write_policy(&mut self, bucket: &str, text: Option<&str>, now: Timestamp, late: bool) {
        self.history
            .push((bucket.to_owned(), now, self.policies.get(bucket).cloned()));
        self.policy_writes += 1;
        let before = self.texts(bucket);
        let after: Vec<String> = text.map(statements).unwrap_or_default();
        let mut rest = after.iter();
        for foreign in self.foreign.iter().filter(|f| before.contains(f)) {
            if !rest.any(|s| s == foreign) {
                self.broken
                    .push(format!("I1: a foreign statement is lost: {foreign}"));
            }
        }
        // A late write meets ledgers that have moved on; what it brings back must still be somebody's.
        let owned = |text: &str, state: EntryState| {
            let entries = self.grants.values().flat_map(|g| &g.status.owned);
            let mut same = entries.filter(|e| e.statement == text);
            if late {
                same.next().is_some()
            } else {
                same.any(|e| e.state == state)
            }
        };
        let mut broken = Vec::new();
        for added in after.iter().filter(|s| !before.contains(s)) {
            // A pass may have begun before its grant was deleted; then the next one takes the statement out again.
            if !late && !self.grants.values().any(|g| self.rendered(g).contains(added)) {
                broken.push(format!("I3: no live grant renders {added}"));
            }
            if !owned(added, EntryState::Intended) {
                broken.push(format!("ledger: {added} is written without being recorded"));
            }
        }
        for gone in before
            .iter()
            .filter(|s| !after.contains(s) && !self.foreign.contains(s))
        {
            if !owned(gone, EntryState::Removing) {
                broken.push(format!("ledger: {gone} is taken out without being recorded"));
            }
        }
        if after
            .iter()
            .enumerate()
            .any(|(i, s)| after.iter().skip(i + 1).any(|t| t == s))
        {
            broken.push("a statement is there twice".to_owned());
        }
        self.broken.append(&mut broken);
        match text {
            Some(text) => self.policies.insert(bucket.to_owned(), text.to_owned()),
            None => self.policies.remove(bucket),
        };
    }

    /// I4 and I11 at rest: each live grant's statements are there, says so, and nothing of ours is left without a grant.
    pub fn check_at_rest(&mut self) {
        let mut broken = Vec::new();
        let wanted: Vec<String> = self.grants.values().flat_map(|g| self.rendered(g)).collect();
        let live: Vec<String> = self.policies.keys().flat_map(|b| self.texts(b)).collect();
        for text in wanted.iter().filter(|t| !live.contains(t)) {
            broken.push(format!("a wanted statement is missing: {text}"));
        }
        for text in live
            .iter()
            .filter(|t| !wanted.contains(t) && !self.foreign.contains(t))
        {
            broken.push(format!("I4: a statement of ours is left over: {text}"));
        }
        for grant in self.grants.values() {
            let ready = grant
                .status
                .conditions
                .iter()
                .any(|c| c.kind == "Ready" && c.reason == "Applied");
            if !ready || grant.deleting || grant.status.observed_generation != Some(grant.generation) {
                broken.push(format!(
                    "{} is not Applied: {:?}",
                    grant.key, grant.status.conditions
                ));
            }
            if let Some(odd) = grant
                .status
                .owned
                .iter()
                .find(|e| e.state != EntryState::Applied || e.unsettled_until.is_some())
            {
                broken.push(format!("{} has an open entry at rest: {odd:?}", grant.key));
            }
        }
        self.broken.append(&mut broken);
    }

    /// What the end of a run must equal: each policy's statements, and each grant's ledger without its times.
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
        // Two grants applied at once may be written in either order when one of them was held up.
        let policy = |bucket: &String| {
            let mut texts = self.texts(bucket);
            texts.sort_by_key(|t| {
                if self.foreign.contains(t) {
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

    fn rendered(&self, grant: &GrantObject) -> Vec<String> {
        let choice = match self.block {
            None | Some(BlockState::Off) => PassRoleChoice::Included,
            Some(state) => PassRoleChoice::OmittedBecause(state),
        };
        let spec = grant.spec.as_ref().unwrap();
        parse_spec(spec, choice)
            .unwrap()
            .statements
            .into_iter()
            .map(|s| s.text)
            .collect()
    }

    fn texts(&self, bucket: &str) -> Vec<String> {
        self.policies
            .get(bucket)
            .map(|t| statements(t))
            .unwrap_or_default()
    }

    fn documents(&self) -> impl Iterator<Item = Document> {
        self.policies
            .values()
            .map(|t| Document::parse(t.as_bytes()).unwrap())
    }
}

fn statements(text: &str) -> Vec<String> {
    let document = Document::parse(text.as_bytes()).unwrap();
    document
        .statements()
        .iter()
        .map(|s| document.text_of(s).to_owned())
        .collect()
}
