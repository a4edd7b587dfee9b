//! What is kept of all objects between passes: who shares a bucket, and which jobs wait for which grant. A few words each;
//! what changed is looked up freshly by the pass.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::context::Key;
use super::digest::Digest;
use crate::core::grant::ObjectKey;

/// What a user can change about an object that asks for work: our own writes of status and finalizers do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) reconcile_at: Option<String>,
    pub(super) abandon: Option<String>,
    /// Whether the object carries another object's mark of a started job: only its disappearance asks for work.
    pub(super) foreign_mark: bool,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not ended.
    Open,
    /// It has ended, and something may be left to do.
    Ended,
    /// It has ended, and nothing is left to do.
    AtRest,
}

/// A grant in the index.
struct Grant {
    wish: Digest,
    bucket: Arc<str>,
}

/// A job in the index.
struct Job {
    wish: Digest,
    grant: Option<ObjectKey>,
}

/// All objects that were seen.
#[derive(Default)]
pub(super) struct Index {
    grants: HashMap<ObjectKey, Grant>,
    jobs: HashMap<ObjectKey, Job>,
    waiting: HashMap<ObjectKey, Vec<ObjectKey>>,
    buckets: HashMap<Arc<str>, usize>,
    /// Objects that a list under way has not mentioned yet: what is left at its end has gone meanwhile.
    missing_grants: HashSet<ObjectKey>,
    missing_jobs: HashSet<ObjectKey>,
}

impl Index {
    /// A grant is there or has changed.
    pub(super) fn grant(&mut self, key: ObjectKey, wish: &Wish, bucket: &str) -> Vec<Key> {
        let bucket = self
            .buckets
            .get_key_value(bucket)
            .map_or_else(|| bucket.into(), |(known, _)| Arc::clone(known));
        // Its status may be what a job waits for.
        let mut keys = self.jobs_of(&key);
        *self.buckets.entry(Arc::clone(&bucket)).or_default() += 1;
        self.missing_grants.remove(&key);
        let new = Grant {
            wish: Digest::of(wish),
            bucket: Arc::clone(&bucket),
        };
        let changed = self.grants.get(&key).is_none_or(|old| old.wish != new.wish);
        if let Some(old) = self.grants.insert(key, new) {
            self.leave(&old.bucket);
        }
        if changed {
            keys.push(Key::Bucket(bucket));
        }
        keys
    }

    /// A grant has gone.
    pub(super) fn grant_gone(&mut self, key: &ObjectKey) -> Vec<Key> {
        let mut keys = self.jobs_of(key);
        if let Some(grant) = self.grants.remove(key) {
            self.leave(&grant.bucket);
            keys.push(Key::Bucket(grant.bucket));
        }
        keys
    }

    /// A job is there or has changed; an ended one waits for nothing.
    pub(super) fn job(
        &mut self,
        key: &ObjectKey,
        wish: &Wish,
        grant: Option<ObjectKey>,
        stage: Stage,
    ) -> Vec<Key> {
        let grant = grant.filter(|_| stage == Stage::Open);
        let wish = Digest::of(wish);
        // After a restart, thousands of jobs that are at rest ask for nothing.
        let old = self.jobs.get(key);
        let changed = old.map_or(stage != Stage::AtRest, |old| old.wish != wish);
        self.missing_jobs.remove(key);
        let new = Job {
            wish,
            grant: grant.clone(),
        };
        let before = self.jobs.insert(key.clone(), new).and_then(|old| old.grant);
        if before != grant {
            self.stop_waiting(before.as_ref(), key);
            if let Some(grant) = grant {
                self.waiting.entry(grant).or_default().push(key.clone());
            }
        }
        if changed {
            vec![Key::Job(key.clone())]
        } else {
            Vec::new()
        }
    }

    /// A job has gone.
    pub(super) fn job_gone(&mut self, key: &ObjectKey) -> Vec<Key> {
        let Some(job) = self.jobs.remove(key) else {
            return Vec::new();
        };
        self.stop_waiting(job.grant.as_ref(), key);
        // It may be running.
        vec![Key::Job(key.clone())]
    }

    /// A list of grants begins.
    pub(super) fn grants_begin(&mut self, covers: impl Fn(&ObjectKey) -> bool) {
        self.missing_grants
            .extend(self.grants.keys().filter(|key| covers(key)).cloned());
    }

    /// A list of grants is complete: what it did not mention has gone.
    pub(super) fn grants_listed(&mut self, covers: impl Fn(&ObjectKey) -> bool) -> Vec<Key> {
        let gone: Vec<ObjectKey> = self.missing_grants.extract_if(covers).collect();
        gone.iter().flat_map(|key| self.grant_gone(key)).collect()
    }

    /// A list of jobs begins.
    pub(super) fn jobs_begin(&mut self, covers: impl Fn(&ObjectKey) -> bool) {
        self.missing_jobs
            .extend(self.jobs.keys().filter(|key| covers(key)).cloned());
    }

    /// A list of jobs is complete, likewise.
    pub(super) fn jobs_listed(&mut self, covers: impl Fn(&ObjectKey) -> bool) -> Vec<Key> {
        let gone: Vec<ObjectKey> = self.missing_jobs.extract_if(covers).collect();
        gone.iter().flat_map(|key| self.job_gone(key)).collect()
    }

    /// Every key that is known.
    pub(super) fn everything(&self) -> Vec<Key> {
        let buckets = self.buckets.keys().cloned().map(Key::Bucket);
        buckets.chain(self.jobs.keys().cloned().map(Key::Job)).collect()
    }

    fn jobs_of(&self, grant: &ObjectKey) -> Vec<Key> {
        self.waiting
            .get(grant)
            .into_iter()
            .flatten()
            .cloned()
            .map(Key::Job)
            .collect()
    }

    fn stop_waiting(&mut self, grant: Option<&ObjectKey>, job: &ObjectKey) {
        let Some(grant) = grant else { return };
        if let Some(list) = self.waiting.get_mut(grant) {
            list.retain(|other| other != job);
            if list.is_empty() {
                self.waiting.remove(grant);
            }
        }
    }

    fn leave(&mut self, bucket: &Arc<str>) {
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

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            namespace: "n".to_owned(),
            name: name.to_owned(),
        }
    }

    fn wish(generation: i64) -> Wish {
        Wish {
            generation,
            ..Wish::default()
        }
    }

    #[test]
    fn our_own_writes_ask_for_no_work_but_wake_the_jobs_that_wait() {
        let mut index = Index::default();
        assert_eq!(
            index.grant(key("g"), &wish(1), "pics"),
            [Key::Bucket("pics".into())]
        );
        assert_eq!(
            index.job(&key("j"), &wish(1), Some(key("g")), Stage::Open),
            [Key::Job(key("j"))]
        );
        assert_eq!(index.grant(key("g"), &wish(1), "pics"), [Key::Job(key("j"))]);
        assert_eq!(index.job(&key("j"), &wish(1), Some(key("g")), Stage::Ended), []);
        assert_eq!(
            index.grant(key("g"), &wish(1), "pics"),
            [],
            "an ended job is not woken"
        );
        assert_eq!(
            index.grant(key("g"), &wish(2), "pics"),
            [Key::Bucket("pics".into())]
        );
    }

    #[test]
    fn what_a_new_list_does_not_mention_has_gone() {
        let mut index = Index::default();
        index.grant(key("old"), &wish(1), "pics");
        index.job(&key("j"), &wish(1), Some(key("old")), Stage::Open);
        index.grants_begin(|_| true);
        index.jobs_begin(|_| true);
        index.grant(key("new"), &wish(1), "pics");
        assert_eq!(
            index.grants_listed(|_| true),
            [Key::Job(key("j")), Key::Bucket("pics".into())]
        );
        index.jobs_listed(|k| k.namespace == "another");
        assert_eq!(index.jobs.len(), 1, "a list covers its own namespace only");
        index.jobs_listed(|_| true);
        assert_eq!(index.everything(), [Key::Bucket("pics".into())]);
        assert!(index.waiting.is_empty());
    }
}
