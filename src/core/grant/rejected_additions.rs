//! Which grants add what OSS rejects. A policy is written as a whole, so that one statement that OSS does not accept
//! would keep the changes of all other grants of the bucket from being written.

use std::collections::BTreeMap;

use super::{GrantObject, GrantPlan, Plan};
use crate::core::error::CloudError;

/// The grants whose additions were in a rejected write or have to wait for others, by uid.
#[derive(Default)]
pub struct RejectedAdditions {
    by_uid: BTreeMap<String, Rejection>,
    /// Number of attempts so far.
    attempts: u64,
    /// Attempts in a row that wrote nothing because of what had to wait.
    failed_writes: usize,
}

struct Rejection {
    /// Generation of the grant and its annotation `reconcile-at`: a change of either is a reason to try again at once.
    version: (i64, Option<String>),
    /// The error of the rejected write; `None` if there was none yet.
    error: Option<CloudError>,
    /// Whether no other grant added anything.
    alone: bool,
    /// Whether the additions are tried again although the version is the same.
    retry: bool,
    /// The last attempt, or when the grant began to wait.
    attempt: u64,
}

/// Rejected additions that are tried again at a drift check: each costs a write that OSS probably rejects.
const RETRIES: usize = 4;

impl RejectedAdditions {
    /// Records that OSS rejected a write with the additions of `added`, while those of `held` had to wait. One grant
    /// waits for the next check; several are tried again one at a time, unless that has led to nothing. If nothing
    /// was added, OSS rejects any change, so that the additions that had to wait are not tried either.
    pub fn record(&mut self, added: &[&GrantObject], held: &[&GrantObject], error: &CloudError) {
        let concerned = if added.is_empty() { held } else { added };
        let several = added.len() > 1;
        let together = self.failed_writes > added.len();
        let retry = several && !together;
        self.failed_writes = 0;
        self.attempts += 1;
        for grant in concerned {
            let rejection = Rejection {
                version: version_of(grant),
                error: Some(error.clone()),
                alone: !several,
                retry,
                attempt: self.attempts,
            };
            self.by_uid.insert(grant.uid.clone(), rejection);
        }
    }

    /// Records that the policy has everything that a grant adds, or that the grant adds nothing.
    pub fn accepted(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }

    /// Records that a policy was written.
    pub fn written(&mut self) {
        self.failed_writes = 0;
    }

    /// Records that nothing could be written before the additions of `held`: the grants whose turn it was wait for
    /// the others. Returns how often that happened in a row.
    pub fn nothing_written(&mut self, held: &[&GrantObject], all: &[&GrantObject]) -> u32 {
        self.failed_writes += 1;
        self.attempts += 1;
        let had_turn = all
            .iter()
            .filter(|grant| !held.iter().any(|h| h.uid == grant.uid));
        for grant in had_turn {
            if let Some(rejection) = self.by_uid.get_mut(&grant.uid) {
                rejection.attempt = self.attempts;
            }
        }
        u32::try_from(self.failed_writes).unwrap_or(u32::MAX)
    }

    /// Forgets the grants that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&String) -> bool) {
        self.by_uid.retain(|uid, _| is_there(uid));
    }

    /// Tries the additions again whose last attempt was first: the cause may have been removed. Those of the last
    /// drift check that are not tried yet count as well, for example because OSS cannot be reached.
    pub fn retry_some(&mut self) {
        let rejected = self.by_uid.values_mut().filter(|r| r.error.is_some());
        let (waiting, mut held): (Vec<_>, Vec<_>) = rejected.partition(|rejection| rejection.retry);
        held.sort_by_key(|rejection| rejection.attempt);
        for rejection in held.into_iter().take(RETRIES.saturating_sub(waiting.len())) {
            rejection.retry = true;
        }
    }

    /// Returns the error of a grant whose additions are not tried now.
    pub fn error_of(&self, grant: &GrantObject) -> Option<&CloudError> {
        let rejection = self.by_uid.get(&grant.uid)?;
        rejection.error.as_ref().filter(|_| !rejection.is_tried(grant))
    }

    /// Returns the error of a grant whose additions were rejected when no other grant added anything.
    pub fn own_error_of(&self, grant: &GrantObject) -> Option<&CloudError> {
        let rejection = self.by_uid.get(&grant.uid).filter(|rejection| rejection.alone)?;
        let same = rejection.version == version_of(grant);
        rejection.error.as_ref().filter(|_| same)
    }

    /// Returns for each grant of a plan whether its additions must not be part of the write. While something is rejected,
    /// removals come first. Then come the additions that are tried again or have waited, one at a time and the oldest
    /// attempt first, so that a grant that is edited all the time delays each other one once. Without any, all
    /// additions that were never rejected are written together. If every turn leads to nothing, all are tried at once.
    pub fn held_back(&mut self, grants: &[&GrantObject], plan: &Plan) -> Vec<bool> {
        // What does not fit beside other additions may fit without them.
        let adds = |planned: &GrantPlan| planned.added > 0 || planned.is_too_large();
        let adds: Vec<bool> = plan.grants.iter().map(adds).collect();
        let adding = adds.iter().filter(|adds| **adds).count();
        if self.by_uid.is_empty() || self.failed_writes > adding {
            return vec![false; grants.len()];
        }
        let removes = plan
            .grants
            .iter()
            .any(|planned| planned.added == 0 && planned.removed > 0);
        let attempt = |grant: &GrantObject| self.by_uid.get(&grant.uid).map(|rejection| rejection.attempt);
        let candidates = grants.iter().enumerate().zip(&adds).filter(|(_, adds)| **adds);
        let first = candidates
            .filter_map(|((index, grant), _)| Some((attempt(grant)?, index)))
            .min();
        let held: Vec<bool> = match first {
            _ if removes && self.failed_writes == 0 => adds,
            Some((_, first)) => adds
                .iter()
                .enumerate()
                .map(|(at, adds)| *adds && at != first)
                .collect(),
            None => vec![false; grants.len()],
        };
        for (grant, _) in grants.iter().zip(&held).filter(|(_, held)| **held) {
            self.attempts += 1;
            self.by_uid.entry(grant.uid.clone()).or_insert(Rejection {
                version: version_of(grant),
                error: None,
                alone: false,
                retry: true,
                attempt: self.attempts,
            });
        }
        held
    }
}

impl Rejection {
    fn is_tried(&self, grant: &GrantObject) -> bool {
        self.retry || self.version != version_of(grant)
    }
}

fn version_of(grant: &GrantObject) -> (i64, Option<String>) {
    (grant.generation, grant.reconcile_at.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::CloudErrorKind;
    use crate::core::grant::{Change, GrantOutcome};

    /// A plan that adds and removes these numbers of statements for its grants.
    fn plan(changes: &[(usize, usize)]) -> Plan {
        let grant = |(added, removed): &(usize, usize)| GrantPlan {
            ledger: Vec::new(),
            outcome: GrantOutcome::Writing,
            added: *added,
            removed: *removed,
            missing: 0,
        };
        Plan {
            change: Change::Put(String::new()),
            grants: changes.iter().map(grant).collect(),
        }
    }

    fn rejection() -> CloudError {
        CloudError::new(CloudErrorKind::PolicyRejected, "MalformedPolicy")
    }

    #[test]
    fn removals_come_first_and_suspects_one_at_a_time() {
        let grants = ["bad", "good", "deleted", "new"].map(|name| GrantObject::bare("media", name));
        let all = grants.each_ref();
        let [bad, good, ..] = all;
        let mut rejected = RejectedAdditions::default();
        let writes = plan(&[(1, 0), (1, 0), (0, 1), (1, 0)]);
        assert_eq!(
            rejected.held_back(&all, &writes),
            [false; 4],
            "nothing is known yet"
        );

        rejected.record(&[bad, good], &[], &rejection());
        assert_eq!(rejected.error_of(bad), None, "it may be the other one");
        assert_eq!(rejected.own_error_of(bad), None);
        assert_eq!(rejected.held_back(&all, &writes), [true, true, false, true]);
        let writes = plan(&[(1, 0), (1, 0), (0, 0), (1, 0)]);
        assert_eq!(rejected.held_back(&all, &writes), [false, true, false, true]);
        rejected.record(&[bad], &[good], &rejection());
        assert_eq!(rejected.error_of(bad), Some(&rejection()));
        assert_eq!(rejected.own_error_of(bad), Some(&rejection()));
        assert_eq!(
            (rejected.error_of(good), rejected.own_error_of(good)),
            (None, None)
        );
        let writes = plan(&[(0, 0), (1, 0), (0, 0), (1, 0)]);
        assert_eq!(rejected.held_back(&all, &writes), [false, false, false, true]);
        rejected.accepted("good");
        let writes = plan(&[(0, 0), (0, 0), (0, 0), (1, 0)]);
        assert_eq!(rejected.held_back(&all, &writes), [false; 4]);
    }

    #[test]
    fn an_addition_that_does_not_fit_beside_suspects_has_its_turn() {
        let grants = ["bad", "worse", "good"].map(|name| GrantObject::bare("media", name));
        let all = grants.each_ref();
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[all[0], all[1]], &[], &rejection());
        let mut writes = plan(&[(1, 0), (1, 0), (0, 0)]);
        writes.grants[2].outcome = GrantOutcome::TooLarge { needed: 2, free: 1 };
        assert_eq!(rejected.held_back(&all, &writes), [false, true, true]);
    }

    #[test]
    fn a_removal_that_leads_to_nothing_delays_additions_once() {
        let grants = ["bad", "deleted"].map(|name| GrantObject::bare("media", name));
        let all = grants.each_ref();
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[all[0], &GrantObject::bare("media", "other")], &[], &rejection());
        let writes = plan(&[(1, 0), (0, 1)]);
        assert_eq!(rejected.held_back(&all, &writes), [true, false]);
        rejected.nothing_written(&[all[0]], &all);
        assert_eq!(rejected.held_back(&all, &writes), [false, false]);
    }

    #[test]
    fn removals_that_led_to_nothing_leave_new_additions_their_turns() {
        let [old, bad, good] = ["old", "bad", "good"].map(|name| GrantObject::bare("media", name));
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[&old], &[], &rejection());
        rejected.nothing_written(&[], &[]);
        rejected.nothing_written(&[], &[]);
        rejected.record(&[&bad, &good], &[], &rejection());
        assert_eq!(rejected.error_of(&good), None, "it may be the other one");
    }

    #[test]
    fn what_was_never_rejected_is_written_together() {
        let grants = ["bad", "one", "two"].map(|name| GrantObject::bare("media", name));
        let all = grants.each_ref();
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[all[0]], &[], &rejection());
        let held = rejected.held_back(&all, &plan(&[(0, 0), (1, 0), (1, 0)]));
        assert_eq!(held, [false; 3]);
    }

    #[test]
    fn a_grant_that_is_edited_all_the_time_is_tried_at_once_and_delays_others_once() {
        let [mut bad, good, other] = ["bad", "good", "other"].map(|name| GrantObject::bare("media", name));
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[&bad], &[], &rejection());
        let writes = plan(&[(1, 0), (1, 0), (1, 0)]);
        let mut turns = Vec::new();
        for edit in 0..6 {
            if edit % 2 == 0 {
                bad.generation += 1;
            } else {
                bad.reconcile_at = Some(edit.to_string());
            }
            assert_eq!(
                (rejected.error_of(&bad), rejected.own_error_of(&bad)),
                (None, None)
            );
            let all = [&bad, &good, &other];
            let held = rejected.held_back(&all, &writes);
            let turn = held.iter().position(|held| !held).unwrap();
            turns.push(turn);
            if turn == 0 {
                rejected.record(&[&bad], &[], &rejection());
            } else {
                rejected.nothing_written(&[all[0], all[3 - turn]], &all);
                rejected.written();
            }
        }
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn if_every_turn_leads_to_nothing_all_are_tried_together_once() {
        let grants = ["a", "b"].map(|name| GrantObject::bare("media", name));
        let all = grants.each_ref();
        let mut rejected = RejectedAdditions::default();
        rejected.record(&all, &[], &rejection());
        let writes = plan(&[(1, 0), (1, 0)]);
        let mut turns = 0;
        loop {
            let held = rejected.held_back(&all, &writes);
            if held == [false, false] {
                break;
            }
            let waiting: Vec<&GrantObject> = all
                .into_iter()
                .zip(&held)
                .filter(|(_, h)| **h)
                .map(|(g, _)| g)
                .collect();
            rejected.nothing_written(&waiting, &all);
            turns += 1;
        }
        assert_eq!(turns, 3);
        rejected.record(&all, &[], &rejection());
        assert!(all.iter().all(|grant| rejected.error_of(grant).is_some()));
    }

    #[test]
    fn a_few_additions_are_tried_again_at_each_check_in_turns() {
        let grants: Vec<GrantObject> = (0..10)
            .map(|n| GrantObject::bare("media", &n.to_string()))
            .collect();
        let mut rejected = RejectedAdditions::default();
        for grant in &grants {
            rejected.record(&[grant], &[], &rejection());
        }
        let mut tried = Vec::new();
        for _ in 0..3 {
            rejected.retry_some();
            // The next check, before any of them was tried.
            rejected.retry_some();
            let due: Vec<&GrantObject> = grants.iter().filter(|g| rejected.error_of(g).is_none()).collect();
            assert_eq!(due.len(), RETRIES);
            tried.extend(due.iter().map(|grant| grant.uid.clone()));
            for grant in due {
                rejected.record(&[grant], &[], &rejection());
            }
        }
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried.len(), grants.len());
    }

    #[test]
    fn if_oss_rejects_any_change_nothing_is_tried_again() {
        let held = ["a", "b"].map(|name| GrantObject::bare("media", name));
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[], &held.each_ref(), &rejection());
        assert!(held.iter().all(|grant| rejected.error_of(grant).is_some()));
    }

    #[test]
    fn a_grant_that_is_gone_is_forgotten() {
        let grant = GrantObject::bare("media", "bad");
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[&grant], &[], &rejection());
        rejected.retain(|uid| *uid == grant.uid);
        assert!(rejected.error_of(&grant).is_some());
        rejected.retain(|_| false);
        assert_eq!(rejected.error_of(&grant), None);
    }

    #[test]
    fn a_write_ends_the_attempts_that_led_to_nothing() {
        let grants = ["a", "b"].map(|name| GrantObject::bare("media", name));
        let all = grants.each_ref();
        let mut rejected = RejectedAdditions::default();
        rejected.record(&all, &[], &rejection());
        assert_eq!(rejected.nothing_written(&[all[1]], &all), 1);
        assert_eq!(rejected.nothing_written(&[all[0]], &all), 2);
        rejected.written();
        assert_eq!(rejected.nothing_written(&[all[1]], &all), 1);
    }

    #[test]
    fn additions_that_wait_have_their_turns_in_the_order_in_which_they_began_to_wait() {
        let [mut bad, later, sooner] =
            ["bad", "later", "sooner"].map(|name| GrantObject::bare("media", name));
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[&bad], &[], &rejection());
        bad.generation += 1;
        let all = [&bad, &later, &sooner];
        let first = rejected.held_back(&all, &plan(&[(1, 0), (0, 0), (1, 0)]));
        assert_eq!(first, [false, false, true]);
        let second = rejected.held_back(&all, &plan(&[(1, 0), (1, 0), (1, 0)]));
        assert_eq!(second, [false, true, true]);
        rejected.record(&[&bad], &[&later, &sooner], &rejection());
        let third = rejected.held_back(&all, &plan(&[(0, 0), (1, 0), (1, 0)]));
        assert_eq!(third, [false, true, false]);
    }
}
