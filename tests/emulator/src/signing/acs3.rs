//! The signature of IMM and STS, `ACS3-HMAC-SHA256`.
//!
//! Verified over exactly the headers in `SignedHeaders`. `host` and every `x-acs-*` header must be among them, or a
//! proxy could change their values.

use super::{SignatureFault, field, fields};
use crate::digest::{hmac_sha256, same, sha256_hex};
use crate::encoding::{hex, percent_decode, percent_encode};
use crate::request::Request;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The parsed `Authorization` header.
#[derive(Clone, Debug)]
pub struct ParsedSignature {
    /// The access key id in the header.
    pub access_key_id: String,
    signed_headers: Vec<String>,
    signature: String,
}

impl ParsedSignature {
    /// Parses the header. `None` if it is of another scheme. Fails if it is malformed.
    pub fn read(request: &Request) -> Result<Option<Self>, SignatureFault> {
        let Some(rest) = request
            .header("authorization")
            .and_then(|value| value.strip_prefix(ALGORITHM))
        else {
            return Ok(None);
        };
        let fields = fields(rest);
        Ok(Some(Self {
            access_key_id: field(&fields, "Credential")?.to_owned(),
            signed_headers: field(&fields, "SignedHeaders")?
                .split(';')
                .map(str::to_ascii_lowercase)
                .collect(),
            signature: field(&fields, "Signature")?.to_owned(),
        }))
    }

    /// Returns the canonical request.
    pub fn canonical_request(&self, request: &Request) -> String {
        let mut query: Vec<(String, String)> = request
            .rpc_query()
            .iter()
            .map(|(name, value)| {
                (
                    percent_encode(name.as_bytes(), false),
                    percent_encode(value.as_bytes(), false),
                )
            })
            .collect();
        query.sort();
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let headers: Vec<String> = self
            .signed_headers
            .iter()
            .map(|name| format!("{name}:{}\n", request.header(name).unwrap_or_default()))
            .collect();
        format!(
            "{}\n{}\n{}\n{}\n{}\n{}",
            request.method,
            percent_encode(&percent_decode(&request.path), true),
            query.join("&"),
            headers.concat(),
            self.signed_headers.join(";"),
            sha256_hex(&request.body),
        )
    }

    /// Returns the string to sign.
    pub fn string_to_sign(canonical_request: &str) -> String {
        format!("{ALGORITHM}\n{}", sha256_hex(canonical_request.as_bytes()))
    }

    /// Verifies the list of headers, the digest of the body, then the signature.
    pub fn verify(&self, request: &Request, secret: &str) -> Result<(), SignatureFault> {
        let unsigned = request
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| (*name == "host" || name.starts_with("x-acs-")) && !self.signed(name));
        if let Some(name) = unsigned {
            return Err(SignatureFault::Malformed(format!(
                "The header {name} is sent but not signed."
            )));
        }
        if !self.signed_headers.is_sorted() {
            return Err(SignatureFault::Malformed(
                "SignedHeaders is not sorted.".to_owned(),
            ));
        }
        match request.header("x-acs-content-sha256") {
            Some(digest) if !digest.eq_ignore_ascii_case(&sha256_hex(&request.body)) => {
                return Err(SignatureFault::Body);
            }
            Some(_) => {}
            None => {
                return Err(SignatureFault::Malformed(
                    "x-acs-content-sha256 is missing.".to_owned(),
                ));
            }
        }
        let canonical_request = self.canonical_request(request);
        let string_to_sign = Self::string_to_sign(&canonical_request);
        if same(
            &hex(&hmac_sha256(secret.as_bytes(), string_to_sign.as_bytes())),
            &self.signature,
        ) {
            Ok(())
        } else {
            Err(SignatureFault::Mismatch {
                string_to_sign,
                canonical_request,
            })
        }
    }

    fn signed(&self, name: &str) -> bool {
        self.signed_headers.iter().any(|signed| signed == name)
    }
}
