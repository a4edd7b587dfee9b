//! Grants: from the specs and ledgers of all grants of one bucket that share an identity, and the policy as read, to the
//! policy to write and the status of each grant.

mod bucket_cache;
mod bucket_facts;
mod claims;
mod conditions;
mod desired;
pub mod drift;
mod early_end;
pub mod events;
mod failed_attempt;
mod finalizer;
mod finished;
#[cfg(test)]
mod fixtures;
mod grant_set_cache;
mod grant_set_order;
mod last_credentials;
mod leaving;
mod ledger;
mod missing_finalizer;
mod next_reconcile;
mod plan;
mod planned_write;
mod preview;
mod probe;
mod reach;
mod ready_summary;
mod rejected_additions;
mod release;
mod report;
mod round;
mod state;
mod status;
mod stored_entry;
mod trust;
mod upgrade;
mod work;
mod write_history;
mod write_result;
mod written_ledger;

pub use bucket_cache::{BucketCache, RECHECK};
pub use bucket_facts::{
    PreparationFacts, decide_desired, is_unverified, needs_bucket_read, verify_bucket, want,
};
pub use claims::{Claims, ClaimsByGrant, claims_of};
pub use desired::{Desired, OnDrift, PassRoleDecision, PublicAccessBlock, decide_pass_role, parse_spec};
pub use early_end::{EarlyEnd, refusal_state, split_unaffected};
pub use finalizer::FinalizerFacts;
pub use finished::{FinishedGrant, StoreOrder, is_waiting, transfers_ownership};
#[cfg(test)]
pub(crate) use fixtures::{entry_of, policy_of, spec_with, work_of};
pub use grant_set_cache::GrantSetCache;
pub use grant_set_order::{GrantSetKey, GrantSetTurn, GrantSets, grouped, is_time_up};
pub use last_credentials::is_owner;
pub use leaving::{Deletion, deletion_of, kept_of, kept_until, records_nothing_new, to_reconcile};
pub use ledger::{OnlyStored, merge_ledger, split_ledger};
pub use missing_finalizer::{
    AfterFailedPatch, LONGEST_RETRY, after_failed_patch, lacks_finalizer, needed_by_patch, retry_patch,
};
pub use next_reconcile::{PlanResult, drift_interval, next_expiry_check, next_reconcile, retry_transfer};
pub use plan::{Change, GrantOutcome, GrantPlan, Plan, PlanInput, plan};
pub use planned_write::{
    PlannedWrite, audit_names, backup_writer, is_effect_unknown, is_outdated, is_without_effect, signed_at,
};
pub use preview::{planned_change, planned_change_alone};
pub use probe::{PROBE_DEADLINE, ProbeRead, ProbingGrant, is_owner_verified};
pub use reach::{denies_of, public_statement, whole_account};
pub use rejected_additions::RejectedAdditions;
pub use release::{RetainedPlan, retains_statements, status_of_released, unusable_status};
pub use report::{PolicyView, status_before_write, status_without_plan};
pub use round::{RoundStep, accept_unwanted, next_step};
pub use state::{GrantState, Observation};
pub use status::grant_status;
pub use stored_entry::StoredLedger;
pub use trust::Trust;
pub use upgrade::upgraded_grant_status;
pub use work::{GrantWork, undecided};
pub use write_history::WriteHistory;
pub use write_result::{FailedWrite, apply_confirmed, apply_failed};
pub use written_ledger::{ROLL_BACKS, confirm_entries, rolled_back_status};

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::identity::Identity;
use crate::api::{BucketRef, FINALIZER, GrantSpec, GrantStatus, LedgerEntry};

/// Seconds after which a policy write can no longer take effect: 5 min at OSS (the signature is dated 10 min back, and
/// OSS rejects it after 15 min), plus 1 min between storing the ledger and the read that dates the signature.
pub const WRITE_LIFE_SECONDS: i64 = 360;

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// A grant as stored in the API server. The ledger decodes even if the spec does not.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantObject {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Unique id of this object.
    pub uid: String,
    /// Resource version on which a status write must be based.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Creation time.
    pub created: Option<Timestamp>,
    /// Whether the object has a deletion timestamp.
    pub deleting: bool,
    /// All finalizers, including the operator's own.
    pub finalizers: Vec<String>,
    /// Value of annotation `immops.dev/reconcile-at`.
    pub reconcile_at: Option<String>,
    /// Whether annotation `immops.dev/abandon` is `"true"`.
    pub abandon: bool,
    /// Whether the deletion policy is `Retain`, read even if the rest of the spec does not decode.
    pub retain: bool,
    /// Bucket in the spec, read even if the rest of the spec does not decode.
    pub bucket: Option<BucketRef>,
    /// Identity in the spec, read even if the rest of the spec does not decode: an invalid spec must not block deletion.
    pub identity: Option<Identity>,
    /// The spec, or the reason why it does not decode.
    pub spec: Result<GrantSpec, String>,
    /// The stored status. Its ledger has only entries that this version can verify.
    pub status: GrantStatus,
    /// What of the stored ledger is not in `status`. It is written back as it is stored and never acted on.
    pub only_stored: OnlyStored,
}

impl GrantObject {
    /// Returns `true` if the operator's finalizer is set.
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|f| f == FINALIZER)
    }
}

/// Handling of the statements of a grant that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Remove the statements.
    Delete,
    /// Leave the statements: the deletion policy is `Retain`, or the annotation `immops.dev/abandon` is set.
    Retain,
}

/// Handling of a grant in one reconcile.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Disposition {
    /// The desired statements are written and kept in the policy.
    Enforced(Desired),
    /// The ledger is kept and counts as an owner; no statements are added or removed for the grant.
    #[default]
    Carried,
    /// The grant is being deleted.
    Removing(Removal),
}

/// A grant as input of a plan: its disposition, and the entries of its ledger that this version can verify.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrantInput {
    /// Namespace and name: second sort key of the planning order, after the creation time.
    pub key: ObjectKey,
    /// Creation time: older grants take precedence when the document has too little room.
    pub created: Option<Timestamp>,
    /// Handling in this reconcile.
    pub disposition: Disposition,
    /// The statements that the grant owns.
    pub ledger: Vec<LedgerEntry>,
    /// Number of entries that this version cannot verify: they need room in the stored ledger.
    pub unverified: usize,
    /// Fingerprints of intended writes that have not taken effect: OSS has rejected them, or they were never sent and
    /// have expired.
    pub unproven: BTreeSet<String>,
}

impl GrantInput {
    /// Returns a grant without unproven writes.
    pub fn of(grant: &GrantObject, disposition: Disposition) -> Self {
        Self {
            key: grant.key.clone(),
            created: grant.created,
            disposition,
            ledger: grant.status.owned.clone(),
            unverified: grant.only_stored.unverified,
            unproven: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
impl GrantObject {
    /// Returns a grant without spec and status, with its name as uid.
    pub(crate) fn bare(namespace: &str, name: &str) -> Self {
        Self {
            key: ObjectKey {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            uid: name.to_owned(),
            resource_version: "1".to_owned(),
            generation: 1,
            created: None,
            deleting: false,
            finalizers: Vec::new(),
            reconcile_at: None,
            abandon: false,
            retain: false,
            bucket: None,
            identity: None,
            spec: Err(String::new()),
            status: GrantStatus::default(),
            only_stored: OnlyStored::default(),
        }
    }
}
