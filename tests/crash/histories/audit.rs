//! Invariants of every use of credentials, every status and every release, and what the checks remember.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imm_operator::api::{ConditionStatus, EntryState, GrantCondition, GrantStatus, LedgerEntry, Mode};
use imm_operator::core::grant::{GrantObject, PassRoleDecision, parse_spec};
use imm_operator::core::identity::{CredentialOrigin, Identity};
use imm_operator::core::policy::{Document, fingerprint};
use imm_operator::core::tenancy::Tenant;
use imm_operator::ports::AccessKeys;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::world::World;

/// Violations of one history that are kept.
const MOST_BROKEN: usize = 5;

/// A bucket and the meaning of a statement.
pub type Placed = (String, String);

/// What the checks remember.
#[derive(Default)]
pub struct Audit {
    pub broken: Vec<String>,
    /// Statements that a write of the operator has put into a policy, and the identities that did.
    pub placed: BTreeMap<Placed, BTreeSet<Identity>>,
    /// Statements of which nobody can tell any more whose they are: another writer or a forger has copied them, or
    /// the ledger was lost with a snapshot.
    pub ambiguous: BTreeSet<Placed>,
    /// Statements that a released grant was to leave.
    pub left: BTreeSet<Placed>,
    /// Grants that were deleted without their finalizer, which the process keeps in memory.
    pub gone: Vec<Arc<GrantObject>>,
    /// Those that a process kept which has ended, and those that a snapshot has removed; a write for them can arrive
    /// later.
    pub lost: Vec<Arc<GrantObject>>,
    /// Identities of which a token was issued, and in which life of their namespace the last time.
    pub tokens: BTreeMap<Identity, usize>,
    /// Objects whose status a tenant has written.
    pub forged: BTreeSet<String>,
    /// Objects, and the identities that the rules have allowed them.
    authorised: BTreeSet<(String, Identity)>,
    /// Meanings that any grant has ever asked for.
    pub ours: BTreeSet<String>,
    /// Statements by the fields that decide them.
    rendered: BTreeMap<String, Vec<(String, String)>>,
    /// When statements were last added or removed.
    pub written_at: BTreeMap<Placed, Timestamp>,
    /// The version at which a snapshot was restored.
    pub restored_at: u64,
    /// Policy writes, status writes and events so far.
    pub writes: usize,
    /// Whether the operator's clock has jumped, and by how many seconds to the past.
    pub jumped: bool,
    pub set_back: u64,
    /// Whether a process ended or lost an event since the grants last came to rest.
    pub disturbed: bool,
    /// Writes in flight that can still arrive after their process has gone on.
    pub late_writes: usize,
}

pub fn meaning(text: &str) -> String {
    fingerprint(text).unwrap_or_else(|| text.to_owned())
}

/// Returns the fields of a grant that decide its statements, as a text.
fn rendered_fields(grant: &GrantObject) -> String {
    let spec = grant.spec.as_ref();
    spec.map_or_else(String::clone, |s| {
        format!("{} {:?} {:?}", s.bucket.name, s.grantee, s.access)
    })
}

/// Returns the status and reason of the condition Ready.
pub fn ready(status: &GrantStatus) -> Option<(ConditionStatus, &str)> {
    let ready = status.conditions.iter().find(|c| c.is(GrantCondition::Ready));
    ready.map(|c| (c.status, c.reason.as_str()))
}

impl Audit {
    pub fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        // The first violation of a kind is followed by many like it.
        if !holds && self.broken.len() < MOST_BROKEN {
            self.broken.push(what());
        }
    }

    /// Returns text and meaning of the statements that a grant may ask for, with `ram:PassRole`.
    pub fn rendered(&mut self, grant: &GrantObject) -> Vec<(String, String)> {
        let id = rendered_fields(grant);
        if let Some(known) = self.rendered.get(&id) {
            return known.clone();
        }
        let spec = grant.spec.as_ref().ok();
        let desired = spec.and_then(|spec| parse_spec(spec, PassRoleDecision::Included).ok());
        let all = desired.into_iter().flat_map(|d| d.statements);
        let all: Vec<_> = all.map(|s| (s.text, s.fingerprint)).collect();
        self.ours.extend(all.iter().map(|(_, meaning)| meaning.clone()));
        self.rendered.insert(id, all.clone());
        all
    }

    /// Whether a grant whose statements are known may ask for a statement with this meaning.
    pub fn renders(&self, grant: &GrantObject, meaning: &str) -> bool {
        let known = self.rendered.get(&rendered_fields(grant));
        known.is_some_and(|all| all.iter().any(|(_, of)| of == meaning))
    }

    /// Nobody removes the statements of a grant any more.
    fn leave(&mut self, grant: &GrantObject) {
        let bucket = &grant.bucket.as_ref().unwrap().name;
        let owned = grant.status.owned.iter();
        self.left
            .extend(owned.map(|e| (bucket.clone(), e.fingerprint.clone())));
    }

    /// A process ends, and with it the deleted grants that it keeps in memory.
    pub fn process_ended(&mut self) {
        self.disturbed = true;
        for grant in std::mem::take(&mut self.gone) {
            self.leave(&grant);
            self.lost.push(grant);
        }
    }

    /// A snapshot is restored: what was written before may have lost its ledger.
    pub fn restored(&mut self, version: u64) {
        self.restored_at = version;
        self.ambiguous.extend(self.placed.keys().cloned());
    }
}

/// Whether the ledger of a grant explains a statement that is live. An intended write can be one of an identity that the
/// grant had before.
pub fn explains(world: &World, grant: &GrantObject, placed: &Placed) -> bool {
    let writers = world.audit.placed.get(placed);
    let own = || writers.is_some_and(|all| world.identities_of(&grant.uid).any(|i| all.contains(i)));
    let open = |e: &LedgerEntry| match e.state {
        EntryState::Removing => true,
        EntryState::Intended => own(),
        EntryState::Applied | EntryState::Missing => false,
    };
    let mut entries = grant.status.owned.iter().filter(|e| e.fingerprint == placed.1);
    entries.any(open) || holds(world, grant, placed)
}

/// A holder of a statement: whether it is a ledger entry that other owners may rely on.
pub fn holds(world: &World, grant: &GrantObject, placed: &Placed) -> bool {
    let writers = world.audit.placed.get(placed);
    let identity = grant.identity.as_ref();
    grant
        .status
        .owned
        .iter()
        .any(|e| match (e.fingerprint == placed.1, e.state) {
            (false, _) | (_, EntryState::Removing) => false,
            (true, EntryState::Intended) => {
                writers.is_some_and(|all| identity.is_some_and(|i| all.contains(i)))
            }
            (true, EntryState::Applied | EntryState::Missing) => true,
        })
}

impl World {
    /// Whether the tenancy rules of a version, or later ones, have allowed a grant.
    fn allowed_since(&self, grant: &GrantObject, version: u64) -> bool {
        let Ok(spec) = &grant.spec else { return false };
        let tenant = Tenant {
            name: grant.key.namespace.clone(),
            ..Tenant::default()
        };
        let then = self.rules_log.iter().rposition(|(at, _)| *at <= version);
        let rules = &self.rules_log[then.unwrap_or(0)..];
        rules
            .iter()
            .any(|(_, rules)| rules.allow_grant(&tenant, spec).is_ok())
    }

    /// Whether a grant asks for statements to be written with an identity.
    pub fn asks(&self, grant: &GrantObject, identity: &Identity, version: u64) -> bool {
        let active = grant
            .spec
            .as_ref()
            .is_ok_and(|s| !s.suspend && s.mode == Mode::Enforce);
        active
            && !grant.deleting
            && grant.identity.as_ref() == Some(identity)
            && self.allowed_since(grant, version)
    }

    /// Checks that keys of the operator are used at a bucket only for a grant that the rules allow, or to take out
    /// what such a grant has written.
    pub fn check_use(&mut self, bucket: &str, identity: &Identity, listed: u64) {
        if !identity.is_operator() {
            return;
        }
        let known = self.since(bucket, listed);
        let mut entitled = false;
        for grant in known.iter().filter(|g| g.identity.as_ref() == Some(identity)) {
            let id = (grant.uid.clone(), identity.clone());
            if self.allowed_since(grant, listed) {
                self.audit.authorised.insert(id);
                entitled = true;
            } else {
                entitled |= self.audit.authorised.contains(&id);
            }
        }
        self.audit.must(entitled, || {
            format!("T1: the operator's identity is used at {bucket} without a grant that a rule allows")
        });
    }

    /// Checks that keys of a namespace are not used for long after the namespace was created again.
    pub fn check_age(&mut self, keys: &AccessKeys) {
        let (identity, life) = self.cloud.owner(keys);
        // Who gets a token of the namespace gets such a session.
        let life = self
            .audit
            .tokens
            .get(&identity)
            .map_or(life, |now| life.max(*now));
        let namespace = match &identity.origin {
            CredentialOrigin::Secret { namespace, .. }
            | CredentialOrigin::ServiceAccount { namespace, .. } => namespace,
            CredentialOrigin::Operator { .. } => return,
        };
        let now = self.true_time();
        let known = self.namespaces.get(namespace).copied().unwrap_or_default();
        let since = known.since.filter(|_| known.lives > life && !known.gone);
        let old = since.is_some_and(|since| now.duration_since(since) > SignedDuration::from_mins(2));
        self.audit.must(!old, || {
            format!("T6: keys of {identity:?} are used although its namespace is another one by now")
        });
    }

    /// Checks I11 and I12: `Applied` is reported only after a read that shows every statement, and no status holds a
    /// secret.
    pub fn check_status(&mut self, planned: &GrantObject, status: &GrantStatus, seen: Option<&str>) {
        let text = serde_json::to_string(status).unwrap();
        self.audit.must(!text.contains("canary"), || {
            format!("I12: a secret in the status of {}", planned.key)
        });
        let applied = ready(status) == Some((ConditionStatus::True, "Applied"));
        let choice = status.pass_role_statement.is_some_and(|report| report.written);
        let before = &planned.status;
        let new = before.conditions != status.conditions
            || before.observed_generation != status.observed_generation;
        if !applied || !new || status.observed_generation != Some(planned.generation) {
            return;
        }
        let document = seen.map(|text| Document::parse(text.as_bytes()).unwrap());
        for (text, meaning) in self.audit.rendered(planned) {
            if text.contains("ram:PassRole") && !choice {
                continue;
            }
            let there = document
                .as_ref()
                .is_some_and(|d| !d.positions_of(&meaning).is_empty());
            self.audit.must(there, || {
                format!("I11: {} is reported as Applied without {text}", planned.key)
            });
        }
    }

    /// Checks I5: a finalizer is removed only when what the grant has written is gone, has another owner, or is to stay.
    pub fn check_release(&mut self, grant: &GrantObject, planned: &GrantObject) {
        let bucket = grant.bucket.as_ref().unwrap().name.clone();
        let live: BTreeSet<String> = self.cloud.texts(&bucket).iter().map(|t| meaning(t)).collect();
        for entry in &grant.status.owned {
            let of = (bucket.clone(), entry.fingerprint.clone());
            // An edit within the last moment comes too late.
            let stays = |g: &GrantObject| g.abandon || g.retain;
            if stays(grant) || stays(planned) {
                self.audit.left.insert(of);
                continue;
            }
            let written = self.audit.placed.contains_key(&of) && !entry.pre_existing;
            let excused = self.audit.ambiguous.contains(&of) || self.audit.left.contains(&of);
            if !live.contains(&of.1) || !written || excused || self.audit.jumped {
                continue;
            }
            let other = self
                .grants_of(&bucket)
                .filter(|g| !g.deleting || g.has_finalizer())
                // The process still removes what such a grant has left.
                .chain(&self.audit.gone)
                .any(|g| g.uid != grant.uid && holds(self, g, &of));
            self.audit.must(other, || {
                format!(
                    "I5: {} is released while its statement is live: {}",
                    grant.key, entry.statement
                )
            });
        }
    }

    /// A grant is gone from the API server although the operator has not released it: the process keeps it in memory
    /// if it is shown.
    pub fn note_gone(&mut self, last: &GrantObject) {
        if self.watch.hide || last.abandon || last.retain {
            self.audit.leave(last);
        } else {
            self.audit.gone.push(Arc::new(last.clone()));
        }
    }

    /// An answer has denied a release. If the grant is gone nevertheless, the process takes it for one that was deleted
    /// without its finalizer, and reads the policy once more.
    pub fn note_denied_release(&mut self, last: &GrantObject) {
        if self
            .grants
            .get(&last.key)
            .is_none_or(|stored| stored.uid != last.uid)
        {
            self.audit.lost.push(Arc::new(last.clone()));
        }
    }
}
