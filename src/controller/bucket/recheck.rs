//! What is checked again between the first read of the policy and its write: the reference of the credentials, the
//! rules, and the owner of the bucket.

use super::access::{denial, request_credentials};
use super::grant_set::GrantSet;
use super::prepare::Prepared;
use crate::core::credential_use::CredentialRefusal;
use crate::core::error::CloudError;
use crate::core::grant::{EarlyEnd, GrantWork, Plan, undecided, verify_bucket};
use crate::ports::AccessKeys;

/// Checks before a further round whether the reference is still open. Makes no request while the last check is recent.
/// Whether the rules still allow the grants is checked right before a write.
///
/// # Errors
/// Returns that the credentials can no longer be obtained.
pub(super) async fn check_reference(
    set: &GrantSet<'_>,
    batch: &[GrantWork],
    prepared: &Prepared,
) -> Result<(), EarlyEnd> {
    if set.reference_closed || undecided(batch).next().is_none() {
        return Ok(());
    }
    let refused = request_credentials(set, undecided(batch), &prepared.place).await;
    let closed = refused.err().filter(CredentialRefusal::gives_no_credentials);
    closed.map_or(Ok(()), |refusal| Err(EarlyEnd::Refused(refusal)))
}

/// Verifies the owner of the bucket before a write of the operator's own identity, if it was not read in this reconcile:
/// what a status says about the bucket could be forged. Returns `false` when a grant names another owner, so that a
/// new plan is needed.
///
/// # Errors
/// Returns the error of OSS.
pub(super) async fn verify_owner(
    set: &mut GrantSet<'_>,
    batch: &mut [GrantWork],
    prepared: &Prepared,
) -> Result<bool, CloudError> {
    if !set.identity.is_operator() || set.owner_read {
        return Ok(true);
    }
    let ports = &set.context.ports;
    let observed = ports.bucket_info(&prepared.place, &prepared.keys).await?;
    set.owner_read = true;
    Ok(verify_bucket(batch, &observed, true))
}

/// Decides again right before a write: the rules, the labels of a namespace, or the access to the reference may
/// have changed. While the reference is closed, only the last credentials that worked are in use. Returns the credentials
/// of the write; `None` if a grant may no longer use the identity, so that a new plan is needed.
///
/// # Errors
/// Returns that the credentials may no longer be used.
pub(super) async fn recheck(
    set: &GrantSet<'_>,
    batch: &mut [GrantWork],
    plan: &Plan,
    prepared: &Prepared,
) -> Result<Option<AccessKeys>, EarlyEnd> {
    let mut allowed = true;
    let planned = batch.iter_mut().zip(&plan.grants);
    for (work, _) in planned.filter(|(_, planned)| planned.changes_policy()) {
        if let Some(denied) = denial(set, work).await {
            work.carry(denied);
            allowed = false;
        }
    }
    if !allowed {
        return Ok(None);
    }
    if set.reference_closed {
        return Ok(Some(prepared.keys.clone()));
    }
    let works = batch.iter().zip(&plan.grants);
    let works = works.filter(|(_, planned)| planned.changes_policy());
    let keys = request_credentials(set, works.map(|(work, _)| work), &prepared.place).await;
    keys.map(Some).map_err(EarlyEnd::Refused)
}
