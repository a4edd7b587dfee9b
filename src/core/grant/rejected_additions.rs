//! Which grants add what OSS rejects. A policy is written as a whole, so that one statement that OSS does not accept would
//! keep the changes of all other grants of the bucket from being written.

use std::collections::BTreeMap;

use super::{GrantObject, Plan};
use crate::core::error::CloudError;

/// The grants whose additions were in a rejected write, by uid.
#[derive(Default)]
pub struct RejectedAdditions {
    by_uid: BTreeMap<String, Rejection>,
    /// Number of rejected writes so far.
    writes: u64,
}

struct Rejection {
    /// Generation of the grant and its annotation `reconcile-at`: a change of either is a reason to try again at once.
    version: (i64, Option<String>),
    error: CloudError,
    /// Whether no other grant added anything.
    alone: bool,
    /// Whether the additions are tried again although the version is the same.
    retry: bool,
    /// The rejected write.
    write: u64,
}

/// Rejected additions that are tried again at a drift check: each costs a write that OSS probably rejects.
const RETRIES: usize = 4;

impl RejectedAdditions {
    /// Records that OSS rejected a write with the additions of `added`, in which those of `held` had to wait. One grant waits
    /// for the next check; several are tried again one at a time. If nothing was added, OSS rejects any change, so that the
    /// additions that had to wait are not tried either.
    pub fn record(&mut self, added: &[&GrantObject], held: &[&GrantObject], error: &CloudError) {
        self.writes += 1;
        let concerned = if added.is_empty() { held } else { added };
        let several = added.len() > 1;
        for grant in concerned {
            let rejection = Rejection {
                version: version_of(grant),
                error: error.clone(),
                alone: !several,
                retry: several,
                write: self.writes,
            };
            self.by_uid.insert(grant.uid.clone(), rejection);
        }
    }

    /// Records that the policy has everything that a grant adds.
    pub fn accepted(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }

    /// Forgets the grants that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&String) -> bool) {
        self.by_uid.retain(|uid, _| is_there(uid));
    }

    /// Tries the additions again that were rejected first: the cause may have been removed.
    pub fn retry_some(&mut self) {
        let mut rejections: Vec<&mut Rejection> = self.by_uid.values_mut().collect();
        rejections.sort_by_key(|rejection| rejection.write);
        for rejection in rejections.into_iter().take(RETRIES) {
            rejection.retry = true;
        }
    }

    /// Returns the error of a grant whose additions are not tried now.
    pub fn error_of(&self, grant: &GrantObject) -> Option<&CloudError> {
        let rejection = self.by_uid.get(&grant.uid)?;
        (!rejection.is_tried(grant)).then_some(&rejection.error)
    }

    /// Returns the error of a grant whose additions were rejected when no other grant added anything.
    pub fn own_error_of(&self, grant: &GrantObject) -> Option<&CloudError> {
        let rejection = self.by_uid.get(&grant.uid).filter(|rejection| rejection.alone)?;
        (rejection.version == version_of(grant)).then_some(&rejection.error)
    }

    /// Returns for each grant of a plan whether its additions must not be part of the write. While something is rejected,
    /// removals come first. Then come the additions of the grants that were rejected together with others, one at a time, so that
    /// no newer one delays them; then those that were never rejected, together; then those that were rejected alone.
    pub fn held_back(&self, grants: &[&GrantObject], plan: &Plan) -> Vec<bool> {
        let adding = || {
            grants
                .iter()
                .zip(&plan.grants)
                .map(|(_, planned)| planned.added > 0)
        };
        if self.by_uid.is_empty() {
            return vec![false; grants.len()];
        }
        if plan
            .grants
            .iter()
            .any(|planned| planned.added == 0 && planned.removed > 0)
        {
            return adding().collect();
        }
        let turn = |(index, grant): (usize, &&GrantObject)| match self.by_uid.get(&grant.uid) {
            Some(rejection) => (u8::from(rejection.alone) * 2, rejection.write, index),
            None => (1, 0, 0),
        };
        let turns = || grants.iter().enumerate().map(turn);
        let first = turns()
            .zip(adding())
            .filter_map(|(turn, adds)| adds.then_some(turn))
            .min();
        let held = turns()
            .zip(adding())
            .map(|(turn, adds)| adds && Some(turn) != first);
        held.collect()
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
    use crate::core::grant::{Change, GrantOutcome, GrantPlan};

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
        assert_eq!(rejected.held_back(&all, &writes), [true, true, false, true]);
        let writes = plan(&[(1, 0), (1, 0), (0, 0), (1, 0)]);
        assert_eq!(rejected.held_back(&all, &writes), [false, true, false, true]);

        rejected.record(&[bad], &[good], &rejection());
        assert_eq!(rejected.error_of(bad), Some(&rejection()));
        assert_eq!(rejected.error_of(good), None);
        assert_eq!(rejected.held_back(&all, &writes), [true, false, false, true]);
        rejected.accepted("good");
        assert_eq!(
            rejected.held_back(&all, &plan(&[(1, 0), (0, 0), (0, 0), (1, 0)])),
            [true, false, false, false],
            "last the one that was rejected alone"
        );
    }

    #[test]
    fn a_grant_that_is_edited_all_the_time_is_tried_at_once_and_delays_nobody() {
        let grants = ["bad", "good", "deleted"].map(|name| GrantObject::bare("media", name));
        let [bad, good, deleted] = grants;
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[&bad], &[], &rejection());
        for change in [
            |grant: &mut GrantObject| grant.generation += 1,
            |grant: &mut GrantObject| grant.reconcile_at = Some("now".to_owned()),
        ] {
            let mut edited = bad.clone();
            change(&mut edited);
            assert_eq!(rejected.error_of(&edited), None);
            assert_eq!(rejected.held_back(&[&edited], &plan(&[(1, 0)])), [false]);
            let all = [&edited, &good, &deleted];
            let held = rejected.held_back(&all, &plan(&[(1, 0), (1, 0), (0, 1)]));
            assert_eq!(held, [true, true, false]);
            let held = rejected.held_back(&all, &plan(&[(1, 0), (1, 0), (0, 0)]));
            assert_eq!(held, [true, false, false]);
        }
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
}
