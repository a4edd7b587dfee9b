//! All grants of one bucket that share an identity, and the policy that was read: what is to be written, and what
//! each grant is told.

mod conditions;
mod desired;
pub mod drift;
mod plan;
mod preview;
mod ready_summary;
mod status;
mod upgrade;

pub use conditions::credentials_reason;
pub use desired::{Desired, OnDrift, PassRoleDecision, PublicAccessBlock, decide_pass_role, parse_spec};
pub use plan::{Change, GrantOutcome, Plan, PlanInput, plan};
pub use preview::planned_change;
pub use status::{GrantState, Observation, grant_status};
pub use upgrade::upgraded_grant_status;

use k8s_openapi::jiff::Timestamp;

use super::identity::Identity;
use crate::api::{BucketRef, FINALIZER, GrantSpec, GrantStatus, LedgerEntry};

/// Longest life of a policy write: five minutes at the server (its signature is dated ten minutes back and OSS
/// refuses it after fifteen), and one minute between the ledger and the read that dates it.
pub const WRITE_LIFE_SECONDS: i64 = 360;

/// Name of an object in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A grant as the API server holds it. The ledger decodes even when the spec does not.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantObject {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Unique id of this object.
    pub uid: String,
    /// Version that a status write must be based on.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: i64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// All finalizers, ours included when set.
    pub finalizers: Vec<String>,
    /// Value of annotation `immops.dev/reconcile-at`.
    pub reconcile_at: Option<String>,
    /// Whether annotation `immops.dev/abandon` is `"true"`.
    pub abandon: bool,
    /// Whether its statements stay when it is deleted, read even when the rest of the spec does not decode.
    pub retain: bool,
    /// Bucket that the spec names, read even when the rest of the spec does not decode.
    pub bucket: Option<BucketRef>,
    /// Whose credentials the spec names, read likewise: a spec gone bad must not block deletion.
    pub identity: Option<Identity>,
    /// The spec, or why it does not decode.
    pub spec: Result<GrantSpec, String>,
    /// The status as it stands.
    pub status: GrantStatus,
}

impl GrantObject {
    /// Whether our finalizer is on it.
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|f| f == FINALIZER)
    }
}

/// How a leaving grant treats its statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Takes them out.
    Delete,
    /// Leaves them, because the user wants them kept or gave them up.
    Retain,
}

/// What a pass does with a grant.
#[derive(Clone, Debug, PartialEq)]
pub enum Disposition {
    /// Its statements are written and kept.
    Enforced(Desired),
    /// Its ledger is carried and counts as an owner; nothing of it is added or removed.
    Carried,
    /// It is being deleted.
    Removing(Removal),
}

/// A grant in a pass: its stance, and its ledger without entries that could not be ours.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantInput {
    /// Namespace and name: the order of planning, after the time of creation.
    pub key: ObjectKey,
    /// When it was created; older grants are served first when room is short.
    pub created: Option<Timestamp>,
    /// What the pass does with it.
    pub disposition: Disposition,
    /// What it owns.
    pub ledger: Vec<LedgerEntry>,
}
