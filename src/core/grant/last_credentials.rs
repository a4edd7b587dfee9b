//! The credentials that last worked. They remove the statements of deleted grants while the reference of the identity is
//! closed: a terminating namespace loses its Secret before our finalizer runs.

use std::collections::{BTreeMap, BTreeSet};

use super::early_end::refusal_state;
use super::work::{GrantWork, undecided};
use crate::api::BucketRef;
use crate::core::credential_use::CredentialRefusal;
use crate::core::identity::AccessKeys;

/// Credentials that last worked, by the uid of the grant that owned statements with them.
#[derive(Default)]
pub struct LastCredentials {
    by_uid: BTreeMap<String, WorkedFor>,
}

/// Credentials that have read the policy while a grant owned these statements. They only remove these statements.
struct WorkedFor {
    keys: AccessKeys,
    fingerprints: BTreeSet<String>,
}

impl WorkedFor {
    /// Whether the grant owned with the credentials all that it has to remove.
    fn covers(&self, work: &GrantWork) -> bool {
        let mut ledger = work.input.ledger.iter();
        ledger.all(|entry| self.fingerprints.contains(&entry.fingerprint))
    }
}

impl LastCredentials {
    /// Forgets the grants that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&String) -> bool) {
        self.by_uid.retain(|uid, _| is_there(uid));
    }

    /// Keeps credentials that have read the policy, for the grants that own something now.
    pub fn worked(&mut self, batch: &[GrantWork], keys: &AccessKeys) {
        for work in undecided(batch) {
            let owned = &work.grant.status.owned;
            if owned.is_empty() {
                self.by_uid.remove(&work.grant.uid);
                continue;
            }
            let worked_for = WorkedFor {
                keys: keys.clone(),
                fingerprints: owned.iter().map(|e| e.fingerprint.clone()).collect(),
            };
            self.by_uid.insert(work.grant.uid.clone(), worked_for);
        }
    }

    /// Sets the state of the grants that can make no call after a refusal. Returns the credentials for the others,
    /// which are being deleted: the last ones that worked, if the reference can no longer be read.
    pub fn instead_of(&self, batch: &mut [GrantWork], refusal: &CredentialRefusal) -> Option<AccessKeys> {
        let last_of = |work: &GrantWork| {
            let last = self.by_uid.get(&work.grant.uid)?;
            (work.grant.deleting && last.covers(work)).then_some(&last.keys)
        };
        let keys = undecided(batch)
            .find_map(last_of)
            .filter(|_| refusal.hides_reference());
        let state = refusal_state(refusal.clone());
        for work in batch.iter_mut().filter(|work| work.decided.is_none()) {
            let last = last_of(work).map(|last| &last.id);
            if last.is_none() || last != keys.map(|keys| &keys.id) {
                work.carry(state.clone());
            }
        }
        keys.cloned()
    }

    /// Whether the bucket of these grants, which OSS does not find now, was read before: with `keys`, or with any
    /// credentials if there are none now.
    pub fn have_read(&self, leaving: &[&GrantWork], keys: Option<&AccessKeys>) -> bool {
        let last = leaving.iter().find_map(|work| self.by_uid.get(&work.grant.uid));
        last.is_some_and(|last| keys.is_none_or(|keys| keys.id == last.keys.id))
    }
}

/// Whether credentials of this account are those of the bucket's owner.
pub fn is_owner(place: &BucketRef, account: Option<&str>) -> bool {
    account == Some(place.owner_uid.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EntryState;
    use crate::core::error::CredentialsError;
    use crate::core::grant::{GrantState, entry_of, work_of};

    fn keys(id: &str) -> AccessKeys {
        AccessKeys {
            id: id.to_owned(),
            secret: String::new().into(),
            token: None,
            expires_at: None,
        }
    }

    fn deleted(name: &str) -> GrantWork {
        let mut work = work_of(name, Some(EntryState::Applied));
        work.grant.deleting = true;
        work
    }

    /// The id of the credentials that are used after a refusal, and which grants get its state.
    fn used(
        last: &LastCredentials,
        batch: &mut [GrantWork],
        error: CredentialsError,
    ) -> (Option<String>, Vec<bool>) {
        let refusal = CredentialRefusal::Failed(error);
        let keys = last.instead_of(batch, &refusal);
        let carried = batch.iter().map(|work| work.decided.is_some());
        (keys.map(|keys| keys.id), carried.collect())
    }

    #[test]
    fn only_deleted_grants_use_the_last_credentials_and_only_for_what_they_owned_with_them() {
        let hidden = CredentialsError::SecretAccessDenied { account: None };
        let mut last = LastCredentials::default();
        last.worked(
            &[
                deleted("a"),
                deleted("b"),
                work_of("live", Some(EntryState::Applied)),
            ],
            &keys("k1"),
        );
        last.worked(&[deleted("c")], &keys("k2"));
        let batch = || {
            let mut more = deleted("b");
            more.input
                .ledger
                .push(entry_of("sha256:new", EntryState::Applied));
            let mut decided = deleted("a");
            decided.decided = Some(GrantState::Suspended);
            vec![
                decided,
                deleted("a"),
                more,
                deleted("c"),
                work_of("live", Some(EntryState::Applied)),
            ]
        };
        assert_eq!(
            used(&last, &mut batch(), hidden.clone()),
            (Some("k1".to_owned()), vec![true, false, true, true, true]),
            "one set of credentials at a time"
        );
        assert_eq!(
            used(&last, &mut batch(), CredentialsError::NotFound),
            (None, vec![true; 5]),
            "its owner has deleted the reference"
        );
        last.worked(&[work_of("a", None)], &keys("k3"));
        assert_eq!(
            used(&last, &mut batch(), hidden.clone()).0,
            Some("k2".to_owned()),
            "a owns nothing"
        );
        last.retain(|uid| uid == "live");
        assert_eq!(used(&last, &mut batch(), hidden).0, None);
    }

    #[test]
    fn a_bucket_is_gone_if_it_was_read_before_or_for_its_owner() {
        let mut last = LastCredentials::default();
        let (a, b) = (deleted("a"), deleted("b"));
        last.worked(std::slice::from_ref(&a), &keys("k1"));
        for (leaving, now, read) in [
            (&a, None, true),
            (&a, Some("k1"), true),
            (&a, Some("k2"), false),
            (&b, None, false),
            (&b, Some("k1"), false),
        ] {
            let now = now.map(keys);
            assert_eq!(last.have_read(&[leaving], now.as_ref()), read);
        }
        let place = a.grant.bucket.as_ref().unwrap();
        assert!(is_owner(place, Some("65432")));
        assert!(!is_owner(place, Some("1")) && !is_owner(place, None));
    }
}
