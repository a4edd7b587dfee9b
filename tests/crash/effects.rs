//! The ports of a process: each call is an effect that passes its gate.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imm_operator::api::{
    BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report,
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

use super::fake_world::FakeWorld;
use super::fault::{Call, Fault};
use super::jobs::ACCOUNT;
use super::process::{Gate, no_answer, pass_time};
use super::scenario::OWNER;

/// AccessKey id of namespaces whose requests to OSS are never answered.
const STRANGER: &str = "stranger";

fn unanswered<T: Send + 'static>() -> BoxFuture<'static, Result<T, CloudError>> {
    async {
        pass_time(Duration::from_secs(10)).await;
        Err(no_answer())
    }
    .boxed()
}

impl Ports for Gate {
    fn now(&self) -> Timestamp {
        self.time()
    }
    fn list_grants<'a>(&'a self, bucket: &'a str) -> BoxFuture<'a, Result<Vec<GrantObject>, KubeError>> {
        self.listing(bucket)
    }
    fn get_grant<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<GrantObject>, KubeError>> {
        self.effect(KubeError::Unavailable, move |o| Ok(o.grants.get(key).cloned()))
    }
    fn replace_grant_status<'a>(
        &'a self,
        grant: &'a GrantObject,
        status: &'a GrantStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.effect(KubeError::Unavailable, move |o| {
            o.replace_status(grant, status, self.seen().as_deref())
        })
    }
    fn add_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.effect(KubeError::Unavailable, move |o| o.add_finalizer(grant))
    }
    fn remove_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<(), KubeError>> {
        self.effect(KubeError::Unavailable, move |o| o.remove_finalizer(grant))
    }
    fn get_job<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<JobObject>, KubeError>> {
        self.effect_of(Call::GetJob, KubeError::Unavailable, move |o, fault| {
            Ok(o.jobs.get(key, matches!(fault, Some(Fault::Behind(_)))))
        })
    }
    fn replace_job_status<'a>(
        &'a self,
        job: &'a JobObject,
        status: &'a JobStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.store(move |o| o.jobs.replace_status(job, status, self.number))
    }
    fn mark_started<'a>(&'a self, job: &'a JobObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.store(move |o| o.jobs.mark_started(job))
    }
    fn read_secret<'a>(
        &'a self,
        namespace: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<AccessKeys, CredentialsError>> {
        self.effect(CredentialsError::Unavailable, move |o| {
            if let Some(problem) = o.no_secret.clone() {
                return Err(problem);
            }
            let id = if namespace.starts_with("stranger") {
                STRANGER.to_owned()
            } else {
                format!("LTAI{}", o.jobs.keys)
            };
            Ok(AccessKeys {
                id,
                secret: "canary".into(),
                token: None,
                expires_at: None,
            })
        })
    }
    fn request_token<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, CredentialsError>> {
        self.effect(CredentialsError::Unavailable, |_| Err(CredentialsError::NotFound))
    }
    fn operator_keys(&self) -> BoxFuture<'_, Result<AccessKeys, CredentialsError>> {
        self.effect(CredentialsError::Unavailable, |_| {
            Err(CredentialsError::NotConfigured)
        })
    }
    fn assume_role<'a>(
        &'a self,
        _: &'a RoleSession,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
        self.effect(no_answer(), |o| Ok(o.open_session(self.time())))
    }
    fn assume_role_with_oidc<'a>(
        &'a self,
        _: &'a RoleSession,
        _: &'a str,
        _: &'a SecretString,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
        self.effect(no_answer(), |_| Err(no_answer()))
    }
    fn server_time(&self) -> BoxFuture<'_, Result<Timestamp, KubeError>> {
        self.effect(KubeError::Unavailable, |o| {
            Ok(self.time() - SignedDuration::from_secs(o.jobs.server_behind))
        })
    }
    fn tenant_of<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Tenant, KubeError>> {
        self.effect(KubeError::Unavailable, |_| {
            Ok(Tenant {
                name: name.to_owned(),
                ..Tenant::default()
            })
        })
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        Arc::new(TenancyRules::default())
    }
    fn bucket_info<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObservedBucket, CloudError>> {
        let seen = ObservedBucket {
            owner_uid: Some(bucket.owner_uid.clone()),
            region: Some(bucket.region.clone()),
        };
        if keys.id == STRANGER {
            return unanswered();
        }
        self.effect(no_answer(), |o| o.admit(keys).map(|()| seen))
    }
    fn is_public<'a>(&'a self, _: &'a BucketRef, _: &'a AccessKeys) -> BoxFuture<'a, Option<bool>> {
        self.effect((), |_| Ok(false))
            .map(|answer: Result<bool, ()>| answer.ok())
            .boxed()
    }
    fn store_policy_backup(&self, _: PolicyBackup) -> BoxFuture<'_, Result<Option<BackupRef>, KubeError>> {
        self.effect(KubeError::Unavailable, |_| Ok(None))
    }
    fn publish_event(&self, _: ObjectEvent) -> BoxFuture<'_, ()> {
        let publish = |o: &mut FakeWorld| {
            o.counts.events += 1;
            Ok(())
        };
        self.effect((), publish).map(|_: Result<(), ()>| ()).boxed()
    }
    fn get_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PolicyRead, CloudError>> {
        if keys.id == STRANGER {
            return unanswered();
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
    }
    fn put_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        policy: &'a CheckedPolicy,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<Option<String>, CloudError>> {
        self.write(bucket, keys, Some(policy.text()), signed_at)
            .map(|answer| answer.map(|()| None))
            .boxed()
    }
    fn delete_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        _: &'a CheckedDeletion,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<Option<String>, CloudError>> {
        self.write(bucket, keys, None, signed_at)
            .map(|answer| answer.map(|()| None))
            .boxed()
    }
    fn read_public_access_block<'a>(
        &'a self,
        _: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PublicAccessBlock, CloudError>> {
        if keys.id == STRANGER {
            return unanswered();
        }
        self.effect(no_answer(), |o| {
            o.admit(keys)?;
            Ok(o.block.unwrap_or(PublicAccessBlock::Off))
        })
    }
    fn list_reports<'a>(
        &'a self,
        _: &'a JobObject,
        page: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReportPage, KubeError>> {
        self.effect(KubeError::Unavailable, move |o| Ok(o.jobs.list_reports(page)))
    }
    fn get_report<'a>(
        &'a self,
        _: &'a JobObject,
        number: usize,
    ) -> BoxFuture<'a, Result<Option<StoredReport>, KubeError>> {
        self.effect(KubeError::Unavailable, move |o| {
            Ok(o.jobs.reports.get(&number).cloned())
        })
    }
    fn put_report<'a>(
        &'a self,
        _: &'a JobObject,
        report: &'a Report,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.store(move |o| o.jobs.put_report(report, version))
    }
    fn delete_report<'a>(&'a self, _: &'a JobObject, number: usize) -> BoxFuture<'a, Result<(), KubeError>> {
        self.store(move |o| {
            o.jobs.reports.remove(&number);
            Ok(())
        })
    }
    fn list_objects<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        prefix: &'a str,
        after: &'a ListPosition,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectPage, CloudError>> {
        self.effect(no_answer(), move |o| {
            Ok(o.jobs.list_objects(prefix, after, self.time()))
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
        self.effect(no_answer(), move |o| {
            Ok(o.jobs.read_manifest(range.start, self.time()))
        })
    }
    fn caller_account<'a>(&'a self, _: &'a AccessKeys) -> BoxFuture<'a, Result<String, CloudError>> {
        // Without a job, all keys are those of the bucket's owner.
        self.effect(no_answer(), |o| {
            let account = if o.jobs.job.is_some() { ACCOUNT } else { OWNER };
            Ok(account.to_owned())
        })
    }
    fn project_limits<'a>(
        &'a self,
        _: &'a ProjectRef,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ProjectLimits, CloudError>> {
        self.effect(no_answer(), |o| Ok(o.jobs.limits()))
    }
    fn billing_permitted(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
    fn detect_image_score<'a>(
        &'a self,
        _: &'a ProjectRef,
        _: &'a JobAccess,
        _: &'a AccessKeys,
        uri: &'a str,
    ) -> BoxFuture<'a, Result<String, CloudError>> {
        self.score(uri)
    }
}
