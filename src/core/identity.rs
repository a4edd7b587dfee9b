//! The identity whose credentials an object uses: a *reference* to credentials, never an AccessKey ID, which every user
//! could enter. Grants are planned and written together only if they have the same identity.

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;

use super::hash::sha256;
use crate::api::{AssumeRole, BucketRef, CredentialSource, Credentials, JobAccess, ProjectRef};

/// Longest name of an STS session (STS page `AssumeRole`, `RoleSessionName`).
const SESSION_NAME_LIMIT: usize = 64;

/// What is said of `spec.credentials` without the block of its source.
pub const INCOMPLETE_CREDENTIALS: &str = "Field spec.credentials is incomplete: set the block that matches credentials.source (secretRef or serviceAccount)";

/// Credentials of an identity. There is no `Debug` implementation, so credentials cannot be logged by accident.
#[derive(Clone)]
pub struct AccessKeys {
    /// AccessKey ID.
    pub id: String,
    /// AccessKey secret.
    pub secret: SecretString,
    /// Security token; `None` for a long-lived AccessKey pair.
    pub token: Option<SecretString>,
    /// Expiry of temporary credentials; `None` when it is unknown or the credentials do not expire.
    pub expires_at: Option<Timestamp>,
}

/// Source of the credentials of an identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialOrigin {
    /// A Secret in the namespace of the object.
    Secret {
        /// Namespace of the object and the Secret.
        namespace: String,
        /// Name of the Secret.
        name: String,
    },
    /// A ServiceAccount in the namespace of the object, whose token is exchanged at STS.
    ServiceAccount {
        /// Namespace of the object and the ServiceAccount.
        namespace: String,
        /// Name of the ServiceAccount.
        name: String,
        /// RAM role that is assumed with the token.
        role_arn: String,
        /// OIDC provider that RAM trusts.
        provider_arn: String,
    },
    /// The operator's own identity.
    Operator {
        /// Namespace of the object: the objects of two namespaces share no grant set and no session.
        namespace: String,
    },
}

/// The identity whose credentials an object uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Source of the credentials.
    pub origin: CredentialOrigin,
    /// Role that is assumed with them.
    pub assumed_role: Option<AssumeRole>,
}

impl Identity {
    /// Returns the identity of a spec; `None` if the block that its source requires is missing.
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
            CredentialSource::Operator => CredentialOrigin::Operator { namespace },
        };
        let assumed_role = credentials.assume_role.clone();
        Some(Self { origin, assumed_role })
    }

    /// Returns the bytes of the names in the identity.
    pub fn bytes(&self) -> usize {
        let origin = match &self.origin {
            CredentialOrigin::Secret { namespace, name } => namespace.len() + name.len(),
            CredentialOrigin::ServiceAccount {
                namespace,
                name,
                role_arn,
                provider_arn,
            } => namespace.len() + name.len() + role_arn.len() + provider_arn.len(),
            CredentialOrigin::Operator { namespace } => namespace.len(),
        };
        let role = self.assumed_role.as_ref();
        origin
            + role.map_or(0, |role| {
                role.role_arn.len() + role.external_id.as_ref().map_or(0, String::len)
            })
    }

    /// Returns the namespace of the objects that use the identity.
    pub fn namespace(&self) -> &str {
        match &self.origin {
            CredentialOrigin::Secret { namespace, .. }
            | CredentialOrigin::ServiceAccount { namespace, .. }
            | CredentialOrigin::Operator { namespace } => namespace,
        }
    }

    /// Returns `true` if the credentials are the operator's own.
    pub fn is_operator(&self) -> bool {
        matches!(self.origin, CredentialOrigin::Operator { .. })
    }

    /// Returns the SHA-256 of the reference: source, namespace, names and role. It contains no AccessKey ID.
    pub fn digest(&self) -> String {
        let role = self.assumed_role.as_ref();
        let role = role.map(|r| (r.role_arn.as_str(), r.external_id.as_deref()));
        let reference = match &self.origin {
            CredentialOrigin::Secret { namespace, name } => json!(["Secret", namespace, name, role]),
            CredentialOrigin::ServiceAccount {
                namespace,
                name,
                role_arn,
                provider_arn,
            } => json!(["ServiceAccount", namespace, name, role_arn, provider_arn, role]),
            CredentialOrigin::Operator { namespace } => json!(["Operator", namespace, role]),
        };
        format!("sha256:{}", sha256(reference.to_string()))
    }

    /// Returns the name of an STS session, which tells the role's account which namespace acted. STS accepts 64
    /// characters and a namespace can have 63: a name that is too long ends with a digest, so that it stays unique.
    pub fn session_name(&self) -> String {
        let namespace = self.namespace();
        let name = format!("imm-operator@{namespace}");
        if name.len() <= SESSION_NAME_LIMIT {
            return name;
        }
        let digest: String = sha256(namespace).chars().take(10).collect();
        let start: String = name.chars().take(SESSION_NAME_LIMIT - digest.len() - 1).collect();
        format!("{start}-{digest}")
    }

    /// Returns the session of a role that the operator opens for a scope.
    pub fn role_session(
        &self,
        scope: &SessionScope,
        role_arn: &str,
        external_id: Option<&String>,
    ) -> RoleSession {
        RoleSession {
            role_arn: role_arn.to_owned(),
            name: self.session_name(),
            external_id: external_id.cloned(),
            policy: Some(scope.session_policy()),
        }
    }

    /// Returns `true` if the credentials are an STS session that the operator opens, and opens again after it has
    /// expired.
    pub fn uses_sts_session(&self) -> bool {
        self.assumed_role.is_some() || matches!(self.origin, CredentialOrigin::ServiceAccount { .. })
    }

    /// Returns a description for messages.
    pub fn describe(&self) -> String {
        match &self.origin {
            CredentialOrigin::Secret { name, .. } => format!("Secret {name}"),
            CredentialOrigin::ServiceAccount { name, .. } => format!("ServiceAccount {name}"),
            CredentialOrigin::Operator { .. } => "the operator's own identity".to_owned(),
        }
    }

    /// Returns a text that is unique for the identity, as the seed of jitter.
    pub fn jitter_seed(&self) -> String {
        format!("{self:?}")
    }
}

/// Parameters of a role assumption at STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSession {
    /// ARN of the role to assume.
    pub role_arn: String,
    /// Session name, 2 to 64 characters.
    pub name: String,
    /// External ID that the role's trust policy requires.
    pub external_id: Option<String>,
    /// Session policy (JSON) that limits the session's permissions.
    pub policy: Option<String>,
}

/// Scope of an STS session that the operator opens. The session policy limits the permissions of the role to this scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionScope {
    /// The policy of one bucket.
    Bucket(String),
    /// Listing and reading the objects of one bucket, and reading who owns it.
    Objects(String),
    /// Scoring in one project.
    Project {
        /// Region of the project.
        region: String,
        /// UID of the project's account.
        account_uid: String,
        /// Name of the project.
        name: String,
        /// The role of the account that the job names: IMM can require `ram:PassRole` on it (RAM page on IMM's actions).
        passed_role: Option<String>,
    },
}

impl SessionScope {
    /// Returns the bytes of the names in the scope.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bucket(bucket) | Self::Objects(bucket) => bucket.len(),
            Self::Project {
                region,
                account_uid,
                name,
                passed_role,
            } => region.len() + account_uid.len() + name.len() + passed_role.as_ref().map_or(0, String::len),
        }
    }

    /// Returns the scope for reconciling the grants of a bucket.
    pub fn bucket(bucket: &BucketRef) -> Self {
        Self::Bucket(bucket.name.clone())
    }

    /// Returns the scope for the calls of a job.
    pub fn project(project: &ProjectRef, access: &JobAccess) -> Self {
        let chain = access.role_chain.as_ref();
        Self::Project {
            passed_role: chain.map_or_else(
                || access.passed_role.clone(),
                |chain| Some(chain.service_role.clone()),
            ),
            region: project.region.clone(),
            account_uid: project.account_uid.clone(),
            name: project.name.clone(),
        }
    }

    /// Returns the session policy, at most 2,048 characters (STS page `AssumeRole`).
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
                allow(
                    &["oss:ListObjects", "oss:GetBucketInfo"],
                    format!("acs:oss:*:*:{bucket}"),
                ),
                allow(&["oss:GetObject"], format!("acs:oss:*:*:{bucket}/*")),
            ],
            Self::Project {
                region,
                account_uid,
                name,
                passed_role,
            } => {
                let resource = format!("acs:imm:{region}:{account_uid}:project/{name}");
                let scoring = allow(&["imm:DetectImageScore", "imm:GetProject"], resource);
                let passed = passed_role.as_ref().map(|role| {
                    let resource = format!("acs:ram:*:{account_uid}:role/{role}");
                    allow(&["ram:PassRole"], resource)
                });
                [scoring].into_iter().chain(passed).collect()
            }
        };
        json!({"Version": "1", "Statement": statements}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_its_own_session_name() {
        let name = |namespace: &str| {
            let origin = CredentialOrigin::Operator {
                namespace: namespace.to_owned(),
            };
            Identity {
                origin,
                assumed_role: None,
            }
            .session_name()
        };
        assert_eq!(name("media"), "imm-operator@media");
        let stem = "x".repeat(51);
        assert_eq!(name(&stem), format!("imm-operator@{stem}"));
        let long = ["a", "b"].map(|end| name(&format!("{}{end}", "x".repeat(62))));
        assert_ne!(long[0], long[1], "the namespaces differ in the last letter only");
        for name in &long {
            assert!(name.len() == 64 && name.starts_with("imm-operator@xxx"), "{name}");
        }
    }

    #[test]
    fn a_session_may_pass_the_role_that_the_job_names_and_no_other() {
        let project: ProjectRef = serde_json::from_value(
            json!({"name": "immtest", "region": "cn-hangzhou", "accountUID": "1234567890123456"}),
        )
        .unwrap();
        let chain = json!({"mode": "RoleChain", "roleChain": {"serviceRole": "first", "chain": []}});
        let own = json!({"passedRole": "AliyunIMMDefaultRole"});
        for (access, passed) in [
            (json!({}), None),
            (own, Some("acs:ram:*:1234567890123456:role/AliyunIMMDefaultRole")),
            (chain, Some("acs:ram:*:1234567890123456:role/first")),
        ] {
            let access: JobAccess = serde_json::from_value(access).unwrap();
            let policy = SessionScope::project(&project, &access).session_policy();
            let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
            let statements = policy["Statement"].as_array().unwrap();
            let passing = statements
                .iter()
                .find(|statement| statement["Action"].to_string().contains("ram:"));
            assert_eq!(
                passing.map(|statement| &statement["Resource"]),
                passed.map(|role| json!([role])).as_ref()
            );
            for statement in statements {
                assert!(!statement["Action"].to_string().contains('*'), "{statement}");
            }
        }
    }
}
