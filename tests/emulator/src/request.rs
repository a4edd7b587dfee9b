//! One request as received, before any interpretation.
//! Path and query stay encoded; each protocol decodes them by its own rules.

use bytes::Bytes;

use crate::encoding::{Plus, query_pairs};

/// Method, raw target, headers and body of a request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// The path as sent, encoded.
    pub path: String,
    /// The query as sent, without the question mark. Empty if there was none.
    pub query: String,
    /// The headers in the order sent, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
    /// The client's address, for `acs:SourceIp`.
    pub source_ip: Option<std::net::IpAddr>,
}

impl Request {
    /// Returns the first header of that (lower-case) name, trimmed.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.trim())
    }

    /// Returns the host without its port.
    pub fn host(&self) -> &str {
        let host = self.header("host").unwrap_or_default();
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// Returns the query pairs decoded by OSS's rules: a plus sign is kept.
    pub fn oss_query(&self) -> Vec<(String, String)> {
        query_pairs(&self.query, Plus::Literal)
    }

    /// Returns the query pairs decoded by the rules of IMM and STS.
    pub fn rpc_query(&self) -> Vec<(String, String)> {
        query_pairs(&self.query, Plus::Space)
    }

    /// Returns the parameters of an IMM or STS call: the query, then a form body.
    pub fn rpc_parameters(&self) -> Vec<(String, String)> {
        let mut pairs = self.rpc_query();
        let form = self.header("content-type").is_some_and(|kind| {
            kind.to_ascii_lowercase()
                .starts_with("application/x-www-form-urlencoded")
        });
        if form && let Ok(text) = std::str::from_utf8(&self.body) {
            pairs.extend(query_pairs(text, Plus::Space));
        }
        pairs
    }
}

/// Returns the first value of a name in decoded pairs.
pub(crate) fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.as_str())
}
