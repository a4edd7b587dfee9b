//! A grant during a reconcile, and what the reconcile finds out about it.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::plan::GrantOutcome;
use super::{
    Desired, Disposition, GrantInput, GrantObject, GrantState, PassRoleDecision, Removal, parse_spec,
};
use crate::api::{BackupRef, ObservedBucket, ObservedPolicy, RepeatedDrift};
use crate::core::credential_use::{Purpose, must_be_removed};

/// A grant during a reconcile, and what the reconcile finds out about the grant.
pub struct GrantWork {
    /// The grant as stored.
    pub grant: GrantObject,
    /// The grant as input of the plan.
    pub input: GrantInput,
    /// The decision about the `ram:PassRole` statement.
    pub pass_role: Option<PassRoleDecision>,
    /// State that is decided without the plan: suspended, invalid, denied, preview, wrong bucket, or failed
    /// credentials.
    pub decided: Option<GrantState>,
    /// Whether the additions have to wait in this reconcile.
    pub held_back: bool,
    /// Statements that the grant would want if it were enforced; only in mode `Preview`.
    pub preview: Option<Desired>,
    /// Owner and region of the bucket, if they were read in this reconcile.
    pub bucket: Option<ObservedBucket>,
    /// Statements added for the grant in this reconcile.
    pub added: usize,
    /// Statements removed for the grant in this reconcile.
    pub removed: usize,
    /// Statements found missing in this reconcile.
    pub missing: usize,
    /// Whether a write of an earlier reconcile turned out to have taken effect.
    pub late_write_seen: bool,
    /// Missing statements without an event so far.
    pub unreported_drift: usize,
    /// The state of the drift backoff.
    pub repeated_drift: Option<RepeatedDrift>,
    /// The state of the drift backoff before this reconcile.
    pub earlier_drift: Option<RepeatedDrift>,
    /// Time of the policy write in this reconcile.
    pub last_write: Option<Timestamp>,
    /// The policy as this reconcile wrote it: what the status reports until a read shows it.
    pub written_policy: Option<ObservedPolicy>,
    /// Whether the policy is public since the write.
    pub public: Option<bool>,
    /// The backup of the policy from before the write.
    pub backup: Option<BackupRef>,
    /// Whether the stored ledger records a write that was not sent, or that OSS has rejected.
    pub roll_back: bool,
    /// The outcome of a plan whose write failed, if that is not the fault of the grant.
    pub unaffected: Option<GrantOutcome>,
}

impl GrantWork {
    /// Validates the spec of a grant. `decided` of the result is the state of one that is suspended or invalid.
    /// `unproven` are its intended writes that have not taken effect.
    pub fn of(grant: GrantObject, unproven: BTreeSet<String>, is_operator: bool) -> Self {
        let disposition = if grant.deleting {
            Disposition::Removing(Removal::Delete)
        } else {
            Disposition::Carried
        };
        let mut input = GrantInput::of(&grant, disposition);
        if grant.deleting && is_operator {
            // The operator's own identity looks for no statement that the operator has not written.
            input
                .ledger
                .retain(|e| e.pre_existing || must_be_removed(e, &unproven));
        }
        input.unproven = unproven;
        let repeated_drift = grant.status.repeated_drift.clone();
        Self {
            decided: state_of_spec(&grant),
            grant,
            input,
            pass_role: None,
            held_back: false,
            preview: None,
            bucket: None,
            added: 0,
            removed: 0,
            missing: 0,
            late_write_seen: false,
            unreported_drift: 0,
            earlier_drift: repeated_drift.clone(),
            repeated_drift,
            last_write: None,
            written_policy: None,
            public: None,
            backup: None,
            roll_back: false,
            unaffected: None,
        }
    }

    /// Sets the state of a grant for which nothing can be written or removed: what it owns stays, and stays owned.
    pub fn carry(&mut self, state: GrantState) {
        self.decided = Some(state);
        self.input.disposition = Disposition::Carried;
    }

    /// Returns what the grant uses its identity for; `None` for one whose spec does not decode.
    pub fn purpose(&self) -> Option<Purpose<'_>> {
        let spec = self.grant.spec.as_ref().ok();
        if !self.grant.deleting {
            return spec.map(Purpose::Grant);
        }
        Some(Purpose::Removal {
            spec,
            ledger: &self.input.ledger,
            unproven: &self.input.unproven,
        })
    }

    /// Whether the grant is being deleted and has nothing to remove, so that it is released without credentials. With
    /// credentials of its own, a grant also reports which access remains; the operator's own identity makes no call for
    /// that.
    pub fn removes_nothing(&self, is_operator: bool) -> bool {
        let (ledger, unproven) = (&self.input.ledger, &self.input.unproven);
        let nothing =
            ledger.is_empty() || (is_operator && !ledger.iter().any(|e| must_be_removed(e, unproven)));
        self.grant.deleting && nothing
    }

    /// Whether the grant is being deleted and owns nothing. An entry is stored before its write, so no write can be in
    /// flight, and the grant can be released without credentials and without a readable policy.
    pub fn owns_nothing(&self) -> bool {
        self.grant.deleting && self.grant.status.owned.is_empty()
    }

    /// Whether the policy was written for the grant in this reconcile, or an earlier write was found to have taken
    /// effect.
    pub fn was_written(&self) -> bool {
        self.added > 0 || self.removed > 0 || self.late_write_seen
    }

    /// Returns the statements for a preview: of a grant in mode `Preview`, or of an enforced grant whose statements
    /// are missing.
    pub fn desired_for_preview(&self, missing: bool) -> Option<Desired> {
        match &self.input.disposition {
            Disposition::Enforced(desired) if missing => Some(desired.clone()),
            Disposition::Enforced(_) | Disposition::Carried | Disposition::Removing(_) => {
                self.preview.clone()
            }
        }
    }
}

/// Returns the grants whose state is not decided yet.
pub fn undecided(batch: &[GrantWork]) -> impl Iterator<Item = &GrantWork> {
    batch.iter().filter(|work| work.decided.is_none())
}

/// Returns the state of a grant that is suspended or whose spec is invalid. A grant that is being deleted is neither.
fn state_of_spec(grant: &GrantObject) -> Option<GrantState> {
    if grant.deleting {
        return None;
    }
    match &grant.spec {
        Ok(spec) if spec.suspend => Some(GrantState::Suspended),
        Ok(spec) => {
            let error = parse_spec(spec, PassRoleDecision::Omitted).err()?;
            Some(GrantState::Invalid(error.to_string()))
        }
        Err(message) => Some(GrantState::Invalid(message.clone())),
    }
}

#[cfg(test)]
mod tests;
