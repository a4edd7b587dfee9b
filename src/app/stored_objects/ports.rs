//! An API server that stores one grant, one job and its reports as JSON, and a cloud that answers everything.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use secrecy::SecretString;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::{
    BackupRef, BucketRef, FINALIZER, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report,
};
use crate::core::error::CloudErrorKind;
use crate::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
use crate::core::job::{JobObject, ListedObject};
use crate::core::policy::{CheckedDeletion, CheckedPolicy};
use crate::core::refusal::Refusal;
use crate::core::tenancy::{TenancyRules, Tenant};
use crate::core::validate::ObjectUri;
use crate::kubernetes::decode::{decode_grant, decode_job};
use crate::kubernetes::stored_ledger::LedgerText;
use crate::ports::{
    AccessKeys, CloudError, CredentialsError, KubeError, ListPosition, ObjectChunk, ObjectEvent, ObjectPage,
    PolicyBackup, PolicyRead, Ports, ProjectLimits, ReportPage, RoleSession, StoredReport,
};

/// Reads of an object after which a run counts as a loop.
pub(super) const READ_LIMIT: usize = 20_000;

/// What is stored.
#[derive(Clone, Default)]
pub(super) struct Store {
    pub(super) grant: Value,
    pub(super) job: Value,
    pub(super) reports: BTreeMap<usize, Value>,
    pub(super) policy: Option<String>,
    pub(super) versions: u64,
}

pub(super) struct StoredPorts {
    pub(super) store: Mutex<Store>,
    pub(super) reads: AtomicUsize,
    calls: AtomicUsize,
    start: (Timestamp, Instant),
}

impl StoredPorts {
    pub(super) fn new(store: Store) -> Self {
        let start = (Timestamp::from_second(1_790_000_000).unwrap(), Instant::now());
        Self {
            store: Mutex::new(store),
            reads: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            start,
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// Reads an object; blocks a reconcile that does nothing else.
    fn read<'a, T: Send + 'a>(&'a self, result: impl FnOnce(&Store) -> T + Send + 'a) -> BoxFuture<'a, T> {
        async move {
            if self.reads.fetch_add(1, Ordering::Relaxed) >= READ_LIMIT {
                std::future::pending::<()>().await;
            }
            result(&self.store())
        }
        .boxed()
    }

    fn put(&self, change: impl FnOnce(&mut Store)) -> BoxFuture<'_, Result<String, KubeError>> {
        let mut store = self.store();
        change(&mut store);
        store.versions += 1;
        ready(Ok(store.versions.to_string())).boxed()
    }

    /// Takes a second and answers: mostly as asked, and at times with a failure.
    fn answer<'a, T: Send + 'a>(&'a self, value: T) -> BoxFuture<'a, Result<T, CloudError>> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(Duration::from_millis(300)).await;
            let kind = match number % 19 {
                7 => CloudErrorKind::Throttled,
                11 => CloudErrorKind::Unanswered,
                13 => CloudErrorKind::RequestRejected,
                _ => return Ok(value),
            };
            Err(CloudError {
                kind,
                code: "Code".to_owned(),
                status: (kind != CloudErrorKind::Unanswered).then_some(400),
                request_id: None,
                retry_after: None,
                refusal: Refusal::default(),
            })
        }
        .boxed()
    }
}

/// Decodes an object as the watch and the reads do.
fn object(stored: &Value) -> Option<DynamicObject> {
    serde_json::from_value(stored.clone()).ok()
}

fn keys() -> AccessKeys {
    AccessKeys {
        id: "LTAI-test".to_owned(),
        secret: SecretString::from("secret"),
        token: None,
        expires_at: None,
    }
}

impl Ports for StoredPorts {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.1.elapsed()).unwrap();
        self.start.0 + passed
    }
    fn server_time(&self) -> BoxFuture<'_, Result<Timestamp, KubeError>> {
        let now = self.now();
        async move { Ok(now) }.boxed()
    }
    fn list_grants<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<GrantObject>, KubeError>> {
        self.read(|store| Ok(object(&store.grant).iter().map(decode_grant).collect()))
    }
    fn get_grant<'a>(&'a self, _: &'a ObjectKey) -> BoxFuture<'a, Result<Option<GrantObject>, KubeError>> {
        self.read(|store| Ok(object(&store.grant).as_ref().map(decode_grant)))
    }
    fn replace_grant_status<'a>(
        &'a self,
        grant: &'a GrantObject,
        status: &'a GrantStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.put(|store| {
            let stored = if grant.only_stored.is_nothing() {
                json!(status)
            } else {
                let ledger = LedgerText::deserialize(store.grant.clone()).unwrap();
                json!(ledger.complete(grant, status).unwrap())
            };
            store.grant["status"] = stored;
        })
    }
    fn add_finalizer<'a>(&'a self, _: &'a GrantObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.put(|store| store.grant["metadata"]["finalizers"] = json!([FINALIZER]))
    }
    fn remove_finalizer<'a>(&'a self, _: &'a GrantObject) -> BoxFuture<'a, Result<(), KubeError>> {
        self.store().grant = Value::Null;
        ready(Ok(())).boxed()
    }
    fn get_job<'a>(&'a self, _: &'a ObjectKey) -> BoxFuture<'a, Result<Option<JobObject>, KubeError>> {
        self.read(|store| Ok(object(&store.job).as_ref().map(decode_job)))
    }
    fn replace_job_status<'a>(
        &'a self,
        _: &'a JobObject,
        status: &'a JobStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.put(|store| store.job["status"] = json!(status))
    }
    fn mark_started<'a>(&'a self, job: &'a JobObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.put(|store| store.job["metadata"]["annotations"] = json!({"immops.dev/started": job.uid}))
    }
    fn list_reports<'a>(
        &'a self,
        _: &'a JobObject,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReportPage, KubeError>> {
        self.read(|store| {
            let decoded = store.reports.values().map(stored_report);
            Ok((decoded.collect::<Result<_, _>>()?, None))
        })
    }
    fn get_report<'a>(
        &'a self,
        _: &'a JobObject,
        number: usize,
    ) -> BoxFuture<'a, Result<Option<StoredReport>, KubeError>> {
        self.read(move |store| store.reports.get(&number).map(stored_report).transpose())
    }
    fn put_report<'a>(
        &'a self,
        _: &'a JobObject,
        report: &'a Report,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        let number = usize::try_from(report.number).unwrap_or_default();
        self.put(|store| {
            store.reports.insert(number, json!(report));
        })
    }
    fn delete_report<'a>(&'a self, _: &'a JobObject, number: usize) -> BoxFuture<'a, Result<(), KubeError>> {
        self.store().reports.remove(&number);
        ready(Ok(())).boxed()
    }
    fn read_secret<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<AccessKeys, CredentialsError>> {
        ready(Ok(keys())).boxed()
    }
    fn request_token<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, CredentialsError>> {
        ready(Ok(SecretString::from("token"))).boxed()
    }
    fn operator_keys(&self) -> BoxFuture<'_, Result<AccessKeys, CredentialsError>> {
        ready(Ok(keys())).boxed()
    }
    fn assume_role<'a>(
        &'a self,
        _: &'a RoleSession,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
        self.answer(keys())
    }
    fn assume_role_with_oidc<'a>(
        &'a self,
        _: &'a RoleSession,
        _: &'a str,
        _: &'a SecretString,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
        self.answer(keys())
    }
    fn tenant_of<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Tenant, KubeError>> {
        ready(Ok(Tenant::default())).boxed()
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        Arc::default()
    }
    fn publish_event(&self, _: ObjectEvent) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
    fn get_policy<'a>(
        &'a self,
        _: &'a BucketRef,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PolicyRead, CloudError>> {
        let bytes = self.store().policy.clone().map(String::into_bytes);
        self.answer(PolicyRead {
            bytes,
            server_time: None,
        })
    }
    fn put_policy<'a>(
        &'a self,
        _: &'a BucketRef,
        _: &'a AccessKeys,
        policy: &'a CheckedPolicy,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Option<String>, CloudError>> {
        self.store().policy = Some(policy.text().to_owned());
        self.answer(None)
    }
    fn delete_policy<'a>(
        &'a self,
        _: &'a BucketRef,
        _: &'a AccessKeys,
        _: &'a CheckedDeletion,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Option<String>, CloudError>> {
        self.store().policy = None;
        self.answer(None)
    }
    fn read_public_access_block<'a>(
        &'a self,
        _: &'a BucketRef,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PublicAccessBlock, CloudError>> {
        self.answer(PublicAccessBlock::Off)
    }
    fn bucket_info<'a>(
        &'a self,
        _: &'a BucketRef,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObservedBucket, CloudError>> {
        self.answer(ObservedBucket {
            owner_uid: None,
            region: None,
        })
    }
    fn is_public<'a>(&'a self, _: &'a BucketRef, _: &'a AccessKeys) -> BoxFuture<'a, Option<bool>> {
        ready(Some(false)).boxed()
    }
    fn store_policy_backup(&self, _: PolicyBackup) -> BoxFuture<'_, Result<Option<BackupRef>, KubeError>> {
        ready(Ok(None)).boxed()
    }
    fn list_objects<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        prefix: &'a str,
        after: &'a ListPosition,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectPage, CloudError>> {
        let after = after.key.clone().unwrap_or_default();
        let keys = (0..700).map(|n| format!("{prefix}{n:04}.jpg"));
        let mut left = keys.filter(|key| *key > after);
        let objects: Vec<_> = (&mut left)
            .take(300)
            .map(|key| ListedObject {
                key: Ok(key),
                modified: Timestamp::UNIX_EPOCH,
                size: Some(1),
                archived: false,
            })
            .collect();
        self.answer(ObjectPage {
            objects,
            next: left.next().map(|_| "next".to_owned()),
            server_time: None,
        })
    }
    fn read_object<'a>(
        &'a self,
        _: &'a str,
        _: &'a ObjectUri,
        range: Range<u64>,
        _: Option<&'a str>,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectChunk, CloudError>> {
        let text = (0..300).map(|n| format!("oss://pictures/{n}.jpg\nno image\n"));
        let text = text.collect::<String>().into_bytes();
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
        let bytes = text[place(range.start)..place(range.end)].to_vec();
        self.answer(ObjectChunk {
            bytes,
            last: place(range.end) == text.len(),
            etag: "etag".to_owned(),
            server_time: None,
        })
    }
    fn caller_account<'a>(&'a self, _: &'a AccessKeys) -> BoxFuture<'a, Result<String, CloudError>> {
        ready(Ok("1234567890123456".to_owned())).boxed()
    }
    fn project_limits<'a>(
        &'a self,
        _: &'a ProjectRef,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ProjectLimits, CloudError>> {
        self.answer(ProjectLimits {
            queries_per_second: 100,
            concurrency: 100,
            service_role: None,
        })
    }
    fn billing_permitted(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
    fn detect_image_score<'a>(
        &'a self,
        _: &'a ProjectRef,
        _: &'a JobAccess,
        _: &'a AccessKeys,
        _: &'a str,
    ) -> BoxFuture<'a, Result<String, CloudError>> {
        self.answer("0.5".to_owned())
    }
}

fn stored_report(stored: &Value) -> Result<StoredReport, KubeError> {
    Ok(StoredReport {
        report: serde_json::from_value(stored.clone()).map_err(|_| KubeError::Invalid)?,
        resource_version: String::new(),
        intact: true,
    })
}
