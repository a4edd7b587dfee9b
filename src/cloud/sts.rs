//! STS 2015-04-01: `AssumeRole`, `AssumeRoleWithOIDC` and `GetCallerIdentity`. The OIDC token travels in a body, never in a
//! URL, so that no log of an address can hold it.

use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::classify;
use super::client::{Cloud, MAX_RESPONSE_BYTES, Service};
use super::rpc::RpcCall;
use super::sign::acs3;
use crate::ports::{AccessKeys, CloudError, RoleSession};

/// `Credentials` of an STS answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    access_key_id: String,
    access_key_secret: SecretString,
    security_token: SecretString,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleResponse {
    credentials: Issued,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    account_id: String,
}

impl Cloud {
    /// Assumes a role with keys.
    pub async fn assume_role(
        &self,
        session: &RoleSession,
        keys: &AccessKeys,
        now: Timestamp,
    ) -> Result<AccessKeys, CloudError> {
        let mut parameters = session_parameters(session);
        if let Some(id) = &session.external_id {
            parameters.push(("ExternalId", id));
        }
        let body = acs3::query(&parameters);
        parse_credentials(&self.send_sts("AssumeRole", &body, Some(keys), now).await?)
    }

    /// Assumes a role with a token of a ServiceAccount (RRSA). The call itself is anonymous.
    pub async fn assume_role_with_oidc(
        &self,
        session: &RoleSession,
        provider_arn: &str,
        token: &SecretString,
        now: Timestamp,
    ) -> Result<AccessKeys, CloudError> {
        let mut parameters = session_parameters(session);
        parameters.push(("OIDCProviderArn", provider_arn));
        parameters.push(("OIDCToken", token.expose_secret()));
        let body = acs3::query(&parameters);
        parse_credentials(&self.send_sts("AssumeRoleWithOIDC", &body, None, now).await?)
    }

    /// The account that keys really belong to.
    pub async fn caller_account(&self, keys: &AccessKeys, now: Timestamp) -> Result<String, CloudError> {
        let body = self.send_sts("GetCallerIdentity", "", Some(keys), now).await?;
        let identity: CallerIdentity =
            serde_json::from_slice(&body).map_err(|_| classify::unanswered("NoIdentityInAnswer"))?;
        Ok(identity.account_id)
    }

    /// One call; signed unless it is anonymous. Parameters ride in a form body.
    async fn send_sts(
        &self,
        action: &'static str,
        body: &str,
        keys: Option<&AccessKeys>,
        now: Timestamp,
    ) -> Result<Vec<u8>, CloudError> {
        let call = RpcCall {
            address: &self.endpoints.sts(),
            action,
            version: "2015-04-01",
            form: Some(body),
        };
        let request = call.request(keys, now)?;
        let answer = self.send(Service::Oss, request, MAX_RESPONSE_BYTES).await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(classify::imm_error(answer.status, &answer.body, None))
        }
    }
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
        serde_json::from_slice(body).map_err(|_| classify::unanswered("NoCredentialsInAnswer"))?;
    let Issued {
        access_key_id,
        access_key_secret,
        security_token,
        expiration,
    } = answer.credentials;
    let expires = expiration
        .parse()
        .map_err(|_| classify::unanswered("NoExpirationInAnswer"))?;
    Ok(AccessKeys {
        id: access_key_id,
        secret: access_key_secret,
        token: Some(security_token),
        expires_at: Some(expires),
    })
}
