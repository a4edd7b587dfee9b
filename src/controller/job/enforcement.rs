//! Waits for OSS to enforce a new grant after the first call of a job was denied.

use k8s_openapi::jiff::Timestamp;

use super::persist::JobWriter;
use super::read_grant::read_grant;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::grant::GrantObject;
use crate::core::job::delays::{RETRY_KUBE_API, at};
use crate::core::job::events::first_call_denied;
use crate::core::job::{
    JobId, JobObject, Phase, Progress, grant_unread, next_repeat, other_job_message, wait_message, wait_note,
};
use crate::ports::CloudError;
use crate::runtime::queue::Action;

/// Writes that the job waits to repeat its first call, if the age of its grant can explain that the call was denied.
/// Returns when the job is due again; `None` if the job fails.
pub(super) async fn await_enforcement(
    context: &Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
    progress: &mut Progress,
    error: &CloudError,
) -> Option<Action> {
    let (key, namespace) = (writer.job.grant_key(spec), writer.job.key.namespace.clone());
    let Ok(grant) = read_grant(context, key, &namespace).await else {
        // The next reconcile reads the grant before it makes a call.
        writer.persist(context, Some(progress), &grant_unread()).await;
        return Some(Action::Requeue(RETRY_KUBE_API));
    };
    let grant = grant?;
    let now = context.ports.now();
    let Some(wait) = next_repeat(&grant, writer.job.status.enforcement_wait.as_ref(), now) else {
        context.enforcement_trials.lock().end(&writer.job.uid, false);
        return None;
    };
    let until = wait.until.0;
    let leads = context
        .enforcement_trials
        .lock()
        .begin(&grant, &id_of(&writer.job), until, now);
    if !leads {
        // Without an open trial of another job, its outcome is known: OSS denies the role.
        let until = trial_of_another_job(context, &grant, &writer.job)?;
        let phase = Phase::Waiting(other_job_message(&grant.key));
        writer.persist(context, Some(progress), &phase).await;
        return Some(at(until, now));
    }
    let message = wait_message(&grant.key, &wait);
    let event = first_call_denied(&wait_note(&grant.key), error);
    let phase = Phase::Unenforced(message, wait);
    writer.persist(context, Some(progress), &phase).await;
    publish_job_event(context, &writer.job, event).await;
    Some(at(until, now))
}

/// Returns until when a job has to wait for the outcome of another job.
pub(super) fn trial_of_another_job(
    context: &Context,
    grant: &GrantObject,
    job: &JobObject,
) -> Option<Timestamp> {
    let now = context.ports.now();
    context.enforcement_trials.lock().waits(grant, &id_of(job), now)
}

fn id_of(job: &JobObject) -> JobId<'_> {
    JobId {
        namespace: &job.key.namespace,
        uid: &job.uid,
    }
}
