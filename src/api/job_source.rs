//! The source of a job, and how IMM accesses the images.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Credentials;
use super::rules::TIME;

/// Maximum number of items of a job.
pub const ITEMS_LIMIT: i32 = 250_000;

fn default_max_objects() -> i32 {
    10_000
}

/// Who pays OSS for reading a source (OSS page "Pay-by-requester").
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequestPayer {
    /// The owner of the bucket.
    #[default]
    BucketOwner,
    /// The account of the credentials.
    Requester,
}

impl RequestPayer {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_bucket_owner(&self) -> bool {
        *self == Self::BucketOwner
    }
}

/// All objects of a bucket whose keys begin with a prefix.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrefixSource {
    /// Name of the bucket, in the region of the project, for example test-bucket-2024.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
    )]
    pub bucket: String,
    /// Prefix of the keys, not URL-encoded and without a leading slash, for example photos/2024/. Default: the whole bucket.
    #[serde(default)]
    #[schemars(length(max = 1023), regex(pattern = r"^[^\x00-\x1f\x7f-\x{9f}]*$"))]
    pub prefix: String,
    /// Suffixes of the keys, for example [".jpg", ".png"]. Default: all keys except those that end with a slash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub suffixes: Vec<String>,
    /// Maximum number of matching objects, 1 to 250000. With more, the job fails with SourceTooLarge before the first billed call. Default: 10000.
    #[serde(default = "default_max_objects")]
    #[schemars(range(min = 1, max = 250_000))]
    pub max_objects: i32,
    /// Only objects modified after this time (RFC 3339 with a capital T and Z, for example 2026-01-31T00:00:00Z). Objects modified after the start of the job are always left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Without the format date-time: the API server would answer another form of the time with a bare pattern.
    #[schemars(with = "Option<String>", length(max = 64), regex(pattern = TIME))]
    pub modified_after: Option<Time>,
    /// Whether objects that IMM cannot score are called anyway: empty ones, ones over 20 MiB, and archived ones that are not restored. Each call of them is billed. Default: false, they are skipped without a call, with the codes Empty, TooLarge and Archived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_unscorable: bool,
    /// Who pays OSS for listing the bucket. Default: BucketOwner.
    /// - BucketOwner: the owner of the bucket. OSS rejects this in a pay-by-requester bucket of another account.
    /// - Requester: the account of the credentials.
    #[serde(default, skip_serializing_if = "RequestPayer::is_bucket_owner")]
    pub request_payer: RequestPayer,
    /// Credentials with permission to list the bucket (oss:ListObjects). Default: the credentials of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// An object that lists images.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSource {
    /// URI of the object, as oss://BUCKET/KEY in the region of the project: UTF-8 text with one oss://BUCKET/KEY on each line, at most 250,000 lines and 64 MiB. The object must not change while the job runs.
    #[schemars(
        length(min = 10, max = 1100),
        regex(pattern = r"^oss://[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f-\x{9f}]+$")
    )]
    pub uri: String,
    /// Who pays OSS for reading the object. Default: BucketOwner.
    /// - BucketOwner: the owner of the bucket. OSS rejects this in a pay-by-requester bucket of another account.
    /// - Requester: the account of the credentials.
    #[serde(default, skip_serializing_if = "RequestPayer::is_bucket_owner")]
    pub request_payer: RequestPayer,
    /// Credentials with permission to read the object (oss:GetObject). Default: the credentials of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Images to score: exactly one of uris, prefix and manifest.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("[has(self.uris), has(self.prefix), has(self.manifest)].filter(x, x).size() == 1")
        .message("exactly one of uris, prefix and manifest is required: set one, remove the others"),
    validation = Rule::new("!has(self.uris) || self.uris.all(u, bytes(u.substring(u.indexOf('/', 6) + 1)).size() <= 1023)")
        .message("a key in uris exceeds 1,023 bytes, the maximum of OSS: rename the object").field_path(".uris"),
    validation = Rule::new("!has(self.uris) || self.uris.map(u, bytes(u).size()).sum() <= 131072")
        .message("uris exceed 128 KiB in total: use a manifest, or split them over several jobs").field_path(".uris"),
    validation = Rule::new("!has(self.manifest) || bytes(self.manifest.uri.substring(self.manifest.uri.indexOf('/', 6) + 1)).size() <= 1023")
        .message("the key exceeds 1,023 bytes, the maximum of OSS: rename the object").field_path(".manifest.uri"),
    validation = Rule::new("!has(self.manifest) || !self.manifest.uri.split('/').exists(s, s == '.' || s == '..')")
        .message("must not contain the path segments . or ..").field_path(".manifest.uri")
)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// URIs of the images as oss://BUCKET/KEY, the key not URL-encoded, for example ["oss://test-bucket-2024/test-object.jpg"]. 1 to 1,000, at most 128 KiB in total.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 1000),
        inner(length(min = 10, max = 1100), regex(pattern = r"^oss://[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f-\x{9f}]+$")),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub uris: Vec<String>,
    /// All objects of a bucket whose keys begin with a prefix, as of the start of the job. Requires a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixSource>,
    /// An object that lists images. Requires a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSource>,
}

impl Source {
    /// Credentials that read the source at OSS; `None` for those of the job.
    pub fn credentials(&self) -> Option<&Credentials> {
        let of_prefix = self.prefix.as_ref().and_then(|p| p.credentials.as_ref());
        of_prefix.or_else(|| self.manifest.as_ref().and_then(|m| m.credentials.as_ref()))
    }

    /// Who pays for reading the source.
    pub fn request_payer(&self) -> RequestPayer {
        let of_prefix = self.prefix.as_ref().map(|p| p.request_payer);
        of_prefix
            .or_else(|| self.manifest.as_ref().map(|m| m.request_payer))
            .unwrap_or_default()
    }
}

/// How IMM accesses the images.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessMode {
    /// Through the bucket policy.
    #[default]
    BucketPolicy,
    /// Through a role chain.
    RoleChain,
}

/// Type of a role.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RoleType {
    /// A RAM role of a user.
    #[default]
    #[serde(rename = "user")]
    User,
    /// A role of a service.
    #[serde(rename = "service")]
    Service,
}

/// A role in a role chain.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChainLink {
    /// Name of the RAM role, for example imm-reader.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub role: String,
    /// Type of the role. Default: user.
    /// - user: a RAM role of a user.
    /// - service: a role of a service.
    #[serde(default)]
    pub role_type: RoleType,
    /// UID of the account that owns the role: 5 to 20 digits, quoted, for example "6543210987654321".
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub assume_role_for: String,
}

/// A role chain whose last role can read the images (IMM structure `CredentialConfig`).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RoleChain {
    /// Role of the project account that IMM assumes first, for example imm-chain-start. It needs sts:AssumeRole on the next role.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub service_role: String,
    /// Roles that IMM assumes after serviceRole, in order, 1 to 2. The last role needs oss:GetObject on the images.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub chain: Vec<ChainLink>,
}

/// How IMM accesses the images.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("has(self.roleChain) == (self.mode == 'RoleChain')")
        .message("roleChain is required with mode: RoleChain, and not allowed otherwise: set roleChain, or remove it").field_path(".roleChain"),
    validation = Rule::new("!has(self.passedRole) || self.mode != 'RoleChain'")
        .message("passedRole is allowed with mode: BucketPolicy only: remove it, because the serviceRole of a chain may be passed anyway").field_path(".passedRole")
)]
#[serde(rename_all = "camelCase")]
pub struct JobAccess {
    /// How IMM accesses the images. Default: BucketPolicy.
    /// - BucketPolicy: the service role of the project reads through the bucket policy.
    /// - RoleChain: IMM assumes a chain of roles; no grant is needed.
    #[serde(default)]
    pub mode: AccessMode,
    /// The role chain. Only with mode RoleChain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_chain: Option<RoleChain>,
    /// Service role of the project, if IMM requires ram:PassRole on it from the caller, for example AliyunIMMDefaultRole. The
    /// sessions that the operator opens for source ServiceAccount and for assumeRole may then pass this role, and otherwise none.
    /// Only with mode BucketPolicy. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub passed_role: Option<String>,
}
