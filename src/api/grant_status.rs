//! Status of an `ImmBucketGrant`: what was seen and written, and the ledger of statements it owns.
//! Written by the operator alone, through `runtime::status`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;

/// What a ledger entry's statement is for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementRole {
    /// Lets the service role read the bucket.
    Access,
    /// The recipe's `ram:PassRole` statement.
    PassRole,
}

/// How far a ledger entry has got.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Recorded before the write that adds the statement.
    Intended,
    /// Seen in the policy.
    Applied,
    /// Recorded before the write that takes the statement out.
    Removing,
    /// Was in the policy, was taken out by somebody else, and is not put back for now.
    Missing,
}

/// One statement that this grant owns or is about to own: recorded before the policy is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// SHA-256 of the statement's meaning, for example sha256:41ab... (64 hexadecimal digits).
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub fingerprint: String,
    /// Access: lets the service role read the bucket. PassRole: the recipe's ram:PassRole statement.
    pub role: StatementRole,
    /// Intended: recorded before the write. Applied: seen in the policy. Removing: recorded before it is taken out.
    /// Missing: taken out by somebody else and not put back for now.
    pub state: EntryState,
    /// true when the statement was there before this grant; such a statement is left in place on deletion.
    #[serde(default)]
    pub pre_existing: bool,
    /// The exact text of the statement, at most 4,095 bytes of JSON.
    #[schemars(length(max = 4095))]
    pub statement: String,
    /// How many equal statements the policy held when removal began, when more than one, for example 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<i32>,
    /// Until when a write sent under this entry could still take effect (RFC 3339, UTC); absent once its outcome is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled_until: Option<Time>,
}

/// Why the policy was last written for this grant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteReason {
    /// A statement was not in the policy.
    StatementMissing,
    /// A statement was no longer wanted.
    StatementUnwanted,
}

/// The bucket's policy as last read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedPolicy {
    /// SHA-256 of the policy document as last read (64 hexadecimal digits); absent when the bucket has no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// Size of the policy document in bytes, for example 2411; 0 without a policy.
    pub bytes: i64,
    /// Most bytes that OSS accepts for a policy document: 16384.
    pub limit_bytes: i64,
    /// Number of statements in the policy document, for example 5.
    pub statements: i32,
    /// How many of them no grant of this cluster's identity owns, for example 3.
    pub foreign_statements: i32,
    /// Whether OSS called the policy public after the operator's last write; absent when that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// The copy of the policy from before the operator's last write, in the operator's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<BackupRef>,
    /// When the operator last wrote the policy for this grant (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_write_time: Option<Time>,
    /// StatementMissing: a statement was added. StatementUnwanted: one was taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_write_reason: Option<WriteReason>,
}

/// A ConfigMap with copies of a bucket's policy from before our writes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupRef {
    /// Name of the ConfigMap in the operator's own namespace, for example policy-backup-7f31c2aa.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Name of the newest copy in it, for example 2026-10-01t09-58-11z.
    #[schemars(length(max = 64))]
    pub entry: String,
}

/// What the operator would do if it were allowed to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// Statements that would be added, as their exact text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12), inner(length(max = 4095)), extend("x-kubernetes-list-type" = "atomic"))]
    pub add: Vec<String>,
    /// Statements that would be taken out, as their exact text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12), inner(length(max = 4095)), extend("x-kubernetes-list-type" = "atomic"))]
    pub remove: Vec<String>,
    /// Size of the policy that would result, in bytes, for example 2411; 0 when it would be deleted.
    pub resulting_bytes: i64,
    /// SHA-256 of the policy that would result (64 hexadecimal digits); absent when it would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resulting_sha256: Option<String>,
}

/// A quarrel with somebody who keeps removing our statements.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RepeatedDrift {
    /// When our statements were last found gone: the last three times (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    pub removals: Vec<Time>,
    /// How often the wait was doubled, 0 while there is no quarrel.
    #[serde(default)]
    pub level: i32,
    /// Until when the statements are not put back (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Time>,
}

/// What the cloud says about the bucket itself.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedBucket {
    /// UID of the bucket's real owner, for example "6543210987654321"; absent when it may not be read.
    #[serde(rename = "ownerUID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub owner_uid: Option<String>,
    /// The bucket's real region, for example cn-hangzhou; absent when it may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub region: Option<String>,
}

/// What somebody else did to our statements.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftKind {
    /// A statement of ours was gone.
    StatementRemoved,
}

/// The last time that the live policy was found changed under us.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// When the difference was found (RFC 3339, UTC).
    pub time: Time,
    /// StatementRemoved: a statement of ours was no longer in the policy.
    pub kind: DriftKind,
    /// How often this has happened to this grant, for example 2.
    pub count: i32,
}

/// The observed state of an `ImmBucketGrant`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct GrantStatus {
    /// The metadata.generation that this status was computed from; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Observed facts: Ready, Granted, CredentialsValid and others; docs/reasons.md explains every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The bucket's policy as last read with this grant's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObservedPolicy>,
    /// The ledger: every statement that this grant owns, recorded before the policy is written. At most 12 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["fingerprint"]))]
    pub owned: Vec<LedgerEntry>,
    /// The uid of the object that the ledger belongs to; a ledger restored into another object claims nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ledger_of: Option<String>,
    /// Foreign statements that name the same service role, for example 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlaps: Option<i32>,
    /// What was decided about the ram:PassRole statement and why, for example "omitted: Block Public Access is on for the bucket".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub pass_role: Option<String>,
    /// The last time that the live policy was found changed under us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_drift: Option<Drift>,
    /// A quarrel with somebody who keeps removing our statements; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "contest")]
    pub repeated_drift: Option<RepeatedDrift>,
    /// What the cloud says about the bucket itself, read once a generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<ObservedBucket>,
    /// What the operator would do; only with mode Preview, or when driftPolicy Report has something to report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlannedChange>,
    /// The value of annotation immops.dev/reconcile-at that the last pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_reconcile_at: Option<String>,
}
