//! OSS signature V4 (`OSS4-HMAC-SHA256`) in the `Authorization` header. Source: OSS page "Include a V4 signature in the
//! Authorization header". The only payload hash that OSS supports is `UNSIGNED-PAYLOAD`.

use std::borrow::Cow;

use k8s_openapi::jiff::Timestamp;
use secrecy::ExposeSecret;

use super::{Header, SignedHeaders, encode, hmac_sha256};
use crate::core::hash::{hex, sha256};
use crate::ports::AccessKeys;

const PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The request to sign.
#[derive(Clone, Copy, Debug)]
pub struct OssV4Request<'a> {
    /// HTTP method, upper case.
    pub method: &'a str,
    /// Bucket, independent of the URL style; `None` for a request to the service.
    pub bucket: Option<&'a str>,
    /// Object key, not encoded; `None` for a request to the bucket.
    pub key: Option<&'a str>,
    /// Decoded query parameters; an empty value means a parameter without value.
    pub query: &'a [(String, String)],
    /// Headers of the operation, with lower-case names.
    pub headers: &'a [Header<'a>],
    /// Names of additional headers to sign.
    pub additional: &'a [String],
    /// Region of the bucket, without `-internal`.
    pub region: &'a str,
}

/// Signs a request, dated `time`. Returns the headers to add.
pub fn sign(request: OssV4Request<'_>, keys: &AccessKeys, time: Timestamp) -> SignedHeaders {
    let date_time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = date_time.get(..8).unwrap_or_default();
    let day = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut added: Vec<Header<'static>> = vec![
        ("x-oss-date", date_time.clone().into()),
        ("date", day.into()),
        ("x-oss-content-sha256", PAYLOAD.into()),
    ];
    if let Some(token) = &keys.token {
        let token = token.expose_secret().to_owned();
        added.push(("x-oss-security-token", token.into()));
    }
    let all: Vec<(&str, &str)> = request
        .headers
        .iter()
        .chain(&added)
        .map(|(name, value)| (*name, value.trim()))
        .collect();
    let always = |name: &str| name.starts_with("x-oss-") || name == "content-type" || name == "content-md5";
    let mut additional: Vec<String> = request
        .additional
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    additional.retain(|name| !always(name) && all.iter().any(|(n, value)| n == name && !value.is_empty()));
    additional.sort();
    additional.dedup();
    let additional = additional.join(";");

    let mut signed: Vec<(&str, &str)> = all
        .iter()
        .filter(|(n, _)| always(n) || additional.split(';').any(|a| a == *n))
        .copied()
        .collect();
    signed.sort_unstable();
    let headers: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let canonical_request = format!(
        "{}\n{}\n{}\n{headers}\n{additional}\n{PAYLOAD}",
        request.method,
        canonical_uri(request.bucket, request.key),
        canonical_query(request.query),
    );
    let scope = format!("{date}/{}/oss/aliyun_v4_request", request.region);
    let string_to_sign = format!(
        "OSS4-HMAC-SHA256\n{date_time}\n{scope}\n{}",
        sha256(&canonical_request)
    );
    let seed = format!("aliyun_v4{}", keys.secret.expose_secret());
    let key = [date, request.region, "oss", "aliyun_v4_request"]
        .iter()
        .fold(seed.into_bytes(), |key, part| hmac_sha256(&key, part.as_bytes()));
    let signature = hex(&hmac_sha256(&key, string_to_sign.as_bytes()));
    let named = if additional.is_empty() {
        String::new()
    } else {
        format!(",AdditionalHeaders={additional}")
    };
    let authorization = format!(
        "OSS4-HMAC-SHA256 Credential={}/{scope}{named},Signature={signature}",
        keys.id
    );
    added.push(("authorization", authorization.into()));
    SignedHeaders {
        headers: added,
        canonical_request,
        string_to_sign,
    }
}

/// Returns the path to sign. It contains the bucket even if the URL has the bucket in the host.
fn canonical_uri(bucket: Option<&str>, key: Option<&str>) -> String {
    let path = bucket.map_or_else(
        || "/".to_owned(),
        |bucket| format!("/{bucket}/{}", key.unwrap_or_default()),
    );
    encode(&path, true).into_owned()
}

/// Returns the query as signed and sent: sorted by encoded name; an empty value drops its `=`.
pub(crate) fn canonical_query(query: &[(String, String)]) -> String {
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = query
        .iter()
        .map(|(name, value)| (encode(name, false), encode(value, false)))
        .collect();
    pairs.sort();
    let join = |(name, value): &(Cow<str>, Cow<str>)| {
        if value.is_empty() {
            name.to_string()
        } else {
            format!("{name}={value}")
        }
    };
    pairs.iter().map(join).collect::<Vec<_>>().join("&")
}
