//! Which grants add what OSS rejects. A policy is written as a whole, so that one statement that OSS does not accept would
//! keep the changes of all other grants of the bucket from being written.

use std::collections::BTreeMap;

use super::{GrantObject, Plan};
use crate::core::error::CloudError;

/// The grants whose additions were in a rejected write, by uid.
#[derive(Default)]
pub struct RejectedAdditions {
    by_uid: BTreeMap<String, Rejection>,
}

struct Rejection {
    /// Generation of the grant and its annotation `reconcile-at`: a change of either is a reason to try again at once.
    version: (i64, Option<String>),
    error: CloudError,
    /// Whether no other grant added anything, so that the rejection is due to this one.
    alone: bool,
    /// Whether the additions are tried again.
    retry: bool,
}

impl RejectedAdditions {
    /// Records that OSS rejected the additions of these grants. One grant waits for the next check; several are tried
    /// again one at a time.
    pub fn record(&mut self, grants: &[&GrantObject], error: &CloudError) {
        let alone = grants.len() == 1;
        for grant in grants {
            let known = self.find(grant).is_some_and(|rejection| rejection.alone);
            let rejection = Rejection {
                version: version_of(grant),
                error: error.clone(),
                alone: alone || known,
                retry: !alone,
            };
            self.by_uid.insert(grant.uid.clone(), rejection);
        }
    }

    /// Records that OSS accepted the additions of a grant.
    pub fn accepted(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }

    /// Forgets the grants that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&String) -> bool) {
        self.by_uid.retain(|uid, _| is_there(uid));
    }

    /// Tries all additions again: the cause may have been removed.
    pub fn retry_all(&mut self) {
        self.by_uid
            .values_mut()
            .for_each(|rejection| rejection.retry = true);
    }

    /// Whether additions are tried again.
    pub fn has_retries(&self) -> bool {
        self.by_uid.values().any(|rejection| rejection.retry)
    }

    /// Returns the error of a grant whose additions are not tried now.
    pub fn error_of(&self, grant: &GrantObject) -> Option<&CloudError> {
        let rejection = self.find(grant)?;
        (!rejection.retry).then_some(&rejection.error)
    }

    /// Returns for each grant of a plan whether its additions must not be part of the write: those that are tried again
    /// come after all other changes and one at a time, first those that were never rejected alone.
    pub fn held_back(&self, grants: &[&GrantObject], plan: &Plan) -> Vec<bool> {
        let suspects = grants.iter().zip(&plan.grants).map(|(grant, planned)| {
            let rejection = self.find(grant).filter(|_| planned.added > 0);
            rejection.map(|rejection| rejection.alone)
        });
        let mut suspects: Vec<Option<bool>> = suspects.collect();
        let mut others = suspects.iter().zip(&plan.grants);
        if !others.any(|(suspect, planned)| suspect.is_none() && planned.changes_policy()) {
            let candidates = suspects.iter_mut().filter(|suspect| suspect.is_some());
            if let Some(first) = candidates.min_by_key(|suspect| **suspect) {
                *first = None;
            }
        }
        suspects.iter().map(Option::is_some).collect()
    }

    fn find(&self, grant: &GrantObject) -> Option<&Rejection> {
        let rejection = self.by_uid.get(&grant.uid)?;
        (rejection.version == version_of(grant)).then_some(rejection)
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

    #[test]
    fn the_changes_of_others_come_first_and_suspects_one_at_a_time() {
        let names = ["bad", "good", "deleted", "later"];
        let grants = names.map(|name| GrantObject::bare("media", name));
        let [bad, good, deleted, later] = grants.each_ref();
        let error = CloudError::new(CloudErrorKind::PolicyRejected, "MalformedPolicy");
        let mut rejected = RejectedAdditions::default();
        let all = [bad, good, deleted, later];
        let writes = plan(&[(1, 0), (1, 0), (0, 1), (0, 0)]);
        assert_eq!(
            rejected.held_back(&all, &writes),
            [false; 4],
            "nothing is known yet"
        );

        rejected.record(&[bad, good], &error);
        assert_eq!(rejected.error_of(bad), None, "it may be the other one");
        assert_eq!(rejected.held_back(&all, &writes), [true, true, false, false]);
        let writes = plan(&[(1, 0), (1, 0), (0, 0), (0, 0)]);
        assert_eq!(rejected.held_back(&all, &writes), [false, true, false, false]);

        rejected.record(&[bad], &error);
        assert_eq!(rejected.error_of(bad), Some(&error));
        assert!(rejected.has_retries(), "the other one");
        rejected.accepted("good");
        assert_eq!(rejected.error_of(good), None);
        assert!(!rejected.has_retries());

        rejected.retry_all();
        assert_eq!(rejected.error_of(bad), None, "the cause may have been removed");
        rejected.record(&[bad, later], &error);
        let writes = plan(&[(1, 0), (0, 0), (0, 0), (1, 0)]);
        let held = rejected.held_back(&all, &writes);
        assert_eq!(
            held,
            [true, false, false, false],
            "first the one never rejected alone"
        );
    }

    #[test]
    fn an_edited_or_triggered_grant_is_tried_at_once() {
        let grant = GrantObject::bare("media", "bad");
        let error = CloudError::new(CloudErrorKind::PolicyRejected, "MalformedPolicy");
        let mut rejected = RejectedAdditions::default();
        rejected.record(&[&grant], &error);
        assert!(rejected.error_of(&grant).is_some());
        for change in [
            |grant: &mut GrantObject| grant.generation += 1,
            |grant: &mut GrantObject| grant.reconcile_at = Some("now".to_owned()),
        ] {
            let mut changed = grant.clone();
            change(&mut changed);
            assert_eq!(rejected.error_of(&changed), None);
            assert_eq!(rejected.held_back(&[&changed], &plan(&[(1, 0)])), [false]);
        }
    }
}
