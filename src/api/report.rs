//! `ImageScoreReport`: a part of a large job's results. Written by the operator alone, and owned by its job.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ItemResult;

/// Label of a report: the name of its job, cut to 63 characters.
pub const REPORT_JOB: &str = "immops.dev/job";
/// Label of a report: the uid of its job.
pub const REPORT_JOB_UID: &str = "immops.dev/job-uid";
/// Most results of a report.
pub const REPORT_ITEMS: usize = 500;
/// Most bytes of a report's results.
pub const REPORT_BYTES: usize = 256 * 1024;

/// A part of a job's results.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[kube(
    group = "immops.dev",
    version = "v1alpha1",
    kind = "ImageScoreReport",
    plural = "imagescorereports",
    shortname = "isr",
    namespaced,
    doc = "A part of the results of an ImageScoreJob with many items. Written by the operator alone; it goes with its job.",
    printcolumn(
        name = "Job",
        type_ = "string",
        json_path = ".report.job",
        description = "The job that it belongs to"
    ),
    printcolumn(
        name = "From",
        type_ = "integer",
        json_path = ".report.firstIndex",
        description = "Lowest index in it"
    ),
    printcolumn(
        name = "To",
        type_ = "integer",
        json_path = ".report.lastIndex",
        description = "Highest index in it"
    ),
    printcolumn(
        name = "Failed",
        type_ = "integer",
        json_path = ".report.failed",
        description = "Items without a score"
    ),
    printcolumn(
        name = "Min",
        type_ = "string",
        json_path = ".report.min",
        description = "Lowest score"
    ),
    printcolumn(
        name = "Mean",
        type_ = "string",
        json_path = ".report.mean",
        description = "Mean score"
    ),
    printcolumn(
        name = "Max",
        type_ = "string",
        json_path = ".report.max",
        description = "Highest score"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the job in the same namespace, for example nightly-2024-10.
    #[schemars(length(max = 253))]
    pub job: String,
    /// Place of the report among its job's reports, from 0, for example 3.
    pub number: i32,
    /// Lowest index of an item in it, for example 0. Items are stored as they are answered, so reports may overlap.
    pub first_index: i32,
    /// Highest index of an item in it, for example 411.
    pub last_index: i32,
    /// Items in it, for example 412.
    pub items: i32,
    /// Items in it with a score, for example 409.
    pub succeeded: i32,
    /// Items in it without a score (failed, ignored or skipped), for example 3.
    pub failed: i32,
    /// Lowest score in it, for example "0.112".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub min: Option<String>,
    /// Mean of the scores in it, for example "0.663".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub mean: Option<String>,
    /// Highest score in it, for example "0.941".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub max: Option<String>,
    /// Requests that the job had reserved when this was written, for example 500: what counts as spent after a crash.
    pub reserved: i64,
    /// Results in order of index; at most 500, and 256 KiB in all.
    #[schemars(length(max = 500), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index"]))]
    pub results: Vec<ItemResult>,
}
