//! The one trait through which everything outside is reached: Kubernetes, the clouds, the clock. A test can count,
//! stop, lose, delay or fail any single effect, because there is no other way out.

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use thiserror::Error;

use crate::api::{
    BackupRef, BucketRef, GrantStatus, JobAccess, JobStatus, ObservedBucket, ProjectRef, Report,
};
pub use crate::core::error::{CloudError, CloudErrorKind, CredentialsError};
use crate::core::grant::{GrantObject, ObjectKey, PublicAccessBlock};
use crate::core::job::{JobObject, ListedObject};
use crate::core::tenancy::{TenancyRules, Tenant};
use crate::core::validate::ObjectUri;

/// Keys of an identity. Nothing here can be printed.
#[derive(Clone)]
pub struct AccessKeys {
    /// Access key id.
    pub id: String,
    /// Access key secret.
    pub secret: SecretString,
    /// Token of temporary keys.
    pub token: Option<SecretString>,
    /// When temporary keys end, as far as it is known.
    pub expires_at: Option<Timestamp>,
}

/// A session to open at STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSession {
    /// Role to assume.
    pub role_arn: String,
    /// Name of the session, 2 to 64 characters.
    pub name: String,
    /// External id that the role's trust policy asks for.
    pub external_id: Option<String>,
    /// What the session is narrowed to.
    pub policy: Option<String>,
}

/// Why the API server did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KubeError {
    /// Somebody else changed the object first.
    #[error("the object was changed by somebody else")]
    Conflict,
    /// The object is gone.
    #[error("the object is gone")]
    NotFound,
    /// The operator lacks a right.
    #[error("the operator may not do this")]
    Forbidden,
    /// The request is not valid.
    #[error("the API server finds the request invalid")]
    Invalid,
    /// No answer, or not now.
    #[error("the API server does not answer")]
    Unavailable,
}

/// A policy as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRead {
    /// The document's bytes; `None` when the bucket has no policy (404 `NoSuchBucketPolicy` and nothing else).
    pub bytes: Option<Vec<u8>>,
    /// The server's clock, from the answer's Date.
    pub server_time: Option<Timestamp>,
}

/// Where a listing goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPosition {
    /// After this key.
    pub key: Option<String>,
    /// With this token of the page before, which wins.
    pub token: Option<String>,
}

/// A page of a bucket's objects, in order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPage {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// Token of the next page; `None` at the end.
    pub next: Option<String>,
    /// The server's clock, from the answer's Date.
    pub server_time: Option<Timestamp>,
}

/// A piece of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChunk {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether the object ends with it.
    pub last: bool,
    /// The object's ETag.
    pub etag: String,
    /// The server's clock, from the answer's Date.
    pub server_time: Option<Timestamp>,
}

/// What an IMM project allows, and as whom it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectLimits {
    /// Requests in a second.
    pub queries_per_second: u32,
    /// Requests at one time.
    pub concurrency: u32,
    /// The role of the project's account as which it reads images; `None` when it does not say.
    pub service_role: Option<String>,
}

/// A report as the API server holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReport {
    /// Its body.
    pub report: Report,
    /// Version that a write must be based on.
    pub resource_version: String,
}

/// Some reports, and the token of the next page.
pub type ReportPage = (Vec<StoredReport>, Option<String>);

/// A copy of a policy from before a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyBackup {
    /// The bucket.
    pub bucket: String,
    /// The document, byte for byte.
    pub document: String,
    /// When it was read.
    pub time: Timestamp,
    /// For which grants it is about to be replaced.
    pub writer: String,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// An `ImmBucketGrant`.
    Grant,
    /// An `ImageScoreJob`.
    Job,
}

/// A change of state to tell people about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// Which kind it is about.
    pub subject: EventSubject,
    /// Which object.
    pub key: ObjectKey,
    /// The object's uid.
    pub uid: String,
    /// Why.
    pub reason: String,
    /// In words; cut to 1,024 bytes.
    pub note: String,
    /// Whether a person should worry.
    pub warning: bool,
}

/// Everything outside.
pub trait Ports: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// All grants of a bucket, read freshly.
    fn list_grants<'a>(&'a self, bucket: &'a str) -> BoxFuture<'a, Result<Vec<GrantObject>, KubeError>>;
    /// One grant, read freshly.
    fn get_grant<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<GrantObject>, KubeError>>;
    /// Replaces a grant's status, based on the version it was planned from. Gives the new version.
    fn replace_grant_status<'a>(
        &'a self,
        grant: &'a GrantObject,
        status: &'a GrantStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>>;
    /// Adds our finalizer to a grant, unless its finalizers changed. Gives the new version.
    fn add_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<String, KubeError>>;
    /// Takes our finalizer off a grant, unless its finalizers changed.
    fn remove_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<(), KubeError>>;
    /// One job, read freshly.
    fn get_job<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<JobObject>, KubeError>>;
    /// Replaces a job's status, based on the version it was planned from. Gives the new version.
    fn replace_job_status<'a>(
        &'a self,
        job: &'a JobObject,
        status: &'a JobStatus,
    ) -> BoxFuture<'a, Result<String, KubeError>>;
    /// Marks a job as begun with its own uid. Gives the new version.
    fn mark_started<'a>(&'a self, job: &'a JobObject) -> BoxFuture<'a, Result<String, KubeError>>;
    /// Reports of a job, a page at a time, with the token of the next page.
    fn list_reports<'a>(
        &'a self,
        job: &'a JobObject,
        page: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ReportPage, KubeError>>;
    /// One report of a job, by its number.
    fn get_report<'a>(
        &'a self,
        job: &'a JobObject,
        number: usize,
    ) -> BoxFuture<'a, Result<Option<StoredReport>, KubeError>>;
    /// Creates a report, or replaces the version of it that is given. Gives the new version.
    fn put_report<'a>(
        &'a self,
        job: &'a JobObject,
        report: &'a Report,
        version: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, KubeError>>;
    /// Deletes a report of a job; there need not be one.
    fn delete_report<'a>(&'a self, job: &'a JobObject, number: usize)
    -> BoxFuture<'a, Result<(), KubeError>>;
    /// The keys in a Secret.
    fn read_secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<AccessKeys, CredentialsError>>;
    /// A token of a ServiceAccount, for STS.
    fn request_token<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, CredentialsError>>;
    /// The operator's own keys.
    fn operator_keys(&self) -> BoxFuture<'_, Result<AccessKeys, CredentialsError>>;
    /// STS `AssumeRole`.
    fn assume_role<'a>(
        &'a self,
        session: &'a RoleSession,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>>;
    /// STS `AssumeRoleWithOIDC`.
    fn assume_role_with_oidc<'a>(
        &'a self,
        session: &'a RoleSession,
        provider_arn: &'a str,
        token: &'a SecretString,
    ) -> BoxFuture<'a, Result<AccessKeys, CloudError>>;
    /// A namespace's labels.
    fn tenant_of<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Tenant, KubeError>>;
    /// The tenancy rules in force.
    fn tenancy_rules(&self) -> Arc<TenancyRules>;
    /// Publishes an event; a failed one is logged and forgotten.
    fn publish_event(&self, announcement: ObjectEvent) -> BoxFuture<'_, ()>;

    /// OSS `GetBucketPolicy`.
    fn get_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PolicyRead, CloudError>>;
    /// OSS `PutBucketPolicy`, signed as of `signed_at` so that the server refuses it when it arrives too late.
    fn put_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        text: &'a str,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), CloudError>>;
    /// OSS `DeleteBucketPolicy`, signed likewise.
    fn delete_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), CloudError>>;
    /// Block Public Access of the bucket and, when that is off, of the account.
    fn read_public_access_block<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<PublicAccessBlock, CloudError>>;
    /// OSS `GetBucketInfo`: the bucket's owner and region, as far as they may be read.
    fn bucket_info<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObservedBucket, CloudError>>;
    /// OSS `GetBucketPolicyStatus`: whether the policy is public; `None` when that may not be read now.
    fn is_public<'a>(&'a self, bucket: &'a BucketRef, keys: &'a AccessKeys) -> BoxFuture<'a, Option<bool>>;
    /// Keeps a copy of a policy that is about to be replaced; `None` when there is no place for it.
    fn store_policy_backup(
        &self,
        backup: PolicyBackup,
    ) -> BoxFuture<'_, Result<Option<BackupRef>, KubeError>>;
    /// OSS `ListObjectsV2`: the next objects below a prefix.
    fn list_objects<'a>(
        &'a self,
        region: &'a str,
        bucket: &'a str,
        prefix: &'a str,
        after: &'a ListPosition,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectPage, CloudError>>;
    /// OSS `GetObject`: a piece of an object from a byte on; with an ETag, of just that version of it.
    fn read_object<'a>(
        &'a self,
        region: &'a str,
        object: &'a ObjectUri,
        from: u64,
        etag: Option<&'a str>,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ObjectChunk, CloudError>>;
    /// STS `GetCallerIdentity`: the account that keys really belong to.
    fn caller_account<'a>(&'a self, keys: &'a AccessKeys) -> BoxFuture<'a, Result<String, CloudError>>;
    /// IMM `GetProject`: what the project allows.
    fn project_limits<'a>(
        &'a self,
        project: &'a ProjectRef,
        keys: &'a AccessKeys,
    ) -> BoxFuture<'a, Result<ProjectLimits, CloudError>>;
    /// IMM `DetectImageScore`: the score as IMM wrote it. A paid call.
    fn detect_image_score<'a>(
        &'a self,
        project: &'a ProjectRef,
        access: &'a JobAccess,
        keys: &'a AccessKeys,
        uri: &'a str,
    ) -> BoxFuture<'a, Result<String, CloudError>>;
}
