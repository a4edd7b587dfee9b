//! Reads a job. One that is finished, or that cannot be understood, is not prepared for a run.

use std::ops::ControlFlow::{self, Break, Continue};

use super::end_job::rest;
use super::persist::JobWriter;
use super::retention;
use super::started_annotation::restore_started_annotation;
use super::store_status::write_status;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::controller::decoded_jobs::JobRoom;
use crate::core::grant::ObjectKey;
use crate::core::job::delays::{RECHECK, retry_read};
use crate::core::job::{
    JobObject, Phase, SourceSpec, WriteResult, decoded_bytes, unreadable_status, valid_spec,
};
use crate::runtime::queue::Action;

/// A job with a valid spec, which is not finished.
pub(super) struct ReadJob {
    pub(super) writer: JobWriter,
    pub(super) spec: JobSpec,
    pub(super) source_spec: SourceSpec,
    /// Room for the job until it runs.
    pub(super) room: JobRoom,
}

/// Reads a job. Breaks with the action for one that does not exist, is finished or cannot be understood.
pub(super) async fn read_job(context: &Context, key: &ObjectKey) -> ControlFlow<Action, ReadJob> {
    let mut room = context.decoded_jobs.reserve(&key.namespace).await;
    let mut job = match context.ports.get_job(key).await {
        Ok(Some(job)) if !job.deleting => job,
        Ok(_) => {
            context.forget_job(key);
            return Break(Action::AwaitChange);
        }
        Err(error) => {
            tracing::warn!(job = %key, %error, "failed to read job; retrying");
            // The slot that it was triggered for is for the next one.
            context.runs.stop_waiting(key);
            return Break(retry_read(&key.to_string()));
        }
    };
    room.reduce(decoded_bytes(&job));
    if !job.status.unreadable.is_empty() {
        context.runs.stop_waiting(key);
        return Break(report_unreadable(context, job).await);
    }
    let marked = restore_started_annotation(context, &mut job).await;
    if job.is_finished() {
        context.runs.stop_waiting(key);
        let next = retention::reconcile(context, job).await;
        return Break(if marked { next } else { next.within(RECHECK) });
    }
    let mut writer = JobWriter::new(job);
    match valid_spec(&writer.job) {
        Ok((spec, source_spec)) => Continue(ReadJob {
            writer,
            spec,
            source_spec,
            room,
        }),
        Err(message) => {
            context.runs.stop_waiting(key);
            Break(rest(context, &mut writer, None, &Phase::Invalid(message)).await)
        }
    }
}

/// Reports a status with members that cannot be decoded, and does nothing else: what was billed is not known. A finished
/// job keeps its conditions. A repair of the status triggers no reconcile, so the job is checked again.
async fn report_unreadable(context: &Context, mut job: JobObject) -> Action {
    if !job.is_finished() {
        let status = unreadable_status(&job, context.ports.now());
        if write_status(context, &mut job, &status).await == WriteResult::Gone {
            return Action::AwaitChange;
        }
    }
    Action::Requeue(RECHECK)
}
