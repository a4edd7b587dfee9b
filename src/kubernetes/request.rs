//! Requests to the API server: each has a deadline and no retry, because the next reconcile is the retry. Objects are
//! serialized directly and only the version of a response is decoded: JSON trees in both directions would take some
//! microseconds per item of a job.

use std::future::Future;
use std::time::Duration;

use kube::api::{ObjectMeta, PostParams, Request, TypeMeta};
use kube::client::Body;
use kube::{Client, Resource};
use serde::Serialize;

use super::decode::WriteResponse;
use crate::ports::KubeError;

/// Deadline of one request.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Runs a request within [`REQUEST_DEADLINE`] and maps its error to a [`KubeError`]; a timeout is `Unavailable`.
pub(super) async fn send_with_deadline<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubeError> {
    match tokio::time::timeout(REQUEST_DEADLINE, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(error_of_code(status.code)),
        Ok(Err(_)) | Err(_) => Err(KubeError::Unavailable),
    }
}

/// Sends a request within [`REQUEST_DEADLINE`] and returns the bytes of the answer. kube does not look into the answer, so it
/// logs nothing of it.
pub(super) async fn send_for_bytes(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<Vec<u8>, KubeError> {
    let answer = async {
        let response = client.send(request.map(Body::from)).await?;
        let status = response.status();
        let bytes = response.into_body().collect_bytes().await?;
        Ok((status, bytes))
    };
    let (status, bytes) = send_with_deadline(answer).await?;
    if status.is_success() {
        Ok(bytes.to_vec())
    } else {
        Err(error_of_code(status.as_u16()))
    }
}

fn error_of_code(code: u16) -> KubeError {
    match code {
        404 => KubeError::NotFound,
        409 => KubeError::Conflict,
        401 | 403 => KubeError::Forbidden,
        400 | 413 | 422 => KubeError::Invalid,
        _ => KubeError::Unavailable,
    }
}

/// How to write an object.
pub(super) enum WriteMethod {
    /// Creates the object; fails if it exists.
    Create,
    /// Replaces the object at the version in its metadata.
    Replace,
    /// Replaces only the status at the version in its metadata.
    ReplaceStatus,
}

/// The part that is written beside the metadata; the variant's name is the field's name.
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

/// Writes an object and returns its new `resourceVersion`. Fails with `Conflict` if the stored object is newer, or exists
/// already on `Create`.
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
