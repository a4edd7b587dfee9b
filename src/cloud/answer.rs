//! Reads the answers of IMM and STS, and credentials that are handed out.

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ports::AccessKeys;

/// Temporary credentials, as STS and the machine hand them out.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IssuedKeys {
    /// Only from the machine.
    pub(super) code: Option<String>,
    pub(super) access_key_id: String,
    access_key_secret: SecretString,
    security_token: SecretString,
    expiration: String,
}

impl IssuedKeys {
    /// Returns the credentials. `None` without an expiry: they could not be renewed in time.
    pub(super) fn keys(self) -> Option<AccessKeys> {
        let expires_at = self.expiration.parse().ok()?;
        Some(AccessKeys {
            id: self.access_key_id,
            secret: self.access_key_secret,
            token: Some(self.security_token),
            expires_at: Some(expires_at),
        })
    }
}

/// Reads an answer: JSON, or else XML, in which a gateway or a proxy can answer. `None` if it is neither, or lacks a
/// member.
pub(super) fn parse_answer<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let json = serde_json::from_slice(body).ok();
    json.or_else(|| quick_xml::de::from_str(std::str::from_utf8(body).ok()?).ok())
}
