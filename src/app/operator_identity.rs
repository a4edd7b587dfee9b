//! The operator's own cloud identity: a static AccessKey pair from the environment, credentials in a mounted folder,
//! a token file exchanged at STS (RRSA), the RAM role of the ECS instance, or a credentials URI. No resource may use it
//! unless tenancy rules allow it. One source is chosen at the start: a source that fails is never replaced by another,
//! because that would change who acts under the rules.

use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::cloud::{Cloud, CredentialsUri, MetadataService, sts};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind, CredentialsError, RoleSession};

/// Source of the operator's own credentials.
#[derive(Clone, Default)]
pub enum OperatorIdentity {
    /// Not configured.
    #[default]
    None,
    /// Credentials from the environment.
    Static(AccessKeys),
    /// Folder with files accessKeyId, accessKeySecret and optionally securityToken; read at each use.
    Folder(PathBuf),
    /// OIDC token file, exchanged at STS; read at each use, because the token rotates.
    Token {
        /// File with the token.
        file: PathBuf,
        /// RAM role to assume.
        role_arn: String,
        /// OIDC provider that RAM trusts.
        provider_arn: String,
    },
    /// RAM role of the ECS instance; its sessions rotate.
    Instance {
        /// Metadata service of the instance.
        service: MetadataService,
        /// Name of the role; `None` for the one that the service names.
        role: Option<String>,
    },
    /// URI that answers with temporary credentials; asked again before they expire.
    Uri(CredentialsUri),
}

/// A token with what STS exchanges it for.
pub struct TokenExchange {
    /// The session to open.
    pub session: RoleSession,
    /// OIDC provider that RAM trusts.
    pub provider_arn: String,
    /// The token.
    pub token: SecretString,
}

impl TokenExchange {
    /// Reads the token of a file.
    ///
    /// # Errors
    /// `OwnSourceFailed` if it cannot be read.
    pub(super) async fn of_file(
        file: &Path,
        role_arn: &str,
        provider_arn: &str,
    ) -> Result<Self, CredentialsError> {
        let token = tokio::fs::read_to_string(file)
            .await
            .map_err(|_| CredentialsError::OwnSourceFailed(unreadable_token()))?;
        Ok(Self {
            session: RoleSession {
                role_arn: role_arn.to_owned(),
                name: "imm-operator".to_owned(),
                external_id: None,
                policy: None,
            },
            provider_arn: provider_arn.to_owned(),
            token: SecretString::from(token.trim()),
        })
    }

    /// Exchanges the token.
    ///
    /// # Errors
    /// `AssumeRoleDenied` when STS rejects the token or the role; `StsUnavailable` when STS does not answer.
    pub(super) async fn keys(&self, cloud: &Cloud, now: Timestamp) -> Result<AccessKeys, CredentialsError> {
        sts::assume_role_with_oidc(cloud, &self.session, &self.provider_arn, &self.token, now)
            .await
            .map_err(CredentialsError::of_sts)
    }
}

impl OperatorIdentity {
    /// The metadata service, if the identity comes from there.
    pub(super) fn metadata_service(&self) -> Option<&MetadataService> {
        match self {
            Self::Instance { service, .. } => Some(service),
            Self::None | Self::Static(_) | Self::Folder(_) | Self::Token { .. } | Self::Uri(_) => None,
        }
    }

    /// Returns the current credentials.
    ///
    /// # Errors
    /// `NotConfigured` without an identity; `Invalid` names a file that is missing, empty or not printable;
    /// `AssumeRoleDenied` when STS rejects the token or the role; `StsUnavailable` when STS does not answer;
    /// `OwnSourceFailed` when the token file cannot be read, or the metadata service or the URI gives no credentials.
    pub(super) async fn credentials(
        &self,
        cloud: &Cloud,
        now: Timestamp,
    ) -> Result<AccessKeys, CredentialsError> {
        match self {
            Self::None => Err(CredentialsError::NotConfigured),
            Self::Static(keys) => Ok(keys.clone()),
            Self::Folder(folder) => {
                let required = async |name: &'static str| {
                    let value = read_value(folder, name).await;
                    value.ok_or(CredentialsError::Invalid(name))
                };
                Ok(AccessKeys {
                    id: required("accessKeyId").await?.expose_secret().to_owned(),
                    secret: required("accessKeySecret").await?,
                    token: read_value(folder, "securityToken").await,
                    expires_at: None,
                })
            }
            Self::Instance { service, role } => {
                let keys = service.role_keys(role.as_deref()).await;
                keys.map_err(CredentialsError::OwnSourceFailed)
            }
            Self::Uri(uri) => uri.keys().await.map_err(CredentialsError::OwnSourceFailed),
            Self::Token {
                file,
                role_arn,
                provider_arn,
            } => {
                let exchange = TokenExchange::of_file(file, role_arn, provider_arn).await?;
                exchange.keys(cloud, now).await
            }
        }
    }
}

/// The error of a token file that cannot be read.
fn unreadable_token() -> CloudError {
    CloudError::new(CloudErrorKind::Unanswered, "TokenFileUnreadable")
}

/// Reads one file of a mounted Secret; `None` when it is missing, empty or not printable text.
async fn read_value(folder: &Path, name: &str) -> Option<SecretString> {
    let text = tokio::fs::read_to_string(folder.join(name)).await.ok()?;
    let text = text.trim();
    let printable = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    printable.then(|| SecretString::from(text))
}
