//! `ACS3-HMAC-SHA256`, the signature of IMM and STS. Source: Alibaba page "V3 request structure and signature".
//! Only headers that the caller passes are signed: `host` and every `x-acs-*` must be among them.

use secrecy::ExposeSecret;

use super::{Header, SignedHeaders, encode, hmac_sha256};
use crate::core::hash::{hex, sha256};
use crate::ports::AccessKeys;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Acs3Request<'a> {
    /// HTTP method, upper case.
    pub method: &'a str,
    /// Path; `/` for the products we call.
    pub path: &'a str,
    /// The query, as [`query`] writes it.
    pub query: &'a str,
    /// All headers to sign, by names in lower case, `host` included; date and nonce are among them.
    pub headers: &'a [Header<'a>],
    /// The body.
    pub body: &'a [u8],
}

/// Signs a request.
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
    // A usual request is less than this.
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

/// The query as it is signed, and as we send it: sorted by name, an empty value keeps its `=`.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pair =
        |(name, value): &(&str, &str)| [encode(name, false), "=".into(), encode(value, false)].concat();
    let mut pairs: Vec<String> = pairs.iter().map(pair).collect();
    pairs.sort_unstable();
    pairs.join("&")
}
