//! Credentials of whoever runs a command: their own environment, or the Secrets and ServiceAccounts that *they* may use. The
//! operator's identity is never involved.

use crate::cloud::Cloud;
use crate::core::identity::{CredentialOrigin, Identity, SessionScope};
use crate::kubernetes::{Kubernetes, now};
use crate::ports::{AccessKeys, CredentialsError};

use super::OperatorIdentity;

/// Where a command takes credentials from.
pub enum CallerCredentials<'a> {
    /// What the caller's environment and flags name.
    Given(&'a OperatorIdentity),
    /// The reference of the object, read with the caller's rights in the cluster.
    Cluster(&'a Kubernetes),
}

impl CallerCredentials<'_> {
    /// Returns credentials for an identity, with the session that the operator would open for the scope.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn keys(
        &self,
        cloud: &Cloud,
        identity: &Identity,
        scope: &SessionScope,
    ) -> Result<AccessKeys, CredentialsError> {
        let session = |role_arn: &str, external_id| identity.role_session(scope, role_arn, external_id);
        let keys = match (self, &identity.origin) {
            (
                Self::Given(OperatorIdentity::Token { file, .. }),
                CredentialOrigin::ServiceAccount {
                    role_arn,
                    provider_arn,
                    ..
                },
            ) => {
                let exchanged = OperatorIdentity::Token {
                    file: file.clone(),
                    role_arn: role_arn.clone(),
                    provider_arn: provider_arn.clone(),
                };
                exchanged.credentials(cloud, now()).await?
            }
            (Self::Given(given), _) => given.credentials(cloud, now()).await?,
            (Self::Cluster(kubernetes), CredentialOrigin::Secret { namespace, name }) => {
                kubernetes.read_secret(namespace, name).await?
            }
            (
                Self::Cluster(kubernetes),
                CredentialOrigin::ServiceAccount {
                    namespace,
                    name,
                    role_arn,
                    provider_arn,
                },
            ) => {
                let token = kubernetes.request_token(namespace, name).await?;
                let session = session(role_arn, None);
                let exchanged = cloud.assume_role_with_oidc(&session, provider_arn, &token, now());
                exchanged.await.map_err(CredentialsError::of_sts)?
            }
            (Self::Cluster(_), CredentialOrigin::Operator { .. }) => {
                return Err(CredentialsError::NotConfigured);
            }
        };
        match &identity.assumed_role {
            None => Ok(keys),
            Some(role) => {
                let session = session(&role.role_arn, role.external_id.as_ref());
                let assumed = cloud.assume_role(&session, &keys, now()).await;
                assumed.map_err(CredentialsError::of_sts)
            }
        }
    }
}
