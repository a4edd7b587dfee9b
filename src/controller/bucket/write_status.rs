//! Reporting: a grant's status is written when it differs and only then, and an event tells each change of state once.

use super::release::publish_event;
use crate::api::{ConditionStatus, EventReason, GrantReason, GrantStatus, kinds};
use crate::controller::context::Context;
use crate::core::grant::{GrantObject, GrantState, Observation, grant_status};

/// Tells a grant how it stands. `false` when it could not be stored.
pub(super) async fn write_grant_state(
    context: &Context,
    mut grant: GrantObject,
    state: &GrantState,
    observation: Observation,
) -> bool {
    let status = grant_status(&grant, state, observation, context.ports.now());
    write_status(context, &mut grant, status).await
}

/// Stores a status. `false` when it could not be stored; the object then stays as it was known.
pub(super) async fn write_status(context: &Context, grant: &mut GrantObject, status: GrantStatus) -> bool {
    if status == grant.status {
        return true;
    }
    match context.ports.replace_grant_status(grant, &status).await {
        Ok(version) => {
            let before = std::mem::replace(&mut grant.status, status);
            grant.resource_version = version;
            publish_transition(context, grant, &before).await;
            true
        }
        Err(error) => {
            tracing::info!(grant = %grant.key, %error, "status not stored");
            false
        }
    }
}

/// One event when the reason of Ready turns to something that a person must act on.
async fn publish_transition(context: &Context, grant: &GrantObject, before: &GrantStatus) {
    let reason_of = |status: &GrantStatus| {
        let ready = status.conditions.iter().find(|c| c.kind == kinds::READY)?;
        (ready.status == ConditionStatus::False).then(|| (ready.reason.clone(), ready.message.clone()))
    };
    let Some((reason, message)) = reason_of(&grant.status) else {
        return;
    };
    if reason_of(before).is_some_and(|(old, _)| old == reason) {
        return;
    }
    let stalled = grant.status.conditions.iter().any(|c| c.kind == kinds::STALLED);
    let event = if grant.deleting && stalled {
        EventReason::DeletionBlocked
    } else if reason == GrantReason::AccessDenied.as_str() {
        EventReason::AccessDenied
    } else if reason == GrantReason::CredentialsUnavailable.as_str() && stalled {
        EventReason::CredentialsUnavailable
    } else if reason == GrantReason::TenancyDenied.as_str() {
        EventReason::TenancyDenied
    } else if reason == GrantReason::Contested.as_str() {
        EventReason::Contested
    } else {
        return;
    };
    publish_event(context, grant, event, message, true).await;
}
