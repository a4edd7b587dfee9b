//! `ImmBucketGrant`: what account B, owner of a bucket, wants account A's IMM service role to be allowed.
//! Data and apply-time rules only; how a grant behaves is in `core::grant` and `runtime::bucket`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credentials, GrantStatus};

/// The bucket whose policy carries the grant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BucketRef {
    /// Name of the OSS bucket: 3 to 63 lower-case letters, digits and hyphens, for example test-bucket-2024.
    #[schemars(
        length(min = 3, max = 63),
        regex(pattern = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
    )]
    pub name: String,
    /// Region of the bucket without the oss- prefix, for example cn-hangzhou.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2}(-[a-z0-9]+){1,3}$"))]
    pub region: String,
    /// UID of account B, owner of the bucket: 5 to 20 digits, quoted, for example "6543210987654321".
    #[serde(rename = "ownerUID")]
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub owner_uid: String,
}

fn default_role() -> String {
    "AliyunIMMDefaultRole".to_owned()
}

/// Account A and the service role that IMM assumes there.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Grantee {
    /// UID of account A, owner of the IMM project: 5 to 20 digits, quoted, for example "1234567890123456".
    #[serde(rename = "accountUID")]
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub account_uid: String,
    /// Service role of the IMM project in account A; the name is case-sensitive, for example AliyunIMMDefaultRole.
    #[serde(default = "default_role")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))]
    pub role_name: String,
}

/// Which set of actions is granted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Preset {
    /// The nine actions of Alibaba's page "Grant cross-account access to OSS resources".
    #[default]
    Documented,
    /// `oss:GetObject` alone.
    Minimal,
    /// The actions listed in `actions`.
    Custom,
}

/// Read-only OSS actions that a Custom preset may list.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is the OSS action of the same name")]
pub enum Action {
    #[serde(rename = "oss:GetObject")]
    GetObject,
    #[serde(rename = "oss:GetObjectAcl")]
    GetObjectAcl,
    #[serde(rename = "oss:ListObjects")]
    ListObjects,
    #[serde(rename = "oss:RestoreObject")]
    RestoreObject,
    #[serde(rename = "oss:GetVodPlaylist")]
    GetVodPlaylist,
    #[serde(rename = "oss:ListObjectVersions")]
    ListObjectVersions,
    #[serde(rename = "oss:GetObjectVersion")]
    GetObjectVersion,
    #[serde(rename = "oss:GetObjectVersionAcl")]
    GetObjectVersionAcl,
    #[serde(rename = "oss:RestoreObjectVersion")]
    RestoreObjectVersion,
    #[serde(rename = "oss:GetObjectTagging")]
    GetObjectTagging,
    #[serde(rename = "oss:GetObjectVersionTagging")]
    GetObjectVersionTagging,
}

impl Action {
    /// The nine actions of Alibaba's page "Grant cross-account access to OSS resources", in its order.
    pub const DOCUMENTED: [Self; 9] = [
        Self::GetObject,
        Self::GetObjectAcl,
        Self::ListObjects,
        Self::RestoreObject,
        Self::GetVodPlaylist,
        Self::ListObjectVersions,
        Self::GetObjectVersion,
        Self::GetObjectVersionAcl,
        Self::RestoreObjectVersion,
    ];

    /// Every action that a statement of ours may carry.
    pub const ALL: [Self; 11] = [
        Self::GetObject,
        Self::GetObjectAcl,
        Self::ListObjects,
        Self::RestoreObject,
        Self::GetVodPlaylist,
        Self::ListObjectVersions,
        Self::GetObjectVersion,
        Self::GetObjectVersionAcl,
        Self::RestoreObjectVersion,
        Self::GetObjectTagging,
        Self::GetObjectVersionTagging,
    ];

    /// The action as OSS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GetObject => "oss:GetObject",
            Self::GetObjectAcl => "oss:GetObjectAcl",
            Self::ListObjects => "oss:ListObjects",
            Self::RestoreObject => "oss:RestoreObject",
            Self::GetVodPlaylist => "oss:GetVodPlaylist",
            Self::ListObjectVersions => "oss:ListObjectVersions",
            Self::GetObjectVersion => "oss:GetObjectVersion",
            Self::GetObjectVersionAcl => "oss:GetObjectVersionAcl",
            Self::RestoreObjectVersion => "oss:RestoreObjectVersion",
            Self::GetObjectTagging => "oss:GetObjectTagging",
            Self::GetObjectVersionTagging => "oss:GetObjectVersionTagging",
        }
    }
}

/// Whether the recipe's `ram:PassRole` statement is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PassRoleStatement {
    /// Written unless Block Public Access is on or cannot be read.
    #[default]
    Auto,
    /// Written always; refused by OSS under Block Public Access.
    Include,
    /// Never written.
    Omit,
}

/// What the grantee may do, and where in the bucket.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("self.preset == 'Custom' ? has(self.actions) && self.actions.size() > 0 : !has(self.actions) || self.actions.size() == 0")
        .message("actions belongs to preset: Custom: set preset: Custom, or remove actions").field_path(".actions"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.matches('[*?]'))")
        .message("a prefix must not contain * or ?: the operator adds the trailing * itself").field_path(".prefixes"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.matches('[$\\\\{\\\\}\\\\\\\\]'))")
        .message("a prefix must not contain $, {, } or a backslash").field_path(".prefixes"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.startsWith('/'))")
        .message("a prefix must not start with /: object keys have no leading slash").field_path(".prefixes"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.matches('[\\\\p{Cc}\\\\p{Cf}\\\\x{2028}\\\\x{2029}]'))")
        .message("a prefix must not contain control or invisible formatting characters").field_path(".prefixes")
)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Documented: the nine read actions of Alibaba's recipe (default). Minimal: oss:GetObject alone. Custom: the list in `actions`.
    #[serde(default)]
    pub preset: Preset,
    /// Read-only OSS actions, only with preset Custom, for example ["oss:GetObject"].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 11), extend("x-kubernetes-list-type" = "set"))]
    pub actions: Vec<Action>,
    /// Object key prefixes that the grant is limited to, without a leading slash or wildcard, for example ["photos/2024/"]; empty means the whole bucket. At most 50, each at most 512 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "set"))]
    pub prefixes: Vec<String>,
    /// Auto (default): write the recipe's ram:PassRole statement unless Block Public Access is on or cannot be read, because that
    /// statement makes a policy public. Include: always. Omit: never.
    #[serde(default)]
    pub pass_role_statement: PassRoleStatement,
}

/// Whether statements are written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Statements are written and kept.
    #[default]
    Enforce,
    /// Only computed.
    Preview,
}

/// What happens to an equal statement that was there before us.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AdoptionPolicy {
    /// Used, and left in place when the grant goes.
    #[default]
    Adopt,
    /// Treated as ours, and removed with the grant.
    TakeOwnership,
    /// The grant stops with `ExistingStatement`.
    Fail,
}

/// What happens when somebody removes our statements.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriftPolicy {
    /// Put back.
    #[default]
    Correct,
    /// Reported only.
    Report,
}

/// What happens to our statements when the grant is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// Taken out of the policy.
    #[default]
    Delete,
    /// Left in the policy.
    Retain,
}

/// Namespaces whose jobs may name the grant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AllowedConsumers {
    /// Namespaces whose ImageScoreJobs may name this grant in grantRef, for example ["analytics"]; the grant's own namespace always may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<String>,
}

fn default_drift_interval() -> i32 {
    600
}

/// The wished state of an `ImmBucketGrant`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "immops.dev",
    version = "v1alpha1",
    kind = "ImmBucketGrant",
    plural = "immbucketgrants",
    shortname = "ibg",
    category = "imm",
    namespaced,
    status = "GrantStatus",
    derive = "PartialEq",
    doc = "Keeps statements in the policy of an OSS bucket of account B so that the IMM service role of account A may read the bucket; everything else in that policy is carried byte for byte.",
    selectable = ".spec.bucket.name",
    printcolumn(
        name = "Bucket",
        type_ = "string",
        json_path = ".spec.bucket.name",
        description = "Bucket whose policy carries the grant"
    ),
    printcolumn(
        name = "Grantee",
        type_ = "string",
        json_path = ".spec.grantee.accountUID",
        description = "UID of account A"
    ),
    printcolumn(
        name = "Granted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Granted\")].status",
        description = "Whether the statements were seen in the policy at the last read"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether nothing is left to do"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Reason of the Ready condition"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    ),
    printcolumn(
        name = "Region",
        type_ = "string",
        json_path = ".spec.bucket.region",
        priority = 1,
        description = "Region of the bucket"
    ),
    printcolumn(
        name = "Owner",
        type_ = "string",
        json_path = ".spec.bucket.ownerUID",
        priority = 1,
        description = "UID of account B"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        priority = 1,
        description = "Enforce or Preview"
    ),
    printcolumn(
        name = "Bytes",
        type_ = "integer",
        json_path = ".status.policy.bytes",
        priority = 1,
        description = "Size of the policy; the limit is 16384"
    ),
    printcolumn(
        name = "Foreign",
        type_ = "integer",
        json_path = ".status.policy.foreignStatements",
        priority = 1,
        description = "Statements of others in the policy"
    ),
    printcolumn(
        name = "Last-Write",
        type_ = "date",
        json_path = ".status.policy.lastWriteTime",
        priority = 1,
        description = "Time since the operator last wrote the policy for this grant"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1,
        description = "Why, and what to do next"
    )
)]
#[x_kube(
    validation = Rule::new("self.bucket == oldSelf.bucket").message("bucket is immutable: create another ImmBucketGrant for another bucket").field_path(".bucket")
)]
#[serde(rename_all = "camelCase")]
pub struct GrantSpec {
    /// The bucket whose policy carries the grant. Immutable as a whole.
    pub bucket: BucketRef,
    /// Account A and its IMM service role. May be changed in place: the old statement goes and the new one comes in one write.
    pub grantee: Grantee,
    /// What the grantee may do, and where in the bucket. Default: the nine documented actions on the whole bucket.
    #[serde(default)]
    pub access: Access,
    /// Enforce (default): write and keep the statements. Preview: write nothing; status.plan shows what Enforce would do.
    #[serde(default)]
    pub mode: Mode,
    /// true pauses the grant: nothing is added, corrected or removed until it is false again. Deletion still works. Default false.
    #[serde(default)]
    pub suspend: bool,
    /// When an equal statement was there before: Adopt (default) uses it and leaves it on deletion, TakeOwnership removes it on deletion and needs a tenancy rule that allows it, Fail stops with ExistingStatement.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// When somebody removes our statements: Correct (default) puts them back, Report only tells, and status.plan shows what is missing.
    #[serde(default)]
    pub drift_policy: DriftPolicy,
    /// Seconds between looks at the live policy, 60 to 86400, spread by a tenth. Default 600.
    #[serde(default = "default_drift_interval")]
    #[schemars(range(min = 60, max = 86400))]
    pub drift_interval_seconds: i32,
    /// When the grant is deleted: Delete (default) takes the statements out, Retain leaves them in the policy.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Namespaces whose ImageScoreJobs may name this grant; its own namespace always may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_consumers: Option<AllowedConsumers>,
    /// Who may change this bucket's policy: an identity of account B.
    pub credentials: Credentials,
}
