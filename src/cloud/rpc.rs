//! Common part of requests to IMM and STS. Source: Alibaba page "V3 request structure and signature".

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use reqwest::{Method, Request};

use super::classify;
use super::client::{Cloud, MAX_RESPONSE_BYTES, build_request, parse_url, send};
use super::error_text::RequestNames;
use super::sign::{Header, acs3};
use crate::ports::{AccessKeys, CloudError};

/// Parameters of one call.
pub(super) struct RpcCall<'a> {
    /// Name of the service.
    pub(super) service: &'static str,
    /// What users wrote in the call, which the text of an error can quote.
    pub(super) names: RequestNames<'a>,
    /// URL, including the query.
    pub(super) address: &'a str,
    pub(super) action: &'static str,
    pub(super) version: &'static str,
    /// Parameters of a form body, encoded.
    pub(super) form: Option<&'a str>,
}

/// Which parameters of a call without a signature its query repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsignedQuery {
    /// None: headers have them.
    Nothing,
    /// The format of the answer.
    Format,
    /// Action, format, time and version. The operator sends these, as the official clients do.
    All,
}

/// Sends a call and returns the body of a 200 response; every other status is an error.
pub(super) async fn send_rpc(
    cloud: &Cloud,
    deadline: Duration,
    call: RpcCall<'_>,
    keys: Option<&AccessKeys>,
    now: Timestamp,
) -> Result<Vec<u8>, CloudError> {
    let (service, names) = (call.service, call.names);
    let request = call.request(keys, UnsignedQuery::All, now)?;
    let answer = send(&cloud.client, request, deadline, MAX_RESPONSE_BYTES).await?;
    match answer.status {
        200 => Ok(answer.body),
        status => {
            let headers = answer.error_headers();
            Err(classify::rpc_error(service, status, &answer.body, headers, names))
        }
    }
}

impl RpcCall<'_> {
    /// Builds the request, signed if there are credentials; otherwise with `unsigned` as its query. Fails if a
    /// credential is not valid in a header. The address of a call without credentials has no query.
    pub(super) fn request(
        self,
        keys: Option<&AccessKeys>,
        unsigned: UnsignedQuery,
        now: Timestamp,
    ) -> Result<Request, CloudError> {
        let mut url = parse_url(self.address)?;
        let date = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        if keys.is_none() {
            // The service answers a call without a signature in XML, unless its query asks for JSON.
            let all = [
                ("Action", self.action),
                ("Format", "JSON"),
                ("Timestamp", date.as_str()),
                ("Version", self.version),
            ];
            match unsigned {
                UnsignedQuery::Nothing => {}
                UnsignedQuery::Format => url.set_query(Some(&acs3::query(&[("Format", "JSON")]))),
                UnsignedQuery::All => url.set_query(Some(&acs3::query(&all))),
            }
        }
        let mut headers: Vec<Header<'static>> = vec![
            ("host", url.authority().to_owned().into()),
            ("x-acs-action", self.action.into()),
            ("x-acs-version", self.version.into()),
            ("x-acs-date", date.into()),
            ("x-acs-signature-nonce", nonce(now)),
        ];
        if self.form.is_some() {
            headers.push(("content-type", "application/x-www-form-urlencoded".into()));
        }
        if let Some(keys) = keys {
            let signed = acs3::Acs3Request {
                method: "POST",
                path: "/",
                query: url.query().unwrap_or_default(),
                headers: &headers,
                body: self.form.unwrap_or_default().as_bytes(),
            };
            headers.extend(acs3::sign(signed, keys).headers);
        }
        // The HTTP client sets `host`.
        headers.retain(|(name, _)| *name != "host");
        headers.push(("accept", "application/json".into()));
        let body = self.form.map(ToOwned::to_owned);
        build_request(Method::POST, url, headers, body)
    }
}

/// Returns a nonce that is unique among the operator's requests: process ID, time and a counter.
fn nonce(now: Timestamp) -> Cow<'static, str> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{count:x}", std::process::id(), now.as_nanosecond()).into()
}
