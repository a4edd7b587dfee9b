//! The credentials of a job: for scoring, and for reading its source.

use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::core::error::{CloudErrorKind, CredentialsError};
use crate::core::identity::{Identity, SessionScope};
use crate::core::job::{Phase, SourceSpec};
use crate::ports::AccessKeys;
use crate::runtime::rate_limit::ProjectOwner;

use super::persist::JobWriter;

/// Returns credentials that IMM has not rejected, and the owner of the rate limit that applies to them. Credentials of
/// another account than the job names would use another project, so no call is made with them.
///
/// # Errors
/// Returns the phase to report when no such credentials are available.
pub(super) async fn scoring_credentials(
    context: &Context,
    identity: &Identity,
    spec: &JobSpec,
) -> Result<(AccessKeys, ProjectOwner), Phase> {
    let scope = SessionScope::project(&spec.project);
    let failed = |error: CredentialsError| {
        let message = error.message(identity);
        Phase::CredentialsFailed(error, message)
    };
    let keys = context
        .credentials
        .fetch_cached(context.ports.as_ref(), identity, &scope)
        .await
        .map_err(failed)?;
    if let Some(error) = context.credentials.rejected_before(identity, &keys) {
        return Err(Phase::CredentialsRejected(error, identity.describe()));
    }
    match context.account_of(identity, &keys).await {
        Ok(account) if account == spec.project.account_uid => Ok((keys, ProjectOwner::Account(account))),
        Ok(account) => {
            context.credentials.forget(identity);
            let wanted = spec.project.account_uid.clone();
            Err(failed(CredentialsError::OtherAccount {
                account,
                expected: wanted,
            }))
        }
        Err(error)
            if matches!(
                error.kind,
                CloudErrorKind::CredentialsRejected | CloudErrorKind::CredentialsExpired
            ) =>
        {
            context.credentials.mark_rejected(identity, &keys, error.clone());
            Err(Phase::CredentialsRejected(error, identity.describe()))
        }
        Err(_) => Ok((keys, ProjectOwner::Identity(identity.clone()))),
    }
}

/// Returns the credentials for the source of a job.
///
/// # Errors
/// Returns the phase to report when no credentials are available.
pub(super) async fn source_credentials(
    context: &Context,
    writer: &JobWriter,
    spec: &JobSpec,
    source_spec: &SourceSpec,
) -> Result<AccessKeys, Phase> {
    let credentials = spec.source.credentials().unwrap_or(&spec.credentials);
    let Some(identity) = Identity::of(&writer.job.key.namespace, credentials) else {
        return Err(Phase::Invalid(
            "The credentials of the source (spec.source) are incomplete: set the block that matches their source (secretRef or serviceAccount)"
                .to_owned(),
        ));
    };
    let bucket = source_spec
        .buckets()
        .first()
        .copied()
        .unwrap_or_default()
        .to_owned();
    let scope = SessionScope::Objects(bucket);
    let keys = context
        .credentials
        .fetch_cached(context.ports.as_ref(), &identity, &scope)
        .await;
    keys.map_err(|error| {
        let message = error.message(&identity);
        Phase::CredentialsFailed(error, message)
    })
}
