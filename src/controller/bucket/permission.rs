//! Which grants of a group may use its identity: before credentials are fetched, and again right before a write.
//! Deleted grants that own nothing need none, and the last credentials that worked remove what their grants own.

use std::time::Duration;

use super::cache::{GrantSetCache, LastCredentials};
use super::grant_set::{GrantSet, GrantWork};
use crate::api::BucketRef;
use crate::controller::credential_gate::{CredentialUser, credentials_for, may_use};
use crate::core::credential_use::{CredentialRefusal, Purpose, must_be_removed};
use crate::core::grant::{Disposition, GrantInput, GrantObject, GrantPlan, GrantState, Plan};
use crate::core::identity::SessionScope;
use crate::core::requeue::short_backoff;
use crate::ports::AccessKeys;

/// What a group can do after the credentials were requested.
pub(super) enum CredentialAccess {
    /// The credentials, for the grants without an outcome.
    Granted(AccessKeys),
    /// The last credentials that worked, to remove statements while the reference is closed, and when to look again.
    LastWorking(AccessKeys, Duration),
    /// No call is possible: the state for the grants without an outcome, and when to try again.
    Refused(GrantState, Duration),
}

/// What has changed since the credentials were requested.
pub(super) enum Recheck {
    /// The write may be sent, with these credentials.
    Unchanged(AccessKeys),
    /// A grant may no longer use the identity: a new plan is needed.
    Replan,
    /// The credentials may no longer be used: the state for all grants, and when to try again.
    Refused(GrantState, Duration),
}

/// Returns the state of a grant that may not use its identity; `None` when it may.
pub(super) async fn denial(
    set: &GrantSet<'_>,
    grant: &GrantObject,
    input: &GrantInput,
) -> Option<GrantState> {
    let purpose = purpose_of(grant, input)?;
    let allowed = may_use(set.context, &set.identity, &[purpose]).await;
    allowed.err().map(refusal_state)
}

/// Returns what a grant uses the identity for; `None` for one whose spec does not decode.
fn purpose_of<'a>(grant: &'a GrantObject, input: &'a GrantInput) -> Option<Purpose<'a>> {
    let spec = grant.spec.as_ref().ok();
    if !grant.deleting {
        return spec.map(Purpose::Grant);
    }
    let (ledger, unproven) = (&input.ledger, &input.unproven);
    Some(Purpose::Removal {
        spec,
        ledger,
        unproven,
    })
}

/// Releases the deleted grants that own nothing, without credentials: an entry is stored before its write, so no
/// write can be in flight. Returns the remaining grants.
pub(super) async fn release_owning_nothing(set: &GrantSet<'_>, batch: Vec<GrantWork>) -> Vec<GrantWork> {
    let mut staying = Vec::new();
    for work in batch {
        let (ledger, unproven) = (&work.input.ledger, &work.input.unproven);
        // With credentials of its own, a grant also reports which access remains. The operator's own identity
        // makes no call for that.
        let nothing = ledger.is_empty()
            || (set.identity.is_operator() && !ledger.iter().any(|e| must_be_removed(e, unproven)));
        if work.grant.deleting && nothing {
            set.release(work.grant, 0).await;
        } else {
            staying.push(work);
        }
    }
    staying
}

/// Requests the credentials for the grants without an outcome. A refusal sets the outcome of the grants that can
/// make no call.
pub(super) async fn request_access(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    place: &BucketRef,
    cache: &GrantSetCache,
) -> CredentialAccess {
    match request_credentials(set, &without_outcome(batch), place).await {
        Ok(keys) => CredentialAccess::Granted(keys),
        Err(refusal) => refuse(set, batch, cache, refusal),
    }
}

/// Sets the outcome of the grants that can make no call, because the credentials were refused.
pub(super) fn refuse(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    cache: &GrantSetCache,
    refusal: CredentialRefusal,
) -> CredentialAccess {
    let retry = retry_after(set, &refusal);
    let last = if refusal.hides_reference() {
        last_credentials(batch, cache)
    } else {
        None
    };
    let state = refusal_state(refusal);
    let uses_last = |work: &GrantWork| {
        let own = cache.last_credentials.get(&work.grant.uid);
        last.as_ref()
            .is_some_and(|keys| work.grant.deleting && own.is_some_and(|l| l.allows(work, keys)))
    };
    for work in batch.iter_mut() {
        if work.outcome.is_none() && !uses_last(work) {
            work.input.disposition = Disposition::Carried;
            work.outcome = Some(state.clone());
        }
    }
    last.map_or(CredentialAccess::Refused(state, retry), |keys| {
        CredentialAccess::LastWorking(keys, retry)
    })
}

async fn request_credentials(
    set: &GrantSet<'_>,
    works: &[&GrantWork],
    place: &BucketRef,
) -> Result<AccessKeys, CredentialRefusal> {
    let users = works.iter().filter_map(|work| {
        let purpose = purpose_of(&work.grant, &work.input)?;
        let uid = work.grant.uid.as_str();
        Some(CredentialUser { uid, purpose })
    });
    let users: Vec<_> = users.collect();
    let scope = SessionScope::bucket(place);
    credentials_for(set.context, &set.identity, &scope, &users).await
}

/// Whether a bucket that OSS does not find is gone. To credentials of another account than the owner's, OSS may also
/// deny that a bucket exists: the credentials have read this bucket before, or STS says that they are the owner's.
pub(super) async fn is_bucket_gone(set: &GrantSet<'_>, batch: &[GrantWork], cache: &GrantSetCache) -> bool {
    let leaving: Vec<&GrantWork> = batch.iter().filter(|work| work.grant.deleting).collect();
    let Some(place) = leaving.iter().find_map(|work| work.grant.bucket.as_ref()) else {
        return false;
    };
    let last = || {
        leaving
            .iter()
            .find_map(|work| cache.last_credentials.get(&work.grant.uid))
    };
    let Ok(keys) = request_credentials(set, &leaving, place).await else {
        return last().is_some();
    };
    if last().is_some_and(|last| last.keys.id == keys.id) {
        return true;
    }
    let account = set.context.account_of(&set.identity, &keys).await;
    let of_owner = account.is_ok_and(|account| account == place.owner_uid);
    if !of_owner {
        // The next attempt uses what the user provides meanwhile.
        set.context.credentials.forget(&set.identity);
    }
    of_owner
}

fn retry_after(set: &GrantSet<'_>, refusal: &CredentialRefusal) -> Duration {
    match refusal {
        CredentialRefusal::Failed(problem) if problem.is_transient() => {
            short_backoff(2, &set.identity.jitter_seed())
        }
        CredentialRefusal::Failed(_) => Duration::from_secs(30),
        CredentialRefusal::Denied(_) | CredentialRefusal::NamespaceUnknown => Duration::from_secs(60),
    }
}

/// Checks before a further round whether the reference is still open. Makes no request while the last check is recent.
/// Returns the state for the grants without an outcome, and when to try again; `None` while it is open. Whether the
/// rules still allow the grants is checked right before a write.
pub(super) async fn lost_access(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    place: &BucketRef,
) -> Option<(GrantState, Duration)> {
    let works = without_outcome(batch);
    if set.reference_closed || works.is_empty() {
        return None;
    }
    match request_credentials(set, &works, place).await {
        Err(refusal @ CredentialRefusal::Failed(_)) => {
            let retry = retry_after(set, &refusal);
            Some((refusal_state(refusal), retry))
        }
        Ok(_) | Err(CredentialRefusal::Denied(_) | CredentialRefusal::NamespaceUnknown) => None,
    }
}

/// Decides again right before a write: the rules, the labels of a namespace, or the access to the reference may
/// have changed. While the reference is closed, only the last credentials that worked are in use.
pub(super) async fn recheck(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    place: &BucketRef,
    keys: &AccessKeys,
) -> Recheck {
    let mut replan = false;
    let concerned = |(_, planned): &(_, &GrantPlan)| planned.changes_policy();
    for (work, _) in batch.iter_mut().zip(&plan.grants).filter(concerned) {
        if let Some(denied) = denial(set, &work.grant, &work.input).await {
            work.outcome = Some(denied);
            work.input.disposition = Disposition::Carried;
            replan = true;
        }
    }
    if replan {
        return Recheck::Replan;
    }
    if set.reference_closed {
        return Recheck::Unchanged(keys.clone());
    }
    let works = batch.iter().zip(&plan.grants);
    let works = works.filter(|(_, planned)| planned.changes_policy());
    let works: Vec<&GrantWork> = works.map(|(work, _)| work).collect();
    match request_credentials(set, &works, place).await {
        Ok(keys) => Recheck::Unchanged(keys),
        Err(refusal) => {
            let retry = retry_after(set, &refusal);
            Recheck::Refused(refusal_state(refusal), retry)
        }
    }
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
    for work in batch.iter().filter(|work| work.outcome.is_none()) {
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

fn without_outcome(batch: &[GrantWork]) -> Vec<&GrantWork> {
    batch.iter().filter(|work| work.outcome.is_none()).collect()
}

fn refusal_state(refusal: CredentialRefusal) -> GrantState {
    match refusal {
        CredentialRefusal::Denied(message) => GrantState::Denied(message),
        CredentialRefusal::NamespaceUnknown => GrantState::NamespaceUnknown,
        CredentialRefusal::Failed(problem) => GrantState::CredentialsFailed(problem),
    }
}
