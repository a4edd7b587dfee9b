//! An `ImageScoreJob`: what may be called, when, and what the answers add up to.

mod gate;
mod progress;
mod report;
mod score;

pub use gate::{Gate, gate};
pub use progress::{Outcome, Progress, Step};
pub use report::{End, Phase, report, verdict};
pub use score::Score;

use super::grant::ObjectKey;
use super::name::{NameError, ObjectUri, check_project, check_region, check_uid};
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
    /// Whether the job has ended for good: nothing of it changes any more.
    pub fn ended(&self) -> bool {
        self.status.completion_time.is_some()
    }

    /// Whether the object carries another object's mark: it was restored without what was paid for.
    pub fn restored(&self) -> bool {
        self.started.as_ref().is_some_and(|uid| *uid != self.uid)
    }
}

/// Checks every name of a spec; gives the images in order.
pub fn parse_spec(spec: &JobSpec) -> Result<Vec<ObjectUri>, NameError> {
    check_project("spec.project.name", &spec.project.name)?;
    check_region("spec.project.region", &spec.project.region)?;
    check_uid("spec.project.accountUID", &spec.project.account_uid)?;
    spec.source
        .uris
        .iter()
        .map(|uri| ObjectUri::parse("spec.source.uris", uri))
        .collect()
}
