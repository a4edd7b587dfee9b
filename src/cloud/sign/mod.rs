//! Signatures, as pure functions of a request, keys and a time.

pub mod acs3;
pub mod oss_v4;

use std::borrow::Cow;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

/// What is percent-encoded: all that RFC 3986 does not call unreserved.
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const NOT_IN_PATH: AsciiSet = RESERVED.remove(b'/');

/// A header: its name in lower case, and its value.
pub type Header<'a> = (&'a str, Cow<'a, str>);

/// A signature and what led to it.
#[derive(Debug, PartialEq, Eq)]
pub struct SignedHeaders {
    /// Headers to add, `authorization` included.
    pub headers: Vec<Header<'static>>,
    /// The canonical request.
    pub canonical_request: String,
    /// The string to sign.
    pub string_to_sign: String,
}

/// Percent-encodes every byte but `A-Z a-z 0-9 - _ . ~`, and keeps `/` where asked.
pub(crate) fn encode(text: &str, keep_slash: bool) -> Cow<'_, str> {
    let reserved = if keep_slash { &NOT_IN_PATH } else { &RESERVED };
    utf8_percent_encode(text, reserved).into()
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length, so this cannot fail; an empty answer would only make a wrong signature.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        },
    )
}
