//! Digests, HMACs and random names, from a crypto library that the operator's signer does not use.
//! Elsewhere, only OIDC token verification and TLS use this library.

use aws_lc_rs::{constant_time, digest, hmac, rand};
use md5::{Digest as _, Md5};

use crate::encoding::{base64_text, hex};

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn md5_base64(bytes: &[u8]) -> String {
    base64_text(&Md5::digest(bytes))
}

pub(crate) fn md5_hex_upper(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes)).to_ascii_uppercase()
}

pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}

pub(crate) fn hmac_sha1(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), text)
        .as_ref()
        .to_vec()
}

/// Compares two texts in constant time. Returns whether they are equal.
pub(crate) fn same(left: &str, right: &str) -> bool {
    constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}

/// Returns `bytes` random bytes as upper-case hexadecimal. If the system's random source fails, returns zeros instead
/// of panicking.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut raw = vec![0_u8; bytes];
    if rand::fill(&mut raw).is_err() {
        tracing::error!("the system gave no random bytes");
    }
    hex(&raw).to_ascii_uppercase()
}
