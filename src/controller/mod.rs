//! The controllers: the queues and workers for buckets and jobs, and the state that reconciles share. Everything
//! outside the process is behind [`Ports`], so tests run the same code.

mod bucket;
mod context;
mod credential_cache;
mod credential_gate;
mod decoded_jobs;
pub(crate) mod feed;
mod finalizers;
mod grant_reads;
mod index;
mod job;
mod leaving;
mod object_events;
mod page_limit;
mod progress_times;
mod queue_key;
mod restore_finalizer;
mod runs;
mod waiting_jobs;
mod watch_health;
mod watched_object;

pub use self::bucket::policy_sizes::PolicySizes;
pub use self::bucket::probes::Probes;
pub use self::context::Context;
pub use self::finalizers::MissingFinalizers;
pub use self::grant_reads::GrantReads;
pub use self::leaving::LeavingGrants;
pub use self::queue_key::{ProbeKey, QueueKey};

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::memory_plan::DEFAULT_LIMIT;
use crate::ports::Ports;
use crate::runtime::memory_budget::MemoryBudget;
use crate::runtime::metric_labels::KeyKind;
use crate::runtime::notify::JobNotifier;
use crate::runtime::queue::{self, Action, Trigger, Workers};
use crate::runtime::{metrics, panics, rate_limit};

/// Concurrent reconciles of buckets; a reconcile spends most of its time waiting for network round trips.
const BUCKET_WORKERS: Workers = Workers::new(12, 8);
/// Concurrent first reads of buckets: nothing is known about the identities that make them. A read without an answer
/// occupies a worker for seconds, so there are workers for several namespaces that cause such reads.
const PROBE_WORKERS: Workers = Workers::new(16, 2);
/// Concurrent reconciles of jobs; the rate limit of each project also bounds the calls in flight.
const JOB_WORKERS: Workers = Workers::new(1024, 256);
/// Concurrent patches that add a finalizer again; they must not wait behind reconciles.
const FINALIZER_WORKERS: Workers = Workers::new(4, 2);
/// Capacity of the channel between the watches and a queue, in triggers.
const TRIGGER_BUFFER: usize = 1024;

/// The queues and workers of both controllers, over any adapters.
pub struct Controllers {
    /// State that reconciles share.
    pub context: Arc<Context>,
    triggers: [mpsc::Receiver<Trigger<QueueKey>>; 4],
}

impl Controllers {
    /// Creates controllers that stop when `stop` is cancelled, with the memory limit of the chart.
    pub fn new(ports: Arc<dyn Ports>, metrics: Arc<metrics::Metrics>, stop: CancellationToken) -> Self {
        Self::with_memory(ports, metrics, stop, MemoryBudget::of_limit(DEFAULT_LIMIT))
    }

    /// Creates controllers that share this memory budget with their ports.
    pub fn with_memory(
        ports: Arc<dyn Ports>,
        metrics: Arc<metrics::Metrics>,
        stop: CancellationToken,
        memory: Arc<MemoryBudget>,
    ) -> Self {
        let (buckets, bucket_triggers) = mpsc::channel(TRIGGER_BUFFER);
        let (jobs, job_triggers) = mpsc::channel(TRIGGER_BUFFER);
        let (finalizers, finalizer_triggers) = mpsc::channel(TRIGGER_BUFFER);
        let (probes, probe_triggers) = mpsc::channel(TRIGGER_BUFFER);
        let context = Arc::new(Context {
            ports,
            credentials: credential_cache::CredentialCache::default(),
            limiters: rate_limit::ProjectLimiters::default(),
            notifier: JobNotifier::default(),
            runs: runs::Runs::new(memory.plan().runs, jobs.clone()),
            jobs,
            accounts: Mutex::default(),
            policy_sizes: PolicySizes::new(Arc::clone(&metrics)),
            metrics,
            stop,
            buckets,
            finalizers,
            rechecked: Mutex::default(),
            recheck_requests: Mutex::default(),
            jobs_awaiting_recheck: Mutex::default(),
            bucket_caches: Mutex::new(HashMap::new()),
            leaving: LeavingGrants::default(),
            missing_finalizers: MissingFinalizers::default(),
            probes: Probes::default(),
            probe_queue: probes,
            grant_reads: GrantReads::default(),
            event_limits: Mutex::default(),
            enforcement_trials: Mutex::default(),
            panics: Mutex::default(),
            decoded_jobs: decoded_jobs::DecodedJobs::new(memory.plan().decoded_jobs),
            memory,
        });
        Self {
            context,
            triggers: [bucket_triggers, job_triggers, finalizer_triggers, probe_triggers],
        }
    }

    /// Runs until `stop` is cancelled and the reconciles in flight have finished.
    pub async fn run(self) {
        let [buckets, jobs, finalizers, probes] = self.triggers;
        let context = self.context;
        let run = |kind, triggers, workers| {
            let of_depth = Arc::clone(&context);
            let depth = move |depth| of_depth.metrics.queue_depth(kind, depth);
            queue::run(triggers, workers, context.stop.clone(), depth, worker(&context))
        };
        futures::join!(
            run(KeyKind::Bucket, buckets, BUCKET_WORKERS),
            run(KeyKind::Job, jobs, JOB_WORKERS),
            run(KeyKind::Finalizer, finalizers, FINALIZER_WORKERS),
            run(KeyKind::Probe, probes, PROBE_WORKERS),
        );
    }
}

/// Returns the function that reconciles a key, counts the reconcile, and returns when the key is due again.
fn worker(context: &Arc<Context>) -> impl Fn(QueueKey) -> BoxFuture<'static, Action> + use<> {
    let context = Arc::clone(context);
    move |key| {
        let context = Arc::clone(&context);
        Box::pin(async move {
            let started = Instant::now();
            let (kind, pass): (_, BoxFuture<'_, Action>) = match &key {
                QueueKey::Bucket(name) => (KeyKind::Bucket, Box::pin(bucket::reconcile(&context, name))),
                QueueKey::Job(name) => (KeyKind::Job, Box::pin(job::reconcile(&context, name))),
                QueueKey::Probe(probe) => (KeyKind::Probe, Box::pin(bucket::probe(&context, probe))),
                QueueKey::Finalizer(name) => (
                    KeyKind::Finalizer,
                    Box::pin(restore_finalizer::restore(&context, name)),
                ),
            };
            let next = if let Ok(next) = panics::contain(pass).await {
                context.forget_panics(&key);
                next
            } else {
                context.metrics.panicked(kind);
                let wait = context.on_panic(&key);
                tracing::error!(
                    ?key,
                    ?wait,
                    "failed to finish reconcile: report this bug; retrying"
                );
                Action::Requeue(wait)
            };
            context.metrics.reconcile(kind, started.elapsed().as_secs_f64());
            tracing::debug!(?key, ?next, "reconcile finished");
            next
        })
    }
}
