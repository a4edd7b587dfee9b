//! IMM 2020-09-30: `DetectImageScore` and `GetProject`. Every scoring call that is answered 2xx or 4xx may be billed (IMM
//! page "Billing overview").

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error;
use super::http::{ANSWER_CAP, Cloud, Service, url};
use super::sign::acs3;
use crate::api::{JobAccess, ProjectRef, RoleChain, RoleType};
use crate::core::hash::sha256;
use crate::ports::{CallFailure, Keys, ProjectLimits};

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

/// `GetProject`'s answer: the two limits and the role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    project: Limits,
}

#[derive(Deserialize)]
struct Limits {
    #[serde(rename = "ProjectQueriesPerSecond")]
    queries_per_second: Option<u32>,
    #[serde(rename = "EngineConcurrency")]
    concurrency: Option<u32>,
    #[serde(rename = "ServiceRole")]
    service_role: Option<String>,
}

/// `CredentialConfig` as IMM takes it (IMM structure of that name).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialConfig<'a> {
    service_role: &'a str,
    chain: Vec<Link<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Link<'a> {
    assume_role_for: &'a str,
    role: &'a str,
    role_type: RoleType,
}

fn credential_config(chain: &RoleChain) -> String {
    let links = chain.chain.iter().map(|link| Link {
        assume_role_for: &link.assume_role_for,
        role: &link.role,
        role_type: link.role_type,
    });
    let config = CredentialConfig {
        service_role: &chain.service_role,
        chain: links.collect(),
    };
    serde_json::to_string(&config).unwrap_or_default()
}

impl Cloud {
    /// Scores one image. The score is the decimal number in IMM's answer.
    pub async fn detect_image_score(
        &self,
        project: &ProjectRef,
        access: &JobAccess,
        keys: &Keys,
        uri: &str,
        now: Timestamp,
    ) -> Result<String, CallFailure> {
        let mut query = vec![
            ("ProjectName".to_owned(), project.name.clone()),
            ("SourceURI".to_owned(), uri.to_owned()),
        ];
        if let Some(chain) = &access.role_chain {
            query.push(("CredentialConfig".to_owned(), credential_config(chain)));
        }
        let body = self.imm(project, "DetectImageScore", query, keys, now).await?;
        // A success without a score is an error, never a score of 0.
        let scored: Option<Scored<'_>> = serde_json::from_slice(&body).ok();
        let score = scored
            .and_then(|s| s.image_score)
            .and_then(|s| s.overall_quality_score);
        score.map(|raw| raw.get().to_owned()).ok_or_else(error::no_score)
    }

    /// What the project allows; where it does not say, the documented defaults: 100 requests a second, 100 at once.
    pub async fn project_limits(
        &self,
        project: &ProjectRef,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<ProjectLimits, CallFailure> {
        let query = vec![("ProjectName".to_owned(), project.name.clone())];
        let body = self.imm(project, "GetProject", query, keys, now).await?;
        let shown: Shown =
            serde_json::from_slice(&body).map_err(|_| error::unanswered("NoProjectInAnswer"))?;
        let usable = |limit: Option<u32>| limit.filter(|n| *n > 0).unwrap_or(100);
        Ok(ProjectLimits {
            queries_per_second: usable(shown.project.queries_per_second),
            concurrency: usable(shown.project.concurrency),
            service_role: shown.project.service_role.filter(|r| !r.is_empty()),
        })
    }

    /// One call: its parameters ride in the query. Gives the body of a success.
    async fn imm(
        &self,
        project: &ProjectRef,
        action: &str,
        query: Vec<(String, String)>,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Vec<u8>, CallFailure> {
        let query = acs3::query(&query);
        let mut url = url(&self.endpoints.imm(&project.region))?;
        url.set_query(Some(&query));
        let mut headers = vec![
            ("host".to_owned(), host(&url)),
            ("x-acs-action".to_owned(), action.to_owned()),
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
        let request = self
            .request(Method::POST, url, &headers)
            .header("accept", "application/json");
        let answer = self.send(Service::Imm, request, ANSWER_CAP).await?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let wait = answer
            .header("x-acs-retry-after")
            .and_then(|ms| ms.parse().ok())
            .map(Duration::from_millis);
        Err(error::imm(answer.status, &answer.body, wait))
    }
}

/// The Host header as it goes over the wire: the port is part of it unless it is the scheme's own.
pub(super) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// A value that no other request of ours carries: process, time and a counter.
pub(super) fn nonce(key_id: &str, now: Timestamp) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{key_id}/{}/{}/{count}", std::process::id(), now.as_nanosecond());
    sha256(seed).chars().take(32).collect()
}
