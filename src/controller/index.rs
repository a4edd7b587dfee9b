//! Index of all watched objects: which grants share a bucket, and which jobs wait for which grant. It keeps a digest
//! per object; a reconcile reads the current object.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::context::QueueKey;
use super::digest::ChangeDigest;
use crate::core::grant::{FinalizerFacts, ObjectKey};
use crate::runtime::metrics::Metrics;

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

/// Stage of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    /// The job has not finished.
    Active,
    /// The job has finished, and work may be left: an edit to acknowledge, or results to remove.
    Finished,
    /// The job has finished, and no work is left.
    AtRest,
}

/// A grant in the index.
struct IndexedGrant {
    token: ChangeDigest,
    bucket: Arc<str>,
    reason: &'static str,
    /// Digest of the uid that was seen with the operator's finalizer.
    protected: Option<ChangeDigest>,
}

/// A job in the index.
struct IndexedJob {
    token: ChangeDigest,
    grant: Option<ObjectKey>,
    reason: &'static str,
    /// Whether the started annotation holds the job's own uid.
    marked: bool,
}

/// All watched objects.
pub(super) struct Index {
    metrics: Arc<Metrics>,
    grants: HashMap<ObjectKey, IndexedGrant>,
    jobs: HashMap<ObjectKey, IndexedJob>,
    waiting: HashMap<ObjectKey, Vec<ObjectKey>>,
    buckets: HashMap<Arc<str>, usize>,
    /// Objects that the current list has not returned yet; those left at its end were deleted.
    missing_grants: HashSet<ObjectKey>,
    missing_jobs: HashSet<ObjectKey>,
}

/// Kinds as `immops_objects` labels them.
const GRANT: &str = "ImmBucketGrant";
const JOB: &str = "ImageScoreJob";

impl Index {
    /// An empty index that counts its objects in `metrics`.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            grants: HashMap::new(),
            jobs: HashMap::new(),
            waiting: HashMap::new(),
            buckets: HashMap::new(),
            missing_grants: HashSet::new(),
            missing_jobs: HashSet::new(),
        }
    }

    /// Adds or updates a grant. Returns the keys to reconcile: the waiting jobs, the bucket if the token changed, and
    /// the finalizer if another writer removed it.
    pub(super) fn upsert_grant(
        &mut self,
        key: ObjectKey,
        token: &ChangeToken,
        bucket: &str,
        reason: &'static str,
        finalizer: FinalizerFacts,
    ) -> Vec<QueueKey> {
        let bucket = self
            .buckets
            .get_key_value(bucket)
            .map_or_else(|| bucket.into(), |(known, _)| Arc::clone(known));
        // A job may wait for the status of the grant.
        let mut keys = self.jobs_of(&key);
        *self.buckets.entry(Arc::clone(&bucket)).or_default() += 1;
        self.missing_grants.remove(&key);
        let old = self.grants.get(&key);
        let uid = ChangeDigest::of(&token.uid);
        let had_before = old.is_some_and(|old| old.protected == Some(uid));
        let new = IndexedGrant {
            token: ChangeDigest::of(token),
            bucket: Arc::clone(&bucket),
            reason,
            protected: (finalizer.present || had_before).then_some(uid),
        };
        if finalizer.must_restore(had_before) {
            keys.push(QueueKey::Finalizer(key.clone()));
        }
        let changed = old.is_none_or(|old| old.token != new.token);
        self.metrics
            .object_reason(GRANT, old.map(|old| old.reason), Some(reason));
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
        let mut keys = self.jobs_of(key);
        if let Some(grant) = self.grants.remove(key) {
            self.metrics.object_reason(GRANT, Some(grant.reason), None);
            self.release_bucket(&grant.bucket);
            keys.push(QueueKey::Bucket(grant.bucket));
        }
        keys
    }

    /// Adds or updates a job; a finished job waits for no grant. Returns the job if it has to be reconciled.
    pub(super) fn upsert_job(
        &mut self,
        key: &ObjectKey,
        token: &ChangeToken,
        grant: Option<ObjectKey>,
        state: JobState,
        reason: &'static str,
        marked: bool,
    ) -> Vec<QueueKey> {
        let grant = grant.filter(|_| state == JobState::Active);
        let token = ChangeDigest::of(token);
        // After a restart, thousands of jobs at rest must not be reconciled.
        let old = self.jobs.get(key);
        // The operator adds the started annotation itself: only its removal is a change.
        let changed = old.map_or(state != JobState::AtRest, |old| {
            old.token != token || (old.marked && !marked)
        });
        self.metrics
            .object_reason(JOB, old.map(|old| old.reason), Some(reason));
        self.missing_jobs.remove(key);
        let new = IndexedJob {
            token,
            grant: grant.clone(),
            reason,
            marked,
        };
        let before = self.jobs.insert(key.clone(), new).and_then(|old| old.grant);
        if before != grant {
            self.remove_dependency(before.as_ref(), key);
            if let Some(grant) = grant {
                self.waiting.entry(grant).or_default().push(key.clone());
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
        self.metrics.object_reason(JOB, Some(job.reason), None);
        self.remove_dependency(job.grant.as_ref(), key);
        vec![QueueKey::Job(key.clone())]
    }

    /// Starts a list of the grants that `covers` accepts.
    pub(super) fn begin_grant_list(&mut self, covers: impl Fn(&ObjectKey) -> bool) {
        self.missing_grants
            .extend(self.grants.keys().filter(|key| covers(key)).cloned());
    }

    /// Completes a list of grants: removes those that the list did not return. Returns the keys to reconcile.
    pub(super) fn complete_grant_list(&mut self, covers: impl Fn(&ObjectKey) -> bool) -> Vec<QueueKey> {
        let deleted: Vec<ObjectKey> = self.missing_grants.extract_if(covers).collect();
        deleted.iter().flat_map(|key| self.remove_grant(key)).collect()
    }

    /// Starts a list of the jobs that `covers` accepts.
    pub(super) fn begin_job_list(&mut self, covers: impl Fn(&ObjectKey) -> bool) {
        self.missing_jobs
            .extend(self.jobs.keys().filter(|key| covers(key)).cloned());
    }

    /// Completes a list of jobs: removes those that the list did not return. Returns the keys to reconcile.
    pub(super) fn complete_job_list(&mut self, covers: impl Fn(&ObjectKey) -> bool) -> Vec<QueueKey> {
        let deleted: Vec<ObjectKey> = self.missing_jobs.extract_if(covers).collect();
        deleted.iter().flat_map(|key| self.remove_job(key)).collect()
    }

    /// Returns the keys of all buckets and jobs.
    pub(super) fn all_keys(&self) -> Vec<QueueKey> {
        let buckets = self.buckets.keys().cloned().map(QueueKey::Bucket);
        buckets
            .chain(self.jobs.keys().cloned().map(QueueKey::Job))
            .collect()
    }

    fn jobs_of(&self, grant: &ObjectKey) -> Vec<QueueKey> {
        self.waiting
            .get(grant)
            .into_iter()
            .flatten()
            .cloned()
            .map(QueueKey::Job)
            .collect()
    }

    fn remove_dependency(&mut self, grant: Option<&ObjectKey>, job: &ObjectKey) {
        let Some(grant) = grant else { return };
        if let Some(list) = self.waiting.get_mut(grant) {
            list.retain(|other| other != job);
            if list.is_empty() {
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
mod tests {
    use super::*;

    const PROTECTED: FinalizerFacts = FinalizerFacts {
        present: true,
        owns: true,
        preview: false,
        deleting: false,
    };

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: "n".to_owned(),
            name: name.to_owned(),
        }
    }

    fn token(generation: i64) -> ChangeToken {
        ChangeToken {
            generation,
            ..ChangeToken::default()
        }
    }

    #[test]
    fn own_writes_reconcile_no_bucket_but_wake_the_waiting_jobs() {
        let mut index = Index::new(Arc::default());
        assert_eq!(
            index.upsert_grant(key("g"), &token(1), "pics", "Applied", PROTECTED),
            [QueueKey::Bucket("pics".into())]
        );
        assert_eq!(
            index.upsert_job(
                &key("j"),
                &token(1),
                Some(key("g")),
                JobState::Active,
                "Scoring",
                false
            ),
            [QueueKey::Job(key("j"))]
        );
        assert_eq!(
            index.upsert_grant(key("g"), &token(1), "pics", "Applied", PROTECTED),
            [QueueKey::Job(key("j"))]
        );
        assert_eq!(
            index.upsert_job(
                &key("j"),
                &token(1),
                Some(key("g")),
                JobState::Finished,
                "Scoring",
                false,
            ),
            []
        );
        assert_eq!(
            index.upsert_grant(key("g"), &token(1), "pics", "Applied", PROTECTED),
            [],
            "a finished job is not triggered"
        );
        assert_eq!(
            index.upsert_grant(key("g"), &token(2), "pics", "Applied", PROTECTED),
            [QueueKey::Bucket("pics".into())]
        );
    }

    #[test]
    fn objects_missing_from_a_new_list_are_removed() {
        let metrics = Arc::<Metrics>::default();
        let mut index = Index::new(Arc::clone(&metrics));
        index.upsert_grant(key("old"), &token(1), "pics", "Applied", PROTECTED);
        index.upsert_job(
            &key("j"),
            &token(1),
            Some(key("old")),
            JobState::Active,
            "Scoring",
            false,
        );
        index.begin_grant_list(|_| true);
        index.begin_job_list(|_| true);
        index.upsert_grant(key("new"), &token(1), "pics", "Applied", PROTECTED);
        assert_eq!(
            index.complete_grant_list(|_| true),
            [QueueKey::Job(key("j")), QueueKey::Bucket("pics".into())]
        );
        index.complete_job_list(|k| k.namespace == "another");
        assert_eq!(index.jobs.len(), 1, "a list covers its own namespace only");
        index.complete_job_list(|_| true);
        assert_eq!(index.all_keys(), [QueueKey::Bucket("pics".into())]);
        assert!(index.waiting.is_empty());
        let series = metrics.render();
        assert!(
            series.contains(r#"immops_objects{kind="ImmBucketGrant",reason="Applied"} 1"#),
            "{series}"
        );
        assert!(
            series.contains(r#"immops_objects{kind="ImageScoreJob",reason="Scoring"} 0"#),
            "{series}"
        );
    }

    #[test]
    fn a_finalizer_that_another_writer_removes_triggers_its_own_key_and_no_reconcile() {
        let mut index = Index::new(Arc::default());
        let unprotected = FinalizerFacts::default();
        let seen =
            |index: &mut Index, facts| index.upsert_grant(key("g"), &token(1), "pics", "Applied", facts);
        assert_eq!(
            seen(&mut index, unprotected),
            [QueueKey::Bucket("pics".into())],
            "a new grant gets its finalizer from its reconcile"
        );
        assert_eq!(seen(&mut index, PROTECTED), []);
        assert_eq!(seen(&mut index, unprotected), [QueueKey::Finalizer(key("g"))]);
        let another = ChangeToken {
            uid: "another".to_owned(),
            ..token(1)
        };
        assert_eq!(
            index.upsert_grant(key("g"), &another, "pics", "Applied", unprotected),
            [QueueKey::Bucket("pics".into())],
            "a recreated object never had it"
        );
    }

    #[test]
    fn the_removal_of_the_started_annotation_is_a_change_and_its_addition_is_none() {
        let mut index = Index::new(Arc::default());
        let mut seen =
            |marked| index.upsert_job(&key("j"), &token(1), None, JobState::Active, "Scoring", marked);
        assert_eq!(seen(false), [QueueKey::Job(key("j"))]);
        assert_eq!(seen(true), []);
        assert_eq!(seen(false), [QueueKey::Job(key("j"))]);
    }
}
