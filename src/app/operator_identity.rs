//! The operator's own identity at the cloud: static keys from the environment, keys in a mounted folder, or a token file
//! exchanged at STS (RRSA). Denied to everyone unless tenancy rules allow it.

use std::path::PathBuf;

use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::cloud::Cloud;
use crate::ports::{FailureKind, Keys, KeysProblem, RoleSession};

/// Where the operator's own keys come from.
#[derive(Clone, Default)]
pub enum OwnIdentity {
    /// Nowhere.
    #[default]
    None,
    /// The environment.
    Static(Keys),
    /// Files accessKeyId, accessKeySecret and optionally securityToken in a folder; read at each use.
    Folder(PathBuf),
    /// A token file, exchanged at STS; read at each use, because it rotates.
    Token {
        /// File with the token.
        file: PathBuf,
        /// RAM role to assume.
        role_arn: String,
        /// OIDC provider that RAM trusts.
        provider_arn: String,
    },
}

impl OwnIdentity {
    /// The keys as of now.
    pub(super) async fn keys(&self, cloud: &Cloud, now: Timestamp) -> Result<Keys, KeysProblem> {
        match self {
            Self::None => Err(KeysProblem::NotConfigured),
            Self::Static(keys) => Ok(keys.clone()),
            Self::Folder(folder) => {
                let read = async |name: &'static str| {
                    let text = tokio::fs::read_to_string(folder.join(name)).await.ok()?;
                    let text = text.trim();
                    (!text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()))
                        .then(|| SecretString::from(text))
                };
                let id = read("accessKeyId")
                    .await
                    .ok_or(KeysProblem::Invalid("accessKeyId"))?;
                let secret = read("accessKeySecret")
                    .await
                    .ok_or(KeysProblem::Invalid("accessKeySecret"))?;
                Ok(Keys {
                    id: id.expose_secret().to_owned(),
                    secret,
                    token: read("securityToken").await,
                    expires: None,
                })
            }
            Self::Token {
                file,
                role_arn,
                provider_arn,
            } => {
                let token = tokio::fs::read_to_string(file)
                    .await
                    .map_err(|_| KeysProblem::Unreachable)?;
                let session = RoleSession {
                    role_arn: role_arn.clone(),
                    name: "imm-operator".to_owned(),
                    external_id: None,
                    policy: None,
                };
                let token = SecretString::from(token.trim());
                cloud
                    .assume_role_with_oidc(&session, provider_arn, &token, now)
                    .await
                    .map_err(|failure| match failure.kind {
                        FailureKind::Denied
                        | FailureKind::Refused
                        | FailureKind::KeysRejected
                        | FailureKind::KeysExpired => KeysProblem::RoleDenied(failure),
                        FailureKind::Throttled
                        | FailureKind::Unavailable
                        | FailureKind::Unanswered
                        | FailureKind::PublicBlocked
                        | FailureKind::NoSuchBucket
                        | FailureKind::NoSuchProject
                        | FailureKind::WrongRegion
                        | FailureKind::DocumentRefused => KeysProblem::Unreachable,
                    })
            }
        }
    }
}
