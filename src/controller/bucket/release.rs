//! Releases grants without a cloud call: grants that the annotation orphans, grants that retain their statements, and
//! grants that own nothing.

use super::grant_set::GrantSet;
use super::grant_writes::{release, write_status};
use crate::api::GrantStatus;
use crate::controller::context::Context;
use crate::controller::object_events::publish_grant_event;
use crate::core::grant::events::statements_retained;
use crate::core::grant::{
    Disposition, GrantInput, GrantObject, GrantPlan, GrantState, Observation, PassRoleDecision, PlanInput,
    Removal, grant_status, parse_spec, plan,
};
use crate::core::identity::INCOMPLETE_CREDENTIALS;

/// Whether a deleted grant leaves its statements in the policy, because of the annotation or its deletion policy.
pub(super) fn retains_statements(grant: &GrantObject) -> bool {
    grant.deleting && (grant.abandon || grant.retain)
}

/// Reconciles a grant whose spec names no usable identity or bucket: writes `Invalid`, or releases a deleted grant
/// that owns nothing or keeps its statements. `false` when that failed.
pub(super) async fn reconcile_unusable(context: &Context, mut grant: GrantObject) -> bool {
    if grant.deleting && grant.status.owned.is_empty() {
        return release(context, grant, 0).await;
    }
    if retains_statements(&grant) {
        let (event, copy) = (statements_retained(&grant), grant.clone());
        let released = release(context, grant, 0).await;
        if released {
            publish_grant_event(context, &copy, event).await;
        }
        return released;
    }
    let message = match &grant.spec {
        Ok(spec) => parse_spec(spec, PassRoleDecision::Omitted)
            .err()
            .map_or_else(|| INCOMPLETE_CREDENTIALS.to_owned(), |error| error.to_string()),
        Err(message) => message.clone(),
    };
    let observation = Observation {
        ledger: grant.status.owned.clone(),
        ..Observation::default()
    };
    let state = GrantState::Invalid(message);
    let status = grant_status(&grant, &state, observation, context.ports.now());
    write_status(context, &mut grant, status).await
}

/// Releases the deleted grants that keep their statements. Other owners drop these statements from their ledgers
/// first, so that no grant removes a statement that was meant to stay. Returns the remaining grants; `None` when a status
/// write failed.
pub(super) async fn release_retained(
    set: &GrantSet<'_>,
    grants: Vec<GrantObject>,
) -> Option<Vec<GrantObject>> {
    if !grants.iter().any(retains_statements) {
        return Some(grants);
    }
    let context = set.context;
    let members: Vec<GrantInput> = grants.iter().map(retained_or_carried).collect();
    let input = PlanInput {
        now: context.ports.now(),
        ..PlanInput::default()
    };
    let plan = plan(input, &members);
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for (grant, GrantPlan { ledger, .. }) in grants.into_iter().zip(plan.grants) {
        if retains_statements(&grant) {
            go.push(grant);
        } else {
            stay.push((grant, ledger));
        }
    }
    let mut all_written = true;
    let mut staying = Vec::new();
    for (mut grant, ledger) in stay {
        if ledger != grant.status.owned {
            let status = GrantStatus {
                owned: ledger,
                ..grant.status.clone()
            };
            all_written &= set.store_status(&mut grant, status).await;
        }
        staying.push(grant);
    }
    if !all_written {
        return None;
    }
    for grant in go {
        let event = statements_retained(&grant);
        let copy = grant.clone();
        if set.release(grant, 0).await {
            publish_grant_event(context, &copy, event).await;
        }
    }
    Some(staying)
}

fn retained_or_carried(grant: &GrantObject) -> GrantInput {
    let disposition = if retains_statements(grant) {
        Disposition::Removing(Removal::Retain)
    } else {
        Disposition::Carried
    };
    GrantInput::of(grant, disposition)
}
