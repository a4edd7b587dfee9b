//! State that all reconciles share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::bucket::policy_sizes::PolicySizes;
use super::bucket::probes::Probes;
use super::credential_cache::CredentialCache;
use super::decoded_jobs::DecodedJobs;
use super::finalizers::MissingFinalizers;
use super::grant_reads::GrantReads;
use super::leaving::LeavingGrants;
use super::queue_key::QueueKey;
use super::runs::Runs;
use crate::core::bounded_map::BoundedMap;
use crate::core::credential_use::retry_account;
use crate::core::event_limits::EventLimits;
use crate::core::freshness::is_recheck_valid;
use crate::core::grant::{BucketCache, ObjectKey};
use crate::core::identity::Identity;
use crate::core::job::EnforcementTrials;
use crate::core::requeue;
use crate::core::tenancy::Tenant;
use crate::ports::{AccessKeys, CloudError, KubeError, Ports};
use crate::runtime::memory_budget::MemoryBudget;
use crate::runtime::metrics::Metrics;
use crate::runtime::notify::JobNotifier;
use crate::runtime::queue::Trigger;
use crate::runtime::rate_limit::ProjectLimiters;

/// State and handles that reconciles share.
pub struct Context {
    /// Everything outside the process.
    pub ports: Arc<dyn Ports>,
    /// Recently obtained credentials.
    pub credentials: CredentialCache,
    /// One rate limiter per project.
    pub limiters: ProjectLimiters,
    /// Notifies running jobs of changes.
    pub notifier: JobNotifier,
    /// The running jobs, and those that wait for a slot.
    pub runs: Runs,
    /// Triggers reconciles of jobs.
    pub jobs: mpsc::Sender<Trigger<QueueKey>>,
    /// AccessKey ID that STS was asked about, and its account, by identity.
    pub accounts: Mutex<BoundedMap<Identity, (String, String)>>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The buckets with a nearly full policy.
    pub policy_sizes: PolicySizes,
    /// Cancelled on shutdown; no new call starts afterwards.
    pub stop: CancellationToken,
    /// Triggers reconciles of buckets.
    pub buckets: mpsc::Sender<Trigger<QueueKey>>,
    /// Triggers patches that add the finalizer of a grant again.
    pub finalizers: mpsc::Sender<Trigger<QueueKey>>,
    /// When the last requested recheck of a bucket was done.
    pub rechecked: Mutex<HashMap<Arc<str>, Instant>>,
    /// Buckets with a requested recheck that is not done yet.
    pub recheck_requests: Mutex<HashSet<Arc<str>>>,
    /// Jobs that wait for the recheck of a bucket: IMM denied a call although the grant was ready, or a Deny in the
    /// policy overrides the grant.
    pub jobs_awaiting_recheck: Mutex<HashMap<ObjectKey, Arc<str>>>,
    /// State of each bucket between reconciles; a restart may lose all of it.
    pub bucket_caches: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<BucketCache>>>>,
    /// Grants that were deleted without their finalizer and still own statements.
    pub leaving: LeavingGrants,
    /// Grants from which another writer removed the finalizer.
    pub missing_finalizers: MissingFinalizers,
    /// First reads of buckets.
    pub probes: Probes,
    /// Triggers probes.
    pub probe_queue: mpsc::Sender<Trigger<QueueKey>>,
    /// Grants that jobs have read.
    pub grant_reads: GrantReads,
    /// Recent events of each object.
    pub event_limits: Mutex<EventLimits>,
    /// Memory for what is read in large parts.
    pub memory: Arc<MemoryBudget>,
    /// Memory for jobs that are read and do not run yet.
    pub decoded_jobs: DecodedJobs,
    /// Consecutive reconciles of a key that panicked.
    pub panics: Mutex<HashMap<QueueKey, u32>>,
    /// Jobs that try whether OSS enforces a grant.
    pub enforcement_trials: Mutex<EnforcementTrials>,
}

impl Context {
    /// Returns the cache of a bucket. At most one worker reconciles a bucket, so the lock is never contended.
    pub fn bucket_cache(&self, bucket: &Arc<str>) -> Arc<tokio::sync::Mutex<BucketCache>> {
        let mut memory = self.bucket_caches.lock();
        Arc::clone(memory.entry(Arc::clone(bucket)).or_default())
    }

    /// Drops the cache of a bucket that has no grants.
    pub fn forget_bucket(&self, bucket: &Arc<str>) {
        self.bucket_caches.lock().remove(bucket);
    }

    /// Drops what is remembered about a key whose reconcile panicked: it is as incomplete as after a crash, and the
    /// next reconcile starts from what is stored. Returns the delay before that reconcile.
    pub fn on_panic(&self, key: &QueueKey) -> Duration {
        match key {
            QueueKey::Bucket(bucket) => {
                self.forget_bucket(bucket);
                if self.recheck_requests.lock().remove(bucket) {
                    self.trigger_jobs_awaiting(bucket);
                }
            }
            QueueKey::Job(job) => self.forget_job(job),
            // Their requests stay until they succeed.
            QueueKey::Probe(_) | QueueKey::Finalizer(_) => {}
        }
        let mut panics = self.panics.lock();
        let count = panics.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        requeue::after_panic(*count, &format!("{key:?}"))
    }

    /// Records that a reconcile of a key did not panic.
    pub fn forget_panics(&self, key: &QueueKey) {
        let mut panics = self.panics.lock();
        panics.remove(key);
    }

    /// Returns a namespace as the tenancy rules see it. Its labels are read only if a rule selects by label.
    ///
    /// # Errors
    /// Returns an error if the namespace cannot be read.
    pub async fn tenant(&self, namespace: &str) -> Result<Tenant, KubeError> {
        if self.ports.tenancy_rules().needs_namespace_labels() {
            return self.ports.tenant_of(namespace).await;
        }
        Ok(Tenant {
            name: namespace.to_owned(),
            ..Tenant::default()
        })
    }

    /// Returns the account that the credentials of an identity belong to, cached by AccessKey ID. STS answers that
    /// without a permission and free of charge. A transient error is retried: three attempts, 1 s apart.
    ///
    /// # Errors
    /// Returns the last error of STS.
    pub async fn account_of(&self, identity: &Identity, keys: &AccessKeys) -> Result<String, CloudError> {
        let known = self.accounts.lock().get(identity).cloned();
        if let Some((_, account)) = known.filter(|(id, _)| *id == keys.id) {
            return Ok(account);
        }
        let mut asked = 1;
        let account = loop {
            match self.ports.caller_account(keys).await {
                Ok(account) => break account,
                Err(error) => match retry_account(&error, asked) {
                    Some(pause) => sleep(pause).await,
                    None => return Err(error),
                },
            }
            asked += 1;
        };
        let known = (keys.id.clone(), account.clone());
        self.accounts.lock().insert(identity.clone(), known);
        Ok(account)
    }

    /// Requests a recheck of a grant's bucket, because the state of the policy that its grants show may be outdated. The
    /// job waits until the recheck is done, which triggers it.
    pub fn request_recheck(&self, job: &ObjectKey, bucket: &str) {
        self.jobs_awaiting_recheck
            .lock()
            .insert(job.clone(), bucket.into());
        self.trigger_recheck(bucket, &job.namespace);
    }

    /// Drops what is remembered about a job that does not exist, or as if it did not.
    pub fn forget_job(&self, job: &ObjectKey) {
        self.runs.stop_waiting(job);
        self.jobs_awaiting_recheck.lock().remove(job);
    }

    /// Whether a job still waits for a recheck.
    pub fn awaits_recheck(&self, job: &ObjectKey) -> bool {
        let mut jobs = self.jobs_awaiting_recheck.lock();
        let waiting = jobs
            .get(job)
            .is_some_and(|bucket| self.recheck_requests.lock().contains(bucket));
        if !waiting {
            jobs.remove(job);
        }
        waiting
    }

    /// Whether a recheck of a bucket was requested since the last one.
    pub fn recheck_requested(&self, bucket: &str) -> bool {
        self.recheck_requests.lock().contains(bucket)
    }

    /// Records that the recheck of a bucket is done, and triggers the jobs that wait for it.
    pub fn recheck_done(&self, bucket: &str) {
        if !self.recheck_requests.lock().remove(bucket) {
            return;
        }
        let mut times = self.rechecked.lock();
        times.retain(|_, time| is_recheck_valid(time.elapsed()));
        times.insert(bucket.into(), Instant::now());
        drop(times);
        self.trigger_jobs_awaiting(bucket);
    }

    /// Triggers the jobs that wait for a recheck of a bucket. A full channel drops a trigger; such a job is requeued anyway.
    fn trigger_jobs_awaiting(&self, bucket: &str) {
        let mut waiting = self.jobs_awaiting_recheck.lock();
        let jobs: Vec<_> = waiting.extract_if(|_, awaited| &**awaited == bucket).collect();
        drop(waiting);
        for (job, _) in jobs {
            let flow = job.namespace.clone();
            let _ = self.jobs.try_send(Trigger::now(QueueKey::Job(job), flow));
        }
    }

    /// Whether a recheck of a bucket was done just now.
    pub fn is_rechecked(&self, bucket: &str) -> bool {
        let times = self.rechecked.lock();
        times
            .get(bucket)
            .is_some_and(|time| is_recheck_valid(time.elapsed()))
    }

    /// Triggers a reconcile of a bucket that ignores its backoff.
    fn trigger_recheck(&self, bucket: &str, namespace: &str) {
        self.recheck_requests.lock().insert(bucket.into());
        let key = QueueKey::Bucket(bucket.into());
        let _ = self.buckets.try_send(Trigger::now(key, namespace));
    }
}
