//! Queues and workers: what a process does with marks, over any effects.

mod bucket;
mod context;
mod credential_cache;
mod digest;
pub(crate) mod feed;
mod index;
mod job;

pub use self::bucket::BucketMemory;
pub use self::context::{Context, Key};

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
const MARKS: usize = 1024;

/// Queues and workers over any effects: what a test drives as well.
pub struct Engine {
    /// What passes share.
    pub context: Arc<Context>,
    /// Marks buckets.
    pub buckets: mpsc::Sender<Trigger<Key>>,
    /// Marks jobs.
    pub runs: mpsc::Sender<Trigger<Key>>,
    marks: (mpsc::Receiver<Trigger<Key>>, mpsc::Receiver<Trigger<Key>>),
}

impl Engine {
    /// An engine that stops with `stop`.
    pub fn new(effects: Arc<dyn Ports>, metrics: Arc<metrics::Metrics>, stop: CancellationToken) -> Self {
        let (buckets, bucket_marks) = mpsc::channel(MARKS);
        let (runs, run_marks) = mpsc::channel(MARKS);
        let context = Arc::new(Context {
            effects,
            keys: credential_cache::KeyCache::default(),
            pacers: rate_limit::ProjectLimiters::default(),
            edits: Arc::default(),
            running: Mutex::default(),
            runs: runs.clone(),
            accounts: Mutex::default(),
            metrics,
            stop,
            buckets: buckets.clone(),
            looks: Mutex::default(),
            doubts: Mutex::default(),
            memory: Mutex::new(HashMap::new()),
        });
        Self {
            context,
            buckets,
            runs,
            marks: (bucket_marks, run_marks),
        }
    }

    /// Works until the engine is stopped and what is under way has ended.
    pub async fn work(self) {
        let (buckets, jobs) = self.marks;
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
            work(&context),
        );
        let runs = queue::run(
            jobs,
            JOB_WORKERS,
            context.stop.clone(),
            depth_of("job"),
            work(&context),
        );
        futures::join!(passes, runs);
    }
}

fn work(
    context: &Arc<Context>,
) -> impl Fn(Key) -> std::pin::Pin<Box<dyn Future<Output = Action> + Send>> + use<> {
    let context = Arc::clone(context);
    move |key| {
        let context = Arc::clone(&context);
        Box::pin(async move {
            let started = Instant::now();
            let (kind, next) = match &key {
                Key::Bucket(name) => ("bucket", bucket::pass(&context, name).await),
                Key::Job(name) => ("job", Box::pin(job::pass(&context, name)).await),
            };
            context.metrics.reconcile(kind, started.elapsed().as_secs_f64());
            tracing::debug!(?key, ?next, "pass ended");
            next
        })
    }
}
