//! Requests to the API server: each has a deadline and no retry of its own, because the next pass is the retry. Objects are
//! sent as they are, and of the response only the version is read: a tree of values both ways takes some microseconds for
//! each image of a job.

use std::future::Future;
use std::time::Duration;

use kube::api::{ObjectMeta, PostParams, Request, TypeMeta};
use kube::{Client, Resource};
use serde::Serialize;

use super::decode::WriteResponse;
use crate::ports::KubeError;

/// Time for one request.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Bounds a request in time and reduces its error to what a pass can act on.
pub(super) async fn send_with_deadline<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubeError> {
    match tokio::time::timeout(REQUEST_DEADLINE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => KubeError::NotFound,
            409 => KubeError::Conflict,
            401 | 403 => KubeError::Forbidden,
            400 | 422 => KubeError::Invalid,
            _ => KubeError::Unavailable,
        }),
        Ok(Err(_)) | Err(_) => Err(KubeError::Unavailable),
    }
}

/// How an object is written.
pub(super) enum WriteMethod {
    /// It must not be there yet.
    Create,
    /// It takes the place of the version that its metadata names.
    Replace,
    /// Its status alone does.
    ReplaceStatus,
}

/// What is written beside the metadata, under its own name.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WrittenPart<T> {
    Status(T),
    Report(T),
}

#[derive(Serialize)]
struct WrittenObject<T> {
    #[serde(flatten)]
    types: TypeMeta,
    metadata: ObjectMeta,
    #[serde(flatten)]
    part: WrittenPart<T>,
}

/// Writes an object; gives the version that is stored then.
pub(super) async fn write<K: Resource<DynamicType = ()>>(
    client: &Client,
    how: WriteMethod,
    metadata: ObjectMeta,
    part: WrittenPart<impl Serialize>,
) -> Result<String, KubeError> {
    let name = metadata.name.clone().unwrap_or_default();
    let place = Request::new(K::url_path(&(), metadata.namespace.as_deref()));
    let written = WrittenObject {
        types: TypeMeta::resource::<K>(),
        metadata,
        part,
    };
    let body = serde_json::to_vec(&written).map_err(|_| KubeError::Invalid)?;
    let params = PostParams::default();
    let request = match how {
        WriteMethod::Create => place.create(&params, body),
        WriteMethod::Replace => place.replace(&name, &params, body),
        WriteMethod::ReplaceStatus => place.replace_subresource("status", &name, &params, body),
    };
    let request = request.map_err(|_| KubeError::Invalid)?;
    let answer: WriteResponse = send_with_deadline(client.request(request)).await?;
    Ok(answer.into_resource_version())
}
