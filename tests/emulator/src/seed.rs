//! The seed: accounts, buckets and projects that the emulator starts with, from one small YAML file.
//! What the parser reports never quotes the file, which holds secrets.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Deserializer};

use crate::pictures::{self, Picture};

/// Everything a cloud starts with. JSON is fine too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Seed {
    /// Accounts with their keys, roles and identity providers.
    pub accounts: Vec<AccountSeed>,
    /// OSS buckets with their objects.
    pub buckets: Vec<BucketSeed>,
    /// IMM projects.
    pub projects: Vec<ProjectSeed>,
}

/// An account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccountSeed {
    /// Its UID.
    pub uid: String,
    /// A name for people.
    pub name: String,
    /// Block Public Access for every bucket of the account.
    pub block_public_access: bool,
    /// Access keys.
    pub keys: Vec<KeySeed>,
    /// RAM roles.
    pub roles: Vec<RoleSeed>,
    /// OIDC identity providers.
    pub oidc_providers: Vec<OidcProviderSeed>,
}

/// A secret text, which no log or error shows.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// An access key of the account itself or of one of its RAM users.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeySeed {
    /// The key's id.
    pub id: String,
    /// The key's secret.
    pub secret: SecretText,
    /// The RAM user's UID; absent for the account itself.
    pub user: Option<String>,
    /// A token that must come with the key, as with temporary credentials.
    pub token: Option<SecretText>,
    /// Action patterns the key may use; absent means all.
    pub allow: Option<Vec<String>>,
}

/// A RAM role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RoleSeed {
    /// Its name.
    pub name: String,
    /// Who may assume it; absent means the role's own account.
    pub trust: Option<TrustSeed>,
    /// Action patterns of its sessions; absent means all.
    pub allow: Option<Vec<String>>,
    /// The longest session, 3600 unless told.
    pub max_session_seconds: Option<i64>,
}

impl RoleSeed {
    /// Whether callers of an account may assume this role of account `own`, with the word they give.
    pub(crate) fn trusts_account(&self, own: &str, account: &str, word: Option<&str>) -> bool {
        self.trust.as_ref().map_or(own == account, |trust| {
            let agreed = trust.external_id.as_deref();
            trust.accounts.iter().any(|one| one == account) && (agreed.is_none() || agreed == word)
        })
    }

    /// Whether a service of the cloud may assume this role.
    pub(crate) fn trusts_service(&self, service: &str) -> bool {
        let trust = self.trust.as_ref();
        trust.is_some_and(|trust| trust.services.iter().any(|one| one == service))
    }
}

/// Who may assume a role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TrustSeed {
    /// UIDs of accounts.
    pub accounts: Vec<String>,
    /// Services of the cloud, `imm.aliyuncs.com`.
    pub services: Vec<String>,
    /// Identity providers of the role's account, with the subjects they may speak for.
    pub oidc: Vec<OidcTrustSeed>,
    /// An `ExternalId` that must be given.
    pub external_id: Option<String>,
}

/// Which tokens of a provider may assume a role.
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
    /// Its name, the end of `acs:ram::{uid}:oidc-provider/{name}`.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Accepted `aud` values.
    pub audiences: Vec<String>,
    /// Its public keys as a JWKS document; without keys the signature of a token is not checked.
    pub jwks: Option<serde_json::Value>,
    /// The same as a file.
    pub jwks_file: Option<PathBuf>,
}

/// A bucket.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BucketSeed {
    /// Its name.
    pub name: String,
    /// Its region, `cn-hangzhou`.
    pub region: String,
    /// The owner's UID.
    pub owner: String,
    /// Block Public Access for this bucket.
    pub block_public_access: bool,
    /// Its policy, stored as it stands.
    pub policy: Option<String>,
    /// The same as a file.
    pub policy_file: Option<PathBuf>,
    /// Its objects.
    pub objects: Vec<ObjectSeed>,
    /// Many more objects, each row a whole set of them.
    pub many: Vec<ManySeed>,
}

/// An object: a file, a picture to be made, or the bytes themselves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectSeed {
    /// Its key.
    pub key: String,
    /// A file with its bytes.
    pub file: Option<PathBuf>,
    /// A picture to make.
    pub image: Option<Picture>,
    /// The score to answer instead of one computed from the pixels.
    #[serde(deserialize_with = "decimal")]
    pub score: Option<String>,
    /// When it was last written; absent means long ago.
    pub modified: Option<jiff::Timestamp>,
    /// The bytes, once file or picture were read.
    #[serde(skip)]
    pub bytes: Bytes,
}

/// Many objects with the same bytes, called `{prefix}{seven digits}{suffix}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ManySeed {
    /// What every key begins with.
    pub prefix: String,
    /// What every key ends with, `.jpg` unless told.
    pub suffix: String,
    /// The first number.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// When they were last written; absent means long ago.
    pub modified: Option<jiff::Timestamp>,
    /// The picture all of them are; a tiny one unless told.
    pub image: Picture,
    /// The score of all of them; absent means one that follows from each key, `score::of_key`.
    #[serde(deserialize_with = "decimal")]
    pub score: Option<String>,
    /// The bytes, once the picture was drawn.
    #[serde(skip)]
    pub bytes: Bytes,
}

impl Default for ManySeed {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            suffix: ".jpg".to_owned(),
            first: 0,
            count: 0,
            modified: None,
            image: Picture {
                kind: pictures::Kind::Sharp,
                width: 8,
                height: 8,
                seed: 0,
            },
            score: None,
            bytes: Bytes::new(),
        }
    }
}

impl ManySeed {
    /// The key of one of them.
    pub fn key(&self, number: u64) -> String {
        format!("{}{number:07}{}", self.prefix, self.suffix)
    }

    /// Draws the picture.
    pub(crate) fn fill(&mut self) -> Result<(), SeedError> {
        self.bytes = drawn(&self.image, &self.prefix)?;
        Ok(())
    }
}

/// An IMM project.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProjectSeed {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The UID of its account.
    pub account: String,
    /// The role as which it reads; `AliyunIMMDefaultRole` unless told.
    pub service_role: Option<String>,
    /// Requests a second, 100 unless told.
    pub queries_per_second: Option<u32>,
    /// Requests at one time, 100 unless told.
    pub concurrency: Option<u32>,
    /// How long each `DetectImageScore` takes.
    pub latency_ms: u64,
}

/// A decimal written with or without quotes.
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

/// Why a seed was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not a seed.
    #[error("the seed is not well formed: {0}")]
    Format(String),
    /// A picture cannot be made.
    #[error("cannot make the picture {key}: {reason}")]
    Picture {
        /// The object's key.
        key: String,
        /// What the encoder said.
        reason: String,
    },
    /// The parts do not fit each other.
    #[error("the seed contradicts itself: {0}")]
    Contradiction(String),
}

impl Seed {
    /// Reads a seed; relative file names are taken from the current folder.
    pub fn from_yaml(text: &str) -> Result<Self, SeedError> {
        Self::read(text, Path::new(""))
    }

    /// Reads a seed file; relative file names are taken from the file's folder.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SeedError> {
        let path = path.as_ref();
        let text = String::from_utf8(file(path)?).map_err(|error| SeedError::Format(error.to_string()))?;
        Self::read(&text, path.parent().unwrap_or_else(|| Path::new("")))
    }

    fn read(text: &str, base: &Path) -> Result<Self, SeedError> {
        // The parser's own message would quote the text around the mistake, and a seed holds secrets.
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

impl ObjectSeed {
    fn fill(&mut self, base: &Path) -> Result<(), SeedError> {
        if let Some(name) = &self.file {
            self.bytes = file(&base.join(name))?.into();
        } else if let Some(picture) = &self.image {
            self.bytes = drawn(picture, &self.key)?;
        }
        Ok(())
    }
}

fn drawn(picture: &Picture, key: &str) -> Result<Bytes, SeedError> {
    pictures::jpeg(picture).map_err(|error| SeedError::Picture {
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

fn file(path: &Path) -> Result<Vec<u8>, SeedError> {
    std::fs::read(path).map_err(|source| SeedError::File {
        path: path.to_owned(),
        source,
    })
}
