//! The credentials of a group: whether its grants may use the identity, the credentials for its calls, and the last ones
//! that worked, which remove what deleted grants own while the reference is closed.

use super::admission::{Admission, admit};
use super::cache::{GrantSetCache, LastCredentials};
use super::grant_set::GrantSet;
use crate::api::BucketRef;
use crate::controller::credential_gate::{CredentialUser, credentials_for, may_use};
use crate::core::credential_use::CredentialRefusal;
use crate::core::grant::{EarlyEnd, GrantState, GrantWork, refusal_state, retry_after_refusal};
use crate::core::identity::SessionScope;
use crate::ports::AccessKeys;

/// Returns the state of a grant that may not use its identity; `None` when it may.
pub(super) async fn denial(set: &GrantSet<'_>, work: &GrantWork) -> Option<GrantState> {
    let allowed = may_use(set.context, &set.identity, &[work.purpose()?]).await;
    allowed.err().map(refusal_state)
}

/// Returns the credentials for the grants without an outcome. A refusal sets the outcome of the grants that can make no
/// call: a terminating namespace loses its Secret before our finalizer runs, so the last credentials that worked are used,
/// only to remove the statements of deleted grants.
///
/// # Errors
/// Returns why no call is possible.
pub(super) async fn obtain_keys(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    place: &BucketRef,
    cache: &mut GrantSetCache,
) -> Result<AccessKeys, EarlyEnd> {
    let refusal = match admit(set, batch, place, cache).await? {
        Admission::Admitted => match request_credentials(set, &without_outcome(batch), place).await {
            Ok(keys) => return Ok(keys),
            Err(refusal) => refusal,
        },
        Admission::Refused(refusal) => refusal,
    };
    let last = if refusal.hides_reference() {
        last_credentials(batch, cache)
    } else {
        None
    };
    let uses_last = |work: &GrantWork| {
        let own = cache.last_credentials.get(&work.grant.uid);
        last.as_ref()
            .is_some_and(|keys| work.grant.deleting && own.is_some_and(|l| l.allows(work, keys)))
    };
    let state = refusal_state(refusal.clone());
    for work in batch.iter_mut() {
        if work.outcome.is_none() && !uses_last(work) {
            work.carry(state.clone());
        }
    }
    let keys = last.ok_or(EarlyEnd::Refused(refusal.clone()))?;
    set.reference_closed = true;
    set.retry_within = Some(retry_after_refusal(&refusal, &set.identity.jitter_seed()));
    Ok(keys)
}

/// Requests the credentials for these grants.
///
/// # Errors
/// Returns why they get none.
pub(super) async fn request_credentials(
    set: &GrantSet<'_>,
    works: &[&GrantWork],
    place: &BucketRef,
) -> Result<AccessKeys, CredentialRefusal> {
    let users = works.iter().filter_map(|work| {
        let uid = work.grant.uid.as_str();
        let purpose = work.purpose()?;
        Some(CredentialUser { uid, purpose })
    });
    let users: Vec<_> = users.collect();
    let scope = SessionScope::bucket(place);
    credentials_for(set.context, &set.identity, &scope, &users).await
}

/// Keeps credentials that have read the policy, for the grants that own something now.
pub(super) fn remember_credentials(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    keys: &AccessKeys,
    cache: &mut GrantSetCache,
) {
    if set.reference_closed || set.identity.is_operator() {
        return;
    }
    for work in without_outcome(batch) {
        let owned = &work.grant.status.owned;
        let fingerprints = owned.iter().map(|e| e.fingerprint.clone());
        let last = LastCredentials {
            keys: keys.clone(),
            fingerprints: fingerprints.collect(),
        };
        if owned.is_empty() {
            cache.last_credentials.remove(&work.grant.uid);
        } else {
            cache.last_credentials.insert(work.grant.uid.clone(), last);
        }
    }
}

impl LastCredentials {
    /// Whether the credentials are `keys`, and the grant owned with them all that it has to remove.
    fn allows(&self, work: &GrantWork, keys: &AccessKeys) -> bool {
        let known = |fingerprint: &String| self.fingerprints.contains(fingerprint);
        self.keys.id == keys.id && work.input.ledger.iter().all(|e| known(&e.fingerprint))
    }
}

/// Returns the last credentials that worked for a deleted grant of the group, if they cover all that it owns.
fn last_credentials(batch: &[GrantWork], cache: &GrantSetCache) -> Option<AccessKeys> {
    let mut leaving = without_outcome(batch).into_iter().filter(|w| w.grant.deleting);
    leaving.find_map(|work| {
        let last = cache.last_credentials.get(&work.grant.uid)?;
        last.allows(work, &last.keys).then(|| last.keys.clone())
    })
}

/// Returns the grants whose state is not decided yet.
pub(super) fn without_outcome(batch: &[GrantWork]) -> Vec<&GrantWork> {
    batch.iter().filter(|work| work.outcome.is_none()).collect()
}
