//! The world of a history: several buckets, namespaces and identities; grants and jobs with versions, uids,
//! finalizers and watch events. Every change of an object is kept, so that a list can be stale and a snapshot can be
//! restored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imm_operator::api::{FINALIZER, GrantStatus};
use imm_operator::core::grant::{GrantObject, ObjectKey};
use imm_operator::core::identity::Identity;
use imm_operator::core::tenancy::TenancyRules;
use imm_operator::ports::KubeError;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::fault::Fault;
use super::super::jobs::JobWorld;
use super::audit::{Audit, ready};
use super::cloud::SimulatedCloud;
use super::specs::credentials;
use super::step::{Rotation, Shape};
use super::watch::Watch;

/// A namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Namespace {
    /// How often the namespace was created again, and when the last time.
    pub lives: usize,
    pub since: Option<Timestamp>,
    pub terminating: bool,
    /// It is to be created again as soon as it is gone.
    pub again: bool,
    pub gone: bool,
}

/// A change of a grant.
struct Change {
    version: u64,
    key: ObjectKey,
    grant: Option<Arc<GrantObject>>,
}

pub struct World {
    /// Whether every step and effect is printed.
    pub trace: bool,
    pub size: (u8, u8, u8),
    start: (Timestamp, Instant),
    /// Difference between the operator's clock and the true time.
    pub jump: SignedDuration,
    pub version: u64,
    pub grants: BTreeMap<ObjectKey, Arc<GrantObject>>,
    log: Vec<Change>,
    pub rules_log: Vec<(u64, Arc<TenancyRules>)>,
    pub namespaces: BTreeMap<String, Namespace>,
    pub credentials: BTreeMap<Identity, Rotation>,
    pub jobs: BTreeMap<ObjectKey, JobWorld>,
    /// Grants to create as soon as their name is free.
    pub awaited: BTreeMap<ObjectKey, Shape>,
    pub cloud: SimulatedCloud,
    /// Foreign statements that ever existed.
    pub foreign: BTreeSet<String>,
    /// Faults that strike the next effect that they fit.
    pub faults: Vec<Fault>,
    /// How many changes the next list of grants is behind.
    pub behind: usize,
    pub watch: Watch,
    pub processes: usize,
    /// The version of the grants when the last process started.
    pub started_version: u64,
    /// Effects so far, and the number at which the player wants to be woken.
    pub effects: usize,
    pub wake_at: Option<usize>,
    pub wake: Arc<Notify>,
    pub audit: Audit,
}

impl World {
    pub fn new(size: (u8, u8, u8), start: (Timestamp, Instant)) -> Self {
        let namespaces = (0..size.1).map(|n| (format!("ns-{n}"), Namespace::default()));
        Self {
            trace: false,
            size,
            start,
            jump: SignedDuration::ZERO,
            version: 0,
            grants: BTreeMap::new(),
            log: Vec::new(),
            rules_log: vec![(0, Arc::default())],
            namespaces: namespaces.collect(),
            credentials: BTreeMap::new(),
            jobs: BTreeMap::new(),
            awaited: BTreeMap::new(),
            cloud: SimulatedCloud::default(),
            foreign: BTreeSet::new(),
            faults: Vec::new(),
            behind: 0,
            watch: Watch::default(),
            processes: 0,
            started_version: 0,
            effects: 0,
            wake_at: None,
            wake: Arc::default(),
            audit: Audit::default(),
        }
    }

    /// Prints a line of the trace.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3} s  {}", self.start.1.elapsed().as_secs_f64(), what());
        }
    }

    /// The true time, which the cloud knows.
    pub fn true_time(&self) -> Timestamp {
        self.start.0 + SignedDuration::try_from(self.start.1.elapsed()).unwrap()
    }

    /// The time of the operator's clock.
    pub fn operator_time(&self) -> Timestamp {
        self.true_time() + self.jump
    }

    pub fn rules(&self) -> Arc<TenancyRules> {
        Arc::clone(&self.rules_log.last().unwrap().1)
    }

    /// The namespace and name of a slot: two grants, or jobs, a namespace.
    pub fn key(&self, slot: u8) -> ObjectKey {
        ObjectKey {
            namespace: format!("ns-{}", slot % self.size.1),
            name: format!("g{}", (slot / self.size.1) % 2),
        }
    }

    /// The grant that a number stands for, of those that exist.
    pub fn existing(&self, number: u8) -> ObjectKey {
        let count = self.grants.len().max(1);
        let key = self.grants.keys().nth(usize::from(number) % count);
        key.cloned().unwrap_or_else(|| self.key(number))
    }

    /// The job that a number stands for, of those that exist.
    pub fn existing_job(&self, number: u8) -> ObjectKey {
        let count = self.jobs.len().max(1);
        let key = self.jobs.keys().nth(usize::from(number) % count);
        key.cloned().unwrap_or_else(|| self.key(number))
    }

    pub fn identity(&self, namespace: &str, number: u8) -> Identity {
        Identity::of(namespace, &credentials(number % self.size.2)).unwrap()
    }

    /// Stores a grant, and shows the change.
    pub fn store(&mut self, mut grant: GrantObject) -> String {
        self.version += 1;
        grant.resource_version = self.version.to_string();
        let version = grant.resource_version.clone();
        if grant.deleting && grant.finalizers.is_empty() {
            self.note_gone(&grant);
            self.remove(&grant);
            return version;
        }
        let grant = Arc::new(grant);
        self.grants.insert(grant.key.clone(), Arc::clone(&grant));
        self.log.push(Change {
            version: self.version,
            key: grant.key.clone(),
            grant: Some(Arc::clone(&grant)),
        });
        self.show(&grant);
        version
    }

    /// Removes a grant from the API server; `last` is its last state.
    pub fn remove(&mut self, last: &GrantObject) {
        if self.grants.remove(&last.key).is_none() {
            return;
        }
        self.version += 1;
        self.log.push(Change {
            version: self.version,
            key: last.key.clone(),
            grant: None,
        });
        self.show_deleted(last);
        if let Some(shape) = self.awaited.remove(&last.key) {
            self.create(&last.key, shape);
        }
        self.end_namespace(&last.key.namespace);
    }

    /// Returns the grants as they were at a version.
    pub fn at(&self, version: u64) -> BTreeMap<ObjectKey, Arc<GrantObject>> {
        let mut grants = BTreeMap::new();
        for change in self.log.iter().take_while(|change| change.version <= version) {
            match &change.grant {
                Some(grant) => grants.insert(change.key.clone(), Arc::clone(grant)),
                None => grants.remove(&change.key),
            };
        }
        grants
    }

    /// Returns every state of every grant of a bucket that a process may know which has listed them at `version`.
    pub fn since(&self, bucket: &str, version: u64) -> Vec<Arc<GrantObject>> {
        let then = self.at(version).into_values();
        let later = self.log.iter().filter(|change| change.version > version);
        let all = then.chain(later.filter_map(|change| change.grant.clone()));
        let all = all.chain(self.audit.gone.iter().chain(&self.audit.lost).cloned());
        all.filter(|g| g.bucket.as_ref().is_some_and(|b| b.name == bucket))
            .collect()
    }

    /// Returns the identities that a grant has had.
    pub fn identities_of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Identity> {
        let states = self.log.iter().filter_map(|change| change.grant.as_ref());
        states
            .filter(move |g| g.uid == uid)
            .filter_map(|g| g.identity.as_ref())
    }

    /// Returns the version that is `changes` older than now.
    pub fn version_before(&self, changes: usize) -> u64 {
        let index = self.log.len().checked_sub(changes + 1);
        index.map_or(0, |index| self.log[index].version)
    }

    /// Returns the stored grant, or the error of a write that is based on another state.
    fn current(&self, planned: &GrantObject) -> Result<GrantObject, KubeError> {
        let stored = self.grants.get(&planned.key).ok_or(KubeError::NotFound)?;
        if stored.uid != planned.uid || stored.resource_version != planned.resource_version {
            return Err(KubeError::Conflict);
        }
        Ok(GrantObject::clone(stored))
    }

    pub fn replace_status(
        &mut self,
        planned: &GrantObject,
        status: &GrantStatus,
        seen: Option<&str>,
    ) -> Result<String, KubeError> {
        let mut stored = self.current(planned)?;
        self.note(|| {
            let owned = status.owned.iter().map(|e| format!("{:?} {:?}", e.role, e.state));
            let owned: Vec<_> = owned.collect();
            format!(
                "  status of {}: {:?}, owned {owned:?}",
                planned.key,
                ready(status)
            )
        });
        self.check_status(planned, status, seen);
        self.audit.writes += 1;
        stored.status = status.clone();
        Ok(self.store(stored))
    }

    pub fn add_finalizer(&mut self, planned: &GrantObject) -> Result<String, KubeError> {
        let stored = self.grants.get(&planned.key).ok_or(KubeError::NotFound)?;
        if stored.uid != planned.uid || stored.finalizers != planned.finalizers || stored.deleting {
            return Err(KubeError::Invalid);
        }
        let mut stored = GrantObject::clone(stored);
        stored.finalizers.push(FINALIZER.to_owned());
        Ok(self.store(stored))
    }

    pub fn remove_finalizer(&mut self, planned: &GrantObject) -> Result<(), KubeError> {
        let Some(place) = planned.finalizers.iter().position(|f| f == FINALIZER) else {
            return Ok(());
        };
        let Some(stored) = self.grants.get(&planned.key).cloned() else {
            return Ok(());
        };
        if stored.uid != planned.uid || stored.finalizers.get(place).is_none_or(|f| f != FINALIZER) {
            return Err(KubeError::Invalid);
        }
        self.note(|| format!("  release of {}", planned.key));
        self.check_release(&stored, planned);
        let mut stored = GrantObject::clone(&stored);
        stored.finalizers.remove(place);
        if stored.deleting && stored.finalizers.is_empty() {
            self.remove(&stored);
        } else {
            self.store(stored);
        }
        Ok(())
    }

    /// Restores a snapshot of the grants and the jobs that is some changes old; namespaces stay.
    pub fn restore(&mut self, changes: usize) {
        let then = self.at(self.version_before(changes));
        let now: Vec<ObjectKey> = self.grants.keys().cloned().collect();
        for key in now.iter().filter(|key| !then.contains_key(*key)) {
            self.version += 1;
            self.log.push(Change {
                version: self.version,
                key: key.clone(),
                grant: None,
            });
            // What runs now still knows the grant.
            self.audit.lost.extend(self.grants.remove(key));
        }
        for (key, grant) in then {
            let exists = self.namespaces.get(&key.namespace).is_some_and(|n| !n.gone);
            if self.grants.get(&key) != Some(&grant) && exists {
                self.version += 1;
                self.log.push(Change {
                    version: self.version,
                    key: key.clone(),
                    grant: Some(Arc::clone(&grant)),
                });
                self.grants.insert(key, grant);
            }
        }
        for job in self.jobs.values_mut() {
            job.restore(changes);
        }
        // The watch breaks, and starts again with a list.
        self.show_all();
    }
}
