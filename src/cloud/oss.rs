//! OSS: the policy of a bucket, and Block Public Access. Source: OSS pages PutBucketPolicy, GetBucketPolicy,
//! DeleteBucketPolicy, GetBucketPublicAccessBlock and PutPublicAccessBlock.

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use reqwest::Method;
use serde::Deserialize;

use super::error;
use super::http::{ANSWER_CAP, Answer, Cloud, POLICY_CAP, Service};
use super::sign::oss4;
use crate::api::BucketRef;
use crate::core::grant::BlockState;
use crate::ports::{CallFailure, Keys, PolicyRead};

/// `<PublicAccessBlockConfiguration>`; an empty element counts as absent, as Terraform's provider reads it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublicAccessBlock {
    #[serde(default)]
    block_public_access: String,
}

struct Call<'a> {
    method: Method,
    bucket: Option<&'a str>,
    region: &'a str,
    query: &'a str,
    body: Option<&'a str>,
    time: Timestamp,
    cap: usize,
}

impl Cloud {
    /// The policy of a bucket, and the server's clock.
    pub async fn get_policy(
        &self,
        bucket: &BucketRef,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<PolicyRead, CallFailure> {
        let answer = self
            .oss(keys, bucket_call(Method::GET, bucket, "policy", now))
            .await?;
        let server_time = answer
            .header("date")
            .and_then(|d| rfc2822::parse(d).ok())
            .map(|zoned| zoned.timestamp());
        if answer.status == 200 {
            return Ok(PolicyRead {
                bytes: Some(answer.body),
                server_time,
            });
        }
        let failure = failure(&answer);
        // Nothing else means "no policy": a client that reads any failure as an empty policy erases it at the next write.
        if answer.status == 404 && failure.code == "NoSuchBucketPolicy" {
            return Ok(PolicyRead {
                bytes: None,
                server_time,
            });
        }
        Err(failure)
    }

    /// Replaces the policy. `signed_at` bounds how late it can still take effect.
    pub async fn put_policy(
        &self,
        bucket: &BucketRef,
        keys: &Keys,
        text: &str,
        signed_at: Timestamp,
    ) -> Result<(), CallFailure> {
        let call = Call {
            body: Some(text),
            ..bucket_call(Method::PUT, bucket, "policy", signed_at)
        };
        accepted(&self.oss(keys, call).await?, 200)
    }

    /// Deletes the policy; there need not be one.
    pub async fn delete_policy(
        &self,
        bucket: &BucketRef,
        keys: &Keys,
        signed_at: Timestamp,
    ) -> Result<(), CallFailure> {
        accepted(
            &self
                .oss(keys, bucket_call(Method::DELETE, bucket, "policy", signed_at))
                .await?,
            204,
        )
    }

    /// Block Public Access of the bucket and, when that is off, of the account.
    pub async fn read_block(&self, bucket: &BucketRef, keys: &Keys, now: Timestamp) -> BlockState {
        let of_bucket = self
            .oss(keys, bucket_call(Method::GET, bucket, "publicAccessBlock", now))
            .await;
        match of_bucket.as_ref().map(is_on) {
            Ok(Some(true)) => return BlockState::OnForBucket,
            Ok(Some(false)) => {}
            Ok(None) | Err(_) => return BlockState::Unreadable,
        }
        let account = Call {
            bucket: None,
            ..bucket_call(Method::GET, bucket, "publicAccessBlock", now)
        };
        match self.oss(keys, account).await.as_ref().map(is_on) {
            Ok(Some(true)) => BlockState::OnForAccount,
            Ok(Some(false)) => BlockState::Off,
            Ok(None) | Err(_) => BlockState::Unreadable,
        }
    }

    async fn oss(&self, keys: &Keys, call: Call<'_>) -> Result<Answer, CallFailure> {
        let query = [(call.query.to_owned(), String::new())];
        let mut headers = Vec::new();
        if call.body.is_some() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let signed = oss4::sign(
            oss4::Request {
                method: call.method.as_str(),
                bucket: call.bucket,
                key: None,
                query: &query,
                headers: &headers,
                additional: &[],
                region: call.region,
            },
            keys,
            call.time,
        );
        headers.extend(signed.headers);
        let address = match call.bucket {
            Some(bucket) => self.endpoints.bucket(bucket, call.region).url,
            None => self.endpoints.oss_service(call.region),
        };
        let mut request = self.request(call.method, &format!("{address}?{}", call.query), &headers);
        if let Some(body) = call.body {
            request = request.body(body.to_owned());
        }
        self.send(Service::Oss, request, call.cap).await
    }
}

fn bucket_call<'a>(method: Method, bucket: &'a BucketRef, query: &'a str, time: Timestamp) -> Call<'a> {
    Call {
        method,
        bucket: Some(&bucket.name),
        region: &bucket.region,
        query,
        body: None,
        time,
        cap: POLICY_CAP,
    }
}

fn accepted(answer: &Answer, status: u16) -> Result<(), CallFailure> {
    if answer.status == status {
        Ok(())
    } else {
        Err(failure(answer))
    }
}

fn failure(answer: &Answer) -> CallFailure {
    let body = answer.body.get(..ANSWER_CAP).unwrap_or(&answer.body);
    error::oss(
        answer.status,
        body,
        answer.header("x-oss-request-id").map(ToOwned::to_owned),
    )
}

/// Whether the block is on; `None` when the answer does not say. OSS answers 404 where none was ever set.
fn is_on(answer: &Answer) -> Option<bool> {
    if answer.status == 404 && failure(answer).code.starts_with("NoSuchPublicAccessBlock") {
        return Some(false);
    }
    let text = std::str::from_utf8(&answer.body)
        .ok()
        .filter(|_| answer.status == 200)?;
    let block: PublicAccessBlock = quick_xml::de::from_str(text).ok()?;
    Some(block.block_public_access.trim() == "true")
}
