//! An API server that stores one grant, one job and its reports as JSON, and a cloud that answers everything.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use secrecy::SecretString;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::{
    BackupRef, BucketRef, FINALIZER, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report,
    RequestPayer,
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
    /// Whether the grants of a bucket cannot be listed.
    pub(super) lists_fail: bool,
    /// How often the job was read.
    pub(super) job_reads: usize,
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
    async fn read<T>(&self, result: impl FnOnce(&Store) -> T + Send) -> T {
        if self.reads.fetch_add(1, Ordering::Relaxed) >= READ_LIMIT {
            std::future::pending::<()>().await;
        }
        result(&self.store())
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the answer of a port, to be returned as it is"
    )]
    fn put(&self, change: impl FnOnce(&mut Store)) -> Result<String, KubeError> {
        let mut store = self.store();
        change(&mut store);
        store.versions += 1;
        Ok(store.versions.to_string())
    }

    /// Takes a second and answers: mostly as asked, and at times with a failure.
    async fn answer<T: Send>(&self, value: T) -> Result<T, CloudError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
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

#[async_trait]
impl Ports for StoredPorts {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.1.elapsed()).unwrap();
        self.start.0 + passed
    }
    async fn server_time(&self) -> Result<Timestamp, KubeError> {
        Ok(self.now())
    }
    async fn list_grants(&self, _: &str) -> Result<Vec<GrantObject>, KubeError> {
        self.read(|store| {
            let grants = object(&store.grant).iter().map(decode_grant).collect();
            (!store.lists_fail)
                .then_some(grants)
                .ok_or(KubeError::Unavailable)
        })
        .await
    }
    async fn get_grant(&self, _: &ObjectKey, _: &str) -> Result<Option<GrantObject>, KubeError> {
        self.read(|store| Ok(object(&store.grant).as_ref().map(decode_grant)))
            .await
    }
    async fn replace_grant_status(
        &self,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<String, KubeError> {
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
    async fn add_finalizer(&self, _: &GrantObject) -> Result<String, KubeError> {
        self.put(|store| store.grant["metadata"]["finalizers"] = json!([FINALIZER]))
    }
    async fn remove_finalizer(&self, _: &GrantObject) -> Result<(), KubeError> {
        self.store().grant = Value::Null;
        Ok(())
    }
    async fn get_job(&self, _: &ObjectKey) -> Result<Option<JobObject>, KubeError> {
        self.store().job_reads += 1;
        self.read(|store| Ok(object(&store.job).as_ref().map(decode_job)))
            .await
    }
    async fn replace_job_status(&self, _: &JobObject, status: &JobStatus) -> Result<String, KubeError> {
        self.put(|store| store.job["status"] = json!(status))
    }
    async fn mark_started(&self, job: &JobObject) -> Result<String, KubeError> {
        self.put(|store| store.job["metadata"]["annotations"] = json!({"immops.dev/started": job.uid}))
    }
    async fn list_reports(&self, _: &JobObject, _: Option<&str>) -> Result<ReportPage, KubeError> {
        self.read(|store| {
            let decoded = store.reports.values().map(stored_report);
            Ok((decoded.collect::<Result<_, _>>()?, None))
        })
        .await
    }
    async fn get_report(&self, _: &JobObject, number: usize) -> Result<Option<StoredReport>, KubeError> {
        self.read(move |store| store.reports.get(&number).map(stored_report).transpose())
            .await
    }
    async fn put_report(&self, _: &JobObject, report: &Report, _: Option<&str>) -> Result<String, KubeError> {
        let number = usize::try_from(report.number).unwrap_or_default();
        self.put(|store| {
            store.reports.insert(number, json!(report));
        })
    }
    async fn delete_report(&self, _: &JobObject, number: usize) -> Result<(), KubeError> {
        self.store().reports.remove(&number);
        Ok(())
    }
    async fn read_secret(&self, _: &str, _: &str) -> Result<AccessKeys, CredentialsError> {
        Ok(keys())
    }
    async fn request_token(&self, _: &str, _: &str) -> Result<SecretString, CredentialsError> {
        Ok(SecretString::from("token"))
    }
    async fn operator_keys(&self) -> Result<AccessKeys, CredentialsError> {
        Ok(keys())
    }
    async fn assume_role(&self, _: &RoleSession, _: &AccessKeys) -> Result<AccessKeys, CloudError> {
        self.answer(keys()).await
    }
    async fn assume_role_with_oidc(
        &self,
        _: &RoleSession,
        _: &str,
        _: &SecretString,
    ) -> Result<AccessKeys, CloudError> {
        self.answer(keys()).await
    }
    async fn tenant_of(&self, _: &str) -> Result<Tenant, KubeError> {
        Ok(Tenant::default())
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        Arc::default()
    }
    async fn publish_event(&self, _: ObjectEvent) {}
    async fn wait_until_writable(&self) {}
    async fn get_policy(&self, _: &BucketRef, _: &AccessKeys) -> Result<PolicyRead, CloudError> {
        let bytes = self.store().policy.clone().map(String::into_bytes);
        self.answer(PolicyRead {
            bytes,
            server_time: None,
        })
        .await
    }
    async fn put_policy(
        &self,
        _: &BucketRef,
        _: &AccessKeys,
        policy: &CheckedPolicy,
        _: Timestamp,
    ) -> Result<Option<String>, CloudError> {
        self.store().policy = Some(policy.text().to_owned());
        self.answer(None).await
    }
    async fn delete_policy(
        &self,
        _: &BucketRef,
        _: &AccessKeys,
        _: &CheckedDeletion,
        _: Timestamp,
    ) -> Result<Option<String>, CloudError> {
        self.store().policy = None;
        self.answer(None).await
    }
    async fn read_public_access_block(
        &self,
        _: &BucketRef,
        _: &AccessKeys,
    ) -> Result<PublicAccessBlock, CloudError> {
        self.answer(PublicAccessBlock::Off).await
    }
    async fn bucket_info(&self, _: &BucketRef, _: &AccessKeys) -> Result<ObservedBucket, CloudError> {
        self.answer(ObservedBucket {
            owner_uid: None,
            region: None,
        })
        .await
    }
    async fn is_public(&self, _: &BucketRef, _: &AccessKeys) -> Option<bool> {
        Some(false)
    }
    async fn store_policy_backup(&self, _: PolicyBackup) -> Result<Option<BackupRef>, KubeError> {
        Ok(None)
    }
    async fn list_objects(
        &self,
        _: &str,
        _: &str,
        prefix: &str,
        after: &ListPosition,
        _: RequestPayer,
        _: &AccessKeys,
    ) -> Result<ObjectPage, CloudError> {
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
        .await
    }
    async fn read_object(
        &self,
        _: &str,
        _: &ObjectUri,
        range: Range<u64>,
        _: Option<&str>,
        _: RequestPayer,
        _: &AccessKeys,
    ) -> Result<ObjectChunk, CloudError> {
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
        .await
    }
    async fn caller_account(&self, _: &AccessKeys) -> Result<String, CloudError> {
        Ok("1234567890123456".to_owned())
    }
    async fn project_limits(&self, _: &ProjectRef, _: &AccessKeys) -> Result<ProjectLimits, CloudError> {
        self.answer(ProjectLimits {
            queries_per_second: 100,
            concurrency: 100,
            service_role: None,
        })
        .await
    }
    async fn billing_permitted(&self) {}
    async fn detect_image_score(
        &self,
        _: &ProjectRef,
        _: &JobAccess,
        _: &AccessKeys,
        _: &str,
    ) -> Result<String, CloudError> {
        self.answer("0.5".to_owned()).await
    }
}

fn stored_report(stored: &Value) -> Result<StoredReport, KubeError> {
    Ok(StoredReport {
        report: serde_json::from_value(stored.clone()).map_err(|_| KubeError::Invalid)?,
        resource_version: String::new(),
        intact: true,
    })
}
