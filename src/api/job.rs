//! `ImageScoreJob`: which images account A wants scored, and within which limits.
//! Data and apply-time rules only; how a job behaves is in `core::job` and `runtime::job`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credentials, JobAccess, JobStatus, Source};

/// The IMM project that scores, and its account.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProjectRef {
    /// Name of the IMM project (API version 2020-09-30), for example immtest.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_-]{0,127}$")
    )]
    pub name: String,
    /// Region of the project; the images' buckets must be in the same one, for example cn-hangzhou.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2}(-[a-z0-9]+){1,3}$"))]
    pub region: String,
    /// UID of account A, owner of the project: 5 to 20 digits, quoted, for example "1234567890123456".
    #[serde(rename = "accountUID")]
    #[schemars(length(min = 5, max = 20), regex(pattern = r"^[0-9]{5,20}$"))]
    pub account_uid: String,
}

/// The grant that must be live before the first paid call.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GrantRef {
    /// Name of the ImmBucketGrant, for example photos-to-analytics.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the ImmBucketGrant, which must list this job's namespace in allowedConsumers; default: the job's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// What happens when the grant does not come in time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// The job fails with `GrantTimeout`.
    #[default]
    Fail,
}

fn default_settle() -> i32 {
    30
}

fn default_grant_timeout() -> i32 {
    3600
}

/// How long to wait for the grant.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GrantWait {
    /// Seconds to wait after the grant's last policy write before the first call, 0 to 3600; OSS does not say how soon a policy takes effect. Default 30.
    #[serde(default = "default_settle")]
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: i32,
    /// Seconds to wait for the grant at a stretch, 1 to 604800; counted anew when a grant is lost. Default 3600.
    #[serde(default = "default_grant_timeout")]
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout_seconds: i32,
    /// Fail (default, the only choice): the job fails with GrantTimeout; no call is made while it waits.
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

impl Default for GrantWait {
    fn default() -> Self {
        Self {
            settle_seconds: default_settle(),
            timeout_seconds: default_grant_timeout(),
            on_timeout: OnTimeout::Fail,
        }
    }
}

/// What happens when the budget is used up.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnExceeded {
    /// The job pauses until `maxRequests` is raised.
    #[default]
    Suspend,
    /// The job fails.
    Fail,
}

/// How many requests the job may send.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Most requests that may leave, retries and refused ones included, for example 6000. May be raised later.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_requests: i64,
    /// Suspend (default): pause with BudgetExceeded until maxRequests is raised. Fail: end the job.
    #[serde(default)]
    pub on_exceeded: OnExceeded,
}

fn default_backoff_limit() -> i32 {
    2
}

/// What a rule does with an item that failed with one of its codes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAction {
    /// The whole job fails.
    FailJob,
    /// The item fails at once.
    FailItem,
    /// The item counts as ignored.
    IgnoreItem,
    /// The item is tried again, up to backoffLimitPerItem.
    Retry,
}

/// What to do about certain error codes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailureRule {
    /// Error codes of IMM, for example ["ResourceNotFound"]; a code also covers what follows it after a dot.
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]+$")), extend("x-kubernetes-list-type" = "set"))]
    pub codes: Vec<String>,
    /// FailJob: the job fails with FailureRule. FailItem: the item fails at once. IgnoreItem: the item counts as ignored. Retry: the item is tried again; each try may be billed.
    pub action: FailureAction,
}

/// What happens with scores below the threshold.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnBelow {
    /// They are counted and shown.
    #[default]
    Report,
    /// The job fails when there are too many.
    FailJob,
}

fn default_max_below() -> IntOrString {
    IntOrString::Int(0)
}

/// Which scores are good enough.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Thresholds {
    /// Lowest score that is good enough, as a quoted decimal from 0 to 1 with at most six places, for example "0.60"; a score equal to it passes.
    #[schemars(
        length(min = 1, max = 8),
        regex(pattern = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$")
    )]
    pub min_score: String,
    /// Report (default): count scores below it. FailJob: fail with BelowThreshold when more than maxBelow are below it.
    #[serde(default)]
    pub on_below: OnBelow,
    /// How many scores may be below it: a count such as 3, or a percentage of all items such as "5%". Default 0.
    #[serde(default = "default_max_below")]
    #[schemars(extend("maxLength" = 4))]
    pub max_below: IntOrString,
}

/// Which results are kept after the job has ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Select {
    /// All of them.
    #[default]
    All,
    /// Scores below the threshold, and failed items.
    BelowThreshold,
    /// Failed items.
    Failed,
}

/// What becomes of the results.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ResultRules {
    /// Which results stay when the job has ended: All (default), BelowThreshold (with the failed ones), or Failed. Counters and summary cover all items in any case. Immutable.
    #[serde(default)]
    pub select: Select,
    /// Seconds after the end of the job until its results are removed, 0 to 31536000; the job with its summary stays. Absent (default): they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
}

fn default_max_failed() -> IntOrString {
    IntOrString::String("10%".to_owned())
}

/// The wished work of an `ImageScoreJob`.
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
    doc = "Scores images with IMM DetectImageScore in a project of account A, and reports scores, progress and the number of requests.",
    printcolumn(
        name = "Project",
        type_ = "string",
        json_path = ".spec.project.name",
        description = "IMM project that scores"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "What the job is doing, or how it ended"
    ),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.progress",
        description = "Items done of all items"
    ),
    printcolumn(
        name = "Failed",
        type_ = "integer",
        json_path = ".status.items.failed",
        description = "Items that could not be scored"
    ),
    printcolumn(
        name = "Score",
        type_ = "string",
        json_path = ".status.summary.mean",
        description = "Mean score, 0 to 1; of one image, its score"
    ),
    printcolumn(
        name = "Below",
        type_ = "integer",
        json_path = ".status.items.belowThreshold",
        description = "Items below the threshold"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    ),
    printcolumn(
        name = "Requests",
        type_ = "integer",
        json_path = ".status.requests.sent",
        priority = 1,
        description = "Requests sent to IMM, retries included"
    ),
    printcolumn(
        name = "Grant",
        type_ = "string",
        json_path = ".spec.grantRef.name",
        priority = 1,
        description = "Grant that the job depends on"
    ),
    printcolumn(
        name = "Completed",
        type_ = "date",
        json_path = ".status.completionTime",
        priority = 1,
        description = "Time since the job ended"
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
    validation = Rule::new("self.project == oldSelf.project").message("project is immutable: create another ImageScoreJob").field_path(".project"),
    validation = Rule::new("self.source == oldSelf.source").message("source is immutable: create another ImageScoreJob").field_path(".source"),
    validation = Rule::new("self.credentials == oldSelf.credentials").message("credentials is immutable: create another ImageScoreJob").field_path(".credentials"),
    validation = Rule::new("has(self.grantRef) == has(oldSelf.grantRef) && (!has(self.grantRef) || self.grantRef == oldSelf.grantRef)")
        .message("grantRef is immutable, also by removing it or adding it later: create another ImageScoreJob").field_path(".grantRef"),
    validation = Rule::new("has(self.access) == has(oldSelf.access) && (!has(self.access) || self.access == oldSelf.access)")
        .message("access is immutable: create another ImageScoreJob").field_path(".access"),
    validation = Rule::new("!has(self.grantRef) || !has(self.access) || !has(self.access.roleChain)")
        .message("grantRef goes with access.mode BucketPolicy: a chain of roles needs no grant").field_path(".grantRef"),
    validation = Rule::new("has(self.budget) || !(has(self.source.prefix) || has(self.source.manifest))")
        .message("a prefix or a manifest needs budget.maxRequests: it bounds the bill").field_path(".budget"),
    validation = Rule::new("has(self.failureRules) == has(oldSelf.failureRules) && (!has(self.failureRules) || self.failureRules == oldSelf.failureRules)")
        .message("failureRules is immutable: create another ImageScoreJob").field_path(".failureRules"),
    validation = Rule::new("has(self.thresholds) == has(oldSelf.thresholds) && (!has(self.thresholds) || self.thresholds == oldSelf.thresholds)")
        .message("thresholds is immutable: create another ImageScoreJob").field_path(".thresholds"),
    validation = Rule::new("self.results.select == oldSelf.results.select").message("results.select is immutable: create another ImageScoreJob").field_path(".results.select"),
    validation = Rule::new("self.results.select != 'BelowThreshold' || has(self.thresholds)").message("results.select: BelowThreshold needs thresholds.minScore").field_path(".results.select"),
    validation = Rule::new("self.backoffLimitPerItem == oldSelf.backoffLimitPerItem").message("backoffLimitPerItem is immutable: create another ImageScoreJob").field_path(".backoffLimitPerItem"),
    validation = Rule::new("type(self.maxFailedItems) == int ? self.maxFailedItems >= 0 : self.maxFailedItems.matches('^(100|[0-9]{1,2})%$')")
        .message("maxFailedItems must be a count such as 3, or a percentage such as \"10%\"").field_path(".maxFailedItems"),
    validation = Rule::new("!has(self.thresholds) || (type(self.thresholds.maxBelow) == int ? self.thresholds.maxBelow >= 0 : self.thresholds.maxBelow.matches('^(100|[0-9]{1,2})%$'))")
        .message("thresholds.maxBelow must be a count such as 3, or a percentage such as \"5%\"").field_path(".thresholds.maxBelow")
)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    /// The IMM project that scores. Immutable.
    pub project: ProjectRef,
    /// Who calls IMM: an identity of account A. Immutable.
    pub credentials: Credentials,
    /// Which images to score. Immutable.
    pub source: Source,
    /// How IMM reaches the images. Immutable. Default: through the bucket's policy.
    #[serde(default)]
    pub access: JobAccess,
    /// The ImmBucketGrant that must be live, and cover every image, before the first paid call. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_ref: Option<GrantRef>,
    /// How long to wait for the grant named in grantRef.
    #[serde(default)]
    pub grant_wait: GrantWait,
    /// Most calls of this job in flight at once, 1 to 200; without it the project's own limits decide. May be changed any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 200))]
    pub parallelism: Option<i32>,
    /// true pauses the job: calls in flight are awaited, results stay, and false goes on from there. Default false.
    #[serde(default)]
    pub suspend: bool,
    /// true ends the job for good with Cancelled; its results stay, and false changes nothing any more. Default false.
    #[serde(default)]
    pub cancel: bool,
    /// Seconds that the job may take in all, waiting for its grant included, 1 to 31536000; the clock starts anew when a suspended job goes on. May be changed any time. Absent (default): no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,
    /// Retries of one item after a failure that may pass (5xx, no answer) or that a failureRules entry retries, 0 to 10; refusals for rate do not count. Immutable. Default 2.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 10))]
    pub backoff_limit_per_item: i32,
    /// How many items may fail before the whole job fails: a count such as 3, or a percentage of all items such as "10%". A percentage is rounded down: of fewer than ten items the default allows none. Default "10%".
    #[serde(default = "default_max_failed")]
    #[schemars(extend("maxLength" = 4))]
    pub max_failed_items: IntOrString,
    /// How many requests the job may send, retries and refused ones included; IMM bills refused requests too. Needed with prefix and manifest; absent for uris: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What to do about certain error codes; the first rule that names a code decides. Codes without a rule: those that may pass are tried again, missing permissions fail the job, others fail the item. Immutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub failure_rules: Vec<FailureRule>,
    /// Which scores are good enough. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// What becomes of the results.
    #[serde(default)]
    pub results: ResultRules,
}
