//! Requests to the API server: each has a deadline and no retry, because the next reconcile is the retry. Objects are
//! serialized directly and only the version of a response is decoded: JSON trees in both directions would take some
//! microseconds per item of a job.

use std::future::Future;
use std::time::Duration;

use kube::api::{GetParams, ObjectMeta, PostParams, Request, TypeMeta};
use kube::client::Body;
use kube::core::Status;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::decode::WriteResponse;
use crate::core::error::error_chain;
use crate::core::grant::ObjectKey;
use crate::core::validate::{is_namespace_name, is_object_name};
use crate::ports::KubeError;

/// Deadline of one request.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// A request that failed, with its cause.
#[derive(Debug, Error)]
pub enum RequestError {
    /// No answer within [`REQUEST_DEADLINE`].
    #[error("the API server did not answer within {} s", REQUEST_DEADLINE.as_secs())]
    Timeout,
    /// The answer has an object that cannot be decoded.
    #[error("a stored object cannot be decoded")]
    Undecodable,
    /// The API server rejected the request, or could not be reached.
    #[error(transparent)]
    Kube(kube::Error),
}

impl RequestError {
    /// Returns the kind of the failure.
    pub(super) fn kind(&self) -> KubeError {
        match self {
            Self::Kube(kube::Error::Api(status)) if is_foreign(status) => KubeError::Unavailable,
            Self::Kube(kube::Error::Api(status)) => error_of_code(status.code),
            Self::Kube(_) | Self::Timeout => KubeError::Unavailable,
            Self::Undecodable => KubeError::Invalid,
        }
    }

    /// Returns whether the API server refused to create an object because its namespace is being deleted.
    fn is_of_ending_namespace(&self) -> bool {
        let Self::Kube(kube::Error::Api(status)) = self else {
            return false;
        };
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// Returns whether the API server has no such object or kind.
    pub(crate) fn is_not_found(&self) -> bool {
        self.kind() == KubeError::NotFound
    }

    /// Returns whether the API server does not accept the caller's credentials, or does not allow the request.
    pub(crate) fn refuses_caller(&self) -> bool {
        let Self::Kube(kube::Error::Api(status)) = self else {
            return false;
        };
        status.code == 401 || (status.code == 403 && !is_foreign(status))
    }

    /// Describes the failure for the user of a command, who needs `permissions`.
    pub(crate) fn describe(&self, permissions: &str) -> String {
        match self {
            Self::Kube(kube::Error::Api(status)) if is_foreign(status) && status.code != 401 => {
                describe_foreign(&format!("HTTP status {}", status.code))
            }
            Self::Kube(kube::Error::Api(status)) => {
                describe_rejection(status.code, &status.message, permissions)
            }
            Self::Kube(error @ (kube::Error::SerdeError(_) | kube::Error::FromUtf8(_))) => {
                describe_foreign(&error_chain(error))
            }
            Self::Kube(error) => describe_failure(&error_chain(error)),
            Self::Timeout | Self::Undecodable => self.to_string(),
        }
    }
}

/// Describes an answer other than a success. The text of an admission webhook or policy is part of it.
fn describe_rejection(code: u16, message: &str, permissions: &str) -> String {
    match code {
        401 => "the API server does not accept your credentials (401 Unauthorized), which may have expired: log in again".to_owned(),
        400 if message.contains("HTTP request to an HTTPS server") => "the API server expects TLS: begin server of the cluster in the kubeconfig with https://".to_owned(),
        403 if is_of_rbac(message) => format!("you need permission to {permissions} (403 Forbidden: {message})"),
        _ => format!("the API server rejected the request ({code}): {message}"),
    }
}

/// Describes an answer that no API server gives, such as the page of a login after a redirect.
fn describe_foreign(what: &str) -> String {
    format!(
        "the answer is not one of a Kubernetes API server ({what}): check server of the cluster in the kubeconfig, and whether \
         a proxy or a login page answers in its place"
    )
}

/// Whether an answer with an error is a page in HTML, or JSON of another service. An API server answers with a Status, or
/// in a few places with a line of text.
fn is_foreign(status: &Status) -> bool {
    status.code == 0 || is_page(status.message.as_bytes())
}

/// Whether a body is a page in HTML or XML.
fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Whether the API server says that an object or its kind does not exist.
fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && !is_foreign(status))
}

/// Whether the authorizer wrote a text: it names the user, as in `grants.immops.dev "a" is forbidden: User "u" cannot
/// get …`. Admission webhooks and policies write what they like, also behind words of their own.
fn is_of_rbac(message: &str) -> bool {
    let said = message.split_once("forbidden: ");
    said.is_some_and(|(_, rest)| rest.starts_with("User \"") && rest.contains("\" cannot "))
}

/// Describes a request without an answer by the texts of its causes.
fn describe_failure(chain: &str) -> String {
    let fix = if chain.contains("UnknownIssuer") || chain.contains("BadSignature") {
        ": check certificate-authority of the cluster in the kubeconfig"
    } else if chain.contains("not valid for name") || chain.contains("NotValidForName") {
        ": check server and tls-server-name of the cluster in the kubeconfig"
    } else if ["certificate expired", "not valid yet"]
        .iter()
        .any(|part| chain.contains(part))
    {
        ": renew the certificate of the API server, or correct the clock"
    } else if chain.contains("lookup") || chain.contains("dns error") {
        ": check server of the cluster in the kubeconfig, and the DNS of this machine"
    } else {
        ""
    };
    format!("the API server cannot be reached ({chain}){fix}")
}

/// Runs a request within [`REQUEST_DEADLINE`].
pub(super) async fn send<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(REQUEST_DEADLINE, request).await {
        Ok(answer) => answer.map_err(RequestError::Kube),
        Err(_) => Err(RequestError::Timeout),
    }
}

/// Like [`send`], with the error logged and reduced to its kind.
pub(super) async fn send_with_deadline<T>(
    verb: &str,
    object: String,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KubeError> {
    logged(verb, &object, send(request).await)
}

/// Logs a failed request with its code and its fields, at level debug if it is ordinary. A rejected token is no missing
/// permission, and nothing in the object that the request was about.
macro_rules! log_failure {
    ($is_ordinary:expr, $code:expr, $($field:tt)+) => {
        if $is_ordinary {
            tracing::debug!(code = $code, $($field)+, "request to the API server failed");
        } else if $code == 401 {
            tracing::warn!(code = $code, $($field)+, "the API server does not accept the operator's token; retrying");
        } else {
            tracing::warn!(code = $code, $($field)+, "request to the API server failed");
        }
    };
}

/// Reduces the error of a request to its kind. The log has what the API server said about the verb and the object.
pub(super) fn logged<T>(verb: &str, object: &str, answer: Result<T, RequestError>) -> Result<T, KubeError> {
    answer.map_err(|error| {
        let (kind, said) = (error.kind(), excerpt(&error_chain(&error)));
        let (code, reason) = match &error {
            RequestError::Kube(kube::Error::Api(status)) => (status.code, status.reason.as_str()),
            RequestError::Kube(_) | RequestError::Timeout | RequestError::Undecodable => (0, ""),
        };
        // Ordinary answers: the caller reads the object again, or does without it.
        let is_ordinary =
            matches!(kind, KubeError::Conflict | KubeError::NotFound) || error.is_of_ending_namespace();
        log_failure!(is_ordinary, code, verb, object, reason, error = said);
        kind
    })
}

/// Returns the start of a text of the API server, in which admission webhooks and policies can write anything.
fn excerpt(text: &str) -> String {
    text.escape_debug().take(256).collect()
}

/// Sends a request within [`REQUEST_DEADLINE`] and returns the bytes of the answer. kube does not look into the
/// answer, and nothing of it is logged.
pub(super) async fn send_for_bytes(
    client: &Client,
    verb: &str,
    object: String,
    request: http::Request<Vec<u8>>,
) -> Result<Vec<u8>, KubeError> {
    let answer = async {
        let response = client.send(request.map(Body::from)).await?;
        let status = response.status();
        let bytes = response.into_body().collect_bytes().await?;
        Ok((status, bytes))
    };
    let (status, bytes) = send_with_deadline(verb, object.clone(), answer).await?;
    if status.is_success() {
        return Ok(bytes.to_vec());
    }
    let code = status.as_u16();
    if is_page(&bytes) || serde_json::from_slice(&bytes).is_ok_and(|status| is_foreign(&status)) {
        tracing::warn!(
            verb,
            object,
            code,
            "the answer is not one of a Kubernetes API server"
        );
        return Err(KubeError::Unavailable);
    }
    // What a grant or a job names may not exist, which its status says.
    log_failure!(code == 404, code, verb, object);
    Err(error_of_code(code))
}

fn error_of_code(code: u16) -> KubeError {
    match code {
        404 => KubeError::NotFound,
        409 => KubeError::Conflict,
        403 => KubeError::Forbidden,
        400 | 413 | 422 => KubeError::Invalid,
        _ => KubeError::Unavailable,
    }
}

/// Reads an object as a reduced type. `None` if the object does not exist.
pub(super) async fn read<K: Resource<DynamicType = ()>, T: DeserializeOwned>(
    client: &Client,
    key: &ObjectKey,
) -> Result<Option<T>, kube::Error> {
    let place = Request::new(K::url_path(&(), Some(&key.namespace)));
    let request = place.get(&key.name, &GetParams::default());
    match client.request(request.map_err(kube::Error::BuildRequest)?).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
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
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let object = format!("{} {namespace}/{name}", K::kind(&()));
    let place = Request::new(K::url_path(&(), metadata.namespace.as_deref()));
    let written = WrittenObject {
        types: TypeMeta::resource::<K>(),
        metadata,
        part,
    };
    let body = serde_json::to_vec(&written).map_err(|_| KubeError::Invalid)?;
    let params = PostParams::default();
    let (verb, request) = match how {
        WriteMethod::Create => ("create", place.create(&params, body)),
        WriteMethod::Replace => ("update", place.replace(&name, &params, body)),
        WriteMethod::ReplaceStatus => {
            let request = place.replace_subresource("status", &name, &params, body);
            ("update status", request)
        }
    };
    let request = request.map_err(|_| KubeError::Invalid)?;
    let answer: WriteResponse = send_with_deadline(verb, object, client.request(request)).await?;
    Ok(answer.into_resource_version())
}

/// Returns `true` if an object of this name can exist. kube puts names into the path of a request as they are: a name
/// such as `?limit=500` or `../..` would address something else.
pub(super) fn is_addressable(key: &ObjectKey) -> bool {
    is_namespace_name(&key.namespace) && is_object_name(&key.name)
}

/// Metadata of a status write: the API server rejects the write unless UID and `resourceVersion` match.
pub(super) fn write_metadata(key: &ObjectKey, uid: &str, version: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid: Some(uid.to_owned()),
        resource_version: Some(version.to_owned()),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
