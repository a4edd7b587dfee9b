//! Prepares the run of a job: from its preconditions to its progress.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::count_source::count_source;
use super::end_job::block;
use super::job_credentials::{ValidJob, obtain_credentials};
use super::load_progress::load_complete_progress;
use super::persist::JobWriter;
use super::preconditions::check_preconditions;
use super::read_job::ReadJob;
use crate::api::{GrantSpec, JobSpec};
use crate::controller::context::Context;
use crate::controller::runs::{NoSlot, RunSlot};
use crate::core::identity::Identity;
use crate::core::job::{
    KnownFacts, MAX_RUNS_PER_NAMESPACE, Phase, Progress, SourceSpec, is_region_known, list_bytes,
};
use crate::ports::AccessKeys;
use crate::runtime::queue::Action;
use crate::runtime::rate_limit::ProjectLimiter;

/// Input of a run.
pub(super) struct RunInput {
    pub(super) spec: JobSpec,
    pub(super) identity: Identity,
    pub(super) source_spec: SourceSpec,
    /// Verified owner of the bucket that the operator's own identity reads.
    pub(super) source_owner: Option<String>,
    /// The grant that opened the gate.
    pub(super) grant: Option<GrantSpec>,
    pub(super) denied_objects: Vec<String>,
    pub(super) known: KnownFacts,
    pub(super) limiter: Arc<ProjectLimiter>,
}

/// State of a job when its run starts.
pub(super) struct RunState {
    pub(super) writer: JobWriter,
    pub(super) progress: Progress,
    pub(super) keys: AccessKeys,
    /// Credentials for the source; a list of URIs needs none.
    pub(super) source_keys: Option<AccessKeys>,
}

/// A job that is ready to run.
pub(super) struct PreparedRun<'a> {
    pub(super) input: RunInput,
    pub(super) state: RunState,
    /// Held until the end of the run is stored.
    _slot: RunSlot<'a>,
}

/// Prepares the run of a job. Breaks with the action for a job that has ended or has to wait, whose status is written.
/// `now` is when the job was read.
pub(super) async fn prepare(
    context: &Context,
    job: ReadJob,
    now: Timestamp,
) -> ControlFlow<Action, PreparedRun<'_>> {
    let ReadJob {
        mut writer,
        spec,
        source_spec,
        room,
    } = job;
    let checked = Box::pin(check_preconditions(
        context,
        &mut writer,
        &spec,
        &source_spec,
        now,
    ))
    .await;
    if checked.is_break() {
        context.runs.stop_waiting(&writer.job.key);
    }
    let (grant, loaded) = checked?;
    let slot = take_slot(context, &mut writer, &spec).await?;
    // The slot has the room of the list.
    drop(room);
    let (key, uid) = (writer.job.key.clone(), writer.job.uid.clone());
    let job = ValidJob {
        context,
        key: &key,
        uid: &uid,
        spec: &spec,
        source_spec: &source_spec,
    };
    let credentials = obtain_credentials(job, &mut writer).await?;
    let granted = grant.as_ref().and_then(|grant| grant.spec.as_ref().ok());
    Box::pin(count_source(
        job,
        &mut writer,
        credentials.source_keys.as_ref(),
        granted,
    ))
    .await?;
    let was_suspended = writer.job.status.suspended_by.is_some();
    if was_suspended {
        start_again(context, &mut writer).await?;
    }
    let loaded = loaded.filter(|_| !was_suspended);
    let progress = load_complete_progress(context, &mut writer, &spec, loaded).await?;
    let input = RunInput {
        limiter: context.limiters.of(credentials.project_owner, &spec.project),
        identity: credentials.identity,
        source_owner: credentials.source_owner,
        known: KnownFacts {
            region: is_region_known(&spec, grant.as_ref()),
            project: false,
        },
        denied_objects: grant
            .as_ref()
            .map(|g| g.status.denied_objects.clone())
            .unwrap_or_default(),
        grant: grant.and_then(|grant| grant.spec.ok()),
        spec,
        source_spec,
    };
    Continue(PreparedRun {
        input,
        state: RunState {
            writer,
            progress,
            keys: credentials.keys,
            source_keys: credentials.source_keys,
        },
        _slot: slot,
    })
}

/// Takes a run slot of the namespace. Breaks if there is none; a free slot triggers the job.
async fn take_slot<'a>(
    context: &'a Context,
    writer: &mut JobWriter,
    spec: &JobSpec,
) -> ControlFlow<Action, RunSlot<'a>> {
    let limit = match context.runs.try_slot(&writer.job.key, list_bytes(spec)) {
        Ok(slot) => return Continue(slot),
        Err(NoSlot::Jobs) => Some(MAX_RUNS_PER_NAMESPACE),
        Err(NoSlot::Lists) => None,
    };
    Break(block(context, writer, Phase::Queued(limit)).await)
}

/// Starts the time of a resumed job now, even if its first page cannot be read. Stored before the progress is loaded,
/// which may be that of a status that another writer has replaced.
async fn start_again(context: &Context, writer: &mut JobWriter) -> ControlFlow<Action> {
    writer.persist(context, None, &Phase::Scoring(0)).await.or_retry()
}
