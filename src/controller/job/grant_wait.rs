//! The grant of a job: reading it, and waiting until it is live.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::load_progress::{RECHECK_GRANT, fail_or_complete};
use super::persist::JobWriter;
use crate::api::{ConditionStatus, JobCondition, JobSpec};
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::events::waiting_for_grant;
use crate::core::job::{JobObject, Phase, grant_timeout};
use crate::core::time;
use crate::ports::KubeError;
use crate::runtime::queue::Action;

/// Reads the grant of a job. `None` without a reference, or when the grant does not exist.
///
/// # Errors
/// Returns the error of the API server, except `Forbidden`.
pub(super) async fn read_grant(
    context: &Context,
    job: &JobObject,
    spec: &JobSpec,
) -> Result<Option<GrantObject>, KubeError> {
    read_named_grant(context, job.grant_key(spec), &job.key.namespace).await
}

/// Reads a grant for a job of the namespace `requester`. `None` without a key, or when the grant does not exist.
///
/// # Errors
/// Returns the error of the API server, except `Forbidden`.
pub(super) async fn read_named_grant(
    context: &Context,
    key: Option<ObjectKey>,
    requester: &str,
) -> Result<Option<GrantObject>, KubeError> {
    let Some(key) = key else {
        return Ok(None);
    };
    let ports = context.ports.as_ref();
    match context.grant_reads.get(ports, &key, requester).await {
        // A grant outside the watched namespaces is forbidden; it is handled like one that does not exist.
        Err(KubeError::Forbidden) => Ok(None),
        found => found,
    }
}

/// Waits for the grant. Fails the job after `grantWait.timeoutSeconds`, except during the propagation delay of a live
/// grant.
pub(super) async fn wait_for_grant(
    context: &Context,
    mut writer: JobWriter,
    spec: &JobSpec,
    message: String,
    until: Option<Timestamp>,
) -> Action {
    let now = context.ports.now();
    let conditions = writer.job.status.conditions.iter();
    let last = conditions
        .filter(|c| c.is(JobCondition::GrantReady) && c.status == ConditionStatus::False)
        .map(|c| c.last_transition_time.0)
        .next();
    let timeout = SignedDuration::from_secs(i64::from(spec.grant_wait.timeout_seconds));
    let deadline = time::after(last.unwrap_or(now), timeout);
    if now >= deadline && until.is_none() {
        return fail_or_complete(context, writer, spec, grant_timeout(spec, &message), now).await;
    }
    if last.is_none() {
        publish_job_event(context, &writer.job, waiting_for_grant(&message)).await;
    }
    writer.persist(context, None, &Phase::Waiting(message)).await;
    let wait = time::left_until(until.unwrap_or(deadline), now);
    Action::Requeue(wait.clamp(Duration::from_millis(50), RECHECK_GRANT))
}

/// Whether the job was edited, recreated or deleted since it was read. `false` when it cannot be read now.
pub(super) async fn object_changed(context: &Context, writer: &JobWriter) -> bool {
    match context.ports.get_job(&writer.job.key).await {
        Ok(Some(fresh)) => {
            fresh.uid != writer.job.uid || fresh.deleting || fresh.generation != writer.job.generation
        }
        Ok(None) => true,
        Err(_) => false,
    }
}
