//! The seed: the initial accounts, buckets and projects of the emulator, from one small YAML file.
//! Parse errors never quote the file, because it holds secrets.

mod objects;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

pub use objects::{ManySeed, ObjectSeed};

use crate::policy::{PrincipalReading, Rights};

/// The initial content of the cloud. JSON is accepted too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Seed {
    /// Accounts with their AccessKey pairs, roles and identity providers.
    pub accounts: Vec<AccountSeed>,
    /// OSS buckets with their objects.
    pub buckets: Vec<BucketSeed>,
    /// IMM projects.
    pub projects: Vec<ProjectSeed>,
    /// The ECS instance whose metadata service answers; a later seed replaces it.
    pub instance: Option<InstanceSeed>,
    /// Whether the regions of the finance cloud have hosts of OSS of their own and no IMM, as in the cloud. Otherwise
    /// they are like other regions. No later seed switches it off.
    pub finance_regions: bool,
    /// The region of the network that all clients are in: internal hosts of other regions cannot be reached from it.
    /// Absent: all hosts can be reached.
    pub network: Option<String>,
}

/// An ECS instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InstanceSeed {
    /// The instance's region.
    pub region: String,
    /// The UID of the instance's account.
    pub account: String,
    /// The RAM role of that account that is attached to the instance. Absent means none.
    pub role: String,
    /// Whether requests without a token are refused.
    pub token_required: bool,
    /// Whether the service knows no tokens.
    pub version_1_only: bool,
    /// The duration of a session in seconds. Default six hours.
    pub session_seconds: Option<i64>,
}

/// An account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccountSeed {
    /// The account's UID.
    pub uid: String,
    /// A display name.
    pub name: String,
    /// Block Public Access for every bucket of the account.
    pub block_public_access: bool,
    /// AccessKey pairs.
    pub keys: Vec<KeySeed>,
    /// RAM roles.
    pub roles: Vec<RoleSeed>,
    /// OIDC identity providers.
    pub oidc_providers: Vec<OidcProviderSeed>,
}

/// A secret text that no log or error shows.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// An AccessKey pair of the account itself or of one of its RAM users.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeySeed {
    /// The AccessKey id.
    pub id: String,
    /// The AccessKey secret.
    pub secret: SecretText,
    /// The RAM user's UID; absent for the account itself.
    pub user: Option<String>,
    /// A security token required with the key, as with temporary credentials.
    pub token: Option<SecretText>,
    /// Action patterns that the key is allowed. Absent means all.
    pub allow: Option<Vec<String>>,
    /// Action patterns that RAM denies the key.
    pub deny: Vec<String>,
    /// Action patterns that a control policy of the resource directory denies the key.
    pub control_deny: Vec<String>,
}

/// A RAM role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RoleSeed {
    /// The role's name.
    pub name: String,
    /// The principals that may assume the role. Absent means the role's own account.
    pub trust: Option<TrustSeed>,
    /// Action patterns that sessions of the role are allowed. Absent means all.
    pub allow: Option<Vec<String>>,
    /// Action patterns that RAM denies sessions of the role.
    pub deny: Vec<String>,
    /// The maximum session duration in seconds. Default 3600.
    pub max_session_seconds: Option<i64>,
}

impl RoleSeed {
    /// Returns whether callers of `account` may assume this role of account `own` with the given `ExternalId`.
    pub(crate) fn trusts_account(&self, own: &str, account: &str, word: Option<&str>) -> bool {
        self.trust.as_ref().map_or(own == account, |trust| {
            let agreed = trust.external_id.as_deref();
            trust.accounts.iter().any(|one| one == account) && (agreed.is_none() || agreed == word)
        })
    }

    /// Returns what RAM lets sessions of the role do.
    pub(crate) fn rights(&self) -> Rights {
        Rights::new(self.allow.clone(), self.deny.clone())
    }

    /// Returns whether a cloud service may assume this role.
    pub(crate) fn trusts_service(&self, service: &str) -> bool {
        let trust = self.trust.as_ref();
        trust.is_some_and(|trust| trust.services.iter().any(|one| one == service))
    }
}

/// The principals that may assume a role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TrustSeed {
    /// Account UIDs.
    pub accounts: Vec<String>,
    /// Cloud services, such as `imm.aliyuncs.com`.
    pub services: Vec<String>,
    /// Identity providers of the role's account, with the subjects that are trusted.
    pub oidc: Vec<OidcTrustSeed>,
    /// The required `ExternalId`.
    pub external_id: Option<String>,
}

/// The tokens of a provider that may assume a role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OidcTrustSeed {
    /// The provider's name.
    pub provider: String,
    /// Patterns for the token's `sub`.
    pub subjects: Vec<String>,
}

/// An OIDC identity provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OidcProviderSeed {
    /// The provider's name, the last part of `acs:ram::{uid}:oidc-provider/{name}`.
    pub name: String,
    /// The exact `iss` of the provider's tokens.
    pub issuer: String,
    /// Accepted `aud` values.
    pub audiences: Vec<String>,
    /// The provider's public keys as a JWKS document. Without keys, token signatures are not checked.
    pub jwks: Option<serde_json::Value>,
    /// A file with the JWKS document.
    pub jwks_file: Option<PathBuf>,
}

/// A bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a seed")]
pub struct BucketSeed {
    /// The bucket's name.
    pub name: String,
    /// The bucket's region, such as `cn-hangzhou`.
    pub region: String,
    /// The owner's UID.
    pub owner: String,
    /// Block Public Access for this bucket. Default: on, as for every bucket made since October 2025.
    pub block_public_access: bool,
    /// How OSS reads the principals of this bucket's policy, in addition to the emulator's options.
    pub principals: PrincipalReading,
    /// Whether Alibaba Cloud has added a Deny for everybody to the policy, as it does on its own for security reasons.
    pub security_deny: bool,
    /// Whether the public endpoint serves no objects of this bucket, as for accounts that use OSS since March 2025.
    pub public_endpoint_forbidden: bool,
    /// Whether other accounts are told that the bucket does not exist, unless they are allowed the call.
    pub hidden_from_others: bool,
    /// Whether the bucket is pay-by-requester: it rejects other accounts that do not accept the costs.
    pub requester_pays: bool,
    /// How long a change of the settings locks them, in milliseconds. Another change is rejected meanwhile.
    pub settings_lock_ms: u64,
    /// Time until a change of this bucket's policy is enforced, in milliseconds, unless that of the emulator is longer.
    pub policy_enforcement_ms: u64,
    /// The bucket policy, stored unchanged and without validation.
    pub policy: Option<String>,
    /// A file with the bucket policy.
    pub policy_file: Option<PathBuf>,
    /// The bucket's objects.
    pub objects: Vec<ObjectSeed>,
    /// Sets of many objects.
    pub many: Vec<ManySeed>,
}

impl Default for BucketSeed {
    fn default() -> Self {
        Self {
            name: String::new(),
            region: String::new(),
            owner: String::new(),
            block_public_access: true,
            principals: PrincipalReading::default(),
            security_deny: false,
            public_endpoint_forbidden: false,
            hidden_from_others: false,
            requester_pays: false,
            settings_lock_ms: 0,
            policy_enforcement_ms: 0,
            policy: None,
            policy_file: None,
            objects: Vec::new(),
            many: Vec::new(),
        }
    }
}

/// An IMM project.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProjectSeed {
    /// The project's name.
    pub name: String,
    /// The project's region.
    pub region: String,
    /// The UID of the project's account.
    pub account: String,
    /// The role as which the project reads objects. Default `AliyunIMMDefaultRole`.
    pub service_role: Option<String>,
    /// The role's name in principals, if it is spelled in another way than `GetProject` answers.
    pub principal_role: Option<String>,
    /// The name of the session as which the project reads objects. Absent means a random one for each call.
    pub session_name: Option<String>,
    /// The address from which the project reads, in a VPC, for conditions of a policy. Absent means that its requests
    /// have neither.
    pub reads_from: Option<String>,
    /// Whether the project reads only objects of buckets whose policy has a `ram:PassRole` statement.
    pub pass_role_required: bool,
    /// Which role the caller must have `ram:PassRole` on.
    pub caller_passes: PassedRole,
    /// Requests per second. Default 100.
    pub queries_per_second: Option<u32>,
    /// Requests in flight. Default 100.
    pub concurrency: Option<u32>,
    /// The latency of each `DetectImageScore` call, in milliseconds.
    pub latency_ms: u64,
}

/// The role that IMM requires `ram:PassRole` on from its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PassedRole {
    /// None.
    #[default]
    Nothing,
    /// The service role that a `CredentialConfig` names.
    NamedRole,
    /// The service role that a `CredentialConfig` names, otherwise that of the project.
    EveryRole,
}

/// Deserializes a decimal written with or without quotes.
fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Decimal {
        Number(f64),
        Text(String),
    }
    Ok(
        Option::<Decimal>::deserialize(deserializer)?.map(|decimal| match decimal {
            Decimal::Number(number) => number.to_string(),
            Decimal::Text(text) => text,
        }),
    )
}

/// The reason why a seed is rejected.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file's path.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The text is not a valid seed.
    #[error("the seed is not well formed: {0}")]
    Format(String),
    /// A picture cannot be drawn.
    #[error("cannot make the picture {key}: {reason}")]
    Picture {
        /// The object's key.
        key: String,
        /// The encoder's error.
        reason: String,
    },
    /// The parts of the seed are inconsistent.
    #[error("the seed contradicts itself: {0}")]
    Contradiction(String),
}

impl Seed {
    /// Parses a seed. Relative file names refer to the current folder. Fails if the text or a referenced file is
    /// invalid.
    pub fn from_yaml(text: &str) -> Result<Self, SeedError> {
        Self::read(text, Path::new(""))
    }

    /// Reads a seed file. Relative file names refer to the file's folder. Fails if the file or a referenced file is
    /// invalid.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SeedError> {
        let path = path.as_ref();
        let text = String::from_utf8(file(path)?).map_err(|error| SeedError::Format(error.to_string()))?;
        Self::read(&text, path.parent().unwrap_or_else(|| Path::new("")))
    }

    fn read(text: &str, base: &Path) -> Result<Self, SeedError> {
        // The parser's own message would quote the text around the error, and a seed holds secrets.
        let options = serde_saphyr::options! { with_snippet: false };
        let mut seed: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| SeedError::Format(error.to_string()))?;
        for provider in seed
            .accounts
            .iter_mut()
            .flat_map(|account| &mut account.oidc_providers)
        {
            if let Some(name) = &provider.jwks_file {
                let keys = serde_json::from_slice(&file(&base.join(name))?);
                provider.jwks = Some(keys.map_err(|error| SeedError::Format(error.to_string()))?);
            }
        }
        for bucket in &mut seed.buckets {
            if let Some(name) = &bucket.policy_file {
                let text = String::from_utf8(file(&base.join(name))?);
                bucket.policy = Some(text.map_err(|error| SeedError::Format(error.to_string()))?);
            }
            for object in &mut bucket.objects {
                object.fill(base)?;
            }
        }
        Ok(seed)
    }
}

fn file(path: &Path) -> Result<Vec<u8>, SeedError> {
    std::fs::read(path).map_err(|source| SeedError::File {
        path: path.to_owned(),
        source,
    })
}
