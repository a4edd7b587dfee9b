//! Authenticates OSS requests with signature V4 or V1, and reports OSS's own error codes.
//! Checks run in the order key, token, date, signature, so a wrong date is distinguished from a wrong secret.

use super::Address;
use crate::answer::OssError;
use crate::clock::{apart, read_date};
use crate::cloud::Cloud;
use crate::request::Request;
use crate::signing::{SignatureFault, oss_v1, oss_v4};
use crate::world::accounts::KeyFault;
use crate::world::callers::Caller;

const LARGEST_SKEW_SECONDS: i64 = 15 * 60;

/// Returns the access key id and region that a request names, verified or not.
pub(super) fn presented(request: &Request) -> (Option<String>, Option<String>) {
    if let Ok(Some(claim)) = oss_v4::ParsedSignature::read(request) {
        return (Some(claim.access_key_id), Some(claim.region));
    }
    let claim = oss_v1::ParsedSignature::read(request).ok().flatten();
    (claim.map(|claim| claim.access_key_id), None)
}

fn key_error(fault: KeyFault) -> OssError {
    match fault {
        KeyFault::Unknown => OssError::new(
            403,
            "InvalidAccessKeyId",
            "The OSS Access Key Id you provided does not exist in our records.",
        )
        .ec("0002-00000902"),
        KeyFault::Token => OssError::new(
            403,
            "InvalidSecurityToken",
            "The security token you provided is invalid.",
        ),
        KeyFault::Mismatch => OssError::new(
            403,
            "AccessKeyIdAndSecurityTokenNotMatch",
            "The AccessKeyId and the security token do not belong together.",
        ),
        KeyFault::Expired => OssError::new(
            403,
            "SecurityTokenExpired",
            "The security token you provided has expired.",
        ),
    }
}

/// Replaces the token in a signed text, because error responses end up in logs.
fn without_token(text: &str, token: Option<&str>) -> String {
    token
        .filter(|token| !token.is_empty())
        .map_or_else(|| text.to_owned(), |token| text.replace(token, "(token)"))
}

fn signature_error(fault: SignatureFault, access_key_id: &str, token: Option<&str>) -> OssError {
    match fault {
        SignatureFault::Malformed(message) => OssError::new(400, "InvalidArgument", message),
        SignatureFault::Date(message) => OssError::denied(message),
        SignatureFault::Body => OssError::new(400, "InvalidDigest", "The body does not match its digest."),
        SignatureFault::Mismatch {
            string_to_sign,
            canonical_request,
        } => {
            let message = "The request signature we calculated does not match the signature you provided. \
                           Check your key and signing method.";
            let error = OssError::new(403, "SignatureDoesNotMatch", message)
                .ec("0002-00000040")
                .detail("OSSAccessKeyId", access_key_id)
                .detail("StringToSign", without_token(&string_to_sign, token));
            if canonical_request.is_empty() {
                error
            } else {
                error.detail("CanonicalRequest", without_token(&canonical_request, token))
            }
        }
    }
}

/// Returns the caller, or `None` for an unsigned request. Fails if the credentials or the signature are invalid.
pub(super) fn authenticate(
    cloud: &Cloud,
    address: &Address,
    request: &Request,
) -> Result<Option<Caller>, OssError> {
    if request.header("authorization").is_none() {
        return Ok(None);
    }
    let malformed = |fault| signature_error(fault, "", None);
    let v4 = oss_v4::ParsedSignature::read(request).map_err(malformed)?;
    let v1 = oss_v1::ParsedSignature::read(request).map_err(malformed)?;
    let id = match (&v4, &v1) {
        (Some(claim), _) => claim.access_key_id.clone(),
        (None, Some(claim)) => claim.access_key_id.clone(),
        (None, None) => {
            let message = "The authorization mechanism you provided is not supported.";
            return Err(OssError::new(400, "InvalidRequest", message));
        }
    };
    let token = request
        .header("x-oss-security-token")
        .or_else(|| request.header("security-token"));
    let now = cloud.clock.now();
    let (secret, caller) = cloud.world().credential(&id, token, now).map_err(key_error)?;

    let date = request
        .header("x-oss-date")
        .or_else(|| request.header("date"))
        .and_then(read_date);
    let date = date.ok_or_else(|| OssError::denied("OSS authentication requires a valid Date."))?;
    if apart(date, now, LARGEST_SKEW_SECONDS) {
        let message = "The difference between the request time and the current time is too large.";
        return Err(OssError::new(403, "RequestTimeTooSkewed", message)
            .detail(
                "MaxAllowedSkewMilliseconds",
                (LARGEST_SKEW_SECONDS * 1000).to_string(),
            )
            .detail("RequestTime", date.to_string())
            .detail("ServerTime", now.to_string()));
    }
    let (bucket, key) = (address.bucket.as_deref(), address.key.as_deref());
    let verified = match (&v4, &v1) {
        (Some(claim), _) => claim.verify(request, bucket, key, &secret.0),
        (None, Some(claim)) => claim.verify(request, bucket, key, &secret.0),
        (None, None) => Ok(()),
    };
    verified.map_err(|fault| signature_error(fault, &id, token))?;
    Ok(Some(caller))
}
