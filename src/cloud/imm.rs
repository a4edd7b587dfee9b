//! IMM API 2020-09-30: `DetectImageScore` and `GetProject`. Every scoring call with a 2xx or 4xx response may be
//! billed (IMM page "Billing overview").

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answer::parse_answer;
use super::classify;
use super::client::{Cloud, IMM_DEADLINE};
use super::error_text::RequestNames;
use super::rpc::{RpcCall, send_rpc};
use super::sign::acs3;
use crate::api::{JobAccess, RoleChain, RoleType};
use crate::core::place::ProjectPlace;
use crate::core::validate::check_role;
use crate::ports::{AccessKeys, CloudError, ProjectLimits};

/// The success response. The score is kept digit by digit as in the response and never converted to a float: `T` is a
/// text, raw in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DetectImageScoreResponse<T> {
    image_score: Option<ImageScore<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageScore<T> {
    overall_quality_score: Option<T>,
}

impl<T> DetectImageScoreResponse<T> {
    fn score(self) -> Option<T> {
        self.image_score?.overall_quality_score
    }
}

/// Returns the number in the response to a scoring call: JSON, or else XML. Each of them was billed.
fn score_of(body: &[u8]) -> Option<String> {
    if let Ok(json) = serde_json::from_slice::<DetectImageScoreResponse<Box<RawValue>>>(body) {
        return json.score().map(|raw| raw.get().to_owned());
    }
    parse_answer::<DetectImageScoreResponse<String>>(body)?.score()
}

/// The response of `GetProject`: both limits and the service role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetProjectResponse {
    project: ProjectAttributes,
}

#[derive(Deserialize)]
struct ProjectAttributes {
    #[serde(rename = "ProjectQueriesPerSecond")]
    queries_per_second: Option<u32>,
    #[serde(rename = "EngineConcurrency")]
    concurrency: Option<u32>,
    #[serde(rename = "ServiceRole")]
    service_role: Option<String>,
}

/// IMM's structure `CredentialConfig`.
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

/// Scores one image. Returns the decimal number of the response. Fails with `RequestRejected` if a success has no score.
pub async fn detect_image_score(
    cloud: &Cloud,
    project: &ProjectPlace,
    access: &JobAccess,
    keys: &AccessKeys,
    uri: &str,
    now: Timestamp,
) -> Result<String, CloudError> {
    let mut query = vec![("ProjectName", project.name()), ("SourceURI", uri)];
    let chain = access.role_chain.as_ref().map(credential_config);
    query.extend(chain.iter().map(|chain| ("CredentialConfig", chain.as_str())));
    let query = acs3::query(&query);
    let roles = access.role_chain.iter().flat_map(|chain| {
        let assumed = chain.chain.iter().map(|link| link.role.as_str());
        assumed.chain([chain.service_role.as_str()])
    });
    let whole: Vec<&str> = roles.chain([project.name()]).collect();
    let names = RequestNames {
        uri: Some(uri),
        whole: &whole,
    };
    let body = send_imm(cloud, project, ("DetectImageScore", names), &query, keys, now).await?;
    // A success without a score is an error, never a score of 0.
    score_of(&body).ok_or_else(classify::missing_score)
}

/// Returns the project's limits. The documented defaults replace missing ones: 100 requests per second, 100 concurrent.
pub async fn project_limits(
    cloud: &Cloud,
    project: &ProjectPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<ProjectLimits, CloudError> {
    let query = acs3::query(&[("ProjectName", project.name())]);
    let names = RequestNames {
        uri: None,
        whole: &[project.name()],
    };
    let body = send_imm(cloud, project, ("GetProject", names), &query, keys, now).await?;
    limits_of(&body).ok_or_else(|| classify::unanswered("NoProjectInAnswer"))
}

/// Returns the limits in a response. A service role that is no name of a role counts as none.
pub(super) fn limits_of(body: &[u8]) -> Option<ProjectLimits> {
    let shown: GetProjectResponse = parse_answer(body)?;
    let usable = |limit: Option<u32>| limit.filter(|n| *n > 0).unwrap_or(100);
    let role = |name: &String| check_role("ServiceRole", name).is_ok();
    Some(ProjectLimits {
        queries_per_second: usable(shown.project.queries_per_second),
        concurrency: usable(shown.project.concurrency),
        service_role: shown.project.service_role.filter(role),
    })
}

/// Sends one call, about `names`, with its parameters in the query, encoded. Returns the body of a 200 response; every
/// other status is an error.
async fn send_imm(
    cloud: &Cloud,
    project: &ProjectPlace,
    (action, names): (&'static str, RequestNames<'_>),
    query: &str,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<Vec<u8>, CloudError> {
    let call = RpcCall {
        service: "IMM",
        names,
        address: &[&cloud.endpoints.imm(project), "?", query].concat(),
        action,
        version: "2020-09-30",
        form: None,
    };
    send_rpc(cloud, IMM_DEADLINE, call, Some(keys), now).await
}
