//! Reads Secrets and requests tokens. The answers are fetched as bytes and decoded here, because kube's own requests
//! log the whole answer if they cannot decode it. An error names the object and nothing of its contents.

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use kube::Resource as _;
use kube::api::{GetParams, PostParams, Request};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Kubernetes;
use super::request::send_for_bytes;
use crate::core::validate::is_object_name;
use crate::ports::{AccessKeys, CredentialsError, KubeError};

/// The members in use of a Secret.
#[derive(Deserialize)]
struct SecretAnswer {
    kind: String,
    metadata: AnswerMetadata,
    #[serde(default)]
    data: Option<SecretData>,
}

#[derive(Deserialize)]
struct AnswerMetadata {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretData {
    access_key_id: Option<ByteString>,
    access_key_secret: Option<ByteString>,
    security_token: Option<ByteString>,
}

/// The members in use of a TokenRequest.
#[derive(Deserialize)]
struct TokenAnswer {
    status: TokenAnswerStatus,
}

#[derive(Deserialize)]
struct TokenAnswerStatus {
    token: SecretString,
}

pub(crate) async fn read_secret(
    kubernetes: &Kubernetes,
    namespace: &str,
    name: &str,
) -> Result<AccessKeys, CredentialsError> {
    if !is_object_name(name) {
        return Err(CredentialsError::NotFound);
    }
    let place = Request::new(k8s_openapi::api::core::v1::Secret::url_path(&(), Some(namespace)));
    let request = place.get(name, &GetParams::default()).ok();
    let object = format!("Secret {namespace}/{name}");
    let denied = CredentialsError::SecretAccessDenied {
        account: kubernetes.account.clone(),
    };
    let answer = send_for_credentials(kubernetes, "get", object, request, denied).await?;
    let secret: SecretAnswer = decode(&answer, "Secret", namespace, name)?;
    if secret.kind != "Secret" || secret.metadata.name != name {
        return Err(CredentialsError::Unavailable);
    }
    let data = secret.data.unwrap_or_default();
    let id = printable(data.access_key_id.as_ref()).ok_or(CredentialsError::Invalid("accessKeyId"))?;
    let key =
        printable(data.access_key_secret.as_ref()).ok_or(CredentialsError::Invalid("accessKeySecret"))?;
    let token = printable(data.security_token.as_ref()).map(SecretString::from);
    if data.security_token.is_some() && token.is_none() {
        return Err(CredentialsError::Invalid("securityToken"));
    }
    Ok(AccessKeys {
        id: id.to_owned(),
        secret: SecretString::from(key),
        token,
        expires_at: None,
    })
}

pub(crate) async fn request_token(
    kubernetes: &Kubernetes,
    namespace: &str,
    name: &str,
) -> Result<SecretString, CredentialsError> {
    if !is_object_name(name) {
        return Err(CredentialsError::NotFound);
    }
    let spec = TokenRequestSpec {
        audiences: vec!["sts.aliyuncs.com".to_owned()],
        expiration_seconds: Some(3600),
        bound_object_ref: None,
    };
    let question = TokenRequest {
        spec,
        ..TokenRequest::default()
    };
    let place = Request::new(k8s_openapi::api::core::v1::ServiceAccount::url_path(
        &(),
        Some(namespace),
    ));
    let request = serde_json::to_vec(&question).ok().and_then(|body| {
        place
            .create_subresource("token", name, &PostParams::default(), body)
            .ok()
    });
    let object = format!("token of ServiceAccount {namespace}/{name}");
    let denied = CredentialsError::TokenRequestDenied {
        account: kubernetes.account.clone(),
    };
    let answer = send_for_credentials(kubernetes, "create", object, request, denied).await?;
    let answer: TokenAnswer = decode(&answer, "token", namespace, name)?;
    Ok(answer.status.token)
}

/// Sends a request for credentials, if it could be built; `denied` is the error without the permission for it.
async fn send_for_credentials(
    kubernetes: &Kubernetes,
    verb: &str,
    object: String,
    request: Option<http::Request<Vec<u8>>>,
    denied: CredentialsError,
) -> Result<Vec<u8>, CredentialsError> {
    let request = request.ok_or(CredentialsError::Unavailable)?;
    let answer = send_for_bytes(&kubernetes.client, verb, object, request).await;
    answer.map_err(|error| match error {
        KubeError::NotFound => CredentialsError::NotFound,
        KubeError::Forbidden => denied,
        KubeError::Conflict | KubeError::Invalid | KubeError::Unavailable => CredentialsError::Unavailable,
    })
}

/// Decodes an answer that holds a secret. The text of the parser's error can quote the answer, so it is dropped.
fn decode<T: DeserializeOwned>(
    answer: &[u8],
    what: &str,
    namespace: &str,
    name: &str,
) -> Result<T, CredentialsError> {
    let decoded = serde_json::from_slice(answer);
    decoded.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        tracing::warn!(
            what,
            namespace,
            name,
            line,
            column,
            "failed to decode answer of the API server"
        );
        CredentialsError::Unavailable
    })
}

/// Returns the printable text of a value without surrounding white space; `None` if there is none.
fn printable(value: Option<&ByteString>) -> Option<&str> {
    let text = std::str::from_utf8(&value?.0).ok()?.trim();
    let usable = !text.is_empty() && text.len() <= 8192 && text.chars().all(|c| c.is_ascii_graphic());
    usable.then_some(text)
}
