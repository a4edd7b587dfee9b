//! `ImageScoreReport`: a part of the results of a large job. Only the operator writes it; its job owns it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ItemResult;

/// Label of a report: the name of its job, truncated to 63 characters.
pub const REPORT_JOB: &str = "immops.dev/job";
/// Label of a report: the uid of its job.
pub const REPORT_JOB_UID: &str = "immops.dev/job-uid";
/// Maximum number of results in a report.
pub const REPORT_ITEMS: usize = 500;
/// Maximum size of the results of a report in bytes.
pub const REPORT_BYTES: usize = 256 * 1024;

/// A part of the results of a job.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[kube(
    group = "immops.dev",
    version = "v1alpha1",
    kind = "ImageScoreReport",
    plural = "imagescorereports",
    shortname = "isr",
    namespaced,
    doc = "A part of the results of a large ImageScoreJob. Only the operator writes it, and it is deleted with its job.",
    printcolumn = r#"{"name": "Job", "type": "string", "jsonPath": ".report.job", "description": "Job that owns the report"}"#,
    printcolumn = r#"{"name": "First", "type": "integer", "jsonPath": ".report.firstIndex", "description": "Lowest index of an item"}"#,
    printcolumn = r#"{"name": "Last", "type": "integer", "jsonPath": ".report.lastIndex", "description": "Highest index of an item"}"#,
    printcolumn = r#"{"name": "Items", "type": "integer", "jsonPath": ".report.items", "description": "Items in the report"}"#,
    printcolumn = r#"{"name": "Failed", "type": "integer", "jsonPath": ".report.failed", "description": "Items without a score"}"#,
    printcolumn = r#"{"name": "Min", "type": "string", "jsonPath": ".report.min", "description": "Lowest score"}"#,
    printcolumn = r#"{"name": "Mean", "type": "string", "jsonPath": ".report.mean", "description": "Mean score"}"#,
    printcolumn = r#"{"name": "Max", "type": "string", "jsonPath": ".report.max", "description": "Highest score"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since creation"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the job in the same namespace, for example nightly-2024-10.
    #[schemars(length(max = 253))]
    pub job: String,
    /// Number of the report within its job, from 0, for example 3.
    pub number: i32,
    /// Lowest index of an item, for example 0. Items are stored in the order of their responses, so the ranges of reports may overlap.
    pub first_index: i32,
    /// Highest index of an item, for example 411.
    pub last_index: i32,
    /// Number of items, for example 412.
    pub items: i32,
    /// Number of items with a score, for example 409.
    pub succeeded: i32,
    /// Number of items without a score (failed, ignored or skipped), for example 3.
    pub failed: i32,
    /// Lowest score, for example "0.112".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub min: Option<String>,
    /// Mean score, for example "0.663".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub mean: Option<String>,
    /// Highest score, for example "0.941".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub max: Option<String>,
    /// Requests that the job had reserved when the report was written, for example 500. They count as sent after a crash.
    pub reserved: i64,
    /// Results by index. At most 500, and 256 KiB in total.
    #[schemars(length(max = 500), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index"]))]
    pub results: Vec<ItemResult>,
}
