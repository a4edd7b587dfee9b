//! Writes the status of a grant if it differs, and publishes one event per change of state.

use super::departed;
use crate::api::{Condition, EventReason, GrantCondition, GrantStatus};
use crate::controller::context::Context;
use crate::controller::object_events::publish_grant_event;
use crate::core::condition_builder::newly_stalled;
use crate::core::event_content::EventContent;
use crate::core::grant::{GrantObject, GrantState, Observation, grant_status};

/// Writes a state to a grant. `false` when the write failed.
pub(super) async fn write_grant_state(
    context: &Context,
    mut grant: GrantObject,
    state: &GrantState,
    observation: Observation,
) -> bool {
    let status = grant_status(&grant, state, observation, context.ports.now());
    write_status(context, &mut grant, status).await
}

/// Replaces the status if it differs. Returns `false`, and leaves `grant` unchanged, if the write failed.
pub(super) async fn write_status(context: &Context, grant: &mut GrantObject, status: GrantStatus) -> bool {
    if status == grant.status {
        return true;
    }
    match departed::replace_status(context, grant, &status).await {
        Ok(version) => {
            let before = std::mem::replace(&mut grant.status, status);
            grant.resource_version = version;
            publish_transition(context, grant, &before).await;
            true
        }
        Err(error) => {
            tracing::info!(grant = %grant.key, %error, "failed to store status");
            false
        }
    }
}

/// Publishes a Warning event when the reason of Ready changes to one that requires action.
async fn publish_transition(context: &Context, grant: &GrantObject, before: &GrantStatus) {
    // A deletion that is blocked is news, also for a grant that was stalled before.
    let deleted_since = grant.deleting && before.observed_generation != Some(grant.generation);
    let before: &[Condition] = if deleted_since { &[] } else { &before.conditions };
    let Some((reason, message)) = newly_stalled::<GrantCondition>(before, &grant.status.conditions) else {
        return;
    };
    let reason = if grant.deleting {
        EventReason::DeletionBlocked.as_str()
    } else {
        reason
    };
    publish_grant_event(context, grant, EventContent::stalled(reason, message)).await;
}
