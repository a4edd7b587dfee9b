//! Stores that a job has ended or what it waits for, and says when it is due again.

use super::persist::JobWriter;
use crate::controller::context::Context;
use crate::controller::object_events::publish_job_event;
use crate::core::job::delays::RECHECK;
use crate::core::job::events::{job_ended, rests};
use crate::core::job::{End, Phase, Progress, WriteResult, after_end};
use crate::runtime::queue::Action;

/// Stores the phase of a job that rests until it is edited, and announces a rest that begins.
pub(super) async fn rest(
    context: &Context,
    writer: &mut JobWriter,
    progress: Option<&mut Progress>,
    phase: &Phase,
) -> Action {
    let event = rests(&writer.job, phase);
    let stored = writer.persist(context, progress, phase).await;
    if stored == WriteResult::Stored
        && let Some(event) = event
    {
        publish_job_event(context, &writer.job, event).await;
    }
    stored.then(Action::AwaitChange)
}

/// Stores what keeps a job from running, which is checked again after a while, or its end.
pub(super) async fn block(context: &Context, writer: &mut JobWriter, phase: Phase) -> Action {
    stop(context, writer, None, phase, Action::Requeue(RECHECK)).await
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
    if stored == WriteResult::Stored {
        publish_job_event(context, &writer.job, job_ended(&end, &writer.job.status)).await;
    }
    after_end(stored, &writer.job, context.ports.now())
}
