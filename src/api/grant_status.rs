//! Status of an `ImmBucketGrant`: what the operator observed and wrote, and the ledger of the statements that the grant owns.
//! Only the operator writes it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;

/// Purpose of a statement.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementRole {
    /// Allows the service role to read the bucket.
    Access,
    /// The ram:PassRole statement of Alibaba Cloud's cross-account procedure.
    PassRole,
}

/// State of a ledger entry.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Recorded before the write that adds the statement.
    Intended,
    /// Present in the policy at the last read.
    Applied,
    /// Recorded before the write that removes the statement.
    Removing,
    /// Removed by another writer and not restored for now.
    Missing,
}

/// A statement that the grant owns, or is about to own. Entries are recorded before the policy is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct LedgerEntry {
    /// SHA-256 of the canonical form of the statement, for example sha256:41ab... (64 hexadecimal digits).
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub fingerprint: String,
    /// Purpose of the statement.
    /// - Access: allows the service role to read the bucket.
    /// - PassRole: the ram:PassRole statement of Alibaba Cloud's cross-account procedure.
    pub role: StatementRole,
    /// State of the entry.
    /// - Intended: recorded before the write that adds the statement.
    /// - Applied: present in the policy at the last read.
    /// - Removing: recorded before the write that removes the statement.
    /// - Missing: removed by another writer and not restored for now.
    pub state: EntryState,
    /// Whether the statement existed before this grant. Such a statement remains when the grant is deleted.
    #[serde(default)]
    pub pre_existing: bool,
    /// Exact text of the statement, at most 4,095 bytes of JSON.
    #[schemars(length(max = 4095))]
    pub statement: String,
    /// Number of equal statements in the policy when the removal began, for example 2; absent for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<i32>,
    /// Time until which an unanswered write of this entry can still take effect (RFC 3339, UTC); absent when the outcome is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled_until: Option<Time>,
    /// SHA-256 of the credential reference that has read the statement in the policy, for example sha256:9c2f...; absent before
    /// that. It is only compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub identity: Option<String>,
    /// Members that this version does not know, written back as they were read.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Cause of the last write.
/// - StatementMissing: a statement was added.
/// - StatementUnwanted: a statement was removed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteReason {
    /// A statement was missing.
    StatementMissing,
    /// A statement was no longer desired.
    StatementUnwanted,
}

/// The bucket policy at the last read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedPolicy {
    /// SHA-256 of the policy document (64 hexadecimal digits); absent when the bucket has no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// Size of the policy document in bytes, for example 2411; 0 without a policy.
    pub bytes: i64,
    /// Maximum size of a policy document in bytes: 16384.
    pub limit_bytes: i64,
    /// Number of statements in the policy document, for example 5.
    pub statements: i32,
    /// Number of statements that the grants of this identity do not own, for example 3.
    pub foreign_statements: i32,
    /// Whether OSS considered the policy public after the last write of the operator; absent when that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Copy of the policy from before the last write, in the namespace of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<BackupRef>,
    /// Time when the operator last wrote the policy for this grant (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_write_time: Option<Time>,
    // The schema of an optional enum has the description of its type.
    /// Cause of the last write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_write_reason: Option<WriteReason>,
}

/// A ConfigMap with copies of a bucket policy from before writes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupRef {
    /// Name of the ConfigMap in the namespace of the operator, for example policy-backup-7f31c2aa.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Key of the newest copy, for example 2026-10-01t09-58-11z.
    #[schemars(length(max = 64))]
    pub entry: String,
}

/// The change that mode Enforce, or driftPolicy Correct, would make.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// Exact texts of the statements that would be added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12), inner(length(max = 4095)), extend("x-kubernetes-list-type" = "atomic"))]
    pub add: Vec<String>,
    /// Exact texts of the statements that would be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12), inner(length(max = 4095)), extend("x-kubernetes-list-type" = "atomic"))]
    pub remove: Vec<String>,
    /// Size of the resulting policy in bytes, for example 2411; 0 when the policy would be deleted.
    pub resulting_bytes: i64,
    /// SHA-256 of the resulting policy (64 hexadecimal digits); absent when the policy would be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resulting_sha256: Option<String>,
}

/// Repeated removal of the statements by another writer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RepeatedDrift {
    /// Times when the statements were found missing, the last three (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    pub removals: Vec<Time>,
    /// Backoff level: 0 below three removals within an hour, then 1 or more.
    #[serde(default)]
    pub level: i32,
    /// Time of the next restore (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Time>,
}

/// Owner and region of the bucket as the cloud reports them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ObservedBucket {
    /// UID of the bucket owner account, for example "6543210987654321"; absent when it cannot be read.
    #[serde(rename = "ownerUID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub owner_uid: Option<String>,
    /// Region of the bucket, for example cn-hangzhou; absent when it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub region: Option<String>,
}

/// Cause of the decision about the `ram:PassRole` statement.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassRoleCause {
    /// The statement is requested with access.passRoleStatement: Include.
    Requested,
    /// Block Public Access is off.
    PublicAccessOff,
    /// access.passRoleStatement is Omit.
    OmitRequested,
    /// Block Public Access is on for the bucket.
    PublicAccessBlockOnBucket,
    /// Block Public Access is on for the account.
    PublicAccessBlockOnAccount,
    /// Block Public Access cannot be read.
    PublicAccessBlockUnreadable,
    /// OSS rejected a public policy.
    PublicPolicyRejected,
}

/// Whether the `ram:PassRole` statement is desired, and why.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PassRoleReport {
    /// Whether the statement is part of the desired policy. It can be true before the policy is written, and while nothing is written because of mode Preview or suspend.
    pub written: bool,
    /// Cause of the decision.
    /// - Requested: access.passRoleStatement is Include, and Block Public Access is off or cannot be read.
    /// - PublicAccessOff: Block Public Access is off for the bucket and the account.
    /// - OmitRequested: access.passRoleStatement is Omit.
    /// - PublicAccessBlockOnBucket: Block Public Access is on for the bucket.
    /// - PublicAccessBlockOnAccount: Block Public Access is on for the account.
    /// - PublicAccessBlockUnreadable: Block Public Access cannot be read.
    /// - PublicPolicyRejected: OSS rejected a public policy.
    pub cause: PassRoleCause,
}

/// Kind of drift.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftKind {
    /// A statement of the grant was missing.
    StatementRemoved,
}

/// The last drift of the live policy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Time when the drift was found (RFC 3339, UTC).
    pub time: Time,
    /// Kind of the drift.
    /// - StatementRemoved: a statement of the grant was missing.
    pub kind: DriftKind,
    /// Number of drifts of this grant so far, for example 2.
    pub count: i32,
}

/// Observed state of an ImmBucketGrant. Do not edit: status.owned is the ownership record.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct GrantStatus {
    /// The metadata.generation for which this status was computed; -1 until the operator has reconciled the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions: Ready, Granted, CredentialsValid, Effective and others. docs/src/reference/reasons.md explains every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The bucket policy at the last read with the credentials of this grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObservedPolicy>,
    /// Ownership record: every statement that this grant owns, recorded before the policy is written. At most 12 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 12), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["fingerprint"]))]
    pub owned: Vec<LedgerEntry>,
    /// UID of the object that the ownership record belongs to. A record that was restored into another object owns nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ledger_of: Option<String>,
    /// Number of unmanaged statements that name the same service role or its account, for example 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlaps: Option<i32>,
    /// Patterns BUCKET/KEY of the objects that a Deny in the policy certainly covers, for example my-photos/private/*; with reason
    /// PartialDeny of condition Effective. Jobs make no call for these objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)), extend("x-kubernetes-list-type" = "atomic"))]
    pub denied_objects: Vec<String>,
    /// Whether the ram:PassRole statement is desired in the policy, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_role_statement: Option<PassRoleReport>,
    /// Deprecated: read once from objects of earlier versions and then removed. See passRoleStatement.
    #[serde(default, skip_serializing)]
    #[schemars(length(max = 128))]
    pub pass_role: Option<String>,
    /// The last drift of the live policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_drift: Option<Drift>,
    /// Removals of the statements by another writer within the last hour, and the backoff that follows; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated_drift: Option<RepeatedDrift>,
    /// Deprecated: read once from objects of earlier versions and then removed. See repeatedDrift.
    #[serde(default, skip_serializing)]
    pub contest: Option<RepeatedDrift>,
    /// Owner and region of the bucket, read once for each generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<ObservedBucket>,
    /// The change that would be made; only with mode Preview, or when statements are missing and not restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlannedChange>,
    /// Value of annotation immops.dev/reconcile-at that the last reconcile handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_reconcile_at: Option<String>,
}
