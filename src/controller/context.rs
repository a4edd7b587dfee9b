//! What a pass may use.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::bucket::BucketCache;
use super::credential_cache::CredentialCache;
use crate::core::grant::ObjectKey;
use crate::core::identity::Identity;
use crate::core::tenancy::Tenant;
use crate::ports::{AccessKeys, CloudError, KubeError, Ports};
use crate::runtime::metrics::Metrics;
use crate::runtime::notify::JobNotifier;
use crate::runtime::queue::Trigger;
use crate::runtime::rate_limit::ProjectLimiters;

/// Jobs of one namespace that run at once: with more, one namespace could take all workers.
pub const MAX_RUNS_PER_NAMESPACE: usize = 32;

/// How often STS is asked for an account, and the pause between.
const ACCOUNT_ATTEMPTS: u32 = 3;
const ACCOUNT_RETRY: Duration = Duration::from_secs(1);

/// What is worked on: a bucket with all its grants, or a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QueueKey {
    /// A bucket, by its name; names of buckets are unique in all of OSS.
    Bucket(Arc<str>),
    /// A job.
    Job(ObjectKey),
}

/// Handles that passes share.
pub struct Context {
    /// Everything outside.
    pub ports: Arc<dyn Ports>,
    /// Keys read lately.
    pub credentials: CredentialCache,
    /// One pace a project.
    pub limiters: ProjectLimiters,
    /// Tells running jobs of changes.
    pub notifier: Arc<JobNotifier>,
    /// Running jobs of each namespace, and those that wait for one of them to end.
    pub running: Mutex<HashMap<String, NamespaceRuns>>,
    /// Marks jobs for a pass.
    pub jobs: mpsc::Sender<Trigger<QueueKey>>,
    /// The account of each identity, with a key id that was asked about.
    pub accounts: Mutex<HashMap<Identity, (String, String)>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the process is to stop: no new call is started then.
    pub stop: CancellationToken,
    /// Marks buckets for a pass.
    pub buckets: mpsc::Sender<Trigger<QueueKey>>,
    /// Buckets that somebody asked to look at, and the jobs that wait for it.
    pub recheck_requests: Mutex<HashSet<Arc<str>>>,
    /// Jobs that were refused although their grant seemed live.
    pub jobs_awaiting_recheck: Mutex<HashMap<ObjectKey, Arc<str>>>,
    /// What is remembered of each bucket between passes; nothing that a restart may not lose.
    pub bucket_caches: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<BucketCache>>>>,
}

impl Context {
    /// The memory of a bucket. One worker a bucket, so the lock is never waited for.
    pub fn bucket_cache(&self, bucket: &Arc<str>) -> Arc<tokio::sync::Mutex<BucketCache>> {
        let mut memory = self.bucket_caches.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(memory.entry(Arc::clone(bucket)).or_default())
    }

    /// Forgets a bucket without grants.
    pub fn forget_bucket(&self, bucket: &Arc<str>) {
        self.bucket_caches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(bucket);
    }

    /// A namespace as the rules look at it; its labels are read only when a rule looks at labels.
    pub async fn tenant(&self, namespace: &str) -> Result<Tenant, KubeError> {
        if self.ports.tenancy_rules().needs_namespace_labels() {
            return self.ports.tenant_of(namespace).await;
        }
        Ok(Tenant {
            name: namespace.to_owned(),
            ..Tenant::default()
        })
    }

    /// Counts a job among the running ones of its namespace until the place is dropped; `None` when there are enough, and
    /// then it is woken in its turn.
    pub fn try_slot(&self, job: &ObjectKey) -> Option<RunSlot<'_>> {
        let mut all = self.lock_running();
        let running = all.entry(job.namespace.clone()).or_default();
        if running.count >= MAX_RUNS_PER_NAMESPACE {
            if !running.waiting.contains(job) {
                running.waiting.push_back(job.clone());
            }
            return None;
        }
        running.count += 1;
        running.waiting.retain(|other| other != job);
        let namespace = job.namespace.clone();
        Some(RunSlot {
            context: self,
            namespace,
        })
    }

    fn lock_running(&self) -> MutexGuard<'_, HashMap<String, NamespaceRuns>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account that an identity's keys really belong to. STS tells that to everybody, free of charge; it is asked a few
    /// times before a job goes on without knowing.
    pub async fn account_of(&self, identity: &Identity, keys: &AccessKeys) -> Result<String, CloudError> {
        let known = self.lock_accounts().get(identity).cloned();
        if let Some((_, account)) = known.filter(|(id, _)| *id == keys.id) {
            return Ok(account);
        }
        let mut asked = 1;
        let account = loop {
            match self.ports.caller_account(keys).await {
                Err(error) if error.is_transient() && asked < ACCOUNT_ATTEMPTS => asked += 1,
                answer => break answer?,
            }
            sleep(ACCOUNT_RETRY).await;
        };
        let mut accounts = self.lock_accounts();
        // Identities come and go; those in use are soon asked about again.
        if accounts.len() >= 10_000 {
            accounts.clear();
        }
        accounts.insert(identity.clone(), (keys.id.clone(), account.clone()));
        Ok(account)
    }

    fn lock_accounts(&self) -> MutexGuard<'_, HashMap<Identity, (String, String)>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job was refused although its grant seemed live: it waits until the grant's bucket has been looked at.
    pub fn request_recheck(&self, job: &ObjectKey, bucket: &str) {
        self.lock_jobs_awaiting_recheck()
            .insert(job.clone(), bucket.into());
        self.trigger_recheck(bucket);
    }

    /// Whether a job still waits for such a look.
    pub fn awaits_recheck(&self, job: &ObjectKey) -> bool {
        let mut doubts = self.lock_jobs_awaiting_recheck();
        let waiting = doubts
            .get(job)
            .is_some_and(|bucket| self.lock_recheck_requests().contains(bucket));
        if !waiting {
            doubts.remove(job);
        }
        waiting
    }

    /// Whether somebody asked for a real look at a bucket since the last one.
    pub fn recheck_requested(&self, bucket: &str) -> bool {
        self.lock_recheck_requests().contains(bucket)
    }

    /// A bucket has been looked at.
    pub fn recheck_done(&self, bucket: &str) {
        self.lock_recheck_requests().remove(bucket);
    }

    fn lock_jobs_awaiting_recheck(&self) -> MutexGuard<'_, HashMap<ObjectKey, Arc<str>>> {
        self.jobs_awaiting_recheck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_recheck_requests(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.recheck_requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a real look at a bucket, whatever its passes have put off.
    fn trigger_recheck(&self, bucket: &str) {
        self.lock_recheck_requests().insert(bucket.into());
        let _ = self.buckets.try_send(Trigger {
            key: QueueKey::Bucket(bucket.into()),
            debounce: Duration::ZERO,
        });
    }
}

/// The running jobs of a namespace.
#[derive(Default)]
pub struct NamespaceRuns {
    count: usize,
    /// First come, first served.
    waiting: VecDeque<ObjectKey>,
}

/// A running job's place among those of its namespace.
pub struct RunSlot<'a> {
    context: &'a Context,
    namespace: String,
}

impl Drop for RunSlot<'_> {
    fn drop(&mut self) {
        let mut all = self.context.lock_running();
        let Some(running) = all.get_mut(&self.namespace) else {
            return;
        };
        running.count -= 1;
        // With the last one all are woken: some of those that wait may be gone by now.
        let free = if running.count == 0 {
            running.waiting.len()
        } else {
            1
        };
        for job in running.waiting.drain(..free.min(running.waiting.len())) {
            // A full queue loses the mark; the job looks again by itself after a while.
            let _ = self.context.jobs.try_send(Trigger {
                key: QueueKey::Job(job),
                debounce: Duration::ZERO,
            });
        }
        if running.count == 0 {
            all.remove(&self.namespace);
        }
    }
}
