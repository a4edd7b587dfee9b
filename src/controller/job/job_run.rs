//! A running job: its state, and the events that change it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::persist::JobWriter;
use super::prepare::{RunInput, RunState};
use super::read_page::SourcePage;
use crate::api::JobSpec;
use crate::controller::context::Context;
use crate::core::job::{
    AllowedBuckets, Progress, RefreshSchedule, SourcePosition, StoreSchedule, WriteResult, add_listed,
    deny_objects,
};
use crate::ports::{AccessKeys, CloudError, ProjectLimits};
use crate::runtime::notify::Subscription;
use crate::runtime::rate_limit::QueueTicket;

/// Event of a run.
pub(super) enum RunEvent {
    Response(ScoreResponse),
    Page(Result<SourcePage, CloudError>),
    Limits(Result<ProjectLimits, CloudError>, Arc<AccessKeys>),
    /// Result of a store, with the object as it is stored now.
    Persisted(Box<JobWriter>, WriteResult),
}

/// Answer of IMM to a billed call, with the credentials of the call.
pub(super) struct ScoreResponse {
    pub(super) index: usize,
    pub(super) result: Result<String, CloudError>,
    pub(super) keys: Arc<AccessKeys>,
}

/// The source of a run.
#[derive(Default)]
pub(super) struct SourceState {
    /// Position of the next page; `None` at the end, and for a list of URIs.
    pub(super) position: Option<SourcePosition>,
    /// The page whose items are not all handed out.
    pub(super) page: Option<SourcePage>,
    pub(super) allowed: AllowedBuckets,
    /// Consecutive failures to read the page at this position.
    pub(super) failures: u32,
}

pub(super) type Calls<'a> = FuturesUnordered<BoxFuture<'a, RunEvent>>;

/// A running job.
pub(super) struct JobRun<'a> {
    pub(super) context: &'a Context,
    pub(super) input: &'a RunInput,
    /// The current spec; the fields that decide what is billed are immutable.
    pub(super) spec: JobSpec,
    /// Credentials for IMM; renewed before they expire and after a rotation.
    pub(super) keys: Arc<AccessKeys>,
    /// Credentials for the source; a list of URIs needs none.
    pub(super) source_keys: Option<Arc<AccessKeys>>,
    /// Whether the run waits for the limits and the service role of the project before its canary call.
    pub(super) awaiting_limits: bool,
    pub(super) writer: JobWriter,
    pub(super) progress: Progress,
    pub(super) subscription: Subscription<'a>,
    /// Position in the queue of the project's rate limiter, kept while the run stores.
    pub(super) ticket: Option<QueueTicket>,
    pub(super) source: SourceState,
    started_at: Instant,
    /// While a store is in flight, `writer` holds the object from before.
    pub(super) stores: StoreSchedule,
    pub(super) refreshes: RefreshSchedule,
    pub(super) throttled: bool,
    /// The credentials of the first call of this run that were rejected: the run may use newer ones by now.
    pub(super) rejected_keys: Option<Arc<AccessKeys>>,
}

impl<'a> JobRun<'a> {
    pub(super) fn new(context: &'a Context, input: &'a RunInput, state: RunState) -> Self {
        let RunState {
            mut writer,
            progress,
            keys,
            source_keys,
        } = state;
        writer.holds_results = true;
        let mut run = Self {
            context,
            input,
            spec: input.spec.clone(),
            keys: Arc::new(keys),
            source_keys: source_keys.map(Arc::new),
            awaiting_limits: false,
            subscription: context.notifier.subscribe(&writer.job.key),
            ticket: None,
            source: SourceState::default(),
            writer,
            stores: StoreSchedule::of_run(progress.done()),
            progress,
            started_at: Instant::now(),
            refreshes: RefreshSchedule::default(),
            throttled: false,
            rejected_keys: None,
        };
        deny_objects(&mut run.progress, input.denied_objects.clone());
        *run.progress.known_mut() = input.known;
        let uris = &input.spec.source.uris;
        if uris.is_empty() {
            run.source.position = Some(SourcePosition::of(run.progress.cursor(), &input.spec));
        } else {
            add_listed(&mut run.progress, uris);
        }
        run
    }

    /// Returns the time since the start of the run.
    pub(super) fn elapsed(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// Returns the state of the job. What else the run holds, such as its place in the queue of the rate limiter, is
    /// free then.
    pub(super) fn into_state(self) -> (JobWriter, JobSpec, Progress) {
        (self.writer, self.spec, self.progress)
    }
}

/// Applies edits of mutable fields to the run at once.
pub(super) fn apply_edits(run: &mut JobRun<'_>) {
    if let Ok(spec) = &run.writer.job.spec {
        run.spec.clone_from(spec);
    }
}
