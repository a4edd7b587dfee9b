//! Implements [`Ports`] with the adapters for Kubernetes and Alibaba Cloud.

use async_trait::async_trait;
use std::ops::Range;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::operator_identity::OperatorIdentity;
use crate::api::{
    BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report, RequestPayer,
};
use crate::cloud::{Cloud, IMM_DEADLINE, OSS_DEADLINE, imm, oss_objects, oss_policy, sts};
use crate::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
use crate::core::job::JobObject;
use crate::core::leader_election::BILLED_OVERRUN;
use crate::core::memory_plan::{LIST_BYTES, OBJECT_BYTES};
use crate::core::place::{BucketPlace, ObjectPlace, ProjectPlace};
use crate::core::policy::{CheckedDeletion, CheckedPolicy};
use crate::core::tenancy::{TenancyRules, Tenant};
use crate::core::validate::{ObjectUri, ValidationError};
use crate::kubernetes::fence::Fence;
use crate::kubernetes::{
    Kubernetes, cluster, credentials, grants, jobs, now, patches, policy_backups, reports,
};
use crate::ports::{
    AccessKeys, CloudError, CloudErrorKind, CredentialsError, KubeError, ListPosition, ObjectChunk,
    ObjectEvent, ObjectPage, PolicyBackup, PolicyRead, Ports, ProjectLimits, ReportPage, RoleSession,
    StoredReport,
};
use crate::runtime::memory_budget::{MemoryBudget, Reservation};
use crate::runtime::metric_labels::CloudApi;
use crate::runtime::metrics::Metrics;
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
    /// Limits what is decoded at a time.
    pub memory: Arc<MemoryBudget>,
    /// Limits the lists that are read at a time: several take at most half of the memory.
    pub lists: Semaphore,
    /// Counts the calls to the cloud.
    pub metrics: Arc<Metrics>,
}

/// Returns the limit for the lists that are read at a time.
pub fn concurrent_lists(memory: &MemoryBudget) -> Semaphore {
    Semaphore::new(memory.plan().lists.min(Semaphore::MAX_PERMITS))
}

impl Adapters {
    /// Returns the API server when the budget has room for a request of the namespace.
    async fn api(&self, namespace: &str) -> &Kubernetes {
        self.requests.take(namespace).await;
        &self.kubernetes
    }

    /// Returns the API server when the budgets have room for a request of the namespace and for an answer of this size.
    /// The memory is reserved last: what waits for a request must not keep others from decoding.
    async fn api_with_memory(&self, namespace: &str, bytes: u64) -> (Reservation, &Kubernetes) {
        let api = self.api(namespace).await;
        (self.memory.reserve(namespace, bytes).await, api)
    }

    /// Makes a call, and counts it with its duration when it has ended.
    async fn counted<T>(
        &self,
        api: CloudApi,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
        self.timed(api, call, Result::is_ok).await
    }

    /// Makes a call, and counts it with its duration and whether its answer is a success.
    async fn timed<T>(
        &self,
        api: CloudApi,
        call: impl Future<Output = T>,
        succeeded: impl Fn(&T) -> bool,
    ) -> T {
        let started = Instant::now();
        let answer = call.await;
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.cloud_call(api, succeeded(&answer), seconds);
        answer
    }
}

#[async_trait]
impl Ports for Adapters {
    fn now(&self) -> Timestamp {
        now()
    }
    async fn list_grants(&self, bucket: &str) -> Result<Vec<GrantObject>, KubeError> {
        // A list is held over all of its pages: a few long ones must not keep everything else from being read.
        let _turn = self.lists.acquire().await.map_err(|_| KubeError::Unavailable)?;
        // The grants of a bucket belong to many namespaces: buckets share one turn.
        let (_memory, api) = self.api_with_memory("", LIST_BYTES).await;
        grants::list_grants(api, bucket, self.memory.plan().bucket).await
    }
    async fn get_grant(&self, key: &ObjectKey, requester: &str) -> Result<Option<GrantObject>, KubeError> {
        let (_memory, api) = self.api_with_memory(requester, OBJECT_BYTES).await;
        grants::get_grant(api, key).await
    }
    async fn replace_grant_status(
        &self,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<String, KubeError> {
        let namespace = &grant.key.namespace;
        if grant.only_stored.is_nothing() {
            return grants::replace_grant_status(self.api(namespace).await, grant, status).await;
        }
        // What of its ledger is only in the store is read and written back.
        let (_memory, api) = self.api_with_memory(namespace, LIST_BYTES).await;
        grants::replace_grant_status(api, grant, status).await
    }
    async fn add_finalizer(&self, grant: &GrantObject) -> Result<String, KubeError> {
        patches::add_finalizer(self.api(&grant.key.namespace).await, grant).await
    }
    async fn remove_finalizer(&self, grant: &GrantObject) -> Result<(), KubeError> {
        patches::remove_finalizer(self.api(&grant.key.namespace).await, grant).await
    }
    async fn get_job(&self, key: &ObjectKey) -> Result<Option<JobObject>, KubeError> {
        let (_memory, api) = self.api_with_memory(&key.namespace, OBJECT_BYTES).await;
        jobs::get_job(api, key).await
    }
    async fn replace_job_status(&self, job: &JobObject, status: &JobStatus) -> Result<String, KubeError> {
        let api = self.api(&job.key.namespace).await;
        jobs::replace_job_status(api, job, status).await
    }
    async fn mark_started(&self, job: &JobObject) -> Result<String, KubeError> {
        patches::mark_started(self.api(&job.key.namespace).await, job).await
    }
    async fn read_secret(&self, namespace: &str, name: &str) -> Result<AccessKeys, CredentialsError> {
        // The author of an object that names a Secret decides its size.
        let (_memory, api) = self.api_with_memory(namespace, OBJECT_BYTES).await;
        credentials::read_secret(api, namespace, name).await
    }
    async fn request_token(&self, namespace: &str, name: &str) -> Result<SecretString, CredentialsError> {
        credentials::request_token(self.api(namespace).await, namespace, name).await
    }
    async fn operator_keys(&self) -> Result<AccessKeys, CredentialsError> {
        let started = Instant::now();
        let keys = self.operator_identity.credentials(&self.cloud, now()).await;
        // Each use of a token asks STS; an unreadable token file is not sent.
        if matches!(self.operator_identity, OperatorIdentity::Token { .. })
            && !matches!(keys, Err(CredentialsError::OwnSourceFailed(_)))
        {
            let seconds = started.elapsed().as_secs_f64();
            self.metrics
                .cloud_call(CloudApi::AssumeRoleWithOidc, keys.is_ok(), seconds);
        }
        keys
    }
    async fn assume_role(&self, session: &RoleSession, keys: &AccessKeys) -> Result<AccessKeys, CloudError> {
        let call = sts::assume_role(&self.cloud, session, keys, now());
        self.counted(CloudApi::AssumeRole, call).await
    }
    async fn assume_role_with_oidc(
        &self,
        session: &RoleSession,
        provider_arn: &str,
        token: &SecretString,
    ) -> Result<AccessKeys, CloudError> {
        let call = sts::assume_role_with_oidc(&self.cloud, session, provider_arn, token, now());
        self.counted(CloudApi::AssumeRoleWithOidc, call).await
    }
    async fn server_time(&self) -> Result<Timestamp, KubeError> {
        cluster::server_time(&self.kubernetes).await
    }
    async fn tenant_of(&self, namespace: &str) -> Result<Tenant, KubeError> {
        cluster::tenant_of(self.api(namespace).await, namespace).await
    }
    fn tenancy_rules(&self) -> Arc<TenancyRules> {
        self.tenancy_rules.get()
    }
    async fn publish_event(&self, event: ObjectEvent) {
        let api = self.api(&event.key.namespace).await;
        api.publish_event(event).await;
    }
    async fn wait_until_writable(&self) {
        self.fence.wait_until_safe(OSS_DEADLINE.saturating_mul(2)).await;
    }
    async fn get_policy(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<PolicyRead, CloudError> {
        let place = bucket_place(bucket)?;
        let call = oss_policy::get_policy(&self.cloud, &place, keys, now());
        self.counted(CloudApi::GetBucketPolicy, call).await
    }
    async fn put_policy(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
        policy: &CheckedPolicy,
        signed_at: Timestamp,
    ) -> Result<Option<String>, CloudError> {
        let place = bucket_place(bucket)?;
        self.fence.wait_until_safe(OSS_DEADLINE).await;
        let call = oss_policy::put_policy(&self.cloud, &place, keys, policy.text(), signed_at);
        self.counted(CloudApi::PutBucketPolicy, call).await
    }
    async fn delete_policy(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
        _: &CheckedDeletion,
        signed_at: Timestamp,
    ) -> Result<Option<String>, CloudError> {
        let place = bucket_place(bucket)?;
        self.fence.wait_until_safe(OSS_DEADLINE).await;
        let call = oss_policy::delete_policy(&self.cloud, &place, keys, signed_at);
        self.counted(CloudApi::DeleteBucketPolicy, call).await
    }
    async fn read_public_access_block(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
    ) -> Result<PublicAccessBlock, CloudError> {
        let place = bucket_place(bucket)?;
        let call = oss_policy::read_public_access_block(&self.cloud, &place, keys, now());
        self.counted(CloudApi::GetBucketPublicAccessBlock, call).await
    }
    async fn bucket_info(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<ObservedBucket, CloudError> {
        let place = bucket_place(bucket)?;
        let call = oss_policy::bucket_info(&self.cloud, &place, keys, now());
        self.counted(CloudApi::GetBucketInfo, call).await
    }
    async fn is_public(&self, bucket: &BucketRef, keys: &AccessKeys) -> Option<bool> {
        let place = bucket_place(bucket).ok()?;
        let call = oss_policy::is_public(&self.cloud, &place, keys, now());
        self.timed(CloudApi::GetBucketPolicyStatus, call, Option::is_some)
            .await
    }
    async fn store_policy_backup(&self, backup: PolicyBackup) -> Result<Option<BackupRef>, KubeError> {
        policy_backups::store_policy_backup(self.api("").await, backup).await
    }
    async fn list_reports(&self, job: &JobObject, page: Option<&str>) -> Result<ReportPage, KubeError> {
        reports::list_reports(self.api(&job.key.namespace).await, job, page).await
    }
    async fn get_report(&self, job: &JobObject, number: usize) -> Result<Option<StoredReport>, KubeError> {
        reports::get_report(self.api(&job.key.namespace).await, job, number).await
    }
    async fn put_report(
        &self,
        job: &JobObject,
        report: &Report,
        version: Option<&str>,
    ) -> Result<String, KubeError> {
        let api = self.api(&job.key.namespace).await;
        reports::put_report(api, job, report, version).await
    }
    async fn delete_report(&self, job: &JobObject, number: usize) -> Result<(), KubeError> {
        let api = self.api(&job.key.namespace).await;
        reports::delete_report(api, job, number).await
    }
    async fn list_objects(
        &self,
        region: &str,
        bucket: &str,
        prefix: &str,
        after: &ListPosition,
        payer: RequestPayer,
        keys: &AccessKeys,
    ) -> Result<ObjectPage, CloudError> {
        let place = BucketPlace::new(bucket, region).map_err(|error| invalid_name(&error))?;
        let call = oss_objects::list_objects(&self.cloud, &place, prefix, after, payer, keys, now());
        self.counted(CloudApi::ListObjectsV2, call).await
    }
    async fn read_object(
        &self,
        region: &str,
        object: &ObjectUri,
        range: Range<u64>,
        etag: Option<&str>,
        payer: RequestPayer,
        keys: &AccessKeys,
    ) -> Result<ObjectChunk, CloudError> {
        let place = ObjectPlace::new(object, region).map_err(|error| invalid_name(&error))?;
        let call = oss_objects::read_object(&self.cloud, &place, range, etag, payer, keys, now());
        self.counted(CloudApi::GetObject, call).await
    }
    async fn caller_account(&self, keys: &AccessKeys) -> Result<String, CloudError> {
        let call = sts::caller_account(&self.cloud, keys, now());
        self.counted(CloudApi::GetCallerIdentity, call).await
    }
    async fn project_limits(
        &self,
        project: &ProjectRef,
        keys: &AccessKeys,
    ) -> Result<ProjectLimits, CloudError> {
        let place = ProjectPlace::of(project).map_err(|error| invalid_name(&error))?;
        let call = imm::project_limits(&self.cloud, &place, keys, now());
        self.counted(CloudApi::GetProject, call).await
    }
    async fn billing_permitted(&self) {
        self.fence.wait_until_billable().await;
    }
    async fn detect_image_score(
        &self,
        project: &ProjectRef,
        access: &JobAccess,
        keys: &AccessKeys,
        uri: &str,
    ) -> Result<String, CloudError> {
        let place = ProjectPlace::of(project).map_err(|error| invalid_name(&error))?;
        self.fence
            .wait_until_safe(IMM_DEADLINE.saturating_sub(BILLED_OVERRUN))
            .await;
        let call = imm::detect_image_score(&self.cloud, &place, access, keys, uri, now());
        self.counted(CloudApi::DetectImageScore, call).await
    }
}

fn bucket_place(bucket: &BucketRef) -> Result<BucketPlace, CloudError> {
    BucketPlace::of(bucket).map_err(|error| invalid_name(&error))
}

/// Error of a call that is not made. Specs are checked before, so only an object that is older than the schema gets here.
fn invalid_name(error: &ValidationError) -> CloudError {
    tracing::warn!(%error, "failed to build a request to the cloud: the stored object is older than the CRD");
    CloudError::new(CloudErrorKind::RequestRejected, "InvalidName")
}

#[cfg(test)]
mod tests;
