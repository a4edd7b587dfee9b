//! Who acts for an object: a *reference* to credentials, never a key id that anybody can type. Grants are planned and
//! written together only when their identity is equal.

use serde_json::json;

use crate::api::{BucketRef, CredentialSource, Credentials, ProjectRef};

/// Where an identity begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialOrigin {
    /// A Secret, in the object's own namespace.
    Secret {
        /// Namespace of the object, and so of the Secret.
        namespace: String,
        /// Name of the Secret.
        name: String,
    },
    /// A ServiceAccount, in the object's own namespace, exchanged at STS.
    ServiceAccount {
        /// Namespace of the object, and so of the ServiceAccount.
        namespace: String,
        /// Name of the ServiceAccount.
        name: String,
        /// RAM role that its tokens assume.
        role_arn: String,
        /// OIDC provider that RAM trusts.
        provider_arn: String,
    },
    /// The operator itself.
    Operator,
}

/// A role assumed after the origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssumedRole {
    /// RAM role.
    pub role_arn: String,
    /// External id that its trust policy asks for.
    pub external_id: Option<String>,
}

/// Whose credentials an object uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Where it begins.
    pub origin: CredentialOrigin,
    /// What it assumes then.
    pub assumed_role: Option<AssumedRole>,
}

impl Identity {
    /// The identity that a spec names; `None` when the block that its source needs is missing.
    pub fn of(namespace: &str, credentials: &Credentials) -> Option<Self> {
        let namespace = namespace.to_owned();
        let origin = match credentials.source {
            CredentialSource::Secret => CredentialOrigin::Secret {
                namespace,
                name: credentials.secret_ref.as_ref()?.name.clone(),
            },
            CredentialSource::ServiceAccount => {
                let account = credentials.service_account.as_ref()?;
                CredentialOrigin::ServiceAccount {
                    namespace,
                    name: account.name.clone(),
                    role_arn: account.role_arn.clone(),
                    provider_arn: account.oidc_provider_arn.clone(),
                }
            }
            CredentialSource::Operator => CredentialOrigin::Operator,
        };
        let hop = credentials.assume_role.as_ref();
        let hop = hop.map(|h| AssumedRole {
            role_arn: h.role_arn.clone(),
            external_id: h.external_id.clone(),
        });
        Some(Self {
            origin,
            assumed_role: hop,
        })
    }

    /// Whether its keys are a session of ours, which is opened anew when it has ended.
    pub fn uses_sts_session(&self) -> bool {
        self.assumed_role.is_some() || matches!(self.origin, CredentialOrigin::ServiceAccount { .. })
    }

    /// What a person calls it, for messages.
    pub fn describe(&self) -> String {
        match &self.origin {
            CredentialOrigin::Secret { name, .. } => format!("secret {name}"),
            CredentialOrigin::ServiceAccount { name, .. } => format!("service account {name}"),
            CredentialOrigin::Operator => "the operator's own identity".to_owned(),
        }
    }

    /// A text that tells identities apart, to spread delays by.
    pub fn jitter_seed(&self) -> String {
        format!("{self:?}")
    }
}

/// What a session is narrowed to: STS sessions that we open can do nothing else, whatever their role may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionScope {
    /// The policy of one bucket.
    Bucket(String),
    /// Listing and reading the objects of one bucket.
    Objects(String),
    /// Scoring in one project.
    Project {
        /// Region of the project.
        region: String,
        /// UID of its account.
        account_uid: String,
        /// Its name.
        name: String,
    },
}

impl SessionScope {
    /// The scope of a grant's passes.
    pub fn bucket(bucket: &BucketRef) -> Self {
        Self::Bucket(bucket.name.clone())
    }

    /// The scope of a job's calls.
    pub fn project(project: &ProjectRef) -> Self {
        Self::Project {
            region: project.region.clone(),
            account_uid: project.account_uid.clone(),
            name: project.name.clone(),
        }
    }

    /// The session policy, at most 2,048 characters (STS page `AssumeRole`).
    pub fn session_policy(&self) -> String {
        let allow = |actions: &[&str], resource: String| json!({"Effect": "Allow", "Action": actions, "Resource": [resource]});
        let statements = match self {
            Self::Bucket(bucket) => vec![
                allow(
                    &[
                        "oss:GetBucketPolicy",
                        "oss:PutBucketPolicy",
                        "oss:DeleteBucketPolicy",
                        "oss:GetBucketPolicyStatus",
                        "oss:GetBucketPublicAccessBlock",
                        "oss:GetBucketInfo",
                    ],
                    format!("acs:oss:*:*:{bucket}"),
                ),
                allow(&["oss:GetPublicAccessBlock"], "*".to_owned()),
            ],
            Self::Objects(bucket) => vec![
                allow(&["oss:ListObjects"], format!("acs:oss:*:*:{bucket}")),
                allow(&["oss:GetObject"], format!("acs:oss:*:*:{bucket}/*")),
            ],
            Self::Project {
                region,
                account_uid,
                name,
            } => {
                let resource = format!("acs:imm:{region}:{account_uid}:project/{name}");
                vec![allow(&["imm:DetectImageScore", "imm:GetProject"], resource)]
            }
        };
        json!({"Version": "1", "Statement": statements}).to_string()
    }
}
