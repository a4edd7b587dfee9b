//! Reads of jobs, and writes of their status.

use super::Kubernetes;
use super::decode::DecodedJob;
use super::request::{
    RequestError, WriteMethod, WrittenPart, is_addressable, logged, read, send, write, write_metadata,
};
use crate::api::{ImageScoreJob, JobStatus};
use crate::core::grant::ObjectKey;
use crate::core::job::JobObject;
use crate::ports::KubeError;

pub(crate) async fn get_job(
    kubernetes: &Kubernetes,
    key: &ObjectKey,
) -> Result<Option<JobObject>, KubeError> {
    if !is_addressable(key) {
        return Ok(None);
    }
    logged(
        "get",
        &format!("ImageScoreJob {key}"),
        find_job(kubernetes, key).await,
    )
}

/// Reads a job; `None` if it does not exist.
pub(crate) async fn find_job(
    kubernetes: &Kubernetes,
    key: &ObjectKey,
) -> Result<Option<JobObject>, RequestError> {
    let found = send(read::<ImageScoreJob, DecodedJob>(&kubernetes.client, key)).await?;
    Ok(found.map(|DecodedJob(job)| job))
}

pub(crate) async fn replace_job_status(
    kubernetes: &Kubernetes,
    job: &JobObject,
    status: &JobStatus,
) -> Result<String, KubeError> {
    let metadata = write_metadata(&job.key, &job.uid, &job.resource_version);
    write::<ImageScoreJob>(
        &kubernetes.client,
        WriteMethod::ReplaceStatus,
        metadata,
        WrittenPart::Status(status),
    )
    .await
}
