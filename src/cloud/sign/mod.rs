//! Request signatures, as pure functions of request, credentials and time.
//!
//! Written by hand: the crate `reqsign-aliyun-oss` signs for OSS only, not for IMM and STS, and its clock cannot be set,
//! while a policy write is dated `signed_at`. `tests/signing.rs` compares the signatures with vectors made by the
//! official SDKs and with that crate.

pub mod acs3;
pub mod oss_v4;

use std::borrow::Cow;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

/// Characters to percent-encode: all except the unreserved characters of RFC 3986.
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const NOT_IN_PATH: AsciiSet = RESERVED.remove(b'/');

/// A header: lower-case name and value.
pub type Header<'a> = (&'a str, Cow<'a, str>);

/// A signature with its intermediate results.
#[derive(Debug, PartialEq, Eq)]
pub struct SignedHeaders {
    /// Headers to add, `authorization` included.
    pub headers: Vec<Header<'static>>,
    /// The canonical request.
    pub canonical_request: String,
    /// The string to sign.
    pub string_to_sign: String,
}

/// Percent-encodes every byte except `A-Z a-z 0-9 - _ . ~` and, with `keep_slash`, `/`.
pub(crate) fn encode(text: &str, keep_slash: bool) -> Cow<'_, str> {
    let reserved = if keep_slash { &NOT_IN_PATH } else { &RESERVED };
    utf8_percent_encode(text, reserved).into()
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC accepts keys of any length, so this cannot fail; an empty result would only produce an invalid signature.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}
