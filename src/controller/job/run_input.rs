//! What a run starts from, why it ends, and what it leaves.

use std::sync::Arc;

use crate::api::{GrantSpec, JobSpec};
use crate::core::identity::Identity;
use crate::core::job::{End, KnownFacts, Phase, SourceSpec};
use crate::ports::{AccessKeys, CloudError, KubeError};
use crate::runtime::rate_limit::ProjectLimiter;

/// Reason why a run ended.
pub(super) enum StopReason {
    /// All items are done, or more items failed than the spec allows.
    LimitsReached,
    /// The job ends.
    Finished(End),
    NoProject {
        canary: bool,
        error: CloudError,
    },
    OtherRegion(CloudError),
    /// The cloud rejects the time of the requests.
    ClockSkew(CloudError),
    Denied {
        canary: bool,
        error: CloudError,
    },
    /// With the credentials of the rejected call: the run may use newer ones by now.
    CredentialsRejected(CloudError, Arc<AccessKeys>),
    OutOfBudget,
    /// The source cannot be read any further.
    Source(CloudError),
    /// The job cannot continue now; the phase says why.
    Blocked(Phase),
    /// A precondition may have changed: the next reconcile checks it.
    Reevaluate,
    /// The started annotation cannot be added.
    NotStarted(KubeError),
    ShuttingDown,
    /// The stored state is not the state that this run knows.
    Superseded,
    Gone,
}

/// Input of a run.
pub(super) struct RunInput {
    pub(super) spec: JobSpec,
    pub(super) identity: Identity,
    pub(super) source_spec: SourceSpec,
    /// Verified owner of the bucket that the operator's own identity reads.
    pub(super) source_owner: Option<String>,
    /// The grant that opened the gate.
    pub(super) grant: Option<GrantSpec>,
    pub(super) denied_objects: Vec<String>,
    pub(super) known: KnownFacts,
    pub(super) limiter: Arc<ProjectLimiter>,
}
