//! `ImmBucketGrant`: access to an OSS bucket for the IMM service role of another account.
//! Data and apply-time rules only; the behaviour is in `core::grant` and `controller::bucket`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reason::names;
use super::{Credentials, GrantStatus, Grantee};

/// The bucket whose policy holds the statements of the grant.
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
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2}(-[a-z0-9]+){1,4}$"))]
    pub region: String,
    /// UID of the bucket owner account: 5 to 20 digits, quoted, for example "6543210987654321".
    #[serde(rename = "ownerUID")]
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub owner_uid: String,
}

/// A set of actions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Preset {
    /// The nine actions of Alibaba Cloud's page "Grant cross-account access to OSS resources".
    #[default]
    Documented,
    /// `oss:GetObject` only.
    Minimal,
    /// The actions listed in `actions`.
    Custom,
}

names! {
    /// Read-only OSS actions that preset Custom may list.
    #[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    OssAction {
        GetObject = "oss:GetObject",
        GetObjectAcl = "oss:GetObjectAcl",
        ListObjects = "oss:ListObjects",
        RestoreObject = "oss:RestoreObject",
        GetVodPlaylist = "oss:GetVodPlaylist",
        ListObjectVersions = "oss:ListObjectVersions",
        GetObjectVersion = "oss:GetObjectVersion",
        GetObjectVersionAcl = "oss:GetObjectVersionAcl",
        RestoreObjectVersion = "oss:RestoreObjectVersion",
        GetObjectTagging = "oss:GetObjectTagging",
        GetObjectVersionTagging = "oss:GetObjectVersionTagging",
    }
}

impl OssAction {
    /// The nine actions of Alibaba Cloud's page "Grant cross-account access to OSS resources", in its order.
    pub const DOCUMENTED: &'static [Self] = Self::ALL.split_at(9).0;
}

/// Whether the `ram:PassRole` statement of Alibaba Cloud's cross-account procedure is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PassRoleStatement {
    /// Written unless Block Public Access is on or cannot be read.
    #[default]
    Auto,
    /// Written unless Block Public Access is on: the grant then stalls.
    Include,
    /// Never written.
    Omit,
}

/// Granted actions and key prefixes.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("self.preset == 'Custom' ? has(self.actions) && self.actions.size() > 0 : !has(self.actions) || self.actions.size() == 0")
        .message("preset: Custom requires at least one action, and other presets allow none: list actions, or change the preset").field_path(".actions"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.matches('[*?]'))")
        .message("a prefix must not contain * or ?: the operator appends the trailing *").field_path(".prefixes"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.matches('[$\\\\{\\\\}\\\\\\\\]'))")
        .message("a prefix must not contain $, {, } or a backslash").field_path(".prefixes"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.startsWith('/'))")
        .message("a prefix must not start with /: object keys have no leading slash").field_path(".prefixes"),
    validation = Rule::new("!has(self.prefixes) || self.prefixes.all(p, !p.matches('[\\\\p{Cc}\\\\p{Cf}\\\\x{2028}\\\\x{2029}]'))")
        .message("a prefix must not contain control or invisible formatting characters").field_path(".prefixes")
)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Set of granted actions. Default: Documented.
    /// - Documented: the nine read actions of Alibaba Cloud's cross-account procedure.
    /// - Minimal: oss:GetObject only.
    /// - Custom: the actions listed in actions.
    #[serde(default)]
    pub preset: Preset,
    /// Granted read-only OSS actions, for example ["oss:GetObject"]. Only with preset Custom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 11), extend("x-kubernetes-list-type" = "set"))]
    pub actions: Vec<OssAction>,
    /// Object key prefixes to which access is limited, without a leading slash or wildcard, for example ["photos/2024/"]. At most 50, each at most 512 characters. Default: the whole bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "set"))]
    pub prefixes: Vec<String>,
    /// Whether the ram:PassRole statement of Alibaba Cloud's cross-account procedure, which OSS considers public, is written. Default: Auto.
    /// - Auto: written unless Block Public Access is on or cannot be read.
    /// - Include: written unless Block Public Access is on; the grant then stalls with PublicAccessBlocked, and only its other statement is written.
    /// - Omit: never written.
    #[serde(default)]
    pub pass_role_statement: PassRoleStatement,
}

/// Whether the policy is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// The policy is written and kept in the desired state.
    #[default]
    Enforce,
    /// The change is computed and reported only.
    Preview,
}

/// How to treat an equal statement that existed before.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AdoptionPolicy {
    /// Used, and kept when the grant is deleted.
    #[default]
    Adopt,
    /// Owned by the grant, and removed with it.
    TakeOwnership,
    /// The grant stalls with `ExistingStatement`.
    Fail,
}

/// What to do when a statement is missing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriftPolicy {
    /// The statement is restored.
    #[default]
    Correct,
    /// The drift is reported only.
    Report,
}

/// What to do with the statements when the grant is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// Removed from the policy.
    #[default]
    Delete,
    /// Kept in the policy.
    Retain,
}

/// Namespaces whose jobs may reference the grant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AllowedConsumers {
    /// Namespaces whose ImageScoreJobs may reference this grant in grantRef, for example ["analytics"]. Jobs in the namespace of the grant always may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<String>,
}

fn default_drift_interval() -> i32 {
    600
}

/// Desired state of an ImmBucketGrant.
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
    doc = "Grants the IMM service role of another Alibaba Cloud account read access to an OSS bucket. The operator keeps its statements in the bucket policy and leaves all other statements unchanged, byte for byte.",
    selectable = ".spec.bucket.name",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "description": "Whether the desired state is reached"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason", "description": "Reason of the Ready condition"}"#,
    printcolumn = r#"{"name": "Bucket", "type": "string", "jsonPath": ".spec.bucket.name", "description": "Bucket whose policy holds the statements"}"#,
    printcolumn = r#"{"name": "Effective", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Effective\")].status", "description": "Whether no Deny in the policy covers what the grant allows"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since creation"}"#,
    printcolumn = r#"{"name": "Granted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Granted\")].status", "priority": 1, "description": "Whether the statements were present in the policy at the last read"}"#,
    printcolumn = r#"{"name": "Grantee", "type": "string", "jsonPath": ".spec.grantee.accountUID", "priority": 1, "description": "UID of the grantee account"}"#,
    printcolumn = r#"{"name": "Owner", "type": "string", "jsonPath": ".spec.bucket.ownerUID", "priority": 1, "description": "UID of the bucket owner account"}"#,
    printcolumn = r#"{"name": "Region", "type": "string", "jsonPath": ".spec.bucket.region", "priority": 1, "description": "Region of the bucket"}"#,
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1, "description": "Enforce or Preview"}"#,
    printcolumn = r#"{"name": "Size", "type": "integer", "jsonPath": ".status.policy.bytes", "priority": 1, "description": "Size of the policy in bytes; the limit is 16384"}"#,
    printcolumn = r#"{"name": "Unmanaged", "type": "integer", "jsonPath": ".status.policy.foreignStatements", "priority": 1, "description": "Statements in the policy that the operator does not manage"}"#,
    printcolumn = r#"{"name": "Last-Write", "type": "date", "jsonPath": ".status.policy.lastWriteTime", "priority": 1, "description": "Time since the operator last wrote the policy for this grant"}"#,
    printcolumn = r#"{"name": "Since", "type": "date", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime", "priority": 1, "description": "Time since the status of the Ready condition last changed"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message", "priority": 1, "description": "What happened and what to do"}"#
)]
#[x_kube(
    validation = Rule::new("self.bucket == oldSelf.bucket").message("bucket is immutable: create another ImmBucketGrant for another bucket").field_path(".bucket")
)]
#[serde(rename_all = "camelCase")]
pub struct GrantSpec {
    /// The bucket whose policy holds the statements. Immutable.
    pub bucket: BucketRef,
    /// The account and the IMM service role that receive access. A change replaces the statement in one write.
    pub grantee: Grantee,
    /// Granted actions and key prefixes. Default: the nine documented actions on the whole bucket.
    #[serde(default)]
    pub access: Access,
    /// Whether the policy is written. Default: Enforce.
    /// - Enforce: writes the statements and keeps them in the policy.
    /// - Preview: writes nothing; status.plan shows what Enforce would change.
    #[serde(default)]
    pub mode: Mode,
    /// Whether the grant is suspended: statements are neither added, restored nor removed. Deletion still works. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// How to treat an equal statement that existed before the grant. Default: Adopt.
    /// - Adopt: uses the statement, and keeps it when the grant is deleted.
    /// - TakeOwnership: removes the statement when the grant is deleted. Requires a tenancy rule that allows it.
    /// - Fail: stalls with ExistingStatement.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// What to do when another writer removes the statements. Default: Correct.
    /// - Correct: restores the statements.
    /// - Report: reports the drift; status.plan shows the missing statements.
    #[serde(default)]
    pub drift_policy: DriftPolicy,
    /// Seconds between checks of the live policy, 60 to 86400, with ±10 % jitter. Default: 600.
    #[serde(default = "default_drift_interval")]
    #[schemars(range(min = 60, max = 86400))]
    pub drift_interval_seconds: i32,
    /// What to do with the statements when the grant is deleted. Default: Delete.
    /// - Delete: removes the statements from the policy.
    /// - Retain: keeps the statements in the policy.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Namespaces whose ImageScoreJobs may reference this grant. Default: only the namespace of the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_consumers: Option<AllowedConsumers>,
    /// Credentials of the bucket owner account, with permission to change the policy of the bucket.
    pub credentials: Credentials,
}
