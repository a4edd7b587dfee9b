//! The trait through which all effects happen: Kubernetes, Alibaba Cloud and the clock. No other code has an effect, so a
//! test can count, block, drop, delay or fail each single one.

use async_trait::async_trait;
use std::ops::Range;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;

use crate::api::{
    BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report, RequestPayer,
};
pub use crate::core::error::{CloudError, CloudErrorKind, CredentialsError, KubeError};
use crate::core::event_content::EventContent;
use crate::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
pub use crate::core::identity::{AccessKeys, RoleSession};
use crate::core::job::{JobObject, ListedObject};
pub use crate::core::job::{ListPosition, ProjectLimits};
pub use crate::core::policy::PolicyRead;
use crate::core::policy::{CheckedDeletion, CheckedPolicy};
use crate::core::tenancy::{TenancyRules, Tenant};
use crate::core::validate::ObjectUri;

/// One page of a bucket's objects, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPage {
    /// The objects of the page.
    pub objects: Vec<ListedObject>,
    /// Continuation token of the next page; `None` on the last page.
    pub next: Option<String>,
    /// The server's clock, from the response's `Date` header; `None` if the header is missing or certainly wrong.
    pub server_time: Option<Timestamp>,
}

/// A chunk of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChunk {
    /// The chunk's bytes.
    pub bytes: Vec<u8>,
    /// `true` when the chunk reaches the end of the object.
    pub last: bool,
    /// The object's ETag.
    pub etag: String,
    /// The server's clock, from the response's `Date` header; `None` if the header is missing or certainly wrong.
    pub server_time: Option<Timestamp>,
}

/// A report as stored in the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReport {
    /// The report.
    pub report: Report,
    /// `resourceVersion` on which a replacement must be based.
    pub resource_version: String,
    /// Whether labels and owner are those that the operator sets.
    pub intact: bool,
}

/// One page of reports and the continuation token of the next page; `None` on the last page.
pub type ReportPage = (Vec<StoredReport>, Option<String>);

/// A copy of a bucket policy, taken before the policy is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyBackup {
    /// Name of the bucket.
    pub bucket: String,
    /// The policy document, byte for byte.
    pub document: String,
    /// When the policy was read.
    pub time: Timestamp,
    /// The grants for which the policy is replaced.
    pub writer: String,
}

/// The kind of object that an event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// An `ImmBucketGrant`.
    Grant,
    /// An `ImageScoreJob`.
    Job,
}

/// A Kubernetes event to publish: a change of an object's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// Kind of the object.
    pub subject: EventSubject,
    /// Namespace and name of the object.
    pub key: ObjectKey,
    /// UID of the object.
    pub uid: String,
    /// What it says; the note is cut to 1,024 bytes.
    pub content: EventContent,
}

/// All effects of the operator.
///
/// Each cloud method sends exactly one request unless its comment says otherwise, never retries, and fails with a
/// [`CloudError`] that carries the kind of failure, the code and the request ID; [`CloudErrorKind::Unanswered`] means
/// that the request may have taken effect. Kubernetes methods do not retry either and fail with a [`KubeError`]; the
/// comments below name only the errors that need an explanation.
#[async_trait]
pub trait Ports: Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Lists all grants of a bucket in the watched namespaces, uncached. Fails if one namespace cannot be listed.
    async fn list_grants(&self, bucket: &str) -> Result<Vec<GrantObject>, KubeError>;
    /// Reads one grant, uncached. Returns `None` if the grant does not exist.
    ///
    /// `requester` is the namespace whose share of the requests and of the memory the read uses: that of the job that
    /// names the grant, which can be another one than the grant's.
    async fn get_grant(&self, key: &ObjectKey, requester: &str) -> Result<Option<GrantObject>, KubeError>;
    /// Replaces the status of the grant at the version given in `grant`. Returns the new `resourceVersion`. Fails with
    /// `Conflict` if the grant changed since, and with `NotFound` if it was deleted.
    async fn replace_grant_status(
        &self,
        grant: &GrantObject,
        status: &GrantStatus,
    ) -> Result<String, KubeError>;
    /// Adds the operator's finalizer to the grant. Returns the new `resourceVersion`. Fails with `Invalid` if the UID
    /// or the list of finalizers differs from the one in `grant`.
    async fn add_finalizer(&self, grant: &GrantObject) -> Result<String, KubeError>;
    /// Removes the operator's finalizer from the grant. Succeeds if the finalizer or the grant no longer exists.
    /// Fails with `Invalid` if the finalizer is not where `grant` lists it.
    async fn remove_finalizer(&self, grant: &GrantObject) -> Result<(), KubeError>;
    /// Reads one job, uncached. Returns `None` if the job does not exist.
    async fn get_job(&self, key: &ObjectKey) -> Result<Option<JobObject>, KubeError>;
    /// Replaces the status of the job at the version given in `job`. Returns the new `resourceVersion`. Fails with
    /// `Conflict` if the job changed since, and with `NotFound` if it was deleted.
    async fn replace_job_status(&self, job: &JobObject, status: &JobStatus) -> Result<String, KubeError>;
    /// Sets the annotation that marks the job as started to the job's UID. Returns the new `resourceVersion`. Fails with
    /// `Conflict` if the job changed since it was read.
    async fn mark_started(&self, job: &JobObject) -> Result<String, KubeError>;
    /// Lists one page of a job's reports: the first page, or the page of a continuation token. Fails with `Invalid` if a
    /// report cannot be decoded, and with `Unavailable` if the token has expired.
    async fn list_reports(&self, job: &JobObject, page: Option<&str>) -> Result<ReportPage, KubeError>;
    /// Reads one report of a job by its number. Returns `None` if the report does not exist. Fails with `Invalid` if the
    /// report cannot be decoded.
    async fn get_report(&self, job: &JobObject, number: usize) -> Result<Option<StoredReport>, KubeError>;
    /// Creates a report, or replaces it if `version` is given. Returns the new `resourceVersion`. Fails with
    /// `Conflict` if the report to create exists or the report to replace changed since `version`.
    async fn put_report(
        &self,
        job: &JobObject,
        report: &Report,
        version: Option<&str>,
    ) -> Result<String, KubeError>;
    /// Deletes a report of a job. Succeeds if the report does not exist.
    async fn delete_report(&self, job: &JobObject, number: usize) -> Result<(), KubeError>;
    /// Reads the credentials in a Secret. Fails if the Secret is missing, unreadable for the operator, or has no usable
    /// `accessKeyId` or `accessKeySecret`; with [`CredentialsError::Unavailable`] if the API server is unavailable.
    async fn read_secret(&self, namespace: &str, name: &str) -> Result<AccessKeys, CredentialsError>;
    /// Requests a ServiceAccount token for the audience of STS, valid for 1 h. Fails if the ServiceAccount is missing
    /// or the operator may not request the token; with [`CredentialsError::Unavailable`] if the API server is
    /// unavailable.
    async fn request_token(&self, namespace: &str, name: &str) -> Result<SecretString, CredentialsError>;
    /// Returns the operator's own credentials; exchanges the token at STS when RRSA is configured. Fails with
    /// [`CredentialsError::NotConfigured`] if the operator has no identity.
    async fn operator_keys(&self) -> Result<AccessKeys, CredentialsError>;
    /// STS `AssumeRole`: returns temporary credentials of the role, valid for 1 h.
    async fn assume_role(&self, session: &RoleSession, keys: &AccessKeys) -> Result<AccessKeys, CloudError>;
    /// STS `AssumeRoleWithOIDC`: exchanges a ServiceAccount token for temporary credentials of the role, valid for 1 h.
    async fn assume_role_with_oidc(
        &self,
        session: &RoleSession,
        provider_arn: &str,
        token: &SecretString,
    ) -> Result<AccessKeys, CloudError>;
    /// Returns the time of the API server's clock. Fails with `Unavailable` if it does not answer or names no time.
    async fn server_time(&self) -> Result<Timestamp, KubeError>;
    /// Reads the labels of a namespace. Fails with `NotFound` if the namespace does not exist.
    async fn tenant_of(&self, namespace: &str) -> Result<Tenant, KubeError>;
    /// Returns the tenancy rules in force. No I/O.
    fn tenancy_rules(&self) -> Arc<TenancyRules>;
    /// Publishes an event. A failure is logged and has no other effect: the condition has the same content.
    async fn publish_event(&self, event: ObjectEvent);

    /// Returns as soon as the lease outlasts a read of a policy and the write after it. Called before the last read before
    /// a write: a wait after that read would widen the window in which another writer's change is lost.
    async fn wait_until_writable(&self);
    /// OSS `GetBucketPolicy`: returns the policy, or none if the bucket has no policy. Every other failure is an error,
    /// never an empty policy.
    async fn get_policy(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<PolicyRead, CloudError>;
    /// OSS `PutBucketPolicy`: replaces the policy. Waits until the lease outlasts the call's deadline. The signature is
    /// dated `signed_at`, so that OSS rejects a request that arrives too late. Returns the request id of OSS.
    /// [`CloudError::had_no_effect`] is `true` if a failed call certainly had no effect.
    async fn put_policy(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
        policy: &CheckedPolicy,
        signed_at: Timestamp,
    ) -> Result<Option<String>, CloudError>;
    /// OSS `DeleteBucketPolicy`: succeeds if the bucket has no policy. Lease, signature and errors as for
    /// [`Ports::put_policy`].
    async fn delete_policy(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
        deletion: &CheckedDeletion,
        signed_at: Timestamp,
    ) -> Result<Option<String>, CloudError>;
    /// Reads Block Public Access of the bucket and, if that is off, of the account: up to two requests. A missing
    /// permission or a rejected request returns [`PublicAccessBlock::Unreadable`]; transient failures are errors.
    async fn read_public_access_block(
        &self,
        bucket: &BucketRef,
        keys: &AccessKeys,
    ) -> Result<PublicAccessBlock, CloudError>;
    /// OSS `GetBucketInfo`: returns the bucket's owner and region. A missing permission returns both as unknown; other
    /// failures are errors.
    async fn bucket_info(&self, bucket: &BucketRef, keys: &AccessKeys) -> Result<ObservedBucket, CloudError>;
    /// OSS `GetBucketPolicyStatus`: returns `true` if OSS classifies the policy as public, and `None` after any
    /// failure. The value is only shown in status.
    async fn is_public(&self, bucket: &BucketRef, keys: &AccessKeys) -> Option<bool>;
    /// Stores a copy of a policy before the policy is replaced. Returns where the copy is; `None` if the operator has no
    /// namespace of its own. Fails with `Conflict` if the ConfigMap belongs to another bucket or changed meanwhile.
    async fn store_policy_backup(&self, backup: PolicyBackup) -> Result<Option<BackupRef>, KubeError>;
    /// OSS `ListObjectsV2`: returns the next page of at most 1,000 objects with a prefix.
    async fn list_objects(
        &self,
        region: &str,
        bucket: &str,
        prefix: &str,
        after: &ListPosition,
        payer: RequestPayer,
        keys: &AccessKeys,
    ) -> Result<ObjectPage, CloudError>;
    /// OSS `GetObject`: returns the bytes of a range, fewer at the end of the object. With `etag`, fails with
    /// [`CloudErrorKind::RequestRejected`] (HTTP 412) if the object changed.
    async fn read_object(
        &self,
        region: &str,
        object: &ObjectUri,
        range: Range<u64>,
        etag: Option<&str>,
        payer: RequestPayer,
        keys: &AccessKeys,
    ) -> Result<ObjectChunk, CloudError>;
    /// STS `GetCallerIdentity`: returns the UID of the account that owns the credentials.
    async fn caller_account(&self, keys: &AccessKeys) -> Result<String, CloudError>;
    /// IMM `GetProject`: returns the project's limits and service role.
    async fn project_limits(
        &self,
        project: &ProjectRef,
        keys: &AccessKeys,
    ) -> Result<ProjectLimits, CloudError>;
    /// Returns once this process may make billed calls: after it has taken over an expired lease, calls of the previous
    /// holder may be in flight.
    async fn billing_permitted(&self);
    /// IMM `DetectImageScore`: returns the score, digit by digit as in IMM's response. Waits until the lease outlasts the
    /// call's deadline, less `BILLED_OVERRUN`. Every call with a 2xx or 4xx response may be billed.
    async fn detect_image_score(
        &self,
        project: &ProjectRef,
        access: &JobAccess,
        keys: &AccessKeys,
        uri: &str,
    ) -> Result<String, CloudError>;
}
