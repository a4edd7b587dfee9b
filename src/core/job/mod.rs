//! An `ImageScoreJob`: what may be called, when, and what the answers add up to.

mod conditions;
mod gate;
mod progress;
mod ready_summary;
mod result_buffer;
mod score;
mod source;
mod stats;
mod status;
mod upgrade;

pub use gate::{GateDecision, covers, evaluate_gate};
pub use progress::ResponseEffect;
pub use progress::{Item, Progress, Step};
pub use result_buffer::{ReportBuffer, ResultBuffer, build_report, report_name};
pub use score::Score;
pub use source::{
    ItemCounter, ListedObject, SourceItem, SourceSpec, items_of_lines, items_of_page, parse_spec,
    planned_size,
};
pub use stats::{ResultClass, ResultClassifier, Stats};
pub use status::{
    End, Phase, acknowledged_status, counting_source, evaluate_limits, job_status, pruned_status,
    recovered_status, storing_failed_status, unreadable_status,
};
pub use upgrade::upgraded_job_status;

use super::grant::ObjectKey;
use crate::api::{JobSpec, JobStatus};

/// A job as the API server holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobObject {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Unique id of this object.
    pub uid: String,
    /// Version that a status write must be based on.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// Value of annotation `immops.dev/started`: the uid of the object that began.
    pub started: Option<String>,
    /// Value of annotation `immops.dev/reconcile-at`.
    pub reconcile_at: Option<String>,
    /// The spec, or why it does not decode.
    pub spec: Result<JobSpec, String>,
    /// The status as it stands.
    pub status: JobStatus,
}

impl JobObject {
    /// Whether the job has ended for good: nothing of it changes any more but that its results may be pruned.
    pub fn is_finished(&self) -> bool {
        self.status.completion_time.is_some()
    }

    /// Whether the object has lost what was paid for: it carries another object's mark, because it was restored, or its own
    /// without any record, because somebody dropped its status. The record is written before the mark.
    pub fn is_restored(&self) -> bool {
        let lost = self.status.requests.is_none();
        self.started.as_ref().is_some_and(|uid| *uid != self.uid || lost)
    }

    /// Whether the status says that calls are under way. While none are, the process that made them has ended without a
    /// word, and the status is behind what was spent and stored.
    pub fn has_started(&self) -> bool {
        let open = self.status.requests.as_ref().is_some_and(|r| r.reserved > r.sent);
        let active = self.status.items.as_ref().is_some_and(|items| items.active > 0);
        !self.is_finished() && (open || active)
    }
}
