//! Which proxy a client uses for a server, by the environment variables of Go programs such as kubectl.

use std::net::IpAddr;

use http::Uri;

/// The values of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
#[derive(Clone, Debug, Default)]
pub struct ProxyVariables {
    /// Proxy for https.
    pub https: Option<String>,
    /// Proxy for http.
    pub http: Option<String>,
    /// Hosts without a proxy, separated by commas.
    pub no_proxy: Option<String>,
}

impl ProxyVariables {
    /// Returns the proxy for the server of a URL; `None` for a direct connection.
    pub fn proxy_of(&self, url: &Uri) -> Option<&str> {
        let scheme = url.scheme_str().unwrap_or("https");
        let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        self.proxy_for(scheme, url.host()?, port)
    }

    fn proxy_for(&self, scheme: &str, host: &str, port: u16) -> Option<&str> {
        let proxy = if scheme == "https" {
            &self.https
        } else {
            &self.http
        };
        let exempt = is_exempt(self.no_proxy.as_deref().unwrap_or_default(), host, port);
        proxy.as_deref().filter(|_| !exempt)
    }
}

/// Returns the URL of a proxy with its scheme: http if none is given.
pub fn with_scheme(proxy: &str) -> String {
    match proxy.split_once("://") {
        // The proxy resolves the names in both cases.
        Some(("socks5h", rest)) => format!("socks5://{rest}"),
        Some(_) => proxy.to_owned(),
        None => format!("http://{proxy}"),
    }
}

/// Whether a host is reached without a proxy: this machine, or an entry of `list`. An entry is `*`, an IP address, a
/// range of addresses, or a domain that also stands for its subdomains; `.example.com` and `*.example.com` stand for
/// subdomains only. An entry may end with a port.
fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host
        .trim_matches(['[', ']'])
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    host == "localhost"
        || address.is_some_and(|a| a.is_loopback())
        || list
            .split(',')
            .map(|entry| entry.trim().to_ascii_lowercase())
            .any(|entry| matches_entry(&entry, &host, address, port))
}

fn matches_entry(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let range = network.parse().ok().zip(bits.parse().ok());
        return range
            .zip(address)
            .is_some_and(|((network, bits), address)| is_in_range(address, network, bits));
    }
    let (name, wanted_port) = split_port(entry);
    if name.is_empty() || wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Ok(exempt) = name.parse::<IpAddr>() {
        return address == Some(exempt);
    }
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    match name.strip_prefix('.') {
        Some(domain) => host.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.')),
        None => host == name || host.strip_suffix(name).is_some_and(|sub| sub.ends_with('.')),
    }
}

/// Splits `host:port` and `[address]:port`. The colons of a bare IPv6 address separate no port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (entry, None),
    }
}

fn is_in_range(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_exempts_the_server_as_in_kubectl() {
        for (list, host, expected) in [
            ("", "example.com", false),
            ("", "localhost", true),
            ("", "127.0.0.5", true),
            ("", "[::1]", true),
            ("*", "example.com", true),
            ("example.com", "example.com", true),
            ("example.com", "Api.Example.Com", true),
            ("example.com", "notexample.com", false),
            (".example.com", "example.com", false),
            (".example.com", "api.example.com", true),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "example.com", false),
            ("other.org, ,example.com,", "api.example.com", true),
            ("example.com:6443", "example.com", true),
            ("example.com:443", "example.com", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3:6443", "10.1.2.3", true),
            ("10.1.2.3:1", "10.1.2.3", false),
            ("fd00::/8", "[fd00::1]", true),
            ("fd00::1", "[fd00::1]", true),
            ("[fd00::1]:6443", "[fd00::1]", true),
            ("proxy.example.com", "api.example.com", false),
            ("http://example.com", "example.com", false),
        ] {
            assert_eq!(is_exempt(list, host, 6443), expected, "{list} {host}");
        }
    }

    #[test]
    fn the_scheme_of_the_server_selects_the_proxy() {
        let variables = ProxyVariables {
            https: Some("proxy:3128".to_owned()),
            http: None,
            no_proxy: Some("direct.example.com".to_owned()),
        };
        assert_eq!(
            variables.proxy_for("https", "api.example.com", 443),
            Some("proxy:3128")
        );
        assert_eq!(variables.proxy_for("https", "direct.example.com", 443), None);
        assert_eq!(variables.proxy_for("http", "api.example.com", 80), None);
        for (url, port) in [
            ("https://[2001:db8::1]/?location", "443"),
            ("https://[2001:db8::1]:8443/", "8443"),
        ] {
            let url = url.parse().unwrap();
            assert_eq!(variables.proxy_of(&url), Some("proxy:3128"));
            let exempt = ProxyVariables {
                no_proxy: Some(format!("[2001:db8::1]:{port}")),
                ..variables.clone()
            };
            assert_eq!(exempt.proxy_of(&url), None);
        }
        for (given, used) in [
            ("proxy:3128", "http://proxy:3128"),
            ("https://proxy", "https://proxy"),
            ("socks5://proxy", "socks5://proxy"),
            ("socks5h://proxy", "socks5://proxy"),
        ] {
            assert_eq!(with_scheme(given), used);
        }
    }
}
