//! Queues and workers: what a process does with marks, over any effects.

mod bucket;
mod context;
mod credential_cache;
mod digest;
pub(crate) mod feed;
mod index;
mod job;

pub use self::bucket::BucketCache;
pub use self::context::{Context, QueueKey};

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ports::Ports;
use crate::runtime::queue::{self, Action, Trigger};
use crate::runtime::{metrics, rate_limit};

/// Passes over buckets at once: each waits for a few round trips most of its time.
const BUCKET_WORKERS: usize = 16;
/// Jobs under way at once; calls in flight are bounded by each project's pace besides.
const JOB_WORKERS: usize = 1024;
/// Marks under way between the watches and a queue.
const TRIGGER_BUFFER: usize = 1024;

/// Queues and workers over any effects: what a test drives as well.
pub struct Controllers {
    /// What passes share.
    pub context: Arc<Context>,
    /// Marks buckets.
    pub buckets: mpsc::Sender<Trigger<QueueKey>>,
    /// Marks jobs.
    pub jobs: mpsc::Sender<Trigger<QueueKey>>,
    triggers: (
        mpsc::Receiver<Trigger<QueueKey>>,
        mpsc::Receiver<Trigger<QueueKey>>,
    ),
}

impl Controllers {
    /// An engine that stops with `stop`.
    pub fn new(ports: Arc<dyn Ports>, metrics: Arc<metrics::Metrics>, stop: CancellationToken) -> Self {
        let (buckets, bucket_marks) = mpsc::channel(TRIGGER_BUFFER);
        let (jobs, run_marks) = mpsc::channel(TRIGGER_BUFFER);
        let context = Arc::new(Context {
            ports,
            credentials: credential_cache::CredentialCache::default(),
            limiters: rate_limit::ProjectLimiters::default(),
            notifier: Arc::default(),
            running: Mutex::default(),
            jobs: jobs.clone(),
            accounts: Mutex::default(),
            metrics,
            stop,
            buckets: buckets.clone(),
            recheck_requests: Mutex::default(),
            jobs_awaiting_recheck: Mutex::default(),
            bucket_caches: Mutex::new(HashMap::new()),
        });
        Self {
            context,
            buckets,
            jobs,
            triggers: (bucket_marks, run_marks),
        }
    }

    /// Works until the engine is stopped and what is under way has ended.
    pub async fn run(self) {
        let (buckets, jobs) = self.triggers;
        let context = self.context;
        let depth_of = |kind: &'static str| {
            let context = Arc::clone(&context);
            move |depth| context.metrics.queue_depth(kind, depth)
        };
        let passes = queue::run(
            buckets,
            BUCKET_WORKERS,
            context.stop.clone(),
            depth_of("bucket"),
            worker(&context),
        );
        let runs = queue::run(
            jobs,
            JOB_WORKERS,
            context.stop.clone(),
            depth_of("job"),
            worker(&context),
        );
        futures::join!(passes, runs);
    }
}

fn worker(
    context: &Arc<Context>,
) -> impl Fn(QueueKey) -> std::pin::Pin<Box<dyn Future<Output = Action> + Send>> + use<> {
    let context = Arc::clone(context);
    move |key| {
        let context = Arc::clone(&context);
        Box::pin(async move {
            let started = Instant::now();
            let (kind, next) = match &key {
                QueueKey::Bucket(name) => ("bucket", bucket::reconcile(&context, name).await),
                QueueKey::Job(name) => ("job", Box::pin(job::reconcile(&context, name)).await),
            };
            context.metrics.reconcile(kind, started.elapsed().as_secs_f64());
            tracing::debug!(?key, ?next, "pass ended");
            next
        })
    }
}
