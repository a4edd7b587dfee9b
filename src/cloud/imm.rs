//! IMM 2020-09-30: `DetectImageScore`. Every call that is answered 2xx or 4xx may be billed (IMM page "Billing overview").

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::error;
use super::http::{ANSWER_CAP, Cloud, Service};
use super::sign::acs3;
use crate::api::ProjectRef;
use crate::ports::{CallFailure, Keys};

/// The success answer. The score is taken as IMM wrote it, digit by digit, and never through a float.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scored<'a> {
    #[serde(borrow)]
    image_score: Option<ImageScore<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageScore<'a> {
    #[serde(borrow)]
    overall_quality_score: Option<&'a RawValue>,
}

impl Cloud {
    /// Scores one image. The score is the decimal number in IMM's answer.
    pub async fn detect_image_score(
        &self,
        project: &ProjectRef,
        keys: &Keys,
        uri: &str,
        now: Timestamp,
    ) -> Result<String, CallFailure> {
        let query = [
            ("ProjectName".to_owned(), project.name.clone()),
            ("SourceURI".to_owned(), uri.to_owned()),
        ];
        let address = self.endpoints.imm(&project.region);
        let mut headers = vec![
            ("host".to_owned(), host(&address)),
            ("x-acs-action".to_owned(), "DetectImageScore".to_owned()),
            ("x-acs-version".to_owned(), "2020-09-30".to_owned()),
            (
                "x-acs-date".to_owned(),
                now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            ),
            ("x-acs-signature-nonce".to_owned(), nonce(&keys.id, now)),
        ];
        let request = acs3::Request {
            method: "POST",
            path: "/",
            query: &query,
            headers: &headers,
            body: b"",
        };
        let signed = acs3::sign(request, keys);
        headers.retain(|(name, _)| name != "host");
        headers.extend(signed.headers);
        let url = format!("{address}?{}", acs3::query(&query));
        let request = self
            .request(Method::POST, &url, &headers)
            .header("accept", "application/json");
        let answer = self.send(Service::Imm, request, ANSWER_CAP).await?;
        if answer.status != 200 {
            let wait = answer
                .header("x-acs-retry-after")
                .and_then(|ms| ms.parse().ok())
                .map(Duration::from_millis);
            return Err(error::imm(answer.status, &answer.body, wait));
        }
        // A success without a score is an error, never a score of 0.
        let scored: Option<Scored<'_>> = serde_json::from_slice(&answer.body).ok();
        let score = scored
            .and_then(|s| s.image_score)
            .and_then(|s| s.overall_quality_score);
        score.map(|raw| raw.get().to_owned()).ok_or_else(error::no_score)
    }
}

/// The Host header as it goes over the wire: the port is part of it unless it is the scheme's own.
pub(super) fn host(address: &str) -> String {
    let url = Url::parse(address).ok();
    let name = url.as_ref().and_then(|u| u.host_str()).unwrap_or_default();
    url.as_ref()
        .and_then(Url::port)
        .map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// A value that no other request of ours carries: process, time and a counter.
pub(super) fn nonce(key_id: &str, now: Timestamp) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{key_id}/{}/{}/{count}", std::process::id(), now.as_nanosecond());
    Sha256::digest(seed.as_bytes())
        .iter()
        .take(16)
        .fold(String::new(), |out, byte| out + &format!("{byte:02x}"))
}
