//! The credentials of a job: for scoring, and for reading its source.

use super::persist::JobWriter;
use crate::api::{BucketRef, CredentialSource, JobSpec};
use crate::controller::context::Context;
use crate::controller::credential_gate::{CredentialUser, credentials_for};
use crate::core::credential_use::{CredentialRefusal, Purpose};
use crate::core::error::CredentialsError;
use crate::core::grant::ObjectKey;
use crate::core::identity::{Identity, SessionScope};
use crate::core::job::{Phase, SourceSpec, namespace_unknown, source_owner_unknown};
use crate::ports::AccessKeys;
use crate::runtime::rate_limit::ProjectOwner;

/// A job whose spec and source are valid.
#[derive(Clone, Copy)]
pub(super) struct ValidJob<'a> {
    pub(super) context: &'a Context,
    pub(super) key: &'a ObjectKey,
    pub(super) uid: &'a str,
    pub(super) spec: &'a JobSpec,
    pub(super) source_spec: &'a SourceSpec,
}

impl ValidJob<'_> {
    /// Returns the credentials of an identity for a scope.
    ///
    /// # Errors
    /// Returns the phase to report when the job gets no credentials.
    async fn fetch(&self, identity: &Identity, scope: &SessionScope) -> Result<AccessKeys, Phase> {
        let buckets = self.source_spec.buckets();
        let user = CredentialUser {
            uid: self.uid,
            purpose: Purpose::Job {
                spec: self.spec,
                buckets: &buckets,
            },
        };
        let fetched = credentials_for(self.context, identity, scope, &[user]).await;
        fetched.map_err(|refusal| match refusal {
            CredentialRefusal::Denied(message) => Phase::Denied(message),
            CredentialRefusal::NamespaceUnknown => failed(CredentialsError::Unavailable, identity),
            CredentialRefusal::Failed(error) => failed(error, identity),
        })
    }

    /// Returns credentials for scoring, without a check whose they are.
    ///
    /// # Errors
    /// Returns the phase to report when the job gets no credentials.
    pub(super) async fn scoring_keys(&self, identity: &Identity) -> Result<AccessKeys, Phase> {
        self.fetch(
            identity,
            &SessionScope::project(&self.spec.project, &self.spec.access),
        )
        .await
    }

    /// Returns credentials that IMM has not rejected, and the owner of the rate limit that applies to them. Credentials
    /// of another account than the job names would use another project, so no call is made with them.
    ///
    /// # Errors
    /// Returns the phase to report when no such credentials are available.
    pub(super) async fn scoring_credentials(
        &self,
        identity: &Identity,
    ) -> Result<(AccessKeys, ProjectOwner), Phase> {
        let (context, spec) = (self.context, self.spec);
        let keys = self.scoring_keys(identity).await?;
        if let Some(error) = context.credentials.rejected_before(identity, &keys) {
            return Err(Phase::CredentialsRejected(error, identity.describe()));
        }
        match context.account_of(identity, &keys).await {
            Ok(account) if account == spec.project.account_uid => Ok((keys, ProjectOwner::Account(account))),
            Ok(account) => {
                context.credentials.forget(identity);
                let expected = spec.project.account_uid.clone();
                Err(failed(
                    CredentialsError::OtherAccount { account, expected },
                    identity,
                ))
            }
            Err(error) if error.rejects_credentials() => {
                context.credentials.mark_rejected(identity, &keys, error.clone());
                Err(Phase::CredentialsRejected(error, identity.describe()))
            }
            // With the operator's own identity, another account's project of the same name would be scored in and billed, or a
            // bucket be read because the spec names the account of its owner.
            Err(error) if identity.is_operator() || self.reader_is_operator() => {
                context.credentials.forget(identity);
                let error = if error.is_transient() {
                    CredentialsError::StsUnavailable(error)
                } else {
                    CredentialsError::AccountUnverified(error)
                };
                Err(failed(error, identity))
            }
            // Own credentials can reach only what their owner may use: an outage of STS does not stop the job.
            Err(_) => Ok((keys, ProjectOwner::Identity(identity.clone()))),
        }
    }

    /// Whether the operator's own identity reads the source.
    fn reader_is_operator(&self) -> bool {
        let source = &self.spec.source;
        let credentials = source.credentials().unwrap_or(&self.spec.credentials);
        source.uris.is_empty() && credentials.source == CredentialSource::Operator
    }

    /// Returns the owner of the bucket that the operator's own identity is about to read for the job, if the rules allow
    /// it; `None` when the source is read with other credentials, whose owner needs no protection from the job. A rule can
    /// allow the account of the project, so the scoring credentials are obtained first, which proves that account.
    ///
    /// # Errors
    /// Returns the phase to report when the owner is not allowed or cannot be read.
    pub(super) async fn verified_source_owner(&self, keys: &AccessKeys) -> Result<Option<String>, Phase> {
        let (context, spec) = (self.context, self.spec);
        if !self.reader_is_operator() {
            return Ok(None);
        }
        let bucket = self.source_spec.buckets().first().copied().unwrap_or_default();
        // The owner is what is asked for.
        let place = BucketRef {
            name: bucket.to_owned(),
            region: spec.project.region.clone(),
            owner_uid: String::new(),
        };
        let info = context.ports.bucket_info(&place, keys).await;
        let owner = match info.map(|observed| observed.owner_uid) {
            Ok(Some(owner)) => owner,
            Ok(None) => return Err(source_owner_unknown(bucket, None)),
            Err(error) => return Err(source_owner_unknown(bucket, Some(&error))),
        };
        let Ok(tenant) = context.tenant(&self.key.namespace).await else {
            return Err(namespace_unknown());
        };
        let rules = context.ports.tenancy_rules();
        rules
            .allow_source_owner(&tenant, spec, bucket, &owner)
            .map_err(Phase::Denied)?;
        Ok(Some(owner))
    }

    /// Returns the credentials for the source of the job.
    ///
    /// # Errors
    /// Returns the phase to report when no credentials are available.
    pub(super) async fn source_credentials(&self) -> Result<AccessKeys, Phase> {
        let credentials = self.spec.source.credentials().unwrap_or(&self.spec.credentials);
        let Some(identity) = Identity::of(&self.key.namespace, credentials) else {
            return Err(Phase::Invalid(
                "The credentials of the source (spec.source) are incomplete: set the block that matches their source (secretRef or serviceAccount)"
                    .to_owned(),
            ));
        };
        let bucket = self.source_spec.buckets().first().copied().unwrap_or_default();
        self.fetch(&identity, &SessionScope::Objects(bucket.to_owned()))
            .await
    }
}

fn failed(error: CredentialsError, identity: &Identity) -> Phase {
    let message = error.message(identity);
    Phase::CredentialsFailed(error, message)
}

/// Whether a running job has to stop with this phase. Other failures may pass: the current credentials stay in use until
/// a later refresh.
pub(super) fn stops_run(phase: &Phase) -> bool {
    let of_other = |error: &CredentialsError| {
        matches!(
            error,
            CredentialsError::OtherAccount { .. } | CredentialsError::AccountUnverified(_)
        )
    };
    let closed = |error: &CredentialsError| of_other(error) || error.is_closed();
    matches!(phase, Phase::Denied(_) | Phase::CredentialsRejected(..))
        || matches!(phase, Phase::CredentialsFailed(error, _) if closed(error))
}

/// Returns a job with its valid spec.
pub(super) fn valid_job<'a>(
    context: &'a Context,
    writer: &'a JobWriter,
    spec: &'a JobSpec,
    source_spec: &'a SourceSpec,
) -> ValidJob<'a> {
    ValidJob {
        context,
        key: &writer.job.key,
        uid: &writer.job.uid,
        spec,
        source_spec,
    }
}
