//! Which images a job scores, and how IMM reaches them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Credentials;

/// Most items of a job.
pub const ITEMS_LIMIT: i32 = 250_000;

fn default_max_objects() -> i32 {
    10_000
}

/// All objects below a prefix of one bucket.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrefixSource {
    /// Name of the bucket, in the project's region, for example test-bucket-2024.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
    )]
    pub bucket: String,
    /// What the keys begin with, as it is (not URL-encoded), for example photos/2024/; empty (default): the whole bucket.
    #[serde(default)]
    #[schemars(length(max = 1023), regex(pattern = r"^[^\x00-\x1f\x7f-\x{9f}]*$"))]
    pub prefix: String,
    /// What the keys may end with, for example [".jpg", ".png"]; none (default): anything but a folder's slash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub suffixes: Vec<String>,
    /// Most objects that fit suffixes and modifiedAfter, 1 to 250000; a prefix that holds more fails the job with SourceTooLarge before the first paid call. Default 10000.
    #[serde(default = "default_max_objects")]
    #[schemars(range(min = 1, max = 250_000))]
    pub max_objects: i32,
    /// Only objects that were last modified after this time (RFC 3339). Objects newer than the start of the job are always left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_after: Option<Time>,
    /// Who may list the bucket (oss:ListObjects); default: the job's own credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// A list of images in an object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSource {
    /// The object, as oss://BUCKET/KEY in the project's region: UTF-8 text with one oss://BUCKET/KEY a line, at most 250,000 lines and 64 MiB. It must not change while the job runs.
    #[schemars(
        length(min = 10, max = 1100),
        regex(pattern = r"^oss://[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f-\x{9f}]+$")
    )]
    pub uri: String,
    /// Who may read the object (oss:GetObject); default: the job's own credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Which images to score: exactly one of uris, prefix and manifest.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("[has(self.uris), has(self.prefix), has(self.manifest)].filter(x, x).size() == 1")
        .message("give exactly one of uris, prefix and manifest"),
    validation = Rule::new("!has(self.uris) || self.uris.all(u, bytes(u.substring(u.indexOf('/', 6) + 1)).size() <= 1023)")
        .message("a key in uris is longer than 1,023 bytes, the most that OSS allows").field_path(".uris"),
    validation = Rule::new("!has(self.uris) || self.uris.map(u, bytes(u).size()).sum() <= 131072")
        .message("the uris hold more than 128 KiB in all: put them into a manifest, or split them over several jobs").field_path(".uris"),
    validation = Rule::new("!has(self.manifest) || bytes(self.manifest.uri.substring(self.manifest.uri.indexOf('/', 6) + 1)).size() <= 1023")
        .message("the key is longer than 1,023 bytes, the most that OSS allows").field_path(".manifest.uri"),
    validation = Rule::new("!has(self.manifest) || !self.manifest.uri.split('/').exists(s, s == '.' || s == '..')")
        .message("must not have . or .. between slashes").field_path(".manifest.uri")
)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Images as oss://BUCKET/KEY, the key as it is (not URL-encoded), for example ["oss://test-bucket-2024/test-object.jpg"]; 1 to 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(min = 10, max = 1100), regex(pattern = r"^oss://[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f-\x{9f}]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub uris: Vec<String>,
    /// All objects below a prefix of one bucket, as they are when the job starts. Needs a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixSource>,
    /// A list of images in an object. Needs a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSource>,
}

impl Source {
    /// Who reads the source at OSS, where it is not the job's own identity.
    pub fn credentials(&self) -> Option<&Credentials> {
        let of_prefix = self.prefix.as_ref().and_then(|p| p.credentials.as_ref());
        of_prefix.or_else(|| self.manifest.as_ref().and_then(|m| m.credentials.as_ref()))
    }
}

/// How IMM reaches the images.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessMode {
    /// Through the bucket's policy.
    #[default]
    BucketPolicy,
    /// Through a chain of roles.
    RoleChain,
}

/// Whom a role of the chain belongs to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RoleType {
    /// A RAM role that a person made.
    #[default]
    #[serde(rename = "user")]
    User,
    /// A role of a service.
    #[serde(rename = "service")]
    Service,
}

/// A role that is assumed in turn.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChainLink {
    /// Name of the RAM role, for example imm-reader.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub role: String,
    /// user (default): a RAM role that a person made. service: a role of a service.
    #[serde(default)]
    pub role_type: RoleType,
    /// UID of the account that the role belongs to: 5 to 20 digits, quoted, for example "6543210987654321".
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub assume_role_for: String,
}

/// A chain of roles that ends in one that may read the images (IMM structure `CredentialConfig`).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RoleChain {
    /// Role of account A that IMM assumes first, for example imm-chain-start; it needs sts:AssumeRole on the next one.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub service_role: String,
    /// The roles that are assumed after it, in order, 1 to 2; the last one needs oss:GetObject on the images.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub chain: Vec<ChainLink>,
}

/// How IMM reaches the images.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("has(self.roleChain) == (self.mode == 'RoleChain')")
        .message("roleChain must be given exactly when mode is RoleChain").field_path(".roleChain")
)]
#[serde(rename_all = "camelCase")]
pub struct JobAccess {
    /// BucketPolicy (default): the project's service role reads through the bucket's policy. RoleChain: through a chain of roles, without any grant.
    #[serde(default)]
    pub mode: AccessMode,
    /// The chain of roles. Only with mode RoleChain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_chain: Option<RoleChain>,
}
