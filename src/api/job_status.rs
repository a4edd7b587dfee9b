//! Status of an `ImageScoreJob`: progress, scores and requests. Only the operator writes it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;

/// Number of items by state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Items {
    /// All items of the job, for example 500.
    pub total: i32,
    /// Items with a score, for example 412.
    pub succeeded: i32,
    /// Items that could not be scored, for example 3.
    pub failed: i32,
    /// Items whose failure a rule ignores, for example 1.
    pub ignored: i32,
    /// Items whose object was deleted or replaced before it was scored, or cannot be scored (Empty, TooLarge, Archived), for example 0.
    pub skipped: i32,
    /// Items with a score below the threshold, for example 17.
    pub below_threshold: i32,
    /// Items with a call in flight, for example 4; 0 in a finished job.
    pub active: i32,
    /// Items still to be scored, for example 80.
    pub pending: i32,
}

/// Durable position in the source: every item before it is stored or deferred.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Cursor {
    /// Index of the first item that is neither stored nor deferred, from 0, for example 416.
    pub index: i32,
    /// Where reading resumes: the last key before the cursor (prefix), or the byte offset of the next line (manifest).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1023))]
    pub key: Option<String>,
}

/// A denied first call that is repeated, because OSS may not enforce the grant yet.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnforcementWait {
    /// Number of repeats so far, the next one included, for example 1; at most 3.
    pub repeats: i32,
    /// Time of the last or next repeat (RFC 3339, UTC).
    pub until: Time,
}

/// An item that waits for a retry.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Deferred {
    /// Index of the item in the source, from 0, for example 391.
    pub index: i32,
    /// URI of the image, for example oss://test-bucket-2024/a.jpg; absent when the source is a list of uris.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1100))]
    pub uri: Option<String>,
    /// Number of attempts so far, for example 1.
    pub attempts: i32,
}

/// The source when the job started.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ObservedSource {
    /// Time of the first read by the clock of OSS (RFC 3339). Objects modified later are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// Number of items, for example 5000; absent until they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<i32>,
    /// Total size of the URIs in bytes, for example 240000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri_bytes: Option<i64>,
    /// ETag of the manifest. The job fails with SourceChanged when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub etag: Option<String>,
}

/// The ImageScoreReports, in the same namespace, that hold the results of a large job.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportsSummary {
    /// Number of reports, for example 4. List them with kubectl get isr -l immops.dev/job=NAME.
    pub count: i32,
    /// Number of results in the reports, for example 1912.
    pub items: i32,
    /// Name of the first report, for example nightly-2024-10-7f31c2aa-00000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub first: Option<String>,
}

/// Statistics of the scores, as decimal strings with at most six places.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Lowest score, for example "0.112".
    #[schemars(length(max = 16))]
    pub min: String,
    /// Highest score, for example "0.941".
    #[schemars(length(max = 16))]
    pub max: String,
    /// Mean score, for example "0.663"; the score itself for a single image.
    #[schemars(length(max = 16))]
    pub mean: String,
    /// Median score (the lower of the two middle scores for an even number), for example "0.684".
    #[schemars(length(max = 16))]
    pub p50: String,
    /// Number of scores in ten bins, lowest first: 0 to below 0.1, 0.1 to below 0.2 and so on, 0.9 to 1; for example [0,3,10,20,40,90,120,80,40,9].
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub histogram: Vec<i32>,
}

/// Requests to IMM, from which the cost follows.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Requests {
    /// Requests reserved, recorded before they are sent, for example 500. After a crash, reserved requests count as sent.
    pub reserved: i64,
    /// Requests sent, for example 432.
    pub sent: i64,
    /// Requests that retried an item, for example 12.
    pub retried: i64,
    /// Requests answered with 4xx other than throttling, for example 4. IMM bills them.
    pub client_errors: i64,
    /// Requests answered with 5xx, or that never reached IMM, for example 8. IMM does not bill them.
    pub server_errors: i64,
    /// Requests without a response that IMM may have executed, for example 1.
    pub unanswered: i64,
    /// Requests rejected by throttling, for example 4. Those answered with 5xx are part of serverErrors as well.
    pub throttled: i64,
    /// Requests that IMM probably bills: sent minus serverErrors, for example 424. An estimate.
    pub estimated_billable: i64,
}

/// Number of items without a score for one error code.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailureCount {
    /// Error code of the cloud or of the operator, for example InvalidArgument. docs/src/concepts/jobs.md lists the codes of the operator.
    #[schemars(length(max = 64))]
    pub code: String,
    /// Number of items with this code, for example 3.
    pub count: i32,
    /// Index of one such item, for example 17.
    pub sample_index: i32,
}

/// Result of an item: a score or an error code.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ItemResult {
    /// Index of the item in the source, from 0, for example 0.
    pub index: i32,
    /// URI of the image, for example oss://test-bucket-2024/test-object.jpg.
    #[schemars(length(max = 1100))]
    pub uri: String,
    /// Quality score from 0 to 1 as IMM returned it, for example "0.727"; absent for an item without a score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub score: Option<String>,
    /// Error code of an item without a score, for example InvalidArgument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub code: Option<String>,
}

/// Why the job is suspended; absent while it is not.
/// - Requested: spec.suspend is true.
/// - BudgetUsed: budget.maxRequests is used and onExceeded is Suspend.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspendCause {
    /// spec.suspend is true.
    Requested,
    /// budget.maxRequests is used and onExceeded is Suspend.
    BudgetUsed,
}

/// Observed state of an ImageScoreJob. Do not edit: it records which items were billed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The metadata.generation for which this status was computed; -1 until the operator has reconciled the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions: Ready, Complete, Failed, GrantReady and others. docs/src/reference/reasons.md explains every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Time of the first reconcile (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// Start of the period that activeDeadlineSeconds limits (RFC 3339, UTC): the start of the job, or the end of its last suspension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<Time>,
    /// Time when the job finished (RFC 3339, UTC); absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Number of items by state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Items>,
    /// Items done and items in total, for example 412/500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub progress: Option<String>,
    /// The source when the job started; absent for uris.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ObservedSource>,
    /// Durable position in the source: every item before it is stored or deferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// Items before the cursor that wait for a retry; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index"]))]
    pub deferred: Vec<Deferred>,
    /// Statistics of the scores; absent before the first score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Requests to IMM, from which the cost follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Number of items without a score by error code, ignored and skipped items included. At most 20 codes, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["code"]))]
    pub failures: Vec<FailureCount>,
    /// Results of all items done so far, by index. At most 100; empty when the results are in reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index"]))]
    pub results: Vec<ItemResult>,
    /// The reports that hold the results of a large job; absent when the results are in status.results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<ReportsSummary>,
    /// Whether results were removed: those that results.select leaves out, or all of them after results.ttlSecondsAfterFinished.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub results_pruned: bool,
    /// Value of annotation immops.dev/reconcile-at that the last reconcile handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_reconcile_at: Option<String>,
    // The schema of an optional enum has the description of its type.
    /// Why the job is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_by: Option<SuspendCause>,
    /// Repeats of the first call while OSS may not enforce the grant yet; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement_wait: Option<EnforcementWait>,
    /// Error with which the API server rejects annotation immops.dev/started, for example forbidden; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub start_error: Option<String>,
    /// Members that could not be decoded, written back as they were read. Not part of the schema.
    #[serde(flatten, skip_deserializing)]
    #[schemars(skip)]
    pub unreadable: BTreeMap<String, serde_json::Value>,
}
