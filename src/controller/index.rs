//! Index of all watched objects: which grants share a bucket, and which jobs wait for which grant. It keeps a digest
//! per object; a reconcile reads the current object.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::progress_times::{ProgressTimes, ShownProgress};
use super::queue_key::QueueKey;
use crate::core::grant::{FinalizerFacts, ObjectKey};
use crate::core::hash::ChangeDigest;
use crate::core::object_state::JobState;
use crate::runtime::metrics::{Metrics, ObjectLabels};

/// The parts of an object that require a reconcile when they change. The operator's own writes of status and
/// finalizers change none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ChangeToken {
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) reconcile_at: Option<String>,
    pub(super) abandon: Option<String>,
    /// Whether the started annotation holds the uid of another object. The operator's own annotation is no change, so
    /// that only the removal of a foreign one requires a reconcile.
    pub(super) foreign_mark: bool,
}

/// The kind of a watch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WatchedKind {
    Grants,
    Jobs,
}

/// A grant as a watch shows it.
#[derive(Clone, Debug)]
pub(super) struct WatchedGrant {
    pub(super) token: ChangeToken,
    pub(super) bucket: String,
    pub(super) labels: ObjectLabels,
    pub(super) finalizer: FinalizerFacts,
    /// Digest of what decides whether a job may use the grant.
    pub(super) readiness: ChangeDigest,
    /// Other namespaces whose jobs may use the grant.
    pub(super) consumers: Vec<String>,
}

/// A job as a watch shows it.
#[derive(Clone, Debug)]
pub(super) struct WatchedJob {
    pub(super) token: ChangeToken,
    pub(super) grant: Option<ObjectKey>,
    pub(super) state: JobState,
    pub(super) labels: ObjectLabels,
    /// Whether the started annotation holds the job's own uid.
    pub(super) marked: bool,
    /// Digest of what the job shows of its progress.
    pub(super) progress: ChangeDigest,
}

/// A grant in the index.
struct IndexedGrant {
    token: ChangeDigest,
    readiness: ChangeDigest,
    /// Digests of the listed namespaces, because a grant can list a hundred long names.
    consumers: Box<[ChangeDigest]>,
    bucket: Arc<str>,
    labels: ObjectLabels,
    /// Digest of the uid that was seen with the operator's finalizer.
    protected: Option<ChangeDigest>,
}

/// A job in the index.
struct IndexedJob {
    token: ChangeDigest,
    grant: Option<ObjectKey>,
    labels: ObjectLabels,
    /// Whether the started annotation holds the job's own uid.
    marked: bool,
    progress: Option<ShownProgress>,
}

/// All watched objects.
pub(super) struct Index {
    metrics: Arc<Metrics>,
    grants: HashMap<ObjectKey, IndexedGrant>,
    jobs: HashMap<ObjectKey, IndexedJob>,
    /// The jobs that wait for each grant: any number can wait for one, and each is removed in its turn.
    waiting: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    buckets: HashMap<Arc<str>, usize>,
    progress: ProgressTimes,
    /// Objects that the current list has not returned yet; those left at its end were deleted.
    missing: HashSet<(WatchedKind, ObjectKey)>,
}

impl Index {
    /// An empty index that counts its objects in `metrics`.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            grants: HashMap::new(),
            jobs: HashMap::new(),
            waiting: HashMap::new(),
            buckets: HashMap::new(),
            progress: ProgressTimes::default(),
            missing: HashSet::new(),
        }
    }

    /// Adds or updates a grant. Returns the keys to reconcile: the jobs that wait for the grant if its readiness changed,
    /// the bucket if the token changed, and the finalizer if another writer removed it.
    pub(super) fn upsert_grant(&mut self, key: ObjectKey, grant: WatchedGrant) -> Vec<QueueKey> {
        let WatchedGrant {
            token,
            bucket,
            labels,
            finalizer,
            readiness,
            consumers,
        } = grant;
        let bucket = self
            .buckets
            .get_key_value(bucket.as_str())
            .map_or_else(|| bucket.as_str().into(), |(known, _)| Arc::clone(known));
        let mut keys = Vec::new();
        *self.buckets.entry(Arc::clone(&bucket)).or_default() += 1;
        // A grant that is being deleted can have been released, and have come back with a restored backup of the API
        // server, unchanged.
        let listed_again = !self.missing.is_empty()
            && self.missing.remove(&(WatchedKind::Grants, key.clone()))
            && token.deleting;
        let consumers: Box<[ChangeDigest]> = consumers.iter().map(ChangeDigest::of).collect();
        let old = self.grants.get(&key);
        let uid = ChangeDigest::of(&token.uid);
        let had_before = old.is_some_and(|old| old.protected == Some(uid));
        let same = old.is_some_and(|old| old.readiness == readiness && old.consumers == consumers);
        if !same {
            let before = old.map(|old| &*old.consumers).unwrap_or_default();
            keys.extend(self.jobs_of(&key, &[before, &consumers]));
        }
        let new = IndexedGrant {
            token: ChangeDigest::of(&token),
            readiness,
            consumers,
            bucket: Arc::clone(&bucket),
            labels,
            protected: (finalizer.present || had_before).then_some(uid),
        };
        if finalizer.must_restore(had_before) {
            keys.push(QueueKey::Finalizer(key.clone()));
        }
        let changed = listed_again || old.is_none_or(|old| old.token != new.token);
        self.metrics
            .object_changed(old.map(|old| old.labels), Some(labels));
        if let Some(old) = self.grants.insert(key, new) {
            self.release_bucket(&old.bucket);
        }
        if changed {
            keys.push(QueueKey::Bucket(bucket));
        }
        keys
    }

    /// Removes a grant. Returns the keys to reconcile: the waiting jobs and the bucket.
    pub(super) fn remove_grant(&mut self, key: &ObjectKey) -> Vec<QueueKey> {
        let mut keys = Vec::new();
        if let Some(grant) = self.grants.remove(key) {
            keys.extend(self.jobs_of(key, &[&grant.consumers]));
            self.metrics.object_changed(Some(grant.labels), None);
            self.release_bucket(&grant.bucket);
            keys.push(QueueKey::Bucket(grant.bucket));
        }
        keys
    }

    /// Adds or updates a job; a finished job waits for no grant. Returns the job if it has to be reconciled.
    pub(super) fn upsert_job(&mut self, key: &ObjectKey, job: WatchedJob, now: Timestamp) -> Vec<QueueKey> {
        let WatchedJob {
            token,
            grant,
            state,
            labels,
            marked,
            progress,
        } = job;
        let grant = grant.filter(|_| state == JobState::Active);
        let token = ChangeDigest::of(&token);
        // After a restart, thousands of jobs at rest must not be reconciled.
        let old = self.jobs.get(key);
        // The operator adds the started annotation itself: only its removal is a change.
        let changed = old.map_or(state != JobState::AtRest, |old| {
            old.token != token || (old.marked && !marked)
        });
        self.metrics
            .object_changed(old.map(|old| old.labels), Some(labels));
        let shown = old.and_then(|old| old.progress);
        let progress = self
            .progress
            .change(&self.metrics, shown, Some((labels, progress, now)));
        if !self.missing.is_empty() {
            self.missing.remove(&(WatchedKind::Jobs, key.clone()));
        }
        let new = IndexedJob {
            token,
            grant: grant.clone(),
            labels,
            marked,
            progress,
        };
        let before = self.jobs.insert(key.clone(), new).and_then(|old| old.grant);
        if before != grant {
            self.remove_dependency(before.as_ref(), key);
            if let Some(grant) = grant {
                self.waiting.entry(grant).or_default().insert(key.clone());
            }
        }
        if changed {
            vec![QueueKey::Job(key.clone())]
        } else {
            Vec::new()
        }
    }

    /// Removes a job. Returns its key, because the job may be running.
    pub(super) fn remove_job(&mut self, key: &ObjectKey) -> Vec<QueueKey> {
        let Some(job) = self.jobs.remove(key) else {
            return Vec::new();
        };
        self.metrics.object_changed(Some(job.labels), None);
        self.progress.change(&self.metrics, job.progress, None);
        self.remove_dependency(job.grant.as_ref(), key);
        vec![QueueKey::Job(key.clone())]
    }

    /// Starts a list of the objects that `covers` accepts.
    pub(super) fn begin_list(&mut self, kind: WatchedKind, covers: impl Fn(&ObjectKey) -> bool) {
        let keys: Vec<&ObjectKey> = match kind {
            WatchedKind::Grants => self.grants.keys().collect(),
            WatchedKind::Jobs => self.jobs.keys().collect(),
        };
        let covered = keys.into_iter().filter(|key| covers(key));
        self.missing.extend(covered.map(|key| (kind, key.clone())));
    }

    /// Completes a list: removes the objects that it did not return. Returns the keys to reconcile.
    pub(super) fn complete_list(
        &mut self,
        kind: WatchedKind,
        covers: impl Fn(&ObjectKey) -> bool,
    ) -> Vec<QueueKey> {
        let missing = self.missing.extract_if(|(of, key)| *of == kind && covers(key));
        let deleted: Vec<_> = missing.collect();
        let keys = deleted.iter().flat_map(|(_, key)| match kind {
            WatchedKind::Grants => self.remove_grant(key),
            WatchedKind::Jobs => self.remove_job(key),
        });
        keys.collect()
    }

    /// Returns the keys of all buckets and jobs.
    pub(super) fn all_keys(&self) -> Vec<QueueKey> {
        let buckets = self.buckets.keys().cloned().map(QueueKey::Bucket);
        buckets
            .chain(self.jobs.keys().cloned().map(QueueKey::Job))
            .collect()
    }

    /// Returns the jobs that wait for a grant and may use it: those of its own namespace and of the listed ones.
    fn jobs_of(&self, grant: &ObjectKey, consumers: &[&[ChangeDigest]]) -> Vec<QueueKey> {
        let waiting = self.waiting.get(grant).into_iter().flatten();
        let listed = |job: &ObjectKey| {
            let namespace = ChangeDigest::of(&job.namespace);
            consumers.iter().any(|listed| listed.contains(&namespace))
        };
        let allowed = waiting.filter(|job| job.namespace == grant.namespace || listed(job));
        allowed.cloned().map(QueueKey::Job).collect()
    }

    fn remove_dependency(&mut self, grant: Option<&ObjectKey>, job: &ObjectKey) {
        let Some(grant) = grant else { return };
        if let Some(jobs) = self.waiting.get_mut(grant) {
            jobs.remove(job);
            if jobs.is_empty() {
                self.waiting.remove(grant);
            }
        }
    }

    fn release_bucket(&mut self, bucket: &Arc<str>) {
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count -= 1;
            if *count == 0 {
                self.buckets.remove(bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests;
