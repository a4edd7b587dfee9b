//! Credentials of the user who runs a command: their environment, or the Secrets and ServiceAccounts that *they* may
//! use. The operator's identity is never involved.

use crate::cloud::{Cloud, sts};
use crate::core::identity::{CredentialOrigin, Identity, SessionScope};
use crate::kubernetes::{Kubernetes, credentials, now};
use crate::ports::{AccessKeys, CredentialsError};

use super::{OperatorIdentity, TokenExchange};

/// Where a command takes credentials from.
pub enum CallerCredentials<'a> {
    /// What the caller's environment and flags name.
    Given(&'a OperatorIdentity),
    /// The reference of the object, read with the caller's rights in the cluster.
    Cluster(&'a Kubernetes),
}

impl CallerCredentials<'_> {
    /// Returns the exchange of a ServiceAccount token that gives credentials for an identity; `None` if they come
    /// from elsewhere.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn token_exchange(
        &self,
        identity: &Identity,
        scope: &SessionScope,
    ) -> Result<Option<TokenExchange>, CredentialsError> {
        match (self, &identity.origin) {
            (
                Self::Given(OperatorIdentity::Token { file, .. }),
                CredentialOrigin::ServiceAccount {
                    role_arn,
                    provider_arn,
                    ..
                },
            )
            | (
                Self::Given(OperatorIdentity::Token {
                    file,
                    role_arn,
                    provider_arn,
                }),
                CredentialOrigin::Secret { .. } | CredentialOrigin::Operator { .. },
            ) => TokenExchange::of_file(file, role_arn, provider_arn)
                .await
                .map(Some),
            (
                Self::Cluster(kubernetes),
                CredentialOrigin::ServiceAccount {
                    namespace,
                    name,
                    role_arn,
                    provider_arn,
                },
            ) => Ok(Some(TokenExchange {
                session: identity.role_session(scope, role_arn, None),
                provider_arn: provider_arn.clone(),
                token: credentials::request_token(kubernetes, namespace, name).await?,
            })),
            (Self::Given(_) | Self::Cluster(_), _) => Ok(None),
        }
    }

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
        let keys = match (
            self,
            &identity.origin,
            self.token_exchange(identity, scope).await?,
        ) {
            (_, _, Some(exchange)) => exchange.keys(cloud, now()).await?,
            (Self::Given(given), _, None) => given.credentials(cloud, now()).await?,
            (Self::Cluster(kubernetes), CredentialOrigin::Secret { namespace, name }, None) => {
                credentials::read_secret(kubernetes, namespace, name).await?
            }
            (
                Self::Cluster(_),
                CredentialOrigin::ServiceAccount { .. } | CredentialOrigin::Operator { .. },
                None,
            ) => {
                return Err(CredentialsError::NotConfigured);
            }
        };
        match &identity.assumed_role {
            None => Ok(keys),
            Some(role) => {
                let session = identity.role_session(scope, &role.role_arn, role.external_id.as_ref());
                let assumed = sts::assume_role(cloud, &session, &keys, now()).await;
                assumed.map_err(CredentialsError::of_sts)
            }
        }
    }
}
