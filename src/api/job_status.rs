//! Status of an `ImageScoreJob`: progress, scores, and what was sent. Written by the operator alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;

/// How many items are where.
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
    /// Items that vanished or were replaced before their turn, for example 0.
    pub skipped: i32,
    /// Items with a score below the threshold, for example 17.
    pub below_threshold: i32,
    /// Items whose call is in flight, for example 4; 0 once the job has ended.
    pub active: i32,
    /// Items still to be scored, for example 80.
    pub pending: i32,
}

/// The durable place: every item before it is stored or deferred.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Cursor {
    /// Index of the first item that is neither stored nor deferred, from 0, for example 416.
    pub index: i32,
    /// Where the source goes on: the last key before it (prefix), or the byte where the next line begins (manifest).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1023))]
    pub key: Option<String>,
}

/// An item that waits for a retry.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Deferred {
    /// Index of the item in the source, from 0, for example 391.
    pub index: i32,
    /// The image, where the source would have to be read again to know it, for example oss://test-bucket-2024/a.jpg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1100))]
    pub uri: Option<String>,
    /// Attempts made so far, for example 1.
    pub attempts: i32,
}

/// What the source held when the job started.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ObservedSource {
    /// The time by OSS's clock that the source is looked at (RFC 3339): objects modified later are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// Items in the source, for example 5000; absent until they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<i32>,
    /// Bytes of the images' URIs in all, for example 240000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri_bytes: Option<i64>,
    /// ETag of the manifest, which must stay the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub etag: Option<String>,
}

/// Where the results of a large job are: ImageScoreReports of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportsSummary {
    /// Number of reports, for example 4; kubectl get isr -l immops.dev/job=NAME lists them.
    pub count: i32,
    /// Results in them, for example 1912.
    pub items: i32,
    /// Name of the first one, for example nightly-2024-10-7f31c2aa-00000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub first: Option<String>,
}

/// The scores in figures: decimal strings with at most six places.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Lowest score, for example "0.112".
    #[schemars(length(max = 16))]
    pub min: String,
    /// Highest score, for example "0.941".
    #[schemars(length(max = 16))]
    pub max: String,
    /// Mean of all scores, for example "0.663"; of one image, its score.
    #[schemars(length(max = 16))]
    pub mean: String,
    /// Median of all scores (of an even number the lower of the two), for example "0.684".
    #[schemars(length(max = 16))]
    pub p50: String,
    /// Number of scores in ten bins, lowest first: 0 to below 0.1, 0.1 to below 0.2 and so on, 0.9 to 1; for example [0,3,10,20,40,90,120,80,40,9].
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub histogram: Vec<i32>,
}

/// Requests to IMM: what the bill follows from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Requests {
    /// Requests that were allowed to leave, recorded before they did, for example 500; counts as spent after a crash.
    pub reserved: i64,
    /// Requests that left, for example 432.
    pub sent: i64,
    /// Requests that repeated an earlier one for the same item, for example 12.
    pub retried: i64,
    /// Requests answered 4xx without throttling; IMM bills these, for example 4.
    pub client_errors: i64,
    /// Requests answered 5xx, or that never reached IMM; IMM does not bill 5xx, for example 8.
    pub server_errors: i64,
    /// Requests without an answer that may have been carried out all the same, for example 1.
    pub unanswered: i64,
    /// Requests refused because of a rate limit, for example 4; those answered 5xx are in serverErrors as well.
    pub throttled: i64,
    /// Requests that IMM probably bills: sent without serverErrors, for example 424. An estimate: prices and rules change.
    pub estimated_billable: i64,
}

/// Items without a score by error code.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailureCount {
    /// Error code of the cloud, or of the operator (docs/jobs.md lists them), for example InvalidArgument.
    #[schemars(length(max = 64))]
    pub code: String,
    /// Items that ended with this code, for example 3.
    pub count: i32,
    /// Index of one such item, for example 17.
    pub sample_index: i32,
}

/// One item's result: a score, or the code of the error that ended it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ItemResult {
    /// Index of the item in the source, from 0, for example 0.
    pub index: i32,
    /// The image as it stands in the source, for example oss://test-bucket-2024/test-object.jpg.
    #[schemars(length(max = 1100))]
    pub uri: String,
    /// Quality score from 0 to 1 as IMM gave it, for example "0.727"; absent when the item failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub score: Option<String>,
    /// Error code that ended the item, for example InvalidArgument; absent when it was scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub code: Option<String>,
}

/// The observed state of an `ImageScoreJob`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The metadata.generation that this status was computed from; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Observed facts: Ready, Complete, Failed, GrantReady and others; docs/reasons.md explains every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When the job was first worked on (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the clock of activeDeadlineSeconds started (RFC 3339, UTC): with the job, and anew after a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<Time>,
    /// When the job ended (RFC 3339, UTC); absent while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How many items are scored, failed, in flight and still to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Items>,
    /// Items done of all items, for example 412/500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub progress: Option<String>,
    /// What the source held when the job started; absent for uris.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ObservedSource>,
    /// The durable place: every item before it is stored or deferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// Items before the cursor that wait for a retry; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index"]))]
    pub deferred: Vec<Deferred>,
    /// The scores in figures; absent before the first score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Requests to IMM: what the bill follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Items without a score by error code, ignored and skipped ones included; at most 20 codes, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["code"]))]
    pub failures: Vec<FailureCount>,
    /// Results of all items done so far, in order of index; at most 100, and none of a job whose results are in reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index"]))]
    pub results: Vec<ItemResult>,
    /// Where the results of a large job are; absent when they are in status.results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports: Option<ReportsSummary>,
    /// Whether results that nobody wants to keep are gone: those that results.select leaves out, or all after their time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub results_pruned: bool,
    /// The value of annotation immops.dev/reconcile-at that the last pass has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_reconcile_at: Option<String>,
}
