//! The ports of a process of a history.

use async_trait::async_trait;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use imm_operator::api::{
    AssumeRole, BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report,
    RequestPayer,
};
use imm_operator::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
use imm_operator::core::identity::{CredentialOrigin, Identity};
use imm_operator::core::job::JobObject;
use imm_operator::core::memory_plan::{LIST_BYTES, OBJECT_BYTES};
use imm_operator::core::policy::{CheckedDeletion, CheckedPolicy};
use imm_operator::core::tenancy::{TenancyRules, Tenant};
use imm_operator::core::validate::ObjectUri;
use imm_operator::ports::{
    AccessKeys, CloudError, CloudErrorKind, CredentialsError, KubeError, ListPosition, ObjectChunk,
    ObjectEvent, ObjectPage, PolicyBackup, PolicyRead, Ports, ProjectLimits, ReportPage, RoleSession,
    StoredReport,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::super::fault::{Call, refused};
use super::super::jobs::{ACCOUNT, JobWorld};
use super::super::process::no_answer;
use super::gate::Gate;
use super::specs::OWNER;
use super::world::World;

/// How long a session lasts.
const SESSION: SignedDuration = SignedDuration::from_hours(1);

impl Gate {
    fn store_of<'a, T: Send + 'a>(
        &'a self,
        job: &'a JobObject,
        perform: impl FnOnce(&mut JobWorld) -> Result<T, KubeError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, KubeError>> {
        self.effect_of(Call::Store, KubeError::Unavailable, move |world| {
            perform(world.job(&job.key)?)
        })
    }
}

#[async_trait]
impl Ports for Gate {
    fn now(&self) -> Timestamp {
        self.world.lock().unwrap().operator_time()
    }
    async fn list_grants(&self, bucket: &str) -> Result<Vec<GrantObject>, KubeError> {
        let _memory = self.memory.reserve("", LIST_BYTES).await;
        self.effect_of(Call::List, KubeError::Unavailable, move |world| {
            let behind = std::mem::take(&mut world.behind);
            // A list is never older than the process: it is read with quorum.
            let version = world.version_before(behind).max(world.started_version);
            let (version, grants) = if behind == 0 {
                (world.version, world.grants.clone())
            } else {
                // Events of what the list does not show arrive after it.
                world.show_rules();
                (version, world.at(version))
            };
            self.saw_grants(bucket, version);
            let within = |g: &&Arc<GrantObject>| g.bucket.as_ref().is_some_and(|b| b.name == bucket);
            Ok(grants
                .values()
                .filter(within)
                .map(|g| GrantObject::clone(g))
                .collect())
        })
        .await
    }
    async fn get_grant(&self, key: &ObjectKey, requester: &str) -> Result<Option<GrantObject>, KubeError> {
        let _memory = self.memory.reserve(requester, OBJECT_BYTES).await;
        self.effect(KubeError::Unavailable, move |world| {
            Ok(world.grants.get(key).map(|g| GrantObject::clone(g)))
        })
        .await
    }
    async fn replace_grant_status(
        &self,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<String, KubeError> {
        let seen = self.known(&grant.bucket.as_ref().unwrap().name, grant.identity.as_ref());
        self.effect(KubeError::Unavailable, move |world| {
            let seen = seen.policy;
            world.replace_status(grant, status, seen.as_deref())
        })
        .await
    }
    async fn add_finalizer(&self, grant: &GrantObject) -> Result<String, KubeError> {
        self.effect(KubeError::Unavailable, move |world| world.add_finalizer(grant))
            .await
    }
    async fn remove_finalizer(&self, grant: &GrantObject) -> Result<(), KubeError> {
        let released = self.effect(KubeError::Unavailable, move |world| world.remove_finalizer(grant));
        let answer = released.inspect_err(move |error| {
            if *error != KubeError::Unavailable {
                self.world.lock().unwrap().note_denied_release(grant);
            }
        });
        answer.await
    }
    async fn get_job(&self, key: &ObjectKey) -> Result<Option<JobObject>, KubeError> {
        let _memory = self.memory.reserve(&key.namespace, OBJECT_BYTES).await;
        self.effect_of(Call::GetJob, KubeError::Unavailable, move |world| {
            Ok(world.jobs.get(key).and_then(|job| job.job.clone()))
        })
        .await
    }
    async fn replace_job_status(&self, job: &JobObject, status: &JobStatus) -> Result<String, KubeError> {
        self.store_of(job, move |jobs| jobs.replace_status(job, status, self.number))
            .await
    }
    async fn mark_started(&self, job: &JobObject) -> Result<String, KubeError> {
        self.store_of(job, move |jobs| jobs.mark_started(job)).await
    }
    async fn read_secret(&self, namespace: &str, name: &str) -> Result<AccessKeys, CredentialsError> {
        self.effect(CredentialsError::Unavailable, move |world| {
            let identity = Identity {
                origin: CredentialOrigin::Secret {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                },
                assumed_role: None,
            };
            world.open(&identity, CredentialsError::SecretAccessDenied { account: None })?;
            Ok(world.issue(identity, None))
        })
        .await
    }
    async fn request_token(&self, namespace: &str, name: &str) -> Result<SecretString, CredentialsError> {
        self.effect(CredentialsError::Unavailable, move |world| {
            let identity = world.identity(namespace, 1);
            world.open(&identity, CredentialsError::TokenRequestDenied { account: None })?;
            let life = world.namespaces.get(namespace).map_or(0, |n| n.lives);
            world.audit.tokens.insert(identity, life);
            Ok(format!("{namespace}/{name}").into())
        })
        .await
    }
    async fn operator_keys(&self) -> Result<AccessKeys, CredentialsError> {
        self.effect(CredentialsError::Unavailable, |world| {
            let identity = Identity {
                // The operator's own keys name no namespace; their sessions do.
                origin: CredentialOrigin::Operator {
                    namespace: String::new(),
                },
                assumed_role: None,
            };
            Ok(world.issue(identity, None))
        })
        .await
    }
    async fn assume_role(&self, session: &RoleSession, keys: &AccessKeys) -> Result<AccessKeys, CloudError> {
        self.effect(no_answer(), move |world| {
            let mut origin = world.cloud.identity(keys).origin;
            if let (CredentialOrigin::Operator { namespace }, Some((_, of))) =
                (&mut origin, session.name.split_once('@'))
            {
                of.clone_into(namespace);
            }
            let identity = Identity {
                origin,
                assumed_role: Some(AssumeRole {
                    role_arn: session.role_arn.clone(),
                    external_id: session.external_id.clone(),
                }),
            };
            let end = world.true_time() + SESSION;
            Ok(world.issue(identity, Some(end)))
        })
        .await
    }
    async fn assume_role_with_oidc(
        &self,
        session: &RoleSession,
        provider_arn: &str,
        token: &SecretString,
    ) -> Result<AccessKeys, CloudError> {
        self.effect(no_answer(), move |world| {
            let (namespace, name) = token.expose_secret().split_once('/').unwrap();
            let origin = CredentialOrigin::ServiceAccount {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                role_arn: session.role_arn.clone(),
                provider_arn: provider_arn.to_owned(),
            };
            let identity = Identity {
                origin,
                assumed_role: None,
            };
            let end = world.true_time() + SESSION;
            Ok(world.issue(identity, Some(end)))
        })
        .await
    }
    async fn server_time(&self) -> Result<Timestamp, KubeError> {
        self.effect(KubeError::Unavailable, |world| Ok(world.true_time()))
            .await
    }
    async fn tenant_of(&self, name: &str) -> Result<Tenant, KubeError> {
        self.effect(KubeError::Unavailable, |world| {
            if world.namespaces.get(name).is_none_or(|n| n.gone) {
                return Err(KubeError::NotFound);
            }
            Ok(Tenant {
                name: name.to_owned(),
                ..Tenant::default()
            })
        })
        .await
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        self.world.lock().unwrap().rules()
    }
    async fn publish_event(&self, event: ObjectEvent) {
        let publish = move |world: &mut World| {
            world.audit.must(!event.content.note.contains("canary"), || {
                format!("I12: a secret in an event of {}", event.key)
            });
            world.audit.writes += 1;
            Ok(())
        };
        self.effect((), publish).map(|_: Result<(), ()>| ()).await;
    }
    async fn wait_until_writable(&self) {}
    async fn get_policy(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<PolicyRead, CloudError> {
        self.at_bucket(bucket, keys, move |world| {
            let now = world.true_time();
            let policy = world.cloud.read(&bucket.name, now);
            let edits = world.cloud.buckets.get(&bucket.name).map_or(0, |b| b.edits);
            let identity = world.cloud.identity(keys);
            self.saw_policy(&bucket.name, &identity, policy.as_deref(), edits);
            PolicyRead {
                bytes: policy.map(String::into_bytes),
                server_time: Some(now),
            }
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
        bucket: &BucketRef,
        keys: &AccessKeys,
    ) -> Result<PublicAccessBlock, CloudError> {
        // Two of the buckets differ in this.
        let state = if bucket.name.ends_with('b') {
            PublicAccessBlock::OnForBucket
        } else {
            PublicAccessBlock::Off
        };
        self.at_bucket(bucket, keys, move |_| state).await
    }
    async fn bucket_info(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<ObservedBucket, CloudError> {
        let seen = ObservedBucket {
            owner_uid: Some(OWNER.to_owned()),
            region: Some(bucket.region.clone()),
        };
        self.at_bucket(bucket, keys, move |_| seen).await
    }
    async fn is_public(&self, _: &BucketRef, _: &AccessKeys) -> Option<bool> {
        self.effect((), |_| Ok(false))
            .map(|answer: Result<bool, ()>| answer.ok())
            .await
    }
    async fn store_policy_backup(&self, _: PolicyBackup) -> Result<Option<BackupRef>, KubeError> {
        self.effect(KubeError::Unavailable, |_| Ok(None)).await
    }
    async fn list_reports(&self, job: &JobObject, page: Option<&str>) -> Result<ReportPage, KubeError> {
        self.effect(KubeError::Unavailable, move |world| {
            let jobs = world.job(&job.key).ok();
            Ok(jobs.map_or((Vec::new(), None), |jobs| jobs.list_reports(page)))
        })
        .await
    }
    async fn get_report(&self, job: &JobObject, number: usize) -> Result<Option<StoredReport>, KubeError> {
        self.effect(KubeError::Unavailable, move |world| {
            let jobs = world.job(&job.key).ok();
            Ok(jobs.and_then(|jobs| jobs.reports.get(&number).cloned()))
        })
        .await
    }
    async fn put_report(
        &self,
        job: &JobObject,
        report: &Report,
        version: Option<&str>,
    ) -> Result<String, KubeError> {
        self.store_of(job, move |jobs| jobs.put_report(report, version))
            .await
    }
    async fn delete_report(&self, job: &JobObject, number: usize) -> Result<(), KubeError> {
        self.store_of(job, move |jobs| {
            jobs.reports.remove(&number);
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
        self.effect(no_answer(), move |world| {
            let now = world.true_time();
            let images = world
                .jobs
                .values()
                .find(|job| job.images.iter().any(|key| key.starts_with(prefix)));
            let none = JobWorld::default();
            Ok(images.unwrap_or(&none).list_objects(prefix, after, now))
        })
        .await
    }
    async fn read_object(
        &self,
        _: &str,
        _: &ObjectUri,
        _: std::ops::Range<u64>,
        _: Option<&str>,
        _: RequestPayer,
        _: &AccessKeys,
    ) -> Result<ObjectChunk, CloudError> {
        self.effect(no_answer(), |_| Err(refused(CloudErrorKind::RequestRejected)))
            .await
    }
    async fn caller_account(&self, _: &AccessKeys) -> Result<String, CloudError> {
        self.effect(no_answer(), |_| Ok(ACCOUNT.to_owned())).await
    }
    async fn project_limits(&self, _: &ProjectRef, _: &AccessKeys) -> Result<ProjectLimits, CloudError> {
        self.effect(no_answer(), |_| {
            Ok(ProjectLimits {
                queries_per_second: 10,
                concurrency: 5,
                service_role: Some("AliyunIMMDefaultRole".to_owned()),
            })
        })
        .await
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
