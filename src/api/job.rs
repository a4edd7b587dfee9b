//! `ImageScoreJob`: images to score with IMM, and the limits of doing so.
//! Data and apply-time rules only; the behaviour is in `core::job` and `controller::job`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credentials, JobAccess, JobStatus, Source};

/// An IMM project and its account.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProjectRef {
    /// Name of the IMM project (API version 2020-09-30), for example immtest.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_-]{0,127}$")
    )]
    pub name: String,
    /// Region of the project, for example cn-hangzhou. The buckets of the images must be in the same region.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2}(-[a-z0-9]+){1,4}$"))]
    pub region: String,
    /// UID of the account that owns the project: 5 to 20 digits, quoted, for example "1234567890123456".
    #[serde(rename = "accountUID")]
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub account_uid: String,
}

/// Reference to the grant that must be live before the first billed call.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GrantRef {
    /// Name of the ImmBucketGrant, for example photos-to-analytics.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Namespace of the ImmBucketGrant, which must list the namespace of this job in allowedConsumers. Default: the namespace of this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: Option<String>,
}

fn default_settle() -> i32 {
    30
}

fn default_grant_timeout() -> i32 {
    3600
}

/// Time limits for the grant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GrantWait {
    /// Seconds to wait after the last policy write of the grant before the first call, 0 to 3600, because OSS does not document how soon a policy takes effect. Default: 30.
    #[serde(default = "default_settle")]
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: i32,
    /// Seconds to wait for the grant without interruption, 1 to 604800. The job then fails with GrantTimeout. Default: 3600.
    #[serde(default = "default_grant_timeout")]
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout_seconds: i32,
}

impl Default for GrantWait {
    fn default() -> Self {
        Self {
            settle_seconds: default_settle(),
            timeout_seconds: default_grant_timeout(),
        }
    }
}

/// What to do when the budget is used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnExceeded {
    /// The job is suspended until `maxRequests` is raised.
    #[default]
    Suspend,
    /// The job fails.
    Fail,
}

/// Maximum number of requests.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Maximum number of requests, retries and rejected requests included, 1 to 10000000, for example 6000. Can be raised later.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_requests: i64,
    /// What to do when the budget is used. Default: Suspend.
    /// - Suspend: suspends the job with BudgetExceeded until maxRequests is raised.
    /// - Fail: fails the job with BudgetExceeded.
    #[serde(default)]
    pub on_exceeded: OnExceeded,
}

fn default_backoff_limit() -> i32 {
    2
}

/// What to do with an item that failed with a code of the rule.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAction {
    /// The job fails.
    FailJob,
    /// The item fails without a retry.
    FailItem,
    /// The item counts as ignored.
    IgnoreItem,
    /// The item is retried, up to backoffLimitPerItem times.
    Retry,
}

/// Error codes, and what to do with an item that failed with one of them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailureRule {
    /// Error codes of IMM, for example ["ResourceNotFound"]. A code also matches longer codes that continue after a dot.
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub codes: Vec<String>,
    /// What to do with an item that failed with one of the codes.
    /// - FailJob: fails the job with FailureRule.
    /// - FailItem: fails the item without a retry.
    /// - IgnoreItem: counts the item as ignored.
    /// - Retry: retries the item up to backoffLimitPerItem times. Each attempt may be billed.
    pub action: FailureAction,
}

/// What to do with scores below the threshold.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnBelow {
    /// The scores are counted.
    #[default]
    Report,
    /// The job fails when more than maxBelow scores are below the threshold.
    FailJob,
}

fn default_max_below() -> IntOrString {
    IntOrString::Int(0)
}

/// Thresholds for scores.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Thresholds {
    /// Minimum score, as a quoted decimal from 0 to 1 with at most six places, for example "0.60". An equal score passes.
    #[schemars(
        length(min = 1, max = 8),
        regex(pattern = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$")
    )]
    pub min_score: String,
    /// What to do with scores below minScore. Default: Report.
    /// - Report: counts them.
    /// - FailJob: fails the job with BelowThreshold when there are more than maxBelow.
    #[serde(default)]
    pub on_below: OnBelow,
    /// Maximum number of scores below minScore: a count such as 3, or a percentage of all items such as "5%", which is rounded down: "5%" allows none of fewer than 20. Default: 0.
    #[serde(default = "default_max_below")]
    #[schemars(extend("maxLength" = 4))]
    pub max_below: IntOrString,
}

/// Results that are kept after the job has finished.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Select {
    /// All results.
    #[default]
    All,
    /// Results of scores below the threshold and of failed items.
    BelowThreshold,
    /// Results of failed items.
    Failed,
}

/// Retention of the results.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ResultRules {
    /// Results that are kept after the job has finished. Counts and summary always cover all items. Immutable. Default: All.
    /// - All: all results.
    /// - BelowThreshold: results of scores below the threshold and of failed items.
    /// - Failed: results of failed items.
    #[serde(default)]
    pub select: Select,
    /// Seconds after which the results of the finished job are removed, 0 to 31536000. The job and its summary remain. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
}

fn default_max_failed() -> IntOrString {
    IntOrString::String("10%".to_owned())
}

/// Desired state of an ImageScoreJob.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "immops.dev",
    version = "v1alpha1",
    kind = "ImageScoreJob",
    plural = "imagescorejobs",
    shortname = "isj",
    category = "imm",
    namespaced,
    status = "JobStatus",
    derive = "PartialEq",
    doc = "Scores images with IMM DetectImageScore, and reports scores, progress and the number of requests.",
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "description": "True if the job is complete, suspended, or out of budget"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason", "description": "Reason of the Ready condition"}"#,
    printcolumn = r#"{"name": "Progress", "type": "string", "jsonPath": ".status.progress", "description": "Items done and items in total"}"#,
    printcolumn = r#"{"name": "Failed", "type": "integer", "jsonPath": ".status.items.failed", "description": "Items that could not be scored"}"#,
    printcolumn = r#"{"name": "Mean", "type": "string", "jsonPath": ".status.summary.mean", "description": "Mean score from 0 to 1; the score itself for a single image"}"#,
    printcolumn = r#"{"name": "Requests", "type": "integer", "jsonPath": ".status.requests.sent", "description": "Requests sent to IMM, retries included"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since creation"}"#,
    printcolumn = r#"{"name": "Below", "type": "integer", "jsonPath": ".status.items.belowThreshold", "priority": 1, "description": "Items with a score below the threshold; 0 without thresholds"}"#,
    printcolumn = r#"{"name": "Project", "type": "string", "jsonPath": ".spec.project.name", "priority": 1, "description": "IMM project"}"#,
    printcolumn = r#"{"name": "Budget", "type": "integer", "jsonPath": ".spec.budget.maxRequests", "priority": 1, "description": "Maximum number of requests"}"#,
    printcolumn = r#"{"name": "Grant", "type": "string", "jsonPath": ".spec.grantRef.name", "priority": 1, "description": "Grant that the job depends on"}"#,
    printcolumn = r#"{"name": "Finished", "type": "date", "jsonPath": ".status.completionTime", "priority": 1, "description": "Time since the job finished"}"#,
    printcolumn = r#"{"name": "Since", "type": "date", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime", "priority": 1, "description": "Time since the status of the Ready condition last changed"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message", "priority": 1, "description": "What happened and what to do"}"#
)]
#[x_kube(
    validation = Rule::new("self.project == oldSelf.project").message("project is immutable: create another ImageScoreJob").field_path(".project"),
    validation = Rule::new("self.source == oldSelf.source").message("source is immutable: create another ImageScoreJob").field_path(".source"),
    validation = Rule::new("self.credentials == oldSelf.credentials").message("credentials is immutable: create another ImageScoreJob").field_path(".credentials"),
    validation = Rule::new("has(self.grantRef) == has(oldSelf.grantRef) && (!has(self.grantRef) || self.grantRef == oldSelf.grantRef)")
        .message("grantRef is immutable and can be neither added nor removed: create another ImageScoreJob").field_path(".grantRef"),
    validation = Rule::new("has(self.access) == has(oldSelf.access) && (!has(self.access) || self.access == oldSelf.access)")
        .message("access is immutable: create another ImageScoreJob").field_path(".access"),
    validation = Rule::new("!has(self.grantRef) || !has(self.access) || !has(self.access.roleChain)")
        .message("grantRef requires access.mode: BucketPolicy: a role chain needs no grant").field_path(".grantRef"),
    validation = Rule::new("has(self.budget) || !(has(self.source.prefix) || has(self.source.manifest))")
        .message("budget.maxRequests is required with a prefix or a manifest: set it to limit the cost").field_path(".budget"),
    validation = Rule::new("has(self.failureRules) == has(oldSelf.failureRules) && (!has(self.failureRules) || self.failureRules == oldSelf.failureRules)")
        .message("failureRules is immutable: create another ImageScoreJob").field_path(".failureRules"),
    validation = Rule::new("has(self.thresholds) == has(oldSelf.thresholds) && (!has(self.thresholds) || self.thresholds == oldSelf.thresholds)")
        .message("thresholds is immutable: create another ImageScoreJob").field_path(".thresholds"),
    validation = Rule::new("self.results.select == oldSelf.results.select").message("results.select is immutable: create another ImageScoreJob").field_path(".results.select"),
    validation = Rule::new("self.results.select != 'BelowThreshold' || has(self.thresholds)").message("results.select: BelowThreshold requires thresholds.minScore: set minScore, or select All or Failed").field_path(".results.select"),
    validation = Rule::new("self.backoffLimitPerItem == oldSelf.backoffLimitPerItem").message("backoffLimitPerItem is immutable: create another ImageScoreJob").field_path(".backoffLimitPerItem"),
    validation = Rule::new("type(self.maxFailedItems) == int ? self.maxFailedItems >= 0 && self.maxFailedItems <= 2147483647 : self.maxFailedItems.matches('^(100|[0-9]{1,2})%$')")
        .message("maxFailedItems must be a count such as 3 (0 or more, without quotes), or a percentage such as \"10%\" (0% to 100%)").field_path(".maxFailedItems"),
    validation = Rule::new("!has(self.thresholds) || (type(self.thresholds.maxBelow) == int ? self.thresholds.maxBelow >= 0 && self.thresholds.maxBelow <= 2147483647 : self.thresholds.maxBelow.matches('^(100|[0-9]{1,2})%$'))")
        .message("thresholds.maxBelow must be a count such as 3 (0 or more, without quotes), or a percentage such as \"5%\" (0% to 100%)").field_path(".thresholds.maxBelow")
)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    /// The IMM project. Immutable.
    pub project: ProjectRef,
    /// Credentials of the project account, with permission to call IMM. Immutable.
    pub credentials: Credentials,
    /// Images to score. Immutable.
    pub source: Source,
    /// How IMM accesses the images. Immutable. Default: through the bucket policy.
    #[serde(default)]
    pub access: JobAccess,
    /// The ImmBucketGrant that must be live, and cover every item, before the first billed call. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_ref: Option<GrantRef>,
    /// Time limits for the grant named in grantRef.
    #[serde(default)]
    pub grant_wait: GrantWait,
    /// Maximum number of calls of this job in flight, 1 to 200. Can be changed at any time. Default: the limits of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub parallelism: Option<i32>,
    /// Whether the job is suspended. Calls in flight finish, results are kept, and the job resumes when the value is false. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// Whether the job is cancelled. The job then fails with Cancelled, and its results are kept; a later false has no effect. Default: false.
    #[serde(default)]
    pub cancel: bool,
    /// Maximum duration of the job in seconds, the wait for its grant included, 1 to 31536000. The period restarts when a suspended job resumes. Can be changed at any time. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,
    /// Maximum number of retries of an item after a transient failure (5xx, no response) or one that failureRules retries, 0 to 10. Throttling does not count. Immutable. Default: 2.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 10))]
    pub backoff_limit_per_item: i32,
    /// Maximum number of failed items before the job fails: a count such as 3, or a percentage of all items such as "10%". A percentage is rounded down, so the default allows no failed item of fewer than ten. Default: "10%".
    #[serde(default = "default_max_failed")]
    #[schemars(extend("maxLength" = 4))]
    pub max_failed_items: IntOrString,
    /// Maximum number of requests. IMM bills rejected requests as well. Required with prefix and manifest. Default for uris: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// How to treat error codes; the first rule that matches a code applies. Without a rule, transient failures are retried, missing permissions fail the job, and other codes fail the item. Immutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub failure_rules: Vec<FailureRule>,
    /// Thresholds for scores. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// Retention of the results.
    #[serde(default)]
    pub results: ResultRules,
}
