//! The address of one endpoint. It is read by a strict grammar, so that the URL in use is the text that was checked: a
//! lenient URL parser would read `https:///host`, `https:host` or `https://127.1` as another host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::core::validate::is_word;

/// The placeholder for the region.
pub const REGION: &str = "{region}";

/// What is wrong with an address, as a sentence fragment that follows the name of the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// It does not start with a scheme.
    Scheme,
    /// It has a user name or a password.
    User,
    /// It has a query.
    Query,
    /// It has a fragment.
    Fragment,
    /// It has a path.
    Path,
    /// It has braces other than those of `{region}`.
    Placeholder,
    /// The host is not a host name, an IPv4 address or an IPv6 address in brackets.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
}

impl AddressFault {
    /// What is wrong and what to change. The address itself is not repeated: it can contain a password.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Scheme => "must start with https:// or http://",
            Self::User => "must not have a user name or a password: remove the text before @",
            Self::Query => "must not have a query: remove ? and the text after it",
            Self::Fragment => "must not have a fragment: remove # and the text after it",
            Self::Path => "must not have a path: remove / and the text after the host",
            Self::Placeholder => "has an unknown placeholder: the only one is {region}, in lower case",
            Self::Host => {
                "must name a host: letters, digits, hyphens and dots, an IPv4 address, or an IPv6 address in brackets"
            }
            Self::Port => "must have a port from 1 to 65535 after the colon, or none",
        }
    }
}

/// An address: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    /// With `{region}` where the region is put.
    host: String,
    port: Option<u16>,
    /// Whether the host is an IP address.
    numeric: bool,
}

impl Address {
    /// Reads an address. White space around it and one slash at its end are ignored.
    ///
    /// # Errors
    /// The first part that is not allowed.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(AddressFault::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => "https",
            "http" => "http",
            _ => return Err(AddressFault::Scheme),
        };
        for (mark, fault) in [
            ('@', AddressFault::User),
            ('?', AddressFault::Query),
            ('#', AddressFault::Fragment),
        ] {
            if rest.contains(mark) {
                return Err(fault);
            }
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') && !authority.starts_with('/') {
            return Err(AddressFault::Path);
        }
        if authority.replace(REGION, "").contains(['{', '}']) {
            return Err(AddressFault::Placeholder);
        }
        let (host, port) = split_port(authority)?;
        let numeric = host.parse::<Ipv4Addr>().is_ok() || is_ipv6_in_brackets(host);
        if !numeric && !is_host_name(&host.replace(REGION, "cn-hangzhou")) {
            return Err(AddressFault::Host);
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
            numeric,
        })
    }

    /// Whether the address depends on a region.
    pub fn has_region(&self) -> bool {
        self.host.contains(REGION)
    }

    /// Returns the URL for a region, with a slash at its end.
    pub fn url(&self, region: &str) -> String {
        format!("{}://{}/", self.scheme, self.authority(region))
    }

    /// Returns the URL of a bucket: virtual-hosted style, the only one that OSS supports. With an IP address as the host,
    /// the bucket is in the path, as in the official clients.
    pub fn bucket_url(&self, bucket: &str, region: &str) -> String {
        if self.numeric {
            format!("{}{bucket}/", self.url(region))
        } else {
            format!("{}://{bucket}.{}/", self.scheme, self.authority(region))
        }
    }

    /// The address as it was given, in its plain form, for a log line.
    pub fn template(&self) -> String {
        self.url(REGION)
    }

    fn authority(&self, region: &str) -> String {
        let host = self.host.replace(REGION, region);
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

/// Splits a port from a host. The colons within brackets separate none.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), AddressFault> {
    let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    let tail = authority.get(after_brackets..).unwrap_or_default();
    let Some(colon) = tail.find(':') else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(after_brackets + colon);
    let digits = port.trim_start_matches(':');
    // `parse` accepts a sign.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && port.len() == digits.len() + 1;
    let number = digits.parse().ok().filter(|port| *port > 0 && is_number);
    number.map(|port| (host, Some(port))).ok_or(AddressFault::Port)
}

fn is_ipv6_in_brackets(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// Whether a text is a host name and nothing that a URL parser reads as a number: `127.1` and `0x7f.1` are IPv4 addresses
/// there.
fn is_host_name(host: &str) -> bool {
    let is_label =
        |label: &str| label.len() <= 63 && is_word(label, |byte| byte.is_ascii_alphanumeric(), b"-_");
    let last = host.rsplit('.').next().unwrap_or_default();
    let digits = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || digits.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    host.len() <= 190 && host.split('.').all(is_label) && !numeric
}

/// Whether an address is on this machine: a loopback address or `localhost`.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_used_as_it_was_checked() {
        for (given, url, bucket) in [
            (
                "https://oss-{region}.aliyuncs.com",
                "https://oss-cn-x.aliyuncs.com/",
                "https://pics.oss-cn-x.aliyuncs.com/",
            ),
            (
                " HTTP://localhost:9000/ ",
                "http://localhost:9000/",
                "http://pics.localhost:9000/",
            ),
            (
                "http://127.0.0.1:9000",
                "http://127.0.0.1:9000/",
                "http://127.0.0.1:9000/pics/",
            ),
            (
                "http://[::1]:9000",
                "http://[::1]:9000/",
                "http://[::1]:9000/pics/",
            ),
            ("http://[::1]", "http://[::1]/", "http://[::1]/pics/"),
        ] {
            let address = Address::parse(given).unwrap();
            assert_eq!(address.url("cn-x"), url);
            assert_eq!(address.bucket_url("pics", "cn-x"), bucket);
        }
        assert!(Address::parse("https://{region}").unwrap().has_region());
        assert!(!Address::parse("https://host").unwrap().has_region());
    }

    #[test]
    fn every_other_form_is_refused_with_what_to_change() {
        for (wrong, fault) in [
            ("", AddressFault::Scheme),
            ("oss-{region}.aliyuncs.com", AddressFault::Scheme),
            ("https:host", AddressFault::Scheme),
            ("ftp://x", AddressFault::Scheme),
            ("https://user@host", AddressFault::User),
            ("https://:word@host", AddressFault::User),
            ("https://host?x=1", AddressFault::Query),
            ("https://host/?x", AddressFault::Query),
            ("https://host#f", AddressFault::Fragment),
            ("https://host/path", AddressFault::Path),
            ("https://host//", AddressFault::Path),
            ("https://oss-{Region}.example.com", AddressFault::Placeholder),
            ("https://oss-{ region }.example.com", AddressFault::Placeholder),
            ("https://oss-{region.example.com", AddressFault::Placeholder),
            ("https://{bucket}.example.com", AddressFault::Placeholder),
            ("https:///host", AddressFault::Host),
            ("https://", AddressFault::Host),
            ("https://127.1", AddressFault::Host),
            ("https://0x7f.0x1", AddressFault::Host),
            ("https://2130706433", AddressFault::Host),
            ("https://ho%73t", AddressFault::Host),
            ("https://ho\tst", AddressFault::Host),
            ("https://a..b", AddressFault::Host),
            ("https://host.", AddressFault::Host),
            ("https://ho\\st", AddressFault::Host),
            ("https://[::1", AddressFault::Port),
            ("https://host:", AddressFault::Port),
            ("https://host:0", AddressFault::Port),
            ("https://host:+1", AddressFault::Port),
            ("https://host:70000", AddressFault::Port),
            ("https://host:1:2", AddressFault::Port),
        ] {
            assert_eq!(Address::parse(wrong), Err(fault), "{wrong}");
        }
    }
}
