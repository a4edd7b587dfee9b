//! `ACS3-HMAC-SHA256`, the signature of IMM and STS. Source: Alibaba page "V3 request structure and signature".
//! All headers passed by the caller are signed; they must include `host` and every `x-acs-*` header.

use secrecy::ExposeSecret;

use super::{Header, SignedHeaders, encode, hmac_sha256};
use crate::core::hash::{hex, sha256};
use crate::ports::AccessKeys;

/// The request to sign.
#[derive(Clone, Copy, Debug)]
pub struct Acs3Request<'a> {
    /// HTTP method, upper case.
    pub method: &'a str,
    /// Path; `/` for IMM and STS.
    pub path: &'a str,
    /// Query as built by [`query`].
    pub query: &'a str,
    /// All headers to sign, with lower-case names, including `host`, date and nonce.
    pub headers: &'a [Header<'a>],
    /// Request body.
    pub body: &'a [u8],
}

/// Signs a request. Returns the headers to add.
pub fn sign(request: Acs3Request<'_>, keys: &AccessKeys) -> SignedHeaders {
    let body_hash = sha256(request.body);
    let mut added: Vec<Header<'static>> = vec![("x-acs-content-sha256", body_hash.clone().into())];
    if let Some(token) = &keys.token {
        let given = |name: &str| request.headers.iter().any(|(n, _)| *n == name);
        if !given("x-acs-accesskey-id") {
            added.push(("x-acs-accesskey-id", keys.id.clone().into()));
        }
        if !given("x-acs-security-token") {
            let token = token.expose_secret().to_owned();
            added.push(("x-acs-security-token", token.into()));
        }
    }
    let mut headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .chain(&added)
        .map(|(name, value)| (*name, value.trim()))
        .collect();
    headers.sort_unstable();
    headers.dedup_by_key(|(name, _)| *name);
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let path = encode(request.path, true);
    let head = [request.method, "\n", &path, "\n", request.query, "\n"];
    let lines = headers.iter().flat_map(|(name, value)| [name, ":", value, "\n"]);
    let tail = ["\n", &names, "\n", &body_hash];
    // Typical requests are shorter.
    let mut canonical_request = String::with_capacity(1024);
    canonical_request.extend(head.into_iter().chain(lines).chain(tail));
    let string_to_sign = ["ACS3-HMAC-SHA256\n", &sha256(&canonical_request)].concat();
    let signature = hex(&hmac_sha256(
        keys.secret.expose_secret().as_bytes(),
        string_to_sign.as_bytes(),
    ));
    let authorization = [
        "ACS3-HMAC-SHA256 Credential=",
        &keys.id,
        ",SignedHeaders=",
        &names,
        ",Signature=",
        &signature,
    ];
    added.push(("authorization", authorization.concat().into()));
    SignedHeaders {
        headers: added,
        canonical_request,
        string_to_sign,
    }
}

/// Returns the query as signed and sent: sorted by name; an empty value keeps its `=`.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pair =
        |(name, value): &(&str, &str)| [encode(name, false), "=".into(), encode(value, false)].concat();
    let mut pairs: Vec<String> = pairs.iter().map(pair).collect();
    pairs.sort_unstable();
    pairs.join("&")
}
