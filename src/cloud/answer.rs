//! Reads the answers of IMM and STS.

use serde::de::DeserializeOwned;

/// Reads an answer: JSON, or else XML, in which a gateway or a proxy can answer. `None` if it is neither, or lacks a member.
pub(super) fn parse_answer<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let json = serde_json::from_slice(body).ok();
    json.or_else(|| quick_xml::de::from_str(std::str::from_utf8(body).ok()?).ok())
}
