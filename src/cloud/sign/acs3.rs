//! `ACS3-HMAC-SHA256`, the signature of IMM and STS. Source: Alibaba page "V3 request structure and signature".
//! Only headers that the caller passes are signed: `host` and every `x-acs-*` must be among them.

use secrecy::ExposeSecret;

use super::{Signed, encode, hmac_sha256};
use crate::core::hash::{hex, sha256};
use crate::ports::Keys;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// HTTP method, upper case.
    pub method: &'a str,
    /// Path; `/` for the products we call.
    pub path: &'a str,
    /// The query, as [`query`] writes it.
    pub query: &'a str,
    /// All headers to sign, `host` included; date and nonce are among them.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
}

/// Signs a request.
pub fn sign(request: Request<'_>, keys: &Keys) -> Signed {
    let body_hash = sha256(request.body);
    let mut added = vec![("x-acs-content-sha256".to_owned(), body_hash.clone())];
    if let Some(token) = &keys.token {
        let given = |name: &str| request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !given("x-acs-accesskey-id") {
            added.push(("x-acs-accesskey-id".to_owned(), keys.id.clone()));
        }
        if !given("x-acs-security-token") {
            added.push((
                "x-acs-security-token".to_owned(),
                token.expose_secret().to_owned(),
            ));
        }
    }
    let mut headers: Vec<(String, &str)> = request
        .headers
        .iter()
        .chain(&added)
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    headers.sort();
    headers.dedup_by(|a, b| a.0 == b.0);
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut lines = String::new();
    for (name, value) in &headers {
        lines.extend([name, ":", value, "\n"]);
    }
    let path = encode(request.path, true);
    let canonical_request = [request.method, &path, request.query, &lines, &names, &body_hash].join("\n");
    let string_to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256(&canonical_request));
    let signature = hex(&hmac_sha256(
        keys.secret.expose_secret().as_bytes(),
        string_to_sign.as_bytes(),
    ));
    let authorization = format!(
        "ACS3-HMAC-SHA256 Credential={},SignedHeaders={names},Signature={signature}",
        keys.id
    );
    added.push(("Authorization".to_owned(), authorization));
    Signed {
        headers: added,
        canonical_request,
        string_to_sign,
    }
}

/// The query as it is signed, and as we send it: sorted by name, an empty value keeps its `=`.
pub fn query(pairs: &[(String, String)]) -> String {
    let mut pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| encode(name, false) + "=" + &encode(value, false))
        .collect();
    pairs.sort();
    pairs.join("&")
}
