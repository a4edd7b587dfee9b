//! The ports of a process of a history.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use imm_operator::api::{
    BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report,
};
use imm_operator::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
use imm_operator::core::identity::{AssumedRole, CredentialOrigin, Identity};
use imm_operator::core::job::JobObject;
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

impl Ports for Gate {
    fn now(&self) -> Timestamp {
        self.world.lock().unwrap().operator_time()
    }
    fn list_grants<'a>(&'a self, bucket: &'a str) -> BoxFuture<'a, Result<Vec<GrantObject>, KubeError>> {
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
    }
    fn get_grant<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<GrantObject>, KubeError>> {
        self.effect(KubeError::Unavailable, move |world| {
            Ok(world.grants.get(key).map(|g| GrantObject::clone(g)))
        })
    }
    fn replace_grant_status<'a>(
        &'a self,
        grant: &'a GrantObject,
        status: &'a GrantStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        let seen = self.known(&grant.bucket.as_ref().unwrap().name, grant.identity.as_ref());
        self.effect(KubeError::Unavailable, move |world| {
            let seen = seen.policy;
            world.replace_status(grant, status, seen.as_deref())
        })
    }
    fn add_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.effect(KubeError::Unavailable, move |world| world.add_finalizer(grant))
    }
    fn remove_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<(), KubeError>> {
        let released = self.effect(KubeError::Unavailable, move |world| world.remove_finalizer(grant));
        let answer = released.inspect_err(move |error| {
            if *error != KubeError::Unavailable {
                self.world.lock().unwrap().note_denied_release(grant);
            }
        });
        answer.boxed()
    }
    fn get_job<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<JobObject>, KubeError>> {
        self.effect_of(Call::GetJob, KubeError::Unavailable, move |world| {
            Ok(world.jobs.get(key).and_then(|job| job.job.clone()))
        })
    }
    fn replace_job_status<'a>(
        &'a self,
        job: &'a JobObject,
        status: &'a JobStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.store_of(job, move |jobs| jobs.replace_status(job, status, self.number))
    }
    fn mark_started<'a>(&'a self, job: &'a JobObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.store_of(job, move |jobs| jobs.mark_started(job))
    }
    fn read_secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AccessKeys, CredentialsError>> {
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
    }
    fn request_token<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, CredentialsError>> {
        self.effect(CredentialsError::Unavailable, move |world| {
            let identity = world.identity(namespace, 1);
            world.open(&identity, CredentialsError::TokenRequestDenied { account: None })?;
            let life = world.namespaces.get(namespace).map_or(0, |n| n.lives);
            world.audit.tokens.insert(identity, life);
            Ok(format!("{namespace}/{name}").into())
        })
    }
    fn operator_keys(&self) -> BoxFuture<'_, Result<AccessKeys, CredentialsError>> {
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
    }
    fn assume_role<'a>(
        &'a self,
        session: &'a RoleSession,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
        self.effect(no_answer(), move |world| {
            let mut origin = world.cloud.identity(keys).origin;
            if let (CredentialOrigin::Operator { namespace }, Some((_, of))) =
                (&mut origin, session.name.split_once('@'))
            {
                of.clone_into(namespace);
            }
            let identity = Identity {
                origin,
                assumed_role: Some(AssumedRole {
                    role_arn: session.role_arn.clone(),
                    external_id: session.external_id.clone(),
                }),
            };
            let end = world.true_time() + SESSION;
            Ok(world.issue(identity, Some(end)))
        })
    }
    fn assume_role_with_oidc<'a>(
        &'a self,
        session: &'a RoleSession,
        provider_arn: &'a str,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
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
    }
    fn server_time(&self) -> BoxFuture<'_, Result<Timestamp, KubeError>> {
        self.effect(KubeError::Unavailable, |world| Ok(world.true_time()))
    }
    fn tenant_of<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Tenant, KubeError>> {
        self.effect(KubeError::Unavailable, |world| {
            if world.namespaces.get(name).is_none_or(|n| n.gone) {
                return Err(KubeError::NotFound);
            }
            Ok(Tenant {
                name: name.to_owned(),
                ..Tenant::default()
            })
        })
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        self.world.lock().unwrap().rules()
    }
    fn publish_event(&self, event: ObjectEvent) -> BoxFuture<'_, ()> {
        let publish = move |world: &mut World| {
            world.audit.must(!event.note.contains("canary"), || {
                format!("I12: a secret in an event of {}", event.key)
            });
            world.audit.writes += 1;
            Ok(())
        };
        self.effect((), publish).map(|_: Result<(), ()>| ()).boxed()
    }
    fn get_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PolicyRead, CloudError>> {
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
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PublicAccessBlock, CloudError>> {
        // Two of the buckets differ in this.
        let state = if bucket.name.ends_with('b') {
            PublicAccessBlock::OnForBucket
        } else {
            PublicAccessBlock::Off
        };
        self.at_bucket(bucket, keys, move |_| state)
    }
    fn bucket_info<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObservedBucket, CloudError>> {
        let seen = ObservedBucket {
            owner_uid: Some(OWNER.to_owned()),
            region: Some(bucket.region.clone()),
        };
        self.at_bucket(bucket, keys, move |_| seen)
    }
    fn is_public<'a>(&'a self, _: &'a BucketRef, _: &'a AccessKeys) -> BoxFuture<'a, Option<bool>> {
        self.effect((), |_| Ok(false))
            .map(|answer: Result<bool, ()>| answer.ok())
            .boxed()
    }
    fn store_policy_backup(&self, _: PolicyBackup) -> BoxFuture<'_, Result<Option<BackupRef>, KubeError>> {
        self.effect(KubeError::Unavailable, |_| Ok(None))
    }
    fn list_reports<'a>(
        &'a self,
        job: &'a JobObject,
        page: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReportPage, KubeError>> {
        self.effect(KubeError::Unavailable, move |world| {
            let jobs = world.job(&job.key).ok();
            Ok(jobs.map_or((Vec::new(), None), |jobs| jobs.list_reports(page)))
        })
    }
    fn get_report<'a>(
        &'a self,
        job: &'a JobObject,
        number: usize,
    ) -> BoxFuture<'a, Result<Option<StoredReport>, KubeError>> {
        self.effect(KubeError::Unavailable, move |world| {
            let jobs = world.job(&job.key).ok();
            Ok(jobs.and_then(|jobs| jobs.reports.get(&number).cloned()))
        })
    }
    fn put_report<'a>(
        &'a self,
        job: &'a JobObject,
        report: &'a Report,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.store_of(job, move |jobs| jobs.put_report(report, version))
    }
    fn delete_report<'a>(
        &'a self,
        job: &'a JobObject,
        number: usize,
    ) -> BoxFuture<'a, Result<(), KubeError>> {
        self.store_of(job, move |jobs| {
            jobs.reports.remove(&number);
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
        self.effect(no_answer(), move |world| {
            let now = world.true_time();
            let images = world
                .jobs
                .values()
                .find(|job| job.images.iter().any(|key| key.starts_with(prefix)));
            let none = JobWorld::default();
            Ok(images.unwrap_or(&none).list_objects(prefix, after, now))
        })
    }
    fn read_object<'a>(
        &'a self,
        _: &'a str,
        _: &'a ObjectUri,
        _: std::ops::Range<u64>,
        _: Option<&'a str>,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectChunk, CloudError>> {
        self.effect(no_answer(), |_| Err(refused(CloudErrorKind::RequestRejected)))
    }
    fn caller_account<'a>(&'a self, _: &'a AccessKeys) -> BoxFuture<'a, Result<String, CloudError>> {
        self.effect(no_answer(), |_| Ok(ACCOUNT.to_owned()))
    }
    fn project_limits<'a>(
        &'a self,
        _: &'a ProjectRef,
        _: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ProjectLimits, CloudError>> {
        self.effect(no_answer(), |_| {
            Ok(ProjectLimits {
                queries_per_second: 10,
                concurrency: 5,
                service_role: Some("AliyunIMMDefaultRole".to_owned()),
            })
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
        uri: &'a str,
    ) -> BoxFuture<'a, Result<String, CloudError>> {
        self.score(uri)
    }
}
