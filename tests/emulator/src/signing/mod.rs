//! Verification of the four signatures that clients of OSS, IMM and STS send.
//!
//! Each scheme is one module: it parses the `Authorization` header (or query), builds the string to sign, and verifies
//! the signature with a secret. No module here knows accounts or buckets.

pub mod acs3;
pub mod oss_v1;
pub mod oss_v4;
pub mod rpc;

/// The reason why a signature is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// The header or query with the signature is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The date is missing, unparsable or too far from the server's.
    #[error("{0}")]
    Date(String),
    /// The signature does not match the secret. The texts are those that the server signed (they contain no secret).
    #[error("the signature does not match")]
    Mismatch {
        /// The server's string to sign, for the error response.
        string_to_sign: String,
        /// The server's canonical request, if the scheme has one.
        canonical_request: String,
    },
    /// The body does not match its signed digest.
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
