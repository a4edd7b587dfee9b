//! What a pass may use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bucket::BucketMemory;
use super::keys::KeyCache;
use super::metrics::Metrics;
use super::pacer::Pacers;
use super::queue::Mark;
use crate::core::grant::ObjectKey;
use crate::ports::Effects;

/// What is worked on: a bucket with all its grants, or a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A bucket, by its name; names of buckets are unique in all of OSS.
    Bucket(Arc<str>),
    /// A job.
    Job(ObjectKey),
}

/// Handles that passes share.
pub struct Context {
    /// Everything outside.
    pub effects: Arc<dyn Effects>,
    /// Keys read lately.
    pub keys: KeyCache,
    /// One pace a project.
    pub pacers: Pacers,
    /// What is counted.
    pub metrics: Metrics,
    /// Cancelled when the process is to stop: no new call is started then.
    pub stop: CancellationToken,
    /// Marks buckets for a pass.
    pub buckets: mpsc::Sender<Mark<Key>>,
    /// What is remembered of each bucket between passes; nothing that a restart may not lose.
    pub memory: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<BucketMemory>>>>,
}

impl Context {
    /// The memory of a bucket. One worker a bucket, so the lock is never waited for.
    pub fn memory_of(&self, bucket: &Arc<str>) -> Arc<tokio::sync::Mutex<BucketMemory>> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(memory.entry(Arc::clone(bucket)).or_default())
    }

    /// Forgets a bucket without grants.
    pub fn forget(&self, bucket: &Arc<str>) {
        self.memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(bucket);
    }

    /// Asks for a pass over a bucket; a full queue means that one is about to run anyway.
    pub fn look_at(&self, bucket: &str) {
        let _ = self.buckets.try_send(Mark {
            key: Key::Bucket(bucket.into()),
            settle: Duration::ZERO,
        });
    }
}
