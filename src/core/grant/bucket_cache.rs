//! What is known about a bucket between its reconciles: its sets, and the recent writes that OSS may not return yet. A
//! restart may lose all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::GrantObject;
use super::grant_set_cache::GrantSetCache;
use super::grant_set_order::{GrantSetKey, GrantSetTurn, GrantSets, in_order};
use super::next_reconcile::{ApiWrites, RECHECK_UNUSABLE};
use super::trust::Trust;
use super::write_history::WriteHistory;
use crate::core::requeue::{Action, short_backoff};

/// Longest time until the next reconcile of a bucket.
pub const RECHECK: Duration = Duration::from_secs(3600);
/// How long the write history of a bucket without grants is kept: a grant that is recreated meanwhile must recognize
/// a stale read.
const KEEP_HISTORY: Duration = Duration::from_secs(30);

/// State of a bucket between reconciles.
#[derive(Default)]
pub struct BucketCache {
    /// The sets.
    pub grant_sets: BTreeMap<GrantSetKey, GrantSetCache>,
    /// Recent policy writes of all sets.
    pub writes: WriteHistory,
    /// Lists in a row that failed.
    failures: u32,
    /// Writes for the grants whose spec names no usable identity or bucket.
    unusable_writes: ApiWrites,
}

impl BucketCache {
    /// Records that the grants could not be listed. Returns when they are listed again.
    pub fn list_failed(&mut self, bucket: &str) -> Action {
        self.failures = self.failures.saturating_add(1);
        Action::Requeue(short_backoff(self.failures, bucket))
    }

    /// Begins a reconcile. Returns what follows if there are no grants: the bucket is forgotten once its writes are old.
    pub fn begin(&mut self, grants: &[GrantObject], now: Timestamp) -> Option<Action> {
        self.failures = 0;
        if !grants.is_empty() {
            self.writes.read_ledgers(grants, now);
            return None;
        }
        Some(if self.writes.has_recent(now) {
            Action::Requeue(KEEP_HISTORY)
        } else {
            Action::AwaitChange
        })
    }

    /// Makes all sets due at once.
    pub fn clear_backoff(&mut self) {
        self.grant_sets
            .values_mut()
            .for_each(GrantSetCache::clear_backoff);
    }

    /// Records the writes for the grants whose spec cannot be used. Returns the time until those are reconciled again.
    pub fn unusable_reported(&mut self, any: bool, all_stored: bool, bucket: &str) -> Duration {
        let retry = self.unusable_writes.retry_after(all_stored, bucket);
        let wait = if any { RECHECK_UNUSABLE } else { RECHECK };
        retry.into_iter().fold(wait, Duration::min)
    }

    /// Forgets the sets without grants. Returns the others in their order.
    pub fn turns(&mut self, grant_sets: GrantSets) -> Vec<GrantSetTurn> {
        self.grant_sets.retain(|key, _| grant_sets.contains_key(key));
        // A grant set that is not reached has written nothing.
        self.grant_sets.values_mut().for_each(|set| set.wrote = false);
        let record = |key: &GrantSetKey| self.grant_sets.get(key).map(GrantSetCache::record);
        in_order(grant_sets, |key| record(key).unwrap_or_default())
    }

    /// Ends a reconcile whose sets are due after `wait`. A set is due at once if another set wrote, because that
    /// write may have removed its statements: it restores them with its own credentials. An identity that has not
    /// read the policy has no statement in it.
    pub fn end(&mut self, wait: Duration) -> Action {
        let writers = self.grant_sets.values().filter(|set| set.wrote).count();
        let mut next = wait;
        for set in self.grant_sets.values_mut() {
            let another_wrote = writers > usize::from(set.wrote);
            if another_wrote && set.trust == Trust::Proven {
                set.clear_backoff();
                next = Duration::ZERO;
            }
        }
        Action::Requeue(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::grant::{grouped, work_of};
    use crate::core::identity::Identity;

    const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);
    const WAIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_bucket_without_grants_is_forgotten_once_its_writes_are_old() {
        let mut cache = BucketCache::default();
        assert_eq!(cache.begin(&[], NOW), Some(Action::AwaitChange));
        cache.writes.attempted(&None, &Some(Vec::new()), NOW);
        assert_eq!(cache.begin(&[], NOW), Some(Action::Requeue(KEEP_HISTORY)));
        assert_eq!(cache.begin(&[work_of("a", None).grant], NOW), None);
    }

    #[test]
    fn lists_that_fail_are_tried_again_later_and_later() {
        let mut cache = BucketCache::default();
        for failures in 1..4 {
            assert_eq!(
                cache.list_failed("b"),
                Action::Requeue(short_backoff(failures, "b"))
            );
        }
        cache.begin(&[], NOW);
        assert_eq!(cache.list_failed("b"), Action::Requeue(short_backoff(1, "b")));
    }

    #[test]
    fn grants_whose_spec_cannot_be_used_are_reconciled_every_ten_minutes() {
        let mut cache = BucketCache::default();
        assert_eq!(cache.unusable_reported(false, true, "b"), RECHECK);
        assert_eq!(cache.unusable_reported(true, true, "b"), RECHECK_UNUSABLE);
        assert!(cache.unusable_reported(true, false, "b") <= Duration::from_secs(1));
    }

    #[test]
    fn a_write_makes_the_other_sets_due_that_can_have_statements() {
        use Trust::{Proven, Unknown};
        // Whether each of two sets wrote, and what is known of their reads; then whether each is due at once.
        for (sets_before, due) in [
            ([(false, Proven), (false, Proven)], [false, false]),
            ([(true, Proven), (false, Proven)], [false, true]),
            ([(true, Proven), (false, Unknown)], [false, false]),
            ([(true, Proven), (true, Proven)], [true, true]),
        ] {
            let (mut cache, rules) = (BucketCache::default(), Arc::default());
            let mut keys = Vec::new();
            for (name, (wrote, trust)) in ["a", "b"].into_iter().zip(sets_before) {
                let mut grant = work_of(name, None).grant;
                let spec = grant.spec.as_ref().unwrap();
                grant.identity = Identity::of(name, &spec.credentials);
                let (sets, _) = grouped(vec![grant]);
                let (key, grants) = sets.into_iter().next().unwrap();
                let mut set = GrantSetCache::default();
                assert_eq!(set.begin(&grants, Arc::clone(&rules), NOW), None);
                set.end(WAIT, true, name, NOW);
                (set.wrote, set.trust) = (wrote, trust);
                cache.grant_sets.insert(key.clone(), set);
                keys.push((key, grants));
            }
            let at_once = due.contains(&true);
            let expected = if at_once { Duration::ZERO } else { WAIT };
            assert_eq!(cache.end(WAIT), Action::Requeue(expected), "{sets_before:?}");
            let is_due = keys.iter().map(|(key, grants)| {
                let set = cache.grant_sets.get_mut(key).unwrap();
                set.begin(grants, Arc::clone(&rules), NOW).is_none()
            });
            assert_eq!(is_due.collect::<Vec<_>>(), due, "{sets_before:?}");
        }
    }
}
