//! The credentials of a job: for scoring, and for reading its source.

use std::ops::ControlFlow::{self, Break, Continue};

use super::end_job::{rest, stop};
use super::persist::JobWriter;
use crate::api::{BucketRef, JobSpec};
use crate::controller::context::Context;
use crate::controller::credential_gate::{CredentialUser, credentials_for};
use crate::core::credential_use::Purpose;
use crate::core::grant::ObjectKey;
use crate::core::identity::{Identity, SessionScope};
use crate::core::job::delays::RECHECK_CREDENTIALS;
use crate::core::job::{
    AccountCheck, Phase, SourceSpec, check_account, namespace_unknown, operator_reads_source,
    refused_credentials, rejected_credentials, scoring_identity, source_bucket, source_identity,
    source_owner_unknown,
};
use crate::ports::AccessKeys;
use crate::runtime::queue::Action;
use crate::runtime::rate_limit::ProjectOwner;

/// The credentials with which a job runs.
pub(super) struct JobCredentials {
    /// The identity that makes the calls, its credentials, and the owner of the rate limit that applies to them.
    pub(super) identity: Identity,
    pub(super) keys: AccessKeys,
    pub(super) project_owner: ProjectOwner,
    /// Credentials for the source; a list of URIs needs none.
    pub(super) source_keys: Option<AccessKeys>,
    /// Verified owner of the bucket that the operator's own identity reads.
    pub(super) source_owner: Option<String>,
}

/// A job whose spec and source are valid.
#[derive(Clone, Copy)]
pub(super) struct ValidJob<'a> {
    pub(super) context: &'a Context,
    pub(super) key: &'a ObjectKey,
    pub(super) uid: &'a str,
    pub(super) spec: &'a JobSpec,
    pub(super) source_spec: &'a SourceSpec,
}

/// Obtains the credentials of a job. Breaks with the action for a job that gets none, whose phase is stored.
pub(super) async fn obtain_credentials(
    job: ValidJob<'_>,
    writer: &mut JobWriter,
) -> ControlFlow<Action, JobCredentials> {
    let identity = match scoring_identity(&job.key.namespace, job.spec) {
        Ok(identity) => identity,
        Err(message) => {
            let phase = Phase::Invalid(message.to_owned());
            return Break(rest(job.context, writer, None, &phase).await);
        }
    };
    match job.all_credentials(identity).await {
        Ok(credentials) => Continue(credentials),
        Err(phase) => {
            let next = Action::Requeue(RECHECK_CREDENTIALS);
            Break(stop(job.context, writer, None, phase, next).await)
        }
    }
}

impl ValidJob<'_> {
    /// Returns the credentials for scoring and for the source.
    ///
    /// # Errors
    /// Returns the phase to report when the job gets no credentials.
    async fn all_credentials(&self, identity: Identity) -> Result<JobCredentials, Phase> {
        // Before anything is read: a rule can lend the operator's own identity for buckets of the account of the project.
        let (keys, project_owner) = self.scoring_credentials(&identity).await?;
        let (mut source_keys, mut source_owner) = (None, None);
        if self.spec.source.uris.is_empty() {
            let keys = self.source_credentials().await?;
            source_owner = self.verified_source_owner(&keys).await?;
            source_keys = Some(keys);
        }
        Ok(JobCredentials {
            identity,
            keys,
            project_owner,
            source_keys,
            source_owner,
        })
    }

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
        fetched.map_err(|refusal| refused_credentials(refusal, identity))
    }

    /// Returns credentials for scoring, without a check whose they are.
    ///
    /// # Errors
    /// Returns the phase to report when the job gets no credentials.
    pub(super) async fn scoring_keys(&self, identity: &Identity) -> Result<AccessKeys, Phase> {
        let scope = SessionScope::project(&self.spec.project, &self.spec.access);
        self.fetch(identity, &scope).await
    }

    /// Returns credentials that IMM has not rejected, and the owner of the rate limit that applies to them.
    ///
    /// # Errors
    /// Returns the phase to report when no such credentials are available.
    pub(super) async fn scoring_credentials(
        &self,
        identity: &Identity,
    ) -> Result<(AccessKeys, ProjectOwner), Phase> {
        let known = &self.context.credentials;
        let keys = self.scoring_keys(identity).await?;
        if let Some(error) = known.rejected_before(identity, &keys) {
            return Err(rejected_credentials(identity, error));
        }
        let account = self.context.account_of(identity, &keys).await;
        match check_account(self.spec, identity, account.as_ref().map_err(Clone::clone)) {
            AccountCheck::Verified => {
                let account = self.spec.project.account_uid.clone();
                Ok((keys, ProjectOwner::Account(account)))
            }
            AccountCheck::Unknown => Ok((keys, ProjectOwner::Identity(identity.clone()))),
            AccountCheck::Rejected(error, phase) => {
                known.mark_rejected(identity, &keys, error);
                Err(phase)
            }
            AccountCheck::Refused(phase) => {
                known.forget(identity);
                Err(phase)
            }
        }
    }

    /// Returns the credentials for the source of the job.
    ///
    /// # Errors
    /// Returns the phase to report when no credentials are available.
    pub(super) async fn source_credentials(&self) -> Result<AccessKeys, Phase> {
        let identity = source_identity(&self.key.namespace, self.spec);
        let identity = identity.map_err(|message| Phase::Invalid(message.to_owned()))?;
        let bucket = source_bucket(self.source_spec).to_owned();
        self.fetch(&identity, &SessionScope::Objects(bucket)).await
    }

    /// Returns the owner of the bucket that the operator's own identity is about to read for the job, if the rules allow
    /// it; `None` when the source is read with other credentials, whose owner needs no protection from the job. A
    /// rule can allow the account of the project, so the scoring credentials are obtained first, which proves that
    /// account.
    ///
    /// # Errors
    /// Returns the phase to report when the owner is not allowed or cannot be read.
    async fn verified_source_owner(&self, keys: &AccessKeys) -> Result<Option<String>, Phase> {
        let (context, spec) = (self.context, self.spec);
        if !operator_reads_source(spec) {
            return Ok(None);
        }
        let bucket = source_bucket(self.source_spec);
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
}
