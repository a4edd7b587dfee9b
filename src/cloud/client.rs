//! One HTTP client for both services: deadlines, size caps, no redirects, and nothing of a URL or header in an error.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Client, Method, Request, Response, Url, redirect, retry};

use super::classify;
use super::endpoints::Endpoints;
use super::sign::Header;
use crate::ports::CloudError;

/// Time for one OSS call. The lease and the life of a policy write are sized on it.
pub const OSS_DEADLINE: Duration = Duration::from_secs(10);
/// Time for one IMM call: scoring is synchronous and slows down above the project's concurrency.
pub const IMM_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of a policy that are read; OSS accepts 16 KB.
pub(super) const MAX_POLICY_RESPONSE_BYTES: usize = 64 * 1024;
/// Most bytes of any other answer that are read.
pub(super) const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// The clouds.
#[derive(Clone)]
pub struct Cloud {
    client: Client,
    pub(super) endpoints: Arc<Endpoints>,
}

/// An answer whose body was read whole.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    headers: HeaderMap,
}

impl HttpResponse {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Which service a call goes to.
#[derive(Clone, Copy)]
pub(super) enum Service {
    Oss,
    Imm,
}

impl Cloud {
    /// A client for `endpoints`. The crypto provider must be installed before.
    pub fn new(endpoints: Endpoints) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            // Each call is counted before it leaves and may be billed: nothing beneath us sends one again, nor keeps a copy.
            .retry(retry::never().max_retries_per_request(0))
            .connect_timeout(Duration::from_secs(5))
            .pool_idle_timeout(Duration::from_secs(50))
            .referer(false)
            .http1_only()
            .user_agent(concat!("imm-operator/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            endpoints: Arc::new(endpoints),
        })
    }

    /// Sends a request and reads at most `cap` bytes of its answer, all within the service's deadline.
    pub(super) async fn send(
        &self,
        service: Service,
        request: Request,
        cap: usize,
    ) -> Result<HttpResponse, CloudError> {
        let deadline = match service {
            Service::Oss => OSS_DEADLINE,
            Service::Imm => IMM_DEADLINE,
        };
        let whole = async {
            // reqwest's errors carry the URL; only our own word for the failure leaves this function.
            let response = self.client.execute(request).await;
            read_body(
                response.map_err(|e| classify::unanswered(transport_error_word(&e)))?,
                cap,
            )
            .await
        };
        tokio::time::timeout(deadline, whole)
            .await
            .unwrap_or_else(|_| Err(classify::unanswered("Timeout")))
    }
}

/// A request with signed headers; their values are marked, so that nothing prints those that authenticate.
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
        // Without one of them the request would go out anonymous; only keys can hold such characters.
        let mut value = value.map_err(|_| classify::unusable_credentials())?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    *request.body_mut() = body.map(Body::from);
    Ok(request)
}

/// Reads an address. The endpoints were checked at the start, and a bucket or region by its pattern.
pub(super) fn parse_url(address: &str) -> Result<Url, CloudError> {
    Url::parse(address).map_err(|_| classify::unanswered("ConnectionFailed"))
}

fn transport_error_word(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "Timeout"
    } else if error.is_connect() {
        "ConnectionFailed"
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
        .map_err(|_| classify::unanswered("AnswerCutShort"))?
    {
        if body.len() + chunk.len() > cap {
            return Err(classify::unanswered("AnswerTooLarge"));
        }
        body.extend_from_slice(&chunk);
    }
    if declared.is_some_and(|length| u64::try_from(body.len()).unwrap_or(u64::MAX) < length) {
        return Err(classify::unanswered("AnswerCutShort"));
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
