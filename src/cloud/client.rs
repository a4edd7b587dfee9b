//! The HTTP client of all services: deadlines, size limits, no redirects, no retries, and no URL or header in an error.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Client, ClientBuilder, Method, Request, Response, Url, redirect, retry};
use thiserror::Error;

use super::classify::{self, ErrorHeaders};
use super::sign::Header;
use super::tls::certificate_code;
use crate::core::endpoints::Endpoints;
use crate::core::error::{CONNECTION_FAILED, error_chain};
use crate::ports::CloudError;

/// Deadline of one OSS or STS call. The lease duration and the validity of a policy write are derived from it.
pub const OSS_DEADLINE: Duration = Duration::from_secs(10);
/// Deadline of one IMM call: scoring is synchronous and slows down above the project's concurrency limit.
pub const IMM_DEADLINE: Duration = Duration::from_secs(60);
/// Size limit of a policy response; OSS accepts policies up to 16 KB.
pub(super) const MAX_POLICY_RESPONSE_BYTES: usize = 64 * 1024;
/// Size limit of every other response.
pub(super) const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// The HTTP client cannot be created: TLS cannot be set up.
#[derive(Debug, Error)]
#[error("cannot create the HTTP client: {}", error_chain(.0))]
pub struct ClientError(#[from] reqwest::Error);

/// Client of OSS, IMM and STS.
#[derive(Clone)]
pub struct Cloud {
    pub(super) client: Client,
    pub(super) endpoints: Arc<Endpoints>,
}

/// A response with its complete body.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    headers: HeaderMap,
}

impl HttpResponse {
    /// Returns what the headers of an error say.
    pub(super) fn error_headers(&self) -> ErrorHeaders {
        let ids = ["x-oss-request-id", "x-acs-request-id"];
        // Milliseconds.
        let wait = self.header("x-acs-retry-after");
        ErrorHeaders {
            request_id: ids
                .iter()
                .find_map(|name| self.header(name))
                .map(ToOwned::to_owned),
            ec: self.header("x-oss-ec").map(ToOwned::to_owned),
            retry_after: wait
                .and_then(|ms| ms.parse().ok())
                .filter(|ms| *ms > 0)
                .map(Duration::from_millis),
        }
    }

    /// Returns a header as text; `None` if it is absent or not printable ASCII.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Cloud {
    /// Creates a client for `endpoints`. A rustls crypto provider must be installed first.
    ///
    /// # Errors
    /// [`ClientError`] if TLS cannot be set up.
    pub fn new(endpoints: Endpoints) -> Result<Self, ClientError> {
        let client = client_builder()
            .connect_timeout(Duration::from_secs(5))
            .pool_idle_timeout(Duration::from_secs(50))
            .build()?;
        Ok(Self {
            client,
            endpoints: Arc::new(endpoints),
        })
    }
}

/// Returns a builder of clients that follow no redirect and send each request once: a call is counted before it is
/// sent and may be billed.
pub(super) fn client_builder() -> ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never().max_retries_per_request(0))
        .referer(false)
        .http1_only()
        .user_agent(concat!("imm-operator/", env!("CARGO_PKG_VERSION")))
}

/// Sends a request and reads the response, both within the deadline. Fails with `Unanswered` on a transport error, a
/// timeout, or a body that is larger than `cap` bytes or incomplete. Returns HTTP errors as responses.
pub(super) async fn send(
    client: &Client,
    request: Request,
    deadline: Duration,
    cap: usize,
) -> Result<HttpResponse, CloudError> {
    let whole = async {
        // reqwest's errors contain the URL, so only a fixed word for the failure leaves this function.
        let response = client.execute(request).await;
        let response = response.map_err(|error| classify::unanswered(transport_error_code(&error)))?;
        read_body(response, cap).await
    };
    let answer = tokio::time::timeout(deadline, whole).await;
    answer.unwrap_or_else(|_| Err(classify::unanswered("Timeout")))
}

/// Builds a request. Header values are marked as sensitive, so that they are never printed.
///
/// # Errors
/// `CredentialsRejected` if a value is not valid in a header: only credentials can contain such characters.
pub(super) fn build_request(
    method: Method,
    url: Url,
    headers: Vec<Header<'static>>,
    body: Option<String>,
) -> Result<Request, CloudError> {
    let mut request = Request::new(method, url);
    request.headers_mut().reserve(headers.len() + 1);
    for (name, value) in headers {
        let value = match value {
            Cow::Borrowed(text) => Ok(HeaderValue::from_static(text)),
            Cow::Owned(text) => HeaderValue::try_from(text),
        };
        // Without this header the request would be unsigned.
        let mut value = value.map_err(|_| classify::unusable_credentials())?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    *request.body_mut() = body.map(Body::from);
    Ok(request)
}

/// Parses a URL. Does not fail in practice: endpoints are checked at startup, bucket and region against a pattern.
pub(super) fn parse_url(address: &str) -> Result<Url, CloudError> {
    Url::parse(address).map_err(|_| classify::unanswered(CONNECTION_FAILED))
}

/// Returns the code of a request without a response. Billing depends on the code: only those of a connection that was
/// not made mean that the request was never sent.
fn transport_error_code(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "Timeout"
    } else if error.is_connect() {
        certificate_code(&error_chain(error)).unwrap_or(CONNECTION_FAILED)
    } else {
        "ConnectionLost"
    }
}

async fn read_body(mut response: Response, cap: usize) -> Result<HttpResponse, CloudError> {
    let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
    let declared = response.content_length();
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|_| classify::unanswered("ResponseTruncated"))?
    {
        if body.len() + chunk.len() > cap {
            return Err(classify::unanswered("ResponseTooLarge"));
        }
        body.extend_from_slice(&chunk);
    }
    if declared.is_some_and(|length| u64::try_from(body.len()).unwrap_or(u64::MAX) < length) {
        return Err(classify::unanswered("ResponseTruncated"));
    }
    Ok(HttpResponse {
        status,
        body,
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::CloudErrorKind;

    #[test]
    fn a_request_that_cannot_carry_its_signature_is_not_made() {
        let made = |value: &str| {
            let url = Url::parse("https://imm.cn-hangzhou.aliyuncs.com/").unwrap();
            let headers = vec![("authorization", value.to_owned().into())];
            build_request(Method::POST, url, headers, None)
        };
        assert!(made("ACS3-HMAC-SHA256 Credential=id").is_ok());
        let refused = made("ACS3-HMAC-SHA256 Credential=id\n").unwrap_err();
        assert_eq!(refused.kind, CloudErrorKind::CredentialsRejected);
        assert!(!refused.code_and_request_id().contains("Credential"));
    }
}
