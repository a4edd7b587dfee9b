//! Stores that a job has ended or what it waits for, and says when it is due again.

use super::persist::JobWriter;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::job::events::job_ended;
use crate::core::job::{End, Phase, Progress, WriteResult, after_end};
use crate::runtime::queue::Action;

/// Waits for a change of the object once its phase is stored, and tries again when it could not be stored.
pub(super) fn after_phase(stored: WriteResult) -> Action {
    if stored == WriteResult::Stored {
        Action::AwaitChange
    } else {
        Action::Requeue(stored.retry_after())
    }
}

/// Ends the job if the phase is its end; otherwise stores the phase and returns `next`.
pub(super) async fn stop(
    context: &Context,
    writer: &mut JobWriter,
    progress: Option<&mut Progress>,
    phase: Phase,
    next: Action,
) -> Action {
    if let Phase::Ended(end) = phase {
        return end_job(context, writer, progress, end).await;
    }
    writer.persist(context, progress, &phase).await;
    next
}

/// Ends the job, and publishes the event after its last status is stored. Returns when the job is due again.
pub(super) async fn end_job(
    context: &Context,
    writer: &mut JobWriter,
    mut progress: Option<&mut Progress>,
    end: End,
) -> Action {
    if let Some(progress) = progress.as_deref_mut() {
        progress.release();
    }
    let phase = Phase::Ended(end.clone());
    let stored = writer.persist(context, progress, &phase).await;
    if !matches!(stored, WriteResult::Stored | WriteResult::Gone) {
        return Action::Requeue(stored.retry_after());
    }
    if stored == WriteResult::Stored {
        publish_job_event(context, &writer.job, job_ended(&end, &writer.job.status)).await;
    }
    after_end(&writer.job, context.ports.now())
}
