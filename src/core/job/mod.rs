//! Jobs: which calls an `ImageScoreJob` may make and when, and the status that follows from the responses.

mod before_step;
mod conditions;
mod count_schedule;
mod coverage;
mod credential_checks;
mod deadline;
pub mod delays;
mod ends;
mod enforcement;
pub mod events;
mod first_calls;
#[cfg(test)]
mod fixtures;
mod gate;
mod grant_wait;
mod limits;
mod listed_object;
mod manifest_lines;
mod phase;
mod planned_size;
mod preconditions;
mod progress;
mod project_limits;
mod ready_summary;
mod refresh;
mod report;
mod result_buffer;
mod retention;
mod run_end;
mod run_memory;
mod score;
mod source;
mod source_ends;
mod source_page;
mod source_size;
mod source_spec;
mod stats;
mod status;
mod stop;
mod store_schedule;
mod throughput;
mod upgrade;
mod write_result;

pub use before_step::{BeforeStep, RunFacts, before_step, stop_condition};
pub use conditions::missing_results;
pub use count_schedule::{CountSchedule, after_shown_count};
pub use coverage::{covers, grant_mismatch};
pub use credential_checks::{
    AccountCheck, Renewal, check_account, operator_reads_source, refused_credentials, renewed,
    scoring_identity, source_bucket, source_identity,
};
pub use deadline::{active_deadline, budget_is_exhausted, is_region_known};
pub use ends::{grant_unread, names_caller, other_service_role, rejected_credentials, results_unreadable};
pub use enforcement::{EnforcementTrials, JobId, next_repeat, other_job_message, wait_message, wait_note};
pub use first_calls::is_item_code;
#[cfg(test)]
pub(crate) use fixtures::spec_with;
pub use gate::{GateDecision, denying_bucket, evaluate_gate};
pub use grant_wait::wait_for_grant;
pub use limits::{CallLimits, evaluate_limits};
pub use listed_object::{ListPosition, ListedObject};
pub use manifest_lines::{AllowedBuckets, manifest_buckets};
pub use phase::{End, Phase, cancelled};
pub use planned_size::planned_size;
pub use preconditions::{Obstacle, final_obstacle, resting_phase};
pub use progress::{
    Item, KnownFacts, Progress, ResponseEffect, Step, add_items, add_listed, apply_response, deny_objects,
    restore_report, resume_progress,
};
pub use project_limits::{project_failed, project_read};
pub use refresh::{RefreshSchedule, needs_account_check, rules_allow_run, stays_open, take_over_edits};
pub use report::{MAX_REPORTS, build_report, may_replace_report, report_name};
pub use result_buffer::{ReportBuffer, ReportDraft, ResultBuffer};
pub use retention::{
    Retention, after_end, left_by_server_time, retention, selected_report, unlisted_reports,
};
pub use run_end::{AfterRun, after_run};
pub use run_memory::{MAX_RUNS_PER_NAMESPACE, RunMemory, has_slot, jobs_to_trigger};
pub use score::Score;
pub use source::{LINE_PART, SourceItem, is_listed_early, items_of_lines, items_of_page};
pub use source_ends::{namespace_unknown, source_failed, source_grew, source_owner_unknown};
pub use source_page::{BATCH, PageItems, PageUse, SourcePosition};
pub use source_size::{ItemCounter, decoded_bytes, list_bytes, pinned_source};
pub use source_spec::{SourceSpec, valid_spec, validated_source};
pub use stats::{ResultClass, ResultClassifier, Stats};
pub use status::{
    acknowledged_status, has_unstored_results, job_status, pruned_status, recovered_status,
    storing_failed_status, uncounted_status, unreadable_status,
};
pub use stop::StopReason;
pub use store_schedule::{PERSIST_EVERY, StoreSchedule, clamped_wait, reserves_ahead};
pub use upgrade::upgraded_job_status;
pub use write_result::{
    AfterConflict, AfterFailedStore, FailedStore, WriteResult, after_conflict, after_failed_store,
    wait_before_retry,
};

use super::grant::ObjectKey;
use crate::api::{JobSpec, JobStatus, SuspendCause};

/// Limits and service role of an IMM project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectLimits {
    /// Rate limit, in requests per second.
    pub queries_per_second: u32,
    /// Maximum concurrent requests.
    pub concurrency: u32,
    /// RAM role with which the project reads images; `None` when the response does not name one.
    pub service_role: Option<String>,
}

/// A job as stored in the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct JobObject {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Unique id of this object.
    pub uid: String,
    /// Resource version on which a status write must be based.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Whether the object has a deletion timestamp.
    pub deleting: bool,
    /// Value of annotation `immops.dev/started`: the uid of the object that made the first call.
    pub started: Option<String>,
    /// Value of annotation `immops.dev/reconcile-at`.
    pub reconcile_at: Option<String>,
    /// The spec, or the reason why it does not decode.
    pub spec: Result<JobSpec, String>,
    /// The stored status.
    pub status: JobStatus,
}

impl JobObject {
    /// Returns the key of the grant that the job names with this spec.
    pub fn grant_key(&self, spec: &JobSpec) -> Option<ObjectKey> {
        let reference = spec.grant_ref.as_ref()?;
        let namespace = reference.namespace.as_ref().unwrap_or(&self.key.namespace);
        Some(ObjectKey {
            namespace: namespace.clone(),
            name: reference.name.clone(),
        })
    }

    /// Returns `true` if the job has finished. Only its observed generation and the expiry of its results can change
    /// then.
    pub fn is_finished(&self) -> bool {
        self.status.completion_time.is_some()
    }

    /// Returns `true` if `spec.suspend` pauses the job, by its status.
    pub fn is_suspended(&self) -> bool {
        self.status.suspended_by == Some(SuspendCause::Requested)
    }

    /// Returns `true` if a status that another process has stored may be replaced by one that carries its members: a
    /// finished job keeps its result, and a status that cannot be decoded keeps everything.
    pub fn is_replaceable(&self) -> bool {
        !self.is_finished() && self.status.unreadable.is_empty()
    }

    /// Returns `true` if the job as it is stored was edited, deleted or created again since it was read.
    pub fn is_changed(&self, stored: Option<&Self>) -> bool {
        stored.is_none_or(|stored| {
            stored.uid != self.uid || stored.deleting || stored.generation != self.generation
        })
    }

    /// Returns `true` if the record of billed requests is lost. The annotation `started` then has the uid of another
    /// object (restored from a backup), or its own uid without `status.requests` (the status was deleted).
    /// `status.requests` is written before the annotation.
    pub fn is_restored(&self) -> bool {
        let lost = self.status.requests.is_none();
        self.started.as_ref().is_some_and(|uid| *uid != self.uid || lost)
    }

    /// Returns `true` if the job has made a call and its annotation `started` is missing: another writer has removed it.
    pub fn lacks_started_annotation(&self) -> bool {
        let sent = self.status.requests.as_ref().is_some_and(|r| r.sent > 0);
        self.started.is_none() && sent
    }

    /// Returns `true` if the job must get its annotation before its next call, which is reserved and stored.
    pub fn needs_started_annotation(&self, progress: &Progress) -> bool {
        self.started.is_none() && progress.requests().reserved > 0
    }

    /// Returns `true` if the status of an unfinished job records reserved or active requests. If the job is not running
    /// in this process, the previous process has crashed, and the status is behind the requests sent and the results
    /// stored.
    pub fn has_started(&self) -> bool {
        let open = self.status.requests.as_ref().is_some_and(|r| r.reserved > r.sent);
        let active = self.status.items.as_ref().is_some_and(|items| items.active > 0);
        !self.is_finished() && (open || active)
    }
}

#[cfg(test)]
impl JobObject {
    /// Returns a job of generation 1 without a status.
    pub(crate) fn bare(namespace: &str, name: &str, spec: Result<JobSpec, String>) -> Self {
        Self {
            key: ObjectKey {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            uid: "uid".to_owned(),
            resource_version: "1".to_owned(),
            generation: 1,
            deleting: false,
            started: None,
            reconcile_at: None,
            spec,
            status: JobStatus::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(status: Value) -> JobObject {
        JobObject {
            status: serde_json::from_value(status).unwrap(),
            ..JobObject::bare("media", "one", Err(String::new()))
        }
    }

    #[test]
    fn a_job_lacks_its_annotation_only_after_a_call() {
        assert!(!job(json!({})).lacks_started_annotation());
        assert!(!job(json!({"requests": {"reserved": 1, "sent": 0}})).lacks_started_annotation());
        let mut sent = job(json!({"requests": {"reserved": 1, "sent": 1}}));
        assert!(sent.lacks_started_annotation());
        sent.started = Some("uid".to_owned());
        assert!(!sent.lacks_started_annotation());
    }

    #[test]
    fn a_job_has_changed_when_it_was_edited_deleted_or_created_again() {
        let read = job(json!({}));
        assert!(!read.is_changed(Some(&read)) && read.is_changed(None));
        for change in [
            |job: &mut JobObject| job.uid = "other".to_owned(),
            |job: &mut JobObject| job.generation = 2,
            |job: &mut JobObject| job.deleting = true,
        ] {
            let mut stored = read.clone();
            change(&mut stored);
            assert!(read.is_changed(Some(&stored)), "{stored:?}");
        }
    }

    #[test]
    fn a_job_gets_its_annotation_once_a_request_is_reserved() {
        let spec = spec_with(&json!({"source": {"uris": ["oss://pics/a.jpg"]}}));
        let start = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        let mut progress = resume_progress(&spec, &JobStatus::default(), (1, true), start, "uid");
        let mut unmarked = job(json!({}));
        assert!(!unmarked.needs_started_annotation(&progress));
        progress.reserve(1, None);
        assert!(unmarked.needs_started_annotation(&progress));
        unmarked.started = Some("uid".to_owned());
        assert!(!unmarked.needs_started_annotation(&progress));
    }

    #[test]
    fn the_status_of_a_finished_or_undecodable_job_is_not_replaced() {
        assert!(job(json!({})).is_replaceable());
        assert!(!job(json!({"completionTime": "2026-10-01T09:58:11Z"})).is_replaceable());
        let mut undecodable = job(json!({}));
        undecodable
            .status
            .unreadable
            .insert("results".to_owned(), json!(7));
        assert!(!undecodable.is_replaceable());
    }

    #[test]
    fn a_job_has_started_while_requests_are_open_or_items_are_active() {
        for (status, started) in [
            (json!({}), false),
            (json!({"requests": {"reserved": 1, "sent": 1}}), false),
            (json!({"requests": {"reserved": 2, "sent": 1}}), true),
            (json!({"items": {"total": 1, "pending": 1, "active": 0}}), false),
            (json!({"items": {"total": 1, "pending": 0, "active": 1}}), true),
            (
                json!({"requests": {"reserved": 2, "sent": 1}, "completionTime": "2026-10-01T09:58:11Z"}),
                false,
            ),
        ] {
            assert_eq!(job(status.clone()).has_started(), started, "{status}");
        }
    }
}
