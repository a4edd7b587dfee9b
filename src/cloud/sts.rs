//! STS 2015-04-01: `AssumeRole`, `AssumeRoleWithOIDC` and `GetCallerIdentity`. The OIDC token travels in a body, never in a
//! URL, so that no log of an address can hold it.

use k8s_openapi::jiff::Timestamp;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::error;
use super::http::{ANSWER_CAP, Cloud, Service, url};
use super::imm::{host, nonce};
use super::sign::acs3;
use crate::ports::{CallFailure, Keys, RoleSession};

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
struct Answer {
    credentials: Issued,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    account_id: String,
}

impl Cloud {
    /// Assumes a role with keys.
    pub async fn assume_role(
        &self,
        session: &RoleSession,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Keys, CallFailure> {
        let mut parameters = common(session);
        if let Some(id) = &session.external_id {
            parameters.push(("ExternalId".to_owned(), id.clone()));
        }
        let body = acs3::query(&parameters);
        issued(&self.sts("AssumeRole", &body, Some(keys), now).await?)
    }

    /// Assumes a role with a token of a ServiceAccount (RRSA). The call itself is anonymous.
    pub async fn assume_role_with_oidc(
        &self,
        session: &RoleSession,
        provider_arn: &str,
        token: &SecretString,
        now: Timestamp,
    ) -> Result<Keys, CallFailure> {
        let mut parameters = common(session);
        parameters.push(("OIDCProviderArn".to_owned(), provider_arn.to_owned()));
        parameters.push(("OIDCToken".to_owned(), token.expose_secret().to_owned()));
        let body = acs3::query(&parameters);
        issued(&self.sts("AssumeRoleWithOIDC", &body, None, now).await?)
    }

    /// The account that keys really belong to.
    pub async fn caller_account(&self, keys: &Keys, now: Timestamp) -> Result<String, CallFailure> {
        let body = self.sts("GetCallerIdentity", "", Some(keys), now).await?;
        let identity: Identity =
            serde_json::from_slice(&body).map_err(|_| error::unanswered("NoIdentityInAnswer"))?;
        Ok(identity.account_id)
    }

    /// One call; signed unless it is anonymous. Parameters ride in a form body.
    async fn sts(
        &self,
        action: &str,
        body: &str,
        keys: Option<&Keys>,
        now: Timestamp,
    ) -> Result<Vec<u8>, CallFailure> {
        let url = url(&self.endpoints.sts())?;
        let mut headers = vec![
            ("host".to_owned(), host(&url)),
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("x-acs-action".to_owned(), action.to_owned()),
            ("x-acs-version".to_owned(), "2015-04-01".to_owned()),
            (
                "x-acs-date".to_owned(),
                now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            ),
            (
                "x-acs-signature-nonce".to_owned(),
                nonce(keys.map_or("", |k| k.id.as_str()), now),
            ),
        ];
        if let Some(keys) = keys {
            let request = acs3::Request {
                method: "POST",
                path: "/",
                query: "",
                headers: &headers,
                body: body.as_bytes(),
            };
            headers.extend(acs3::sign(request, keys).headers);
        }
        headers.retain(|(name, _)| name != "host");
        let request = self
            .request(Method::POST, url, &headers)
            .header("accept", "application/json");
        let answer = self
            .send(Service::Oss, request.body(body.to_owned()), ANSWER_CAP)
            .await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(error::imm(answer.status, &answer.body, None))
        }
    }
}

fn common(session: &RoleSession) -> Vec<(String, String)> {
    let mut parameters = vec![
        ("RoleArn".to_owned(), session.role_arn.clone()),
        ("RoleSessionName".to_owned(), session.name.clone()),
        ("DurationSeconds".to_owned(), "3600".to_owned()),
    ];
    if let Some(policy) = &session.policy {
        parameters.push(("Policy".to_owned(), policy.clone()));
    }
    parameters
}

fn issued(body: &[u8]) -> Result<Keys, CallFailure> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| error::unanswered("NoCredentialsInAnswer"))?;
    let Issued {
        access_key_id,
        access_key_secret,
        security_token,
        expiration,
    } = answer.credentials;
    let expires = expiration
        .parse()
        .map_err(|_| error::unanswered("NoExpirationInAnswer"))?;
    Ok(Keys {
        id: access_key_id,
        secret: access_key_secret,
        token: Some(security_token),
        expires: Some(expires),
    })
}
