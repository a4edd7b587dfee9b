//! OSS: bucket policy and Block Public Access. Source: OSS pages PutBucketPolicy, GetBucketPolicy,
//! DeleteBucketPolicy, GetBucketPublicAccessBlock and PutPublicAccessBlock.

use k8s_openapi::jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::Method;
use serde::Deserialize;

use super::classify;
use super::client::{
    Cloud, HttpResponse, MAX_POLICY_RESPONSE_BYTES, MAX_RESPONSE_BYTES, OSS_DEADLINE, build_request,
    parse_url, send,
};
use super::sign::{Header, encode, oss_v4};
use crate::api::ObservedBucket;
use crate::core::grant::PublicAccessBlock;
use crate::core::place::BucketPlace;
use crate::core::validate::{check_region_id, check_uid};
use crate::ports::{AccessKeys, CloudError, CloudErrorKind, PolicyRead};

/// How far the time of a signature may differ from the clock of OSS.
const SIGNATURE_LIFE: SignedDuration = SignedDuration::from_mins(15);

/// `<PublicAccessBlockConfiguration>`; an empty element counts as absent, as in Terraform's provider.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublicAccessBlockConfiguration {
    #[serde(default)]
    block_public_access: String,
}

/// The members in use of `<BucketInfo>`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketInfo {
    bucket: BucketInfoBucket,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketInfoBucket {
    location: String,
    owner: BucketOwner,
}

#[derive(Deserialize)]
struct BucketOwner {
    #[serde(rename = "ID")]
    id: String,
}

/// `<PolicyStatus>`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyStatus {
    is_public: String,
}

/// Parameters of one OSS call.
pub(super) struct OssCall<'a> {
    pub(super) method: Method,
    pub(super) place: &'a BucketPlace,
    /// Whether the call is about the bucket; otherwise it is about the account, in the region of the bucket.
    pub(super) of_bucket: bool,
    pub(super) key: Option<&'a str>,
    pub(super) query: Vec<(String, String)>,
    /// Headers of the operation. Only `x-oss-*`, `content-type` and `content-md5` are signed.
    pub(super) headers: Vec<Header<'static>>,
    pub(super) body: Option<&'a str>,
    pub(super) time: Timestamp,
    pub(super) cap: usize,
}

/// Returns the policy of a bucket and the server's clock. Only 404 `NoSuchBucketPolicy` counts as no policy.
pub async fn get_policy(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<PolicyRead, CloudError> {
    let answer = send_oss(cloud, keys, bucket_call(Method::GET, bucket, "policy", now)).await?;
    let server_time = server_date(&answer, now);
    if answer.status == 200 {
        return Ok(PolicyRead {
            bytes: Some(answer.body),
            server_time,
        });
    }
    let error = error_of(&answer);
    // No other failure means "no policy": a client that treats one as an empty policy erases it with the next write.
    if answer.status == 404 && error.code == "NoSuchBucketPolicy" {
        return Ok(PolicyRead {
            bytes: None,
            server_time,
        });
    }
    Err(error)
}

/// Replaces the policy. `signed_at` limits how late the request can still take effect. Returns the request id.
pub async fn put_policy(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    text: &str,
    signed_at: Timestamp,
) -> Result<Option<String>, CloudError> {
    let call = OssCall {
        body: Some(text),
        ..bucket_call(Method::PUT, bucket, "policy", signed_at)
    };
    accepted(&send_oss(cloud, keys, call).await?)
}

/// Deletes the policy. Succeeds if the bucket has no policy. Returns the request id.
pub async fn delete_policy(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    signed_at: Timestamp,
) -> Result<Option<String>, CloudError> {
    let call = bucket_call(Method::DELETE, bucket, "policy", signed_at);
    accepted(&send_oss(cloud, keys, call).await?)
}

/// Returns Block Public Access of the bucket and, if that is off, of the account. A missing permission or a rejected
/// request returns `Unreadable`. A transient failure is an error, because the decision based on the result is stored.
pub async fn read_public_access_block(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<PublicAccessBlock, CloudError> {
    let of_bucket = bucket_call(Method::GET, bucket, "publicAccessBlock", now);
    match parse_public_access_block(&send_oss(cloud, keys, of_bucket).await?)? {
        Some(true) => return Ok(PublicAccessBlock::OnForBucket),
        Some(false) => {}
        None => return Ok(PublicAccessBlock::Unreadable),
    }
    let of_account = OssCall {
        of_bucket: false,
        ..bucket_call(Method::GET, bucket, "publicAccessBlock", now)
    };
    Ok(
        match parse_public_access_block(&send_oss(cloud, keys, of_account).await?)? {
            Some(true) => PublicAccessBlock::OnForAccount,
            Some(false) => PublicAccessBlock::Off,
            None => PublicAccessBlock::Unreadable,
        },
    )
}

/// Returns the bucket's owner and region; both are `None` if the permission is missing. Other failures are errors.
pub async fn bucket_info(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> Result<ObservedBucket, CloudError> {
    let answer = send_oss(cloud, keys, bucket_call(Method::GET, bucket, "bucketInfo", now)).await?;
    if answer.status != 200 {
        return match error_of(&answer) {
            error if error.kind == CloudErrorKind::AccessDenied => Ok(ObservedBucket::default()),
            error => Err(error),
        };
    }
    bucket_of(&answer.body).ok_or_else(|| classify::unanswered("NoBucketInfoInAnswer"))
}

/// Returns the bucket in a response. An owner or a region that cannot be one counts as unknown.
pub(super) fn bucket_of(body: &[u8]) -> Option<ObservedBucket> {
    let info: BucketInfo = quick_xml::de::from_str(std::str::from_utf8(body).ok()?).ok()?;
    let region = info.bucket.location.trim_start_matches("oss-").to_owned();
    Some(ObservedBucket {
        owner_uid: Some(info.bucket.owner.id).filter(|uid| check_uid("ID", uid).is_ok()),
        region: Some(region).filter(|region| check_region_id("Location", region).is_ok()),
    })
}

/// Returns `true` if OSS classifies the policy as public; `None` after any failure.
pub async fn is_public(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    now: Timestamp,
) -> Option<bool> {
    let answer = send_oss(cloud, keys, bucket_call(Method::GET, bucket, "policyStatus", now))
        .await
        .ok()?;
    let text = std::str::from_utf8(&answer.body)
        .ok()
        .filter(|_| answer.status == 200)?;
    let status: PolicyStatus = quick_xml::de::from_str(text).ok()?;
    flag(&status.is_public)
}

pub(super) async fn send_oss(
    cloud: &Cloud,
    keys: &AccessKeys,
    call: OssCall<'_>,
) -> Result<HttpResponse, CloudError> {
    let mut headers = call.headers;
    if call.body.is_some() {
        headers.push(("content-type", "application/json".into()));
    }
    let signed = oss_v4::sign(
        oss_v4::OssV4Request {
            method: call.method.as_str(),
            bucket: call.of_bucket.then(|| call.place.name()),
            key: call.key,
            query: &call.query,
            headers: &headers,
            additional: &[],
            region: call.place.region(),
        },
        keys,
        call.time,
    );
    headers.extend(signed.headers);
    let address = if call.of_bucket {
        cloud.endpoints.bucket(call.place)
    } else {
        cloud.endpoints.oss_service(call.place)
    };
    let path = call.key.map(|key| encode(key, true)).unwrap_or_default();
    let query = oss_v4::canonical_query(&call.query);
    let url = parse_url(&format!("{address}{path}?{query}"))?;
    let body = call.body.map(ToOwned::to_owned);
    let request = build_request(call.method, url, headers, body)?;
    send(&cloud.client, request, OSS_DEADLINE, call.cap).await
}

pub(super) fn bucket_call<'a>(
    method: Method,
    bucket: &'a BucketPlace,
    query: &str,
    time: Timestamp,
) -> OssCall<'a> {
    OssCall {
        method,
        place: bucket,
        of_bucket: true,
        key: None,
        query: vec![(query.to_owned(), String::new())],
        headers: Vec::new(),
        body: None,
        time,
        cap: MAX_POLICY_RESPONSE_BYTES,
    }
}

/// Returns the server's clock from the `Date` header of a response to a request that was signed at `signed_at`. `None` if
/// the header is certainly wrong: OSS would have rejected the signature. A proxy can set the header.
pub(super) fn server_date(answer: &HttpResponse, signed_at: Timestamp) -> Option<Timestamp> {
    let date = rfc2822::parse(answer.header("date")?).ok()?.timestamp();
    let apart = date.duration_since(signed_at).abs();
    (apart <= SIGNATURE_LIFE).then_some(date)
}

/// Returns the request id of a successful write.
fn accepted(answer: &HttpResponse) -> Result<Option<String>, CloudError> {
    if is_accepted(answer) {
        let id = answer.header("x-oss-request-id");
        Ok(id.map(classify::sanitize_request_id))
    } else {
        Err(error_of(answer))
    }
}

/// Whether OSS accepted a write.
pub(super) fn is_accepted(answer: &HttpResponse) -> bool {
    (200..300).contains(&answer.status)
}

pub(super) fn error_of(answer: &HttpResponse) -> CloudError {
    let body = answer.body.get(..MAX_RESPONSE_BYTES).unwrap_or(&answer.body);
    classify::oss_error(answer.status, body, answer.error_headers())
}

/// Returns `true` if the block is on, and `None` if it cannot be read: missing permission, rejected request, or a
/// body that cannot be parsed. OSS answers 404 if the block was never set: it is off then.
///
/// # Errors
/// Returns any other error of OSS.
fn parse_public_access_block(answer: &HttpResponse) -> Result<Option<bool>, CloudError> {
    if answer.status != 200 {
        let error = error_of(answer);
        if error.code.starts_with("NoSuchPublicAccessBlock") {
            return Ok(Some(false));
        }
        let barred = matches!(
            error.kind,
            CloudErrorKind::AccessDenied | CloudErrorKind::RequestRejected
        );
        return if barred { Ok(None) } else { Err(error) };
    }
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    let block: Option<PublicAccessBlockConfiguration> = quick_xml::de::from_str(text).ok();
    Ok(block.and_then(|b| match b.block_public_access.trim() {
        "" => Some(false),
        text => flag(text),
    }))
}

/// Parses a flag of OSS. `None` for an unknown text: it must not count as off.
fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_flag_does_not_count_as_off() {
        for (text, expected) in [
            ("true", Some(true)),
            (" False ", Some(false)),
            ("TRUE", Some(true)),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(flag(text), expected, "{text}");
        }
    }
}
