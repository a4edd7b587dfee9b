//! Verification of the four signatures that clients of OSS, IMM and STS send.
//!
//! Each form is one module: what the `Authorization` header (or query) claims, the text that was to be signed,
//! and whether a secret gives the signature presented. Nothing here knows accounts or buckets.

pub mod acs3;
pub mod oss_v1;
pub mod oss_v4;
pub mod rpc;

/// Why a signature was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// The header or query that carries the signature is not in the form this scheme has.
    #[error("{0}")]
    Malformed(String),
    /// The date is missing, unreadable or too far from the server's.
    #[error("{0}")]
    Date(String),
    /// The signature is not the one the secret gives; the text is what the server signed (it holds no secret).
    #[error("the signature does not match")]
    Mismatch {
        /// The server's text, for the error answer.
        string_to_sign: String,
        /// The server's canonical request, where the scheme has one.
        canonical_request: String,
    },
    /// The body's digest is not the one that was signed.
    #[error("the body does not match its signed digest")]
    Body,
}

/// Splits `name=value` fields at commas, with or without white space after them.
fn fields(text: &str) -> Vec<(&str, &str)> {
    text.split(',')
        .filter_map(|field| field.trim().split_once('='))
        .collect()
}

fn field<'a>(fields: &[(&'a str, &'a str)], name: &str) -> Result<&'a str, SignatureFault> {
    fields
        .iter()
        .find(|(given, _)| *given == name)
        .map(|(_, value)| *value)
        .ok_or_else(|| SignatureFault::Malformed(format!("The Authorization header has no {name}.")))
}
