//! The ports of a process: each call is an effect that passes its gate.

use async_trait::async_trait;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::api::{
    BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report, RequestPayer,
};
use imm_operator::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
use imm_operator::core::job::JobObject;
use imm_operator::core::policy::{CheckedDeletion, CheckedPolicy};
use imm_operator::core::tenancy::{TenancyRules, Tenant};
use imm_operator::core::validate::ObjectUri;
use imm_operator::ports::{
    AccessKeys, CloudError, CredentialsError, KubeError, ListPosition, ObjectChunk, ObjectEvent, ObjectPage,
    PolicyBackup, PolicyRead, Ports, ProjectLimits, ReportPage, RoleSession, StoredReport,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::fake_world::{FakeWorld, READER};
use super::fault::{Call, Fault, refused};
use super::jobs::ACCOUNT;
use super::process::{Gate, no_answer, pass_time};
use super::specs::OWNER;

/// AccessKey id of namespaces whose requests to OSS are never answered.
const STRANGER: &str = "stranger";
/// AccessKey id of the operator's own identity.
const OPERATOR: &str = "operator";

fn keys(id: String) -> AccessKeys {
    AccessKeys {
        id,
        secret: "canary".into(),
        token: None,
        expires_at: None,
    }
}

fn unanswered<T: Send + 'static>() -> BoxFuture<'static, Result<T, CloudError>> {
    async {
        pass_time(Duration::from_secs(10)).await;
        Err(no_answer())
    }
    .boxed()
}

#[async_trait]
impl Ports for Gate {
    fn now(&self) -> Timestamp {
        self.time()
    }
    async fn list_grants(&self, bucket: &str) -> Result<Vec<GrantObject>, KubeError> {
        self.listing(bucket).await
    }
    async fn get_grant(&self, key: &ObjectKey, _: &str) -> Result<Option<GrantObject>, KubeError> {
        self.effect(KubeError::Unavailable, move |o| Ok(o.grants.get(key).cloned()))
            .await
    }
    async fn replace_grant_status(
        &self,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<String, KubeError> {
        self.effect(KubeError::Unavailable, move |o| {
            o.replace_status(grant, status, self.seen().as_deref())
        })
        .await
    }
    async fn add_finalizer(&self, grant: &GrantObject) -> Result<String, KubeError> {
        self.effect(KubeError::Unavailable, move |o| o.add_finalizer(grant))
            .await
    }
    async fn remove_finalizer(&self, grant: &GrantObject) -> Result<(), KubeError> {
        self.effect(KubeError::Unavailable, move |o| o.remove_finalizer(grant))
            .await
    }
    async fn get_job(&self, key: &ObjectKey) -> Result<Option<JobObject>, KubeError> {
        self.effect_of(Call::GetJob, KubeError::Unavailable, move |o, fault| {
            Ok(o.jobs.get(key, matches!(fault, Some(Fault::Behind(_)))))
        })
        .await
    }
    async fn replace_job_status(&self, job: &JobObject, status: &JobStatus) -> Result<String, KubeError> {
        self.store(move |o| o.jobs.replace_status(job, status, self.number))
            .await
    }
    async fn mark_started(&self, job: &JobObject) -> Result<String, KubeError> {
        self.store(move |o| o.jobs.mark_started(job)).await
    }
    async fn read_secret(&self, namespace: &str, _: &str) -> Result<AccessKeys, CredentialsError> {
        let secret_time = self.outside.lock().unwrap().secret_time;
        pass_time(secret_time).await;
        self.effect(CredentialsError::Unavailable, move |o| {
            if let Some(problem) = o.no_secret.clone() {
                return Err(problem);
            }
            let id = if namespace.starts_with("stranger") {
                STRANGER.to_owned()
            } else if namespace.starts_with("reader") {
                READER.to_owned()
            } else {
                format!("LTAI{}", o.jobs.keys)
            };
            Ok(keys(id))
        })
        .await
    }
    async fn request_token(&self, _: &str, _: &str) -> Result<SecretString, CredentialsError> {
        self.effect(CredentialsError::Unavailable, |_| Err(CredentialsError::NotFound))
            .await
    }
    async fn operator_keys(&self) -> Result<AccessKeys, CredentialsError> {
        self.effect(CredentialsError::Unavailable, |o| {
            if o.jobs.rules.rules.is_empty() {
                return Err(CredentialsError::NotConfigured);
            }
            Ok(keys(OPERATOR.to_owned()))
        })
        .await
    }
    async fn assume_role(&self, _: &RoleSession, _: &AccessKeys) -> Result<AccessKeys, CloudError> {
        self.effect(no_answer(), |o| Ok(o.open_session(self.time())))
            .await
    }
    async fn assume_role_with_oidc(
        &self,
        _: &RoleSession,
        _: &str,
        _: &SecretString,
    ) -> Result<AccessKeys, CloudError> {
        self.effect(no_answer(), |_| Err(no_answer())).await
    }
    async fn server_time(&self) -> Result<Timestamp, KubeError> {
        self.effect(KubeError::Unavailable, |o| {
            Ok(self.time() - SignedDuration::from_secs(o.jobs.server_behind))
        })
        .await
    }
    async fn tenant_of(&self, name: &str) -> Result<Tenant, KubeError> {
        self.effect(KubeError::Unavailable, |_| {
            Ok(Tenant {
                name: name.to_owned(),
                ..Tenant::default()
            })
        })
        .await
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        Arc::clone(&self.outside.lock().unwrap().jobs.rules)
    }
    async fn bucket_info(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<ObservedBucket, CloudError> {
        // The owner is what a job asks for.
        let owner = Some(&bucket.owner_uid).filter(|uid| !uid.is_empty());
        let seen = ObservedBucket {
            owner_uid: Some(owner.map_or(OWNER, String::as_str).to_owned()),
            region: Some(bucket.region.clone()),
        };
        if keys.id == STRANGER {
            return unanswered().await;
        }
        self.effect(no_answer(), |o| o.admit(keys).map(|()| seen)).await
    }
    async fn is_public(&self, _: &BucketRef, _: &AccessKeys) -> Option<bool> {
        self.effect((), |_| Ok(false))
            .map(|answer: Result<bool, ()>| answer.ok())
            .await
    }
    async fn store_policy_backup(&self, _: PolicyBackup) -> Result<Option<BackupRef>, KubeError> {
        self.effect(KubeError::Unavailable, |_| Ok(None)).await
    }
    async fn publish_event(&self, _: ObjectEvent) {
        let publish = |o: &mut FakeWorld| {
            o.counts.events += 1;
            Ok(())
        };
        self.effect((), publish).map(|_: Result<(), ()>| ()).await;
    }
    async fn wait_until_writable(&self) {
        self.lease_awaited();
    }
    async fn get_policy(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<PolicyRead, CloudError> {
        self.policy_read_since_wait();
        if keys.id == STRANGER {
            return unanswered().await;
        }
        self.effect(no_answer(), move |o| {
            o.admit(keys)?;
            let policy = o.read_policy(&bucket.name, self.time());
            self.saw(policy.clone(), o.foreign_edits);
            Ok(PolicyRead {
                bytes: policy.map(String::into_bytes),
                server_time: Some(self.time()),
            })
        })
        .await
    }
    async fn put_policy(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
        policy: &CheckedPolicy,
        signed_at: Timestamp,
    ) -> Result<Option<String>, CloudError> {
        self.write(bucket, keys, Some(policy.text()), signed_at)
            .map(|answer| answer.map(|()| None))
            .await
    }
    async fn delete_policy(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
        _: &CheckedDeletion,
        signed_at: Timestamp,
    ) -> Result<Option<String>, CloudError> {
        self.write(bucket, keys, None, signed_at)
            .map(|answer| answer.map(|()| None))
            .await
    }
    async fn read_public_access_block(
        &self,
        _: &BucketRef,
        keys: &AccessKeys,
    ) -> Result<PublicAccessBlock, CloudError> {
        if keys.id == STRANGER {
            return unanswered().await;
        }
        self.effect(no_answer(), |o| {
            o.admit(keys)?;
            Ok(o.block.unwrap_or(PublicAccessBlock::Off))
        })
        .await
    }
    async fn list_reports(&self, _: &JobObject, page: Option<&str>) -> Result<ReportPage, KubeError> {
        self.effect(KubeError::Unavailable, move |o| {
            if o.jobs.hides_reports {
                return Err(KubeError::Forbidden);
            }
            Ok(o.jobs.list_reports(page))
        })
        .await
    }
    async fn get_report(&self, _: &JobObject, number: usize) -> Result<Option<StoredReport>, KubeError> {
        self.effect(KubeError::Unavailable, move |o| {
            Ok(o.jobs.reports.get(&number).cloned())
        })
        .await
    }
    async fn put_report(
        &self,
        _: &JobObject,
        report: &Report,
        version: Option<&str>,
    ) -> Result<String, KubeError> {
        self.store(move |o| o.jobs.put_report(report, version)).await
    }
    async fn delete_report(&self, _: &JobObject, number: usize) -> Result<(), KubeError> {
        self.store(move |o| {
            o.jobs.reports.remove(&number);
            Ok(())
        })
        .await
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
        let page_time = self.outside.lock().unwrap().jobs.page_time;
        pass_time(page_time).await;
        self.effect(no_answer(), move |o| {
            o.jobs.listings += 1;
            if o.jobs.lists_nothing {
                return Err(no_answer());
            }
            Ok(o.jobs.list_objects(prefix, after, self.time()))
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
        self.effect(no_answer(), move |o| {
            Ok(o.jobs.read_manifest(range.start, self.time()))
        })
        .await
    }
    async fn caller_account(&self, keys: &AccessKeys) -> Result<String, CloudError> {
        // Without a job, all keys are those of the bucket's owner.
        self.effect(no_answer(), |o| {
            o.jobs.accounts_asked += 1;
            if let Some(kind) = o.jobs.no_account {
                return Err(refused(kind));
            }
            let of_job = o.jobs.job.is_some() && keys.id != OPERATOR;
            Ok(if of_job { ACCOUNT } else { OWNER }.to_owned())
        })
        .await
    }
    async fn project_limits(&self, _: &ProjectRef, _: &AccessKeys) -> Result<ProjectLimits, CloudError> {
        self.effect(no_answer(), |o| Ok(o.jobs.limits())).await
    }
    async fn billing_permitted(&self) {}
    async fn detect_image_score(
        &self,
        _: &ProjectRef,
        _: &JobAccess,
        _: &AccessKeys,
        uri: &str,
    ) -> Result<String, CloudError> {
        self.score(uri).await
    }
}
