//! Credentials that the machine hands out: the RAM role of an ECS instance, by its metadata service, and a
//! credentials URI. Both answer without authentication, so they are asked directly, never through a proxy, and
//! redirects are not followed. Sources: the default provider chains of the official clients.

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Url};
use thiserror::Error;

use super::answer::IssuedKeys;
use super::classify;
use super::client::{self, ClientError, HttpResponse, MAX_RESPONSE_BYTES, client_builder, parse_url};
use super::reachability::reach_with;
use crate::core::doctor::Reachability;
use crate::core::endpoints::is_this_machine;
use crate::core::validate::{check_region_id, check_role};
use crate::ports::{AccessKeys, CloudError};

/// Deadline of one request. Both services are on the machine or one hop away.
const DEADLINE: Duration = Duration::from_secs(3);
/// Deadline of the request for a token: with a hop limit of 1, its answer does not reach a container at all.
const TOKEN_DEADLINE: Duration = Duration::from_secs(2);
/// Address of the metadata service in every region.
const METADATA: &str = "http://100.100.100.200";
const TOKEN_LIFE: HeaderName = HeaderName::from_static("x-aliyun-ecs-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aliyun-ecs-metadata-token");

/// The metadata service of an ECS instance.
#[derive(Clone)]
pub struct MetadataService {
    client: Client,
    address: String,
    /// Whether a service without tokens (version 1) may answer.
    version_1: bool,
}

impl MetadataService {
    /// Creates a client of the metadata service. `loopback` replaces its address in tests; an address of another
    /// machine is ignored, because the server that answers decides which
    /// identity the operator has.
    ///
    /// # Errors
    /// [`ClientError`] if TLS cannot be set up.
    pub fn new(loopback: Option<SocketAddr>, version_1: bool) -> Result<Self, ClientError> {
        let local = loopback.filter(|address| address.ip().is_loopback());
        Ok(Self {
            client: direct_client()?,
            address: local.map_or_else(|| METADATA.to_owned(), |address| format!("http://{address}")),
            version_1,
        })
    }

    /// Returns the region of the instance.
    ///
    /// # Errors
    /// `Unanswered` with a code if the service does not answer, refuses, or names no region.
    pub async fn region(&self) -> Result<String, CloudError> {
        let region = self.text("region-id").await?;
        match check_region_id("region", &region) {
            Ok(()) => Ok(region),
            Err(_) => Err(classify::unanswered("NoRegionInAnswer")),
        }
    }

    /// Returns temporary credentials of the instance's RAM role; without `role`, the service names it.
    ///
    /// # Errors
    /// `Unanswered` with a code if the service does not answer, refuses, or has no credentials.
    pub async fn role_keys(&self, role: Option<&str>) -> Result<AccessKeys, CloudError> {
        let folder = "ram/security-credentials/";
        let role = match role {
            Some(role) => role.to_owned(),
            None => self.text(folder).await?,
        };
        check_role("role", &role).map_err(|_| classify::unanswered("NoRoleInAnswer"))?;
        keys_in(&self.get(&format!("{folder}{role}")).await?.body)
    }

    /// Returns the URL of the service.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// Says how far a connection to the service gets.
    pub async fn reach(&self, now: fn() -> Timestamp) -> Reachability {
        // Version 2 of the service refuses it without a token, which is an answer too.
        let property = format!("{}/latest/meta-data/region-id", self.address);
        reach_with(&self.client, &property, None, now).await
    }

    /// Returns a property of one line.
    async fn text(&self, path: &str) -> Result<String, CloudError> {
        let answer = self.get(path).await?;
        let text = String::from_utf8(answer.body).unwrap_or_default();
        Ok(text.trim().to_owned())
    }

    /// Reads a property, with a token if the service issues one (version 2), else without (version 1).
    async fn get(&self, path: &str) -> Result<HttpResponse, CloudError> {
        let url = parse_url(&format!("{}/latest/meta-data/{path}", self.address))?;
        let mut request = Request::new(Method::GET, url);
        match self.token().await {
            Ok(token) => {
                request.headers_mut().insert(TOKEN, token);
            }
            Err(_) if self.version_1 => {}
            Err(error) => return Err(error),
        }
        send(&self.client, request, DEADLINE).await
    }

    async fn token(&self) -> Result<HeaderValue, CloudError> {
        let url = parse_url(&format!("{}/latest/api/token", self.address))?;
        let mut request = Request::new(Method::PUT, url);
        let life = HeaderValue::from_static("60");
        request.headers_mut().insert(TOKEN_LIFE, life);
        let answer = send(&self.client, request, TOKEN_DEADLINE).await?;
        let mut token = HeaderValue::from_bytes(answer.body.trim_ascii())
            .map_err(|_| classify::unanswered("NoTokenInAnswer"))?;
        token.set_sensitive(true);
        Ok(token)
    }
}

/// Why a credentials URI cannot be used.
#[derive(Debug, Error)]
pub enum CredentialsUriError {
    /// It is no URL, or not one of those that are allowed. What is wrong with it could show a part of it.
    #[error(
        "ALIBABA_CLOUD_CREDENTIALS_URI must be an https URL, or an http URL of this machine such as http://127.0.0.1:6666/, without a user name and without a fragment"
    )]
    Refused,
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A URI that answers with temporary credentials. It is never shown, because its path or query can be a secret.
#[derive(Clone)]
pub struct CredentialsUri {
    client: Client,
    url: Url,
}

impl CredentialsUri {
    /// Checks a URI. The answer holds credentials in plain text, so that plain http is for this machine only.
    ///
    /// # Errors
    /// [`CredentialsUriError`] if the URI cannot be used, or TLS cannot be set up.
    pub fn new(text: &str) -> Result<Self, CredentialsUriError> {
        let url = Url::parse(text.trim()).map_err(|_| CredentialsUriError::Refused)?;
        let host = url.host_str().unwrap_or_default();
        let private = match url.scheme() {
            "https" => !host.is_empty(),
            "http" => is_this_machine(host),
            _ => false,
        };
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if !private || !plain {
            return Err(CredentialsUriError::Refused);
        }
        Ok(Self {
            client: direct_client()?,
            url,
        })
    }

    /// Returns the root of the URI, without its path and query.
    pub fn root(&self) -> String {
        format!("{}/", self.url.origin().ascii_serialization())
    }

    /// Says how far a connection to the service gets. Its root is asked, and the answer is dropped: where that is the
    /// path of the URI, the service may give credentials, which nobody sees.
    pub async fn reach(&self, now: fn() -> Timestamp) -> Reachability {
        reach_with(&self.client, &self.root(), None, now).await
    }

    /// Returns the current credentials.
    ///
    /// # Errors
    /// `Unanswered` with a code if the service does not answer, refuses, or has no credentials.
    pub async fn keys(&self) -> Result<AccessKeys, CloudError> {
        let request = Request::new(Method::GET, self.url.clone());
        keys_in(&send(&self.client, request, DEADLINE).await?.body)
    }
}

fn direct_client() -> Result<Client, ClientError> {
    Ok(client_builder().no_proxy().build()?)
}

/// Sends a request and returns the answer if it is a success. Errors contain neither the URL nor a part of the answer.
async fn send(client: &Client, request: Request, deadline: Duration) -> Result<HttpResponse, CloudError> {
    match client::send(client, request, deadline, MAX_RESPONSE_BYTES).await? {
        answer if answer.status == 200 => Ok(answer),
        answer => Err(classify::unanswered(&format!("Http{}", answer.status))),
    }
}

/// Reads credentials. Temporary ones without an expiry are refused.
fn keys_in(body: &[u8]) -> Result<AccessKeys, CloudError> {
    let answer: Option<IssuedKeys> = serde_json::from_slice(body).ok();
    answer
        .filter(|keys| !keys.access_key_id.is_empty())
        .filter(|keys| keys.code.as_ref().is_none_or(|code| code == "Success"))
        .and_then(IssuedKeys::keys)
        .ok_or_else(|| classify::unanswered("NoCredentialsInAnswer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_travel_in_plain_text_on_this_machine_only() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        for good in [
            "http://127.0.0.1:6666/",
            "http://localhost/credentials?key=1",
            "http://[::1]:80/x",
            "https://credentials.example.com/x",
        ] {
            assert!(CredentialsUri::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:6666",
            "http://credentials.example.com/",
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://127.0.0.1@example.com/",
            "https://user:password@example.com/",
            "https://example.com/#f",
            "file:///etc/passwd",
        ] {
            let refused = CredentialsUri::new(bad).err().map(|error| error.to_string());
            assert!(refused.is_some_and(|text| !text.contains("password")), "{bad}");
        }
    }

    #[test]
    fn an_answer_without_complete_credentials_gives_none() {
        let answer = |code: &str, expiration: &str| {
            format!(
                r#"{{"Code": "{code}", "AccessKeyId": "STS.a", "AccessKeySecret": "canary", "SecurityToken": "canary", "Expiration": "{expiration}"}}"#
            )
        };
        let keys = keys_in(answer("Success", "2026-11-27T10:00:00Z").as_bytes()).unwrap();
        assert_eq!(keys.expires_at, Some("2026-11-27T10:00:00Z".parse().unwrap()));
        for bad in [
            answer("Failed", "2026-11-27T10:00:00Z"),
            answer("Success", "soon"),
            answer("Success", "2026-11-27T10:00:00Z").replace("STS.a", ""),
            "{}".to_owned(),
            "<html>".to_owned(),
        ] {
            let code = keys_in(bad.as_bytes()).err().map(|error| error.code);
            assert_eq!(code.as_deref(), Some("NoCredentialsInAnswer"), "{bad}");
        }
    }
}
