//! The real effects: Kubernetes and the clouds together.

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;

use super::kubernetes::{Kubernetes, now};
use crate::api::{BucketRef, GrantStatus, JobStatus, ProjectRef};
use crate::cloud::Cloud;
use crate::core::grant::{BlockState, GrantObject, ObjectKey};
use crate::core::identity::Identity;
use crate::core::job::JobObject;
use crate::ports::{Announcement, CallFailure, Effects, Keys, KeysProblem, KubeFailure, PolicyRead};

/// Kubernetes and the clouds.
pub struct World {
    /// The API server.
    pub kubernetes: Kubernetes,
    /// OSS and IMM.
    pub cloud: Cloud,
}

impl Effects for World {
    fn now(&self) -> Timestamp {
        now()
    }
    fn list_grants<'a>(&'a self, bucket: &'a str) -> BoxFuture<'a, Result<Vec<GrantObject>, KubeFailure>> {
        self.kubernetes.list_grants(bucket).boxed()
    }
    fn get_grant<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<GrantObject>, KubeFailure>> {
        self.kubernetes.get_grant(key).boxed()
    }
    fn replace_grant_status<'a>(
        &'a self,
        grant: &'a GrantObject,
        status: &'a GrantStatus,
    ) -> BoxFuture<'a, Result<String, KubeFailure>> {
        self.kubernetes.replace_grant_status(grant, status).boxed()
    }
    fn add_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<String, KubeFailure>> {
        self.kubernetes.add_finalizer(grant).boxed()
    }
    fn remove_finalizer<'a>(&'a self, grant: &'a GrantObject) -> BoxFuture<'a, Result<(), KubeFailure>> {
        self.kubernetes.remove_finalizer(grant).boxed()
    }
    fn get_job<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<JobObject>, KubeFailure>> {
        self.kubernetes.get_job(key).boxed()
    }
    fn replace_job_status<'a>(
        &'a self,
        job: &'a JobObject,
        status: &'a JobStatus,
    ) -> BoxFuture<'a, Result<String, KubeFailure>> {
        self.kubernetes.replace_job_status(job, status).boxed()
    }
    fn mark_started<'a>(&'a self, job: &'a JobObject) -> BoxFuture<'a, Result<String, KubeFailure>> {
        self.kubernetes.mark_started(job).boxed()
    }
    fn read_keys<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Keys, KeysProblem>> {
        self.kubernetes.read_keys(identity).boxed()
    }
    fn announce(&self, announcement: Announcement) -> BoxFuture<'_, ()> {
        self.kubernetes.announce(announcement).boxed()
    }
    fn get_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a Keys,
    ) -> BoxFuture<'a, Result<PolicyRead, CallFailure>> {
        self.cloud.get_policy(bucket, keys, now()).boxed()
    }
    fn put_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a Keys,
        text: &'a str,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), CallFailure>> {
        self.cloud.put_policy(bucket, keys, text, signed_at).boxed()
    }
    fn delete_policy<'a>(
        &'a self,
        bucket: &'a BucketRef,
        keys: &'a Keys,
        signed_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), CallFailure>> {
        self.cloud.delete_policy(bucket, keys, signed_at).boxed()
    }
    fn read_block<'a>(&'a self, bucket: &'a BucketRef, keys: &'a Keys) -> BoxFuture<'a, BlockState> {
        self.cloud.read_block(bucket, keys, now()).boxed()
    }
    fn detect_image_score<'a>(
        &'a self,
        project: &'a ProjectRef,
        keys: &'a Keys,
        uri: &'a str,
    ) -> BoxFuture<'a, Result<String, CallFailure>> {
        self.cloud.detect_image_score(project, keys, uri, now()).boxed()
    }
}
