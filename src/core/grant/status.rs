//! The status of a grant, computed from its state and from what the reconcile observed. docs/src/reference/reasons.md
//! explains the reasons.

use k8s_openapi::jiff::Timestamp;

use super::conditions::{set_credentials_valid, set_granted, set_other_conditions};
use super::ready_summary::ready_summary;
use super::state::{GrantState, Observation};
use super::{GrantObject, drift};
use crate::api::{Drift, DriftKind, GrantCondition, GrantReason, GrantStatus};
use crate::core::condition_builder::ConditionsBuilder;
use crate::core::time::whole_seconds;

/// Computes the status.
pub fn grant_status(
    grant: &GrantObject,
    state: &GrantState,
    observation: Observation,
    now: Timestamp,
) -> GrantStatus {
    let before = &grant.status;
    let mut summary = ready_summary(grant, state, &observation);
    let mut conditions = ConditionsBuilder::new(&before.conditions, grant.generation, now);
    if grant.deleting && summary.stalled {
        summary.message += ". To delete the grant without removing its statements, set annotation immops.dev/abandon: \"true\"; access then remains";
    }
    conditions.set_ready(&summary);
    if !summary.stalled && drift::is_restored_later(grant, observation.repeated_drift.as_ref()) {
        let message = "Action required: see the RepeatedDrift condition";
        conditions.set_true(GrantCondition::Stalled, GrantReason::RepeatedDrift, message);
    } else {
        conditions.set_progress(&summary);
    }
    set_granted(&mut conditions, grant, state, &observation, &summary);
    set_credentials_valid(&mut conditions, grant, state);
    set_other_conditions(&mut conditions, grant, state, &observation);
    // An observation of another generation does not hold for this one: it is made again.
    let same = before.observed_generation == Some(grant.generation) || grant.deleting;
    let spec = grant.spec.as_ref().ok();
    let requested = spec.map(|spec| spec.access.pass_role_statement);
    GrantStatus {
        observed_generation: Some(grant.generation),
        conditions: conditions.finish(),
        policy: observation.policy.or_else(|| before.policy.clone()),
        owned: observation.ledger,
        ledger_of: Some(grant.uid.clone()),
        overlaps: observation.overlaps.or(before.overlaps),
        denied_objects: match observation.denies {
            Some(denies) => denies.objects,
            None if same => before.denied_objects.clone(),
            None => Vec::new(),
        },
        pass_role_statement: requested
            .and_then(|requested| Some(observation.pass_role?.report(requested)))
            .or_else(|| before.pass_role_statement.filter(|_| same)),
        pass_role: None,
        contest: None,
        last_drift: last_drift(before.last_drift.as_ref(), observation.missing, now),
        repeated_drift: observation.repeated_drift,
        bucket: observation
            .bucket
            .or_else(|| before.bucket.clone().filter(|_| same)),
        plan: observation.plan,
        last_handled_reconcile_at: grant.reconcile_at.clone(),
    }
}

/// The last drift; the count grows when statements were found missing in this reconcile.
fn last_drift(before: Option<&Drift>, drifted: usize, now: Timestamp) -> Option<Drift> {
    if drifted == 0 {
        return before.cloned();
    }
    let count = before.map_or(0, |d| d.count).saturating_add(1);
    Some(Drift {
        time: whole_seconds(now),
        kind: DriftKind::StatementRemoved,
        count,
    })
}

#[cfg(test)]
mod tests;
