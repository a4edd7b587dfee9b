//! Maps error responses to a closed set of kinds. The error *code* decides, because IMM answers 400 for a missing project
//! and OSS answers the same 403 for a blocked policy and a missing permission. The service's message text never
//! leaves this module.

use std::time::Duration;

use serde::Deserialize;

use super::answer::parse_answer;
use super::error_text::{RequestNames, has_word, own_words};
use super::refusal_body::RefusalBody;
use crate::core::error::CLOCK_SKEW_CODES;
use crate::core::refusal::{Refusal, RefusedBy};
use crate::ports::{CloudError, CloudErrorKind};

/// The members in use of an error body: `<Error>` of OSS, JSON of IMM and STS, or `<Error>` of the gateway before them.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

/// What the headers of an error response say.
#[derive(Clone, Default)]
pub(super) struct ErrorHeaders {
    pub(super) request_id: Option<String>,
    /// `EC` of OSS, which is more exact than the code.
    pub(super) ec: Option<String>,
    /// Delay that IMM or STS requests.
    pub(super) retry_after: Option<Duration>,
}

/// Classifies an OSS error response; if the body cannot be parsed, by HTTP status only.
pub(super) fn oss_error(status: u16, body: &[u8], headers: ErrorHeaders) -> CloudError {
    let text = String::from_utf8_lossy(body);
    let parsed: ErrorBody = quick_xml::de::from_str(&text).unwrap_or_default();
    let refusal: RefusalBody = quick_xml::de::from_str(&text).unwrap_or_default();
    let mut refusal = refusal.refusal(headers.ec.as_deref());
    // Other endpoints may have an EC of their own for it.
    if refusal.by.is_none() && parsed.code.as_deref().map(str::trim) == Some("PublicEndpointForbidden") {
        refusal.by = Some(RefusedBy::PublicEndpoint);
    }
    // OSS documents no such header, and a proxy in front of it does not know whether a write has taken effect.
    let headers = ErrorHeaders {
        retry_after: None,
        ..headers
    };
    CloudError {
        refusal,
        ..classify("OSS", status, parsed, headers, RequestNames::default())
    }
}

/// Classifies an error response of IMM or STS to a request with `names`; if the body cannot be parsed, by HTTP status
/// only.
pub(super) fn rpc_error(
    service: &str,
    status: u16,
    body: &[u8],
    headers: ErrorHeaders,
    names: RequestNames<'_>,
) -> CloudError {
    let said: RefusalBody = parse_answer(body).unwrap_or_default();
    let parsed = parse_answer(body).unwrap_or_default();
    CloudError {
        refusal: said.refusal(None),
        ..classify(service, status, parsed, headers, names)
    }
}

/// Classifies an error response, whose text can quote `names` of the request.
fn classify(
    service: &str,
    status: u16,
    body: ErrorBody,
    headers: ErrorHeaders,
    names: RequestNames<'_>,
) -> CloudError {
    let code = body.code.as_deref().map(sanitize_code).filter(|c| !c.is_empty());
    let known = kind_of(
        status,
        code.as_deref().unwrap_or_default(),
        &own_words(body.message.as_deref().unwrap_or_default(), names),
    );
    // The official SDK calls every error with this header throttling, whatever its code. What a user has to correct
    // is more certain than that.
    let throttled = headers.retry_after.is_some()
        && matches!(
            known,
            CloudErrorKind::RequestRejected | CloudErrorKind::Unavailable
        )
        && !CLOCK_SKEW_CODES
            .iter()
            .any(|prefix| code.as_deref().is_some_and(|code| code.starts_with(prefix)));
    let kind = if throttled {
        CloudErrorKind::Throttled
    } else {
        known
    };
    let ids = [body.request_id, headers.request_id].into_iter().flatten();
    CloudError {
        kind,
        status: Some(status),
        code: code.unwrap_or_else(|| format!("{service}Http{status}")),
        request_id: ids.map(|id| sanitize_request_id(&id)).find(|id| !id.is_empty()),
        // The official SDK limits every wait to 120 s.
        retry_after: headers.retry_after.map(|wait| wait.min(Duration::from_secs(120))),
        refusal: Refusal::default(),
    }
}

/// Decides the kind. `text` has only the service's own words, in lower case.
fn kind_of(status: u16, code: &str, text: &str) -> CloudErrorKind {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| code.starts_with(p));
    if code.contains("Throttling")
        || code.contains("QpsLimitExceeded")
        || status == 429
        || code == "ActiveRequestLimitExceeded"
    {
        return CloudErrorKind::Throttled;
    }
    // The request itself is valid: clock skew, a nonce that was already used, or a proxy timeout.
    let passing = [408, 425].contains(&status)
        || starts(&["ServiceUnavailable", "SignatureNonceUsed"])
        || starts(&CLOCK_SKEW_CODES);
    if status >= 500 || passing {
        return CloudErrorKind::Unavailable;
    }
    if starts(&[
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "UserDisable",
        "AccessKeyIdAndSecurityTokenNotMatch",
        "SecurityTokenNotSupported",
        "Forbidden.AccessKeyDisabled",
    ]) {
        return CloudErrorKind::CredentialsRejected;
    }
    if starts(&["SecurityTokenExpired", "InvalidSecurityToken"]) {
        return CloudErrorKind::CredentialsExpired;
    }
    // According to IMM's page, one code covers every missing resource; only the text names the resource.
    if code.starts_with("ResourceNotFound.Project")
        || (code.starts_with("ResourceNotFound") && text.contains("resource project"))
    {
        return CloudErrorKind::NoSuchProject;
    }
    if code == "NoSuchBucket" {
        return CloudErrorKind::NoSuchBucket;
    }
    if code == "ConcurrentUpdateBucketFailed" {
        return CloudErrorKind::BucketLocked;
    }
    // OSS distinguishes a blocked public policy from a missing permission only in the text.
    if code == "AccessDenied" && text.contains("public bucket policy") {
        return CloudErrorKind::PublicAccessBlocked;
    }
    // IMM reads only buckets in the project's region and names this cause only in the text.
    if code.starts_with("InvalidArgument") && has_word(text, "region") {
        return CloudErrorKind::WrongRegion;
    }
    if code == "PermanentRedirect" || (code == "AccessDenied" && text.contains("specified endpoint")) {
        return CloudErrorKind::WrongRegion;
    }
    if starts(&["InvalidPolicyDocument", "MalformedPolicyDocument"]) {
        return CloudErrorKind::PolicyRejected;
    }
    if status == 403 || starts(&["AccessDenied", "NoPermission", "Forbidden", "Unauthorized"]) {
        return CloudErrorKind::AccessDenied;
    }
    CloudErrorKind::RequestRejected
}

fn sanitize_code(code: &str) -> String {
    code.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        .take(64)
        .collect()
}

pub(super) fn sanitize_request_id(id: &str) -> String {
    id.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect()
}

/// The error for a success without a score: the call is billed, and a retry would return the same result.
pub(super) fn missing_score() -> CloudError {
    CloudError {
        status: Some(200),
        ..CloudError::new(CloudErrorKind::RequestRejected, "NoScoreInResponse")
    }
}

/// The error for credentials with characters that no HTTP header allows; no request was sent.
pub(super) fn unusable_credentials() -> CloudError {
    CloudError::new(CloudErrorKind::CredentialsRejected, "InvalidKeyCharacters")
}

/// The error for a missing or unusable response; `word` becomes the code.
pub(super) fn unanswered(word: &str) -> CloudError {
    CloudError::new(CloudErrorKind::Unanswered, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_endpoint_that_refuses_is_known_by_its_code_as_well() {
        for (code, ec, by) in [
            (
                "PublicEndpointForbidden",
                "0048-00000499",
                Some(RefusedBy::PublicEndpoint),
            ),
            (
                "PublicEndpointForbidden",
                "0003-00000101",
                Some(RefusedBy::BucketPolicy),
            ),
            ("AccessDenied", "0048-00000401", Some(RefusedBy::PublicEndpoint)),
            ("AccessDenied", "0048-00000499", None),
        ] {
            let body = format!("<Error><Code>{code}</Code><EC>{ec}</EC></Error>");
            let error = oss_error(400, body.as_bytes(), ErrorHeaders::default());
            assert_eq!(error.refusal.by, by, "{code} {ec}");
        }
    }

    #[test]
    fn failures_are_distinguished_by_code_and_their_text_is_dropped() {
        let body = |code: &str, text: &str| {
            format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{text}</Message><RequestId>R-1</RequestId><EC>0</EC></Error>"
            )
        };
        let cases = [
            (403, "AccessDenied", "no", CloudErrorKind::AccessDenied),
            (
                403,
                "AccessDenied",
                "Put public bucket policy is not allowed",
                CloudErrorKind::PublicAccessBlocked,
            ),
            (
                403,
                "AccessDenied",
                "must be addressed using the specified endpoint",
                CloudErrorKind::WrongRegion,
            ),
            (404, "NoSuchBucket", "", CloudErrorKind::NoSuchBucket),
            (
                503,
                "MetaOperationQpsLimitExceeded",
                "",
                CloudErrorKind::Throttled,
            ),
            (403, "InvalidAccessKeyId", "", CloudErrorKind::CredentialsRejected),
            (
                403,
                "SecurityTokenExpired",
                "",
                CloudErrorKind::CredentialsExpired,
            ),
            (400, "InvalidPolicyDocument", "", CloudErrorKind::PolicyRejected),
            (400, "NotImplemented", "", CloudErrorKind::RequestRejected),
            (500, "InternalError", "", CloudErrorKind::Unavailable),
        ];
        for (status, code, text, kind) in cases {
            let error = oss_error(status, body(code, text).as_bytes(), ErrorHeaders::default());
            assert_eq!((error.kind, error.code.as_str()), (kind, code));
            assert_eq!(error.request_id.as_deref(), Some("R-1"));
        }
        let html = oss_error(
            502,
            b"<html><body>secret words</body></html>",
            ErrorHeaders::default(),
        );
        assert_eq!(
            (html.kind, html.code.as_str()),
            (CloudErrorKind::Unavailable, "OSSHttp502")
        );
        let hostile = rpc_error(
            "IMM",
            400,
            br#"{"Code":"Bad\u0000<script>","RequestId":"x y\nz","Message":"m"}"#,
            ErrorHeaders::default(),
            RequestNames::default(),
        );
        assert_eq!(
            (hostile.code.as_str(), hostile.request_id.as_deref()),
            ("Badscript", Some("xyz"))
        );
        assert_eq!(
            rpc_error(
                "IMM",
                400,
                br#"{"Code":"Throttling.User"}"#,
                ErrorHeaders::default(),
                RequestNames::default()
            )
            .kind,
            CloudErrorKind::Throttled
        );
    }

    #[test]
    fn names_in_the_request_do_not_decide() {
        let uri = "oss://my-photos/regional/resource project/x.jpg";
        let kind = |code: &str, text: &str| {
            let body = serde_json::json!({"Code": code, "Message": text}).to_string();
            let names = RequestNames {
                uri: Some(uri),
                whole: &["regional-photos", "regional-reader", "region-reader"],
            };
            rpc_error("IMM", 400, body.as_bytes(), ErrorHeaders::default(), names).kind
        };
        for (code, text, expected) in [
            (
                "InvalidArgument",
                "The bucket is not in the project's region.",
                CloudErrorKind::WrongRegion,
            ),
            (
                "InvalidArgument",
                "oss://my-photos/regional/resource project/x.jpg is no image.",
                CloudErrorKind::RequestRejected,
            ),
            (
                "InvalidArgument",
                "The object regional/resource project/x.jpg is no image.",
                CloudErrorKind::RequestRejected,
            ),
            (
                "InvalidArgument",
                "The role regional-reader cannot be assumed.",
                CloudErrorKind::RequestRejected,
            ),
            (
                "InvalidArgument",
                "The role acs:ram::1:role/region-reader cannot be assumed.",
                CloudErrorKind::RequestRejected,
            ),
            (
                "InvalidArgument",
                "The project regional-photos cannot read this image.",
                CloudErrorKind::RequestRejected,
            ),
            (
                "InvalidArgument",
                "The bucket is not in the region of the project regional-photos.",
                CloudErrorKind::WrongRegion,
            ),
            (
                "InvalidArgument",
                "The object my%20regional%20photo.jpg is no image.",
                CloudErrorKind::RequestRejected,
            ),
            (
                "ResourceNotFound",
                "The specified resource project is not found.",
                CloudErrorKind::NoSuchProject,
            ),
            (
                "ResourceNotFound",
                "The specified resource oss://my-photos/regional/resource project/x.jpg is not found.",
                CloudErrorKind::RequestRejected,
            ),
        ] {
            assert_eq!(kind(code, text), expected, "{code} {text}");
        }
    }
}
