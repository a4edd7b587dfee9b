//! STS API 2015-04-01: `AssumeRole`, `AssumeRoleWithOIDC` and `GetCallerIdentity`. The OIDC token is sent in the
//! body, never in a URL, so that no log of URLs can contain it. The call with the token is the only one without a
//! signature.

use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::answer::{IssuedKeys, parse_answer};
use super::answer_head::head_of_rpc;
use super::classify;
use super::client::{Cloud, MAX_RESPONSE_BYTES, OSS_DEADLINE, send};
use super::error_text::RequestNames;
use super::rpc::{RpcCall, UnsignedQuery, send_rpc};
use super::sign::acs3;
use crate::core::doctor::AnswerHead;
use crate::core::validate::check_uid;
use crate::ports::{AccessKeys, CloudError, RoleSession};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleResponse {
    credentials: IssuedKeys,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    account_id: String,
}

/// Assumes a role with credentials. Returns temporary credentials that are valid for 3,600 s.
pub async fn assume_role(
    cloud: &Cloud,
    session: &RoleSession,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<AccessKeys, CloudError> {
    let mut parameters = session_parameters(session);
    if let Some(id) = &session.external_id {
        parameters.push(("ExternalId", id));
    }
    let body = acs3::query(&parameters);
    parse_credentials(&send_sts(cloud, "AssumeRole", &body, Some(keys), now).await?)
}

/// Assumes a role with a ServiceAccount token (RRSA); the request is unsigned. Returns temporary credentials that are
/// valid for 3,600 s.
pub async fn assume_role_with_oidc(
    cloud: &Cloud,
    session: &RoleSession,
    provider_arn: &str,
    token: &SecretString,
    now: Timestamp,
) -> Result<AccessKeys, CloudError> {
    let body = exchange_body(session, provider_arn, token);
    parse_credentials(&send_sts(cloud, "AssumeRoleWithOIDC", &body, None, now).await?)
}

/// Makes the same call with fewer parameters in its query, and returns how the answer looks. A session in it is dropped.
///
/// # Errors
/// Why there is no answer.
pub async fn answer_to_exchange(
    cloud: &Cloud,
    session: &RoleSession,
    provider_arn: &str,
    token: &SecretString,
    query: UnsignedQuery,
    now: Timestamp,
) -> Result<AnswerHead, CloudError> {
    let body = exchange_body(session, provider_arn, token);
    let address = cloud.endpoints.sts();
    let call = sts_call(&address, "AssumeRoleWithOIDC", &body);
    let request = call.request(None, query, now)?;
    let answer = send(&cloud.client, request, OSS_DEADLINE, MAX_RESPONSE_BYTES).await?;
    Ok(head_of_rpc("STS", &answer))
}

/// Returns the UID of the account that owns the credentials.
pub async fn caller_account(cloud: &Cloud, keys: &AccessKeys, now: Timestamp) -> Result<String, CloudError> {
    let body = send_sts(cloud, "GetCallerIdentity", "", Some(keys), now).await?;
    account_of(&body).ok_or_else(|| classify::unanswered("NoIdentityInAnswer"))
}

/// Returns the UID in a response. Other text is not shown to anyone.
pub(super) fn account_of(body: &[u8]) -> Option<String> {
    let identity: CallerIdentity = parse_answer(body)?;
    check_uid("AccountId", &identity.account_id).ok()?;
    Some(identity.account_id)
}

/// Sends one call with its parameters in a form body, signed if `keys` is given. Returns the body of a 200 response;
/// every other status is an error.
async fn send_sts(
    cloud: &Cloud,
    action: &'static str,
    body: &str,
    keys: Option<&AccessKeys>,
    now: Timestamp,
) -> Result<Vec<u8>, CloudError> {
    let address = cloud.endpoints.sts();
    send_rpc(cloud, OSS_DEADLINE, sts_call(&address, action, body), keys, now).await
}

fn sts_call<'a>(address: &'a str, action: &'static str, body: &'a str) -> RpcCall<'a> {
    RpcCall {
        service: "STS",
        // No code of STS is explained by its text.
        names: RequestNames::default(),
        address,
        action,
        version: "2015-04-01",
        form: Some(body),
    }
}

fn exchange_body(session: &RoleSession, provider_arn: &str, token: &SecretString) -> String {
    let mut parameters = session_parameters(session);
    parameters.push(("OIDCProviderArn", provider_arn));
    parameters.push(("OIDCToken", token.expose_secret()));
    acs3::query(&parameters)
}

fn session_parameters(session: &RoleSession) -> Vec<(&str, &str)> {
    let mut parameters = vec![
        ("RoleArn", session.role_arn.as_str()),
        ("RoleSessionName", &session.name),
        ("DurationSeconds", "3600"),
    ];
    if let Some(policy) = &session.policy {
        parameters.push(("Policy", policy));
    }
    parameters
}

fn parse_credentials(body: &[u8]) -> Result<AccessKeys, CloudError> {
    let answer: AssumeRoleResponse =
        parse_answer(body).ok_or_else(|| classify::unanswered("NoCredentialsInAnswer"))?;
    let keys = answer.credentials.keys();
    keys.ok_or_else(|| classify::unanswered("NoExpirationInAnswer"))
}
