//! The only way to credentials during a reconcile: one function decides whether objects may use an identity, and fetches
//! its credentials for them. `tests/layering.rs` fails when anything else fetches credentials. The command `plan` is the
//! exception: it uses the credentials of the person who runs it.

use super::context::Context;
use crate::core::credential_use::{
    CredentialRefusal, Purpose, allow_use, depends_on_rules, need_no_namespace,
};
use crate::core::identity::{Identity, SessionScope};
use crate::ports::AccessKeys;

/// An object that wants to use an identity.
#[derive(Clone, Copy)]
pub struct CredentialUser<'a> {
    /// Uid of the object.
    pub uid: &'a str,
    /// What it wants to do.
    pub purpose: Purpose<'a>,
}

/// Returns the credentials of an identity for one scope, if all `users` may use it.
///
/// # Errors
/// Returns why they may not, or why the credentials cannot be obtained.
pub async fn credentials_for(
    context: &Context,
    identity: &Identity,
    scope: &SessionScope,
    users: &[CredentialUser<'_>],
) -> Result<AccessKeys, CredentialRefusal> {
    let purposes: Vec<Purpose<'_>> = users.iter().map(|user| user.purpose).collect();
    may_use(context, identity, &purposes).await?;
    let uids: Vec<&str> = users.iter().map(|user| user.uid).collect();
    context
        .credentials
        .fetch_checked(context.ports.as_ref(), identity, scope, &uids)
        .await
        .map_err(CredentialRefusal::Failed)
}

/// Checks whether objects of the namespace of `identity` may use it, without fetching anything.
///
/// # Errors
/// Returns why they may not.
pub async fn may_use(
    context: &Context,
    identity: &Identity,
    purposes: &[Purpose<'_>],
) -> Result<(), CredentialRefusal> {
    if purposes.is_empty() {
        return Err(CredentialRefusal::unused());
    }
    if !purposes.iter().any(|purpose| depends_on_rules(identity, purpose)) {
        return Ok(());
    }
    let rules = context.ports.tenancy_rules();
    if need_no_namespace(&rules, identity, purposes) {
        return Ok(());
    }
    let tenant = context.tenant(identity.namespace()).await;
    let tenant = tenant.map_err(|_| CredentialRefusal::NamespaceUnknown)?;
    purposes
        .iter()
        .try_for_each(|purpose| allow_use(&rules, &tenant, identity, purpose))
        .map_err(CredentialRefusal::Denied)
}
