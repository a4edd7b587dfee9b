//! Implements [`Ports`] with the adapters for Kubernetes and Alibaba Cloud.

use std::ops::Range;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;

use secrecy::SecretString;

use super::operator_identity::OperatorIdentity;
use crate::api::{
    BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report,
};
use crate::cloud::{Cloud, IMM_DEADLINE, OSS_DEADLINE};
use crate::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
use crate::core::job::JobObject;
use crate::core::leader_election::BILLED_OVERRUN;
use crate::core::place::{BucketPlace, ObjectPlace, ProjectPlace};
use crate::core::policy::{CheckedDeletion, CheckedPolicy};
use crate::core::refusal::Refusal;
use crate::core::tenancy::{TenancyRules, Tenant};
use crate::core::validate::ObjectUri;
use crate::kubernetes::fence::Fence;
use crate::kubernetes::{Kubernetes, now};
use crate::ports::{
    AccessKeys, CloudError, CloudErrorKind, CredentialsError, KubeError, ListPosition, ObjectChunk,
    ObjectEvent, ObjectPage, PolicyBackup, PolicyRead, Ports, ProjectLimits, ReportPage, RoleSession,
    StoredReport,
};
use crate::runtime::request_budget::RequestBudget;
use crate::runtime::tenancy_file::CurrentRules;

/// The adapters for Kubernetes and Alibaba Cloud.
pub struct Adapters {
    /// The API server.
    pub kubernetes: Kubernetes,
    /// OSS, IMM and STS.
    pub cloud: Cloud,
    /// Holds back policy writes and billed calls that could outlive the lease.
    pub fence: Fence,
    /// The operator's own cloud identity.
    pub operator_identity: OperatorIdentity,
    /// The tenancy rules.
    pub tenancy_rules: CurrentRules,
    /// Limits the requests to the API server.
    pub requests: RequestBudget,
}

impl Adapters {
    /// Makes a request to the API server when the budget has room for the namespace.
    fn request<'a, T>(
        &'a self,
        namespace: &'a str,
        request: impl Future<Output = T> + Send + 'a,
    ) -> BoxFuture<'a, T> {
        async move {
            self.requests.take(namespace).await;
            request.await
        }
        .boxed()
    }
}

impl Ports for Adapters {
    fn now(&self) -> Timestamp {
        now()
    }
    fn list_grants<'a>(&'a self, bucket: &'a str) -> BoxFuture<'a, Result<Vec<GrantObject>, KubeError>> {
        self.request("", self.kubernetes.list_grants(bucket))
    }
    fn get_grant<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<GrantObject>, KubeError>> {
        self.request(&key.namespace, self.kubernetes.get_grant(key))
    }
    fn replace_grant_status<'a>(
        &'a self,
        grant: &'a GrantObject,
        status: &'a GrantStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.request(
            &grant.key.namespace,
            self.kubernetes.replace_grant_status(grant, status),
        )
    }
    fn add_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.request(&grant.key.namespace, self.kubernetes.add_finalizer(grant))
    }
    fn remove_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<(), KubeError>> {
        self.request(&grant.key.namespace, self.kubernetes.remove_finalizer(grant))
    }
    fn get_job<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<JobObject>, KubeError>> {
        self.request(&key.namespace, self.kubernetes.get_job(key))
    }
    fn replace_job_status<'a>(
        &'a self,
        job: &'a JobObject,
        status: &'a JobStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.request(
            &job.key.namespace,
            self.kubernetes.replace_job_status(job, status),
        )
    }
    fn mark_started<'a>(&'a self, job: &'a JobObject) -> BoxFuture<'a, Result<String, KubeError>> {
        self.request(&job.key.namespace, self.kubernetes.mark_started(job))
    }
    fn read_secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AccessKeys, CredentialsError>> {
        self.request(namespace, self.kubernetes.read_secret(namespace, name))
    }
    fn request_token<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, CredentialsError>> {
        self.request(namespace, self.kubernetes.request_token(namespace, name))
    }
    fn operator_keys(&self) -> BoxFuture<'_, Result<AccessKeys, CredentialsError>> {
        self.operator_identity.credentials(&self.cloud, now()).boxed()
    }
    fn assume_role<'a>(
        &'a self,
        session: &'a RoleSession,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
        self.cloud.assume_role(session, keys, now()).boxed()
    }
    fn assume_role_with_oidc<'a>(
        &'a self,
        session: &'a RoleSession,
        provider_arn: &'a str,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>> {
        self.cloud
            .assume_role_with_oidc(session, provider_arn, token, now())
            .boxed()
    }
    fn server_time(&self) -> BoxFuture<'_, Result<Timestamp, KubeError>> {
        self.kubernetes.server_time().boxed()
    }
    fn tenant_of<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Tenant, KubeError>> {
        self.request(namespace, self.kubernetes.tenant_of(namespace))
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        self.tenancy_rules.get()
    }
    fn publish_event(&self, announcement: ObjectEvent) -> BoxFuture<'_, ()> {
        async move {
            self.requests.take(&announcement.key.namespace).await;
            self.kubernetes.publish_event(announcement).await;
        }
        .boxed()
    }
    fn get_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PolicyRead, CloudError>> {
        async move { self.cloud.get_policy(&bucket_place(bucket)?, keys, now()).await }.boxed()
    }
    fn put_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        policy: &'a CheckedPolicy,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<Option<String>, CloudError>> {
        async move {
            let place = bucket_place(bucket)?;
            self.fence.wait_until_safe(OSS_DEADLINE).await;
            self.cloud
                .put_policy(&place, keys, policy.text(), signed_at)
                .await
        }
        .boxed()
    }
    fn delete_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        _: &'a CheckedDeletion,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<Option<String>, CloudError>> {
        async move {
            let place = bucket_place(bucket)?;
            self.fence.wait_until_safe(OSS_DEADLINE).await;
            self.cloud.delete_policy(&place, keys, signed_at).await
        }
        .boxed()
    }
    fn read_public_access_block<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PublicAccessBlock, CloudError>> {
        async move {
            let place = bucket_place(bucket)?;
            self.cloud.read_public_access_block(&place, keys, now()).await
        }
        .boxed()
    }
    fn bucket_info<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObservedBucket, CloudError>> {
        async move { self.cloud.bucket_info(&bucket_place(bucket)?, keys, now()).await }.boxed()
    }
    fn is_public<'a>(&'a self, bucket: &'a BucketRef, keys: &'a AccessKeys) -> BoxFuture<'a, Option<bool>> {
        async move {
            self.cloud
                .is_public(&bucket_place(bucket).ok()?, keys, now())
                .await
        }
        .boxed()
    }
    fn store_policy_backup(
        &self,
        backup: PolicyBackup,
    ) -> BoxFuture<'_, Result<Option<BackupRef>, KubeError>> {
        self.request("", self.kubernetes.store_policy_backup(backup))
    }
    fn list_reports<'a>(
        &'a self,
        job: &'a JobObject,
        page: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReportPage, KubeError>> {
        self.request(&job.key.namespace, self.kubernetes.list_reports(job, page))
    }
    fn get_report<'a>(
        &'a self,
        job: &'a JobObject,
        number: usize,
    ) -> BoxFuture<'a, Result<Option<StoredReport>, KubeError>> {
        self.request(&job.key.namespace, self.kubernetes.get_report(job, number))
    }
    fn put_report<'a>(
        &'a self,
        job: &'a JobObject,
        report: &'a Report,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, KubeError>> {
        self.request(
            &job.key.namespace,
            self.kubernetes.put_report(job, report, version),
        )
    }
    fn delete_report<'a>(
        &'a self,
        job: &'a JobObject,
        number: usize,
    ) -> BoxFuture<'a, Result<(), KubeError>> {
        self.request(&job.key.namespace, self.kubernetes.delete_report(job, number))
    }
    fn list_objects<'a>(
        &'a self,
        region: &'a str,
        bucket: &'a str,
        prefix: &'a str,
        after: &'a ListPosition,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectPage, CloudError>> {
        async move {
            let place = BucketPlace::new(bucket, region).map_err(|_| invalid_name())?;
            self.cloud.list_objects(&place, prefix, after, keys, now()).await
        }
        .boxed()
    }
    fn read_object<'a>(
        &'a self,
        region: &'a str,
        object: &'a ObjectUri,
        range: Range<u64>,
        etag: Option<&'a str>,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectChunk, CloudError>> {
        async move {
            let place = ObjectPlace::new(object, region).map_err(|_| invalid_name())?;
            self.cloud.read_object(&place, range, etag, keys, now()).await
        }
        .boxed()
    }
    fn caller_account<'a>(&'a self, keys: &'a AccessKeys) -> BoxFuture<'a, Result<String, CloudError>> {
        self.cloud.caller_account(keys, now()).boxed()
    }
    fn project_limits<'a>(
        &'a self,
        project: &'a ProjectRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ProjectLimits, CloudError>> {
        async move {
            let place = ProjectPlace::of(project).map_err(|_| invalid_name())?;
            self.cloud.project_limits(&place, keys, now()).await
        }
        .boxed()
    }
    fn billing_permitted(&self) -> BoxFuture<'_, ()> {
        self.fence.wait_until_billable().boxed()
    }
    fn detect_image_score<'a>(
        &'a self,
        project: &'a ProjectRef,
        access: &'a JobAccess,
        keys: &'a AccessKeys,
        uri: &'a str,
    ) -> BoxFuture<'a, Result<String, CloudError>> {
        async move {
            let place = ProjectPlace::of(project).map_err(|_| invalid_name())?;
            self.fence
                .wait_until_safe(IMM_DEADLINE.saturating_sub(BILLED_OVERRUN))
                .await;
            self.cloud
                .detect_image_score(&place, access, keys, uri, now())
                .await
        }
        .boxed()
    }
}

fn bucket_place(bucket: &BucketRef) -> Result<BucketPlace, CloudError> {
    BucketPlace::of(bucket).map_err(|_| invalid_name())
}

/// Error of a call that is not made. Specs are checked before, so only an object that is older than the schema gets here.
fn invalid_name() -> CloudError {
    CloudError {
        kind: CloudErrorKind::RequestRejected,
        status: None,
        code: "InvalidName".to_owned(),
        request_id: None,
        retry_after: None,
        refusal: Refusal::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::core::endpoints::Endpoints;

    #[tokio::test]
    async fn policy_writes_and_billed_calls_do_not_start_without_the_lease() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let world = Adapters {
            kubernetes: Kubernetes::new(client, Vec::new(), None, None),
            cloud: Cloud::new(Endpoints::new(&url, &url, &url).unwrap()).unwrap(),
            fence: Fence::expired(),
            operator_identity: OperatorIdentity::None,
            tenancy_rules: CurrentRules::default(),
            requests: RequestBudget::default(),
        };
        let bucket = BucketRef {
            name: "pics".to_owned(),
            region: "cn-hangzhou".to_owned(),
            owner_uid: "65432".to_owned(),
        };
        let project = ProjectRef {
            name: "scores".to_owned(),
            region: "cn-hangzhou".to_owned(),
            account_uid: "12345".to_owned(),
        };
        let keys = AccessKeys {
            id: "id".to_owned(),
            secret: "secret".into(),
            token: None,
            expires_at: None,
        };
        let access = JobAccess::default();
        let policy = CheckedPolicy::of(None, r#"{"Statement":[]}"#, &[]).unwrap();
        let deletion = CheckedDeletion::of(None, &[]).unwrap();
        let patience = Duration::from_millis(500);
        let writes = async {
            tokio::join!(
                world.put_policy(&bucket, &keys, &policy, now()),
                world.delete_policy(&bucket, &keys, &deletion, now()),
                world.detect_image_score(&project, &access, &keys, "oss://pics/a.jpg"),
            )
        };
        assert!(tokio::time::timeout(patience, writes).await.is_err());
        assert!(listener.accept().is_err(), "a call was sent without the lease");

        // A read needs no lease: it proves that the listener would have received a write.
        let read = tokio::time::timeout(patience, world.get_policy(&bucket, &keys));
        let _ = read.await;
        assert!(listener.accept().is_ok());
    }
}
