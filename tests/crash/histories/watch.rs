//! The watch: what it shows the process, compared with what it has shown before, as the operator's index does.

use std::collections::BTreeMap;
use std::sync::Arc;

use imm_operator::api::Mode;
use imm_operator::controller::QueueKey;
use imm_operator::core::grant::{FinalizerFacts, GrantObject, ObjectKey};
use tokio::sync::mpsc::UnboundedSender;

use super::world::World;

/// What a watch event means for the process.
pub enum Event {
    /// A key is due because of a change in this namespace.
    Due(String, QueueKey),
    /// Reads of a grant are outdated.
    Outdated(ObjectKey),
    /// A grant with this uid exists.
    Exists(String),
    /// Another writer has removed the finalizer of a grant.
    Unprotected(Box<GrantObject>),
    /// The last object of a deleted grant.
    Deleted(Box<GrantObject>),
}

/// The parts of a grant whose change makes its bucket due.
#[derive(Clone, PartialEq, Eq)]
struct Token {
    uid: String,
    generation: i64,
    deleting: bool,
    reconcile_at: Option<String>,
    abandon: bool,
}

/// A grant as it was shown last.
struct Shown {
    token: Token,
    bucket: String,
    /// Whether this object was shown with the finalizer.
    protected: bool,
}

/// The watch of a process.
#[derive(Default)]
pub struct Watch {
    to: Option<UnboundedSender<Event>>,
    shown: BTreeMap<ObjectKey, Shown>,
    /// The next event is lost.
    pub hide: bool,
    /// An event was lost since the watch started.
    pub missed: bool,
}

impl Watch {
    /// The watch of a new process, which knows nothing yet.
    pub fn start(to: UnboundedSender<Event>) -> Self {
        Self {
            to: Some(to),
            ..Self::default()
        }
    }

    fn send(&self, event: Event) {
        if let Some(to) = &self.to {
            // A process that has ended receives nothing.
            let _ = to.send(event);
        }
    }

    fn due(&self, namespace: &str, keys: impl IntoIterator<Item = QueueKey>) {
        for key in keys {
            self.send(Event::Due(namespace.to_owned(), key));
        }
    }

    /// Shows a grant, in a list if it is `listed`.
    fn upsert(&mut self, grant: &GrantObject, listed: bool) {
        let token = Token {
            uid: grant.uid.clone(),
            generation: grant.generation,
            deleting: grant.deleting,
            reconcile_at: grant.reconcile_at.clone(),
            abandon: grant.abandon,
        };
        let bucket = grant.bucket.as_ref().unwrap().name.clone();
        let old = self.shown.get(&grant.key);
        let had_before = old.is_some_and(|old| old.protected && old.token.uid == token.uid);
        // A grant that is being deleted is due with every list.
        let listed_again = listed && grant.deleting;
        let changed = listed_again || old.is_none_or(|old| old.token != token);
        let facts = FinalizerFacts {
            present: grant.has_finalizer(),
            owns: !grant.status.owned.is_empty(),
            preview: grant.spec.as_ref().is_ok_and(|s| s.mode == Mode::Preview),
            deleting: grant.deleting,
        };
        self.send(Event::Outdated(grant.key.clone()));
        self.send(Event::Exists(grant.uid.clone()));
        if facts.must_restore(had_before) {
            self.send(Event::Unprotected(Box::new(grant.clone())));
        }
        if changed {
            let key = QueueKey::Bucket(bucket.as_str().into());
            self.due(&grant.key.namespace, [key]);
        }
        let shown = Shown {
            token,
            bucket,
            protected: facts.present || had_before,
        };
        self.shown.insert(grant.key.clone(), shown);
    }

    fn remove(&mut self, key: &ObjectKey) {
        self.send(Event::Outdated(key.clone()));
        if let Some(old) = self.shown.remove(key) {
            let bucket = QueueKey::Bucket(old.bucket.as_str().into());
            self.due(&key.namespace, [bucket]);
        }
    }
}

impl World {
    /// Whether the next event is lost.
    fn is_hidden(&mut self) -> bool {
        let hidden = std::mem::take(&mut self.watch.hide);
        self.watch.missed |= hidden;
        self.audit.disturbed |= hidden;
        hidden
    }

    /// Shows a grant that exists or has changed.
    pub fn show(&mut self, grant: &GrantObject) {
        if self.is_hidden() {
            return;
        }
        let waiting = self.waiting(&grant.key);
        self.watch.upsert(grant, false);
        self.watch.due(&grant.key.namespace, waiting);
    }

    /// Shows the last object of a deleted grant.
    pub fn show_deleted(&mut self, last: &GrantObject) {
        if self.is_hidden() {
            return;
        }
        let waiting = self.waiting(&last.key);
        self.watch.send(Event::Deleted(Box::new(last.clone())));
        self.watch.remove(&last.key);
        self.watch.due(&last.key.namespace, waiting);
    }

    /// Shows that a job was changed or deleted.
    pub fn show_job(&mut self, key: &ObjectKey) {
        if !self.is_hidden() {
            self.watch.due(&key.namespace, [QueueKey::Job(key.clone())]);
        }
    }

    /// Starts the watch again, with a list of all objects.
    pub fn show_all(&mut self) {
        self.watch.hide = false;
        self.watch.missed = false;
        let gone: Vec<ObjectKey> = self.watch.shown.keys().cloned().collect();
        for key in gone.iter().filter(|key| !self.grants.contains_key(*key)) {
            self.watch.remove(key);
        }
        let grants: Vec<Arc<GrantObject>> = self.grants.values().cloned().collect();
        for grant in grants {
            self.watch.upsert(&grant, true);
        }
        let jobs = self.jobs.keys().cloned().map(QueueKey::Job);
        self.watch.due("", jobs);
    }

    /// Makes every bucket and job due, as when the tenancy rules change.
    pub fn show_rules(&self) {
        let buckets = self.watch.shown.values().map(|shown| shown.bucket.as_str());
        let buckets: std::collections::BTreeSet<&str> = buckets.collect();
        let buckets = buckets.into_iter().map(|name| QueueKey::Bucket(name.into()));
        self.watch.due("", buckets);
        self.watch.due("", self.jobs.keys().cloned().map(QueueKey::Job));
    }

    /// Jobs that wait for a grant.
    fn waiting(&self, grant: &ObjectKey) -> Vec<QueueKey> {
        let waits = |job: &&ObjectKey| {
            let spec = self.jobs[*job].job.as_ref().and_then(|j| j.spec.as_ref().ok());
            let reference = spec.and_then(|s| s.grant_ref.as_ref());
            reference.is_some_and(|r| {
                r.name == grant.name && r.namespace.as_ref().unwrap_or(&job.namespace) == &grant.namespace
            })
        };
        let jobs = self.jobs.keys().filter(waits);
        jobs.cloned().map(QueueKey::Job).collect()
    }
}
