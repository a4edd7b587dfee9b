//! Calls whose answer matters only by its status, code and format: what `doctor` asks about the cloud itself.

use k8s_openapi::jiff::Timestamp;
use reqwest::{Method, Request, Url};
use serde::Deserialize;

use super::classify;
use super::client::{Cloud, HttpResponse, MAX_RESPONSE_BYTES, OSS_DEADLINE, send};
use super::error_text::RequestNames;
use super::oss_policy::{OssCall, bucket_call, error_of, is_accepted, send_oss};
use super::rpc::{RpcCall, UnsignedQuery};
use super::sign::acs3;
use crate::core::doctor::{AnswerFormat, AnswerHead};
use crate::core::place::{BucketPlace, ProjectPlace};
use crate::core::validate::check_region;
use crate::ports::{AccessKeys, CloudError};

/// What an error of OSS says beside its code.
#[derive(Deserialize, Default)]
#[serde(default)]
struct OssDetail {
    #[serde(rename = "EC")]
    ec: Option<String>,
    #[serde(rename = "Endpoint")]
    endpoint: Option<String>,
}

/// Reads a setting of a bucket, such as `policy`, and returns how the answer looks.
///
/// # Errors
/// Why there is no answer.
pub async fn answer_about_bucket(
    cloud: &Cloud,
    bucket: &BucketPlace,
    setting: &str,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<AnswerHead, CloudError> {
    let call = bucket_call(Method::GET, bucket, setting, now);
    let answer = send_oss(cloud, keys, call).await?;
    Ok(head_of_oss(&answer, answer.status == 200))
}

/// Replaces the policy of a bucket, and returns how the answer looks.
///
/// # Errors
/// Why there is no answer.
pub async fn answer_to_policy(
    cloud: &Cloud,
    bucket: &BucketPlace,
    text: &str,
    keys: &AccessKeys,
    signed_at: Timestamp,
) -> Result<AnswerHead, CloudError> {
    let call = OssCall {
        body: Some(text),
        ..bucket_call(Method::PUT, bucket, "policy", signed_at)
    };
    let answer = send_oss(cloud, keys, call).await?;
    Ok(head_of_oss(&answer, is_accepted(&answer)))
}

/// Asks IMM for its regions, dated `now`, and returns how the answer looks.
///
/// # Errors
/// Why there is no answer.
pub async fn regions(
    cloud: &Cloud,
    project: &ProjectPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<AnswerHead, CloudError> {
    answer_to(cloud, regions_request(cloud, project, keys, now)?).await
}

/// Does the same twice, with the same signature and nonce.
pub async fn regions_twice(
    cloud: &Cloud,
    project: &ProjectPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> [Result<AnswerHead, CloudError>; 2] {
    let request = regions_request(cloud, project, keys, now);
    let again = match &request {
        Ok(request) => request.try_clone().ok_or_else(|| classify::unanswered("NotSent")),
        Err(error) => Err(error.clone()),
    };
    let first = match request {
        Ok(request) => answer_to(cloud, request).await,
        Err(error) => Err(error),
    };
    let second = match again {
        Ok(request) => answer_to(cloud, request).await,
        Err(error) => Err(error),
    };
    [first, second]
}

fn regions_request(
    cloud: &Cloud,
    project: &ProjectPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<Request, CloudError> {
    let call = RpcCall {
        service: "IMM",
        names: RequestNames::default(),
        address: &format!(
            "{}?{}",
            cloud.endpoints.imm(project),
            acs3::query(&[("AcceptLanguage", "en-US")])
        ),
        action: "ListRegions",
        version: "2020-09-30",
        form: None,
    };
    call.request(Some(keys), UnsignedQuery::All, now)
}

async fn answer_to(cloud: &Cloud, request: Request) -> Result<AnswerHead, CloudError> {
    let answer = send(&cloud.client, request, OSS_DEADLINE, MAX_RESPONSE_BYTES).await?;
    Ok(head_of_rpc("IMM", &answer))
}

fn head_of_oss(answer: &HttpResponse, is_success: bool) -> AnswerHead {
    let detail: OssDetail = std::str::from_utf8(&answer.body)
        .ok()
        .and_then(|text| quick_xml::de::from_str(text).ok())
        .unwrap_or_default();
    let is_error = !is_success;
    let ec = detail
        .ec
        .or_else(|| answer.header("x-oss-ec").map(ToOwned::to_owned));
    let redirected = answer.header("location").and_then(|url| Url::parse(url).ok());
    let redirected = redirected.and_then(|url| url.host_str().and_then(region_of_host));
    let named = detail.endpoint.as_deref().and_then(region_of_host).or(redirected);
    AnswerHead {
        status: answer.status,
        error: is_error.then(|| error_of(answer)),
        ec: ec.filter(|ec| is_error && is_error_code(ec)),
        named_region: named.filter(|_| is_error),
        format: AnswerFormat::of(&answer.body),
    }
}

/// Returns how an answer of IMM or STS looks.
pub(super) fn head_of_rpc(service: &'static str, answer: &HttpResponse) -> AnswerHead {
    let error = || {
        classify::rpc_error(
            service,
            answer.status,
            &answer.body,
            answer.error_headers(),
            RequestNames::default(),
        )
    };
    AnswerHead {
        status: answer.status,
        error: (answer.status != 200).then(error),
        ec: None,
        named_region: None,
        format: AnswerFormat::of(&answer.body),
    }
}

/// Whether a text has the form of an `EC`, such as `0003-00000001`.
fn is_error_code(text: &str) -> bool {
    text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// Returns the region of a host of OSS, with or without a bucket; `None` for another host.
fn region_of_host(host: &str) -> Option<String> {
    let front = host.strip_suffix(".aliyuncs.com")?;
    let label = front.rsplit('.').next()?;
    let region = label.strip_prefix("oss-")?;
    let region = region.strip_suffix("-internal").unwrap_or(region);
    check_region("region", region).ok().map(|()| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_forms_leave_an_answer() {
        for (host, region) in [
            ("oss-cn-hangzhou.aliyuncs.com", Some("cn-hangzhou")),
            ("oss-cn-hangzhou-internal.aliyuncs.com", Some("cn-hangzhou")),
            ("my-bucket.oss-cn-hangzhou.aliyuncs.com", Some("cn-hangzhou")),
            ("oss-my secret.aliyuncs.com", None),
            ("my-bucket.aliyuncs.com", None),
            ("oss-cn-hangzhou.example.com", None),
        ] {
            assert_eq!(region_of_host(host).as_deref(), region, "{host}");
        }
        assert!(is_error_code("0003-00000001"));
        assert!(!is_error_code("0003-00000001 my-bucket"));
    }
}
