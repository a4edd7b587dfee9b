//! Events about grants and jobs, at most ten a minute for each object. A failure to publish is logged and never fails a
//! reconcile: the conditions say the same.

use super::context::Context;
use crate::core::event_content::EventContent;
use crate::core::grant::{GrantObject, ObjectKey};
use crate::core::job::JobObject;
use crate::ports::{EventSubject, ObjectEvent};

/// Publishes an event about a grant.
pub(super) async fn publish_grant_event(context: &Context, grant: &GrantObject, event: EventContent) {
    let object = (EventSubject::Grant, &grant.key, grant.uid.as_str());
    publish(context, object, event).await;
}

/// Publishes an event about a job.
pub(super) async fn publish_job_event(context: &Context, job: &JobObject, event: EventContent) {
    let object = (EventSubject::Job, &job.key, job.uid.as_str());
    publish(context, object, event).await;
}

async fn publish(
    context: &Context,
    (subject, key, uid): (EventSubject, &ObjectKey, &str),
    event: EventContent,
) {
    if !context.event_limits.lock().admit(uid, context.ports.now()) {
        context.metrics.dropped_events.inc();
        return;
    }
    let event = ObjectEvent {
        subject,
        key: key.clone(),
        uid: uid.to_owned(),
        content: event,
    };
    context.ports.publish_event(event).await;
}
