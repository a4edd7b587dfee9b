//! Whether an endpoint can be reached: DNS, TCP, TLS, and the clock of the server. No request is signed, so nothing
//! depends on credentials, and no answer is read beyond its head.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::{Client, Method, Request, Url};
use tokio::net::{TcpStream, lookup_host};

use super::client::{Cloud, OSS_DEADLINE, parse_url};
use super::tls::tls_fault;
use crate::core::doctor::Reachability;
use crate::core::error::error_chain;

/// Deadline of the lookup of a name, and of a connection.
const STAGE_DEADLINE: Duration = Duration::from_secs(5);

/// Looks up the host of a URL, connects to it, and sends one unsigned GET. With `proxy`, the connection is to the proxy.
/// The clock of the server is compared with `now` before and after the request.
pub async fn reach(cloud: &Cloud, url: &str, proxy: Option<&str>, now: fn() -> Timestamp) -> Reachability {
    reach_with(&cloud.client, url, proxy, now).await
}

/// Does the same with another client.
pub(super) async fn reach_with(
    client: &Client,
    url: &str,
    proxy: Option<&str>,
    now: fn() -> Timestamp,
) -> Reachability {
    let Ok(target) = parse_url(url) else {
        return Reachability::NoName;
    };
    let next = match proxy {
        None => Some(target.clone()),
        Some(proxy) => Url::parse(proxy).ok(),
    };
    let Some((host, port)) = next.as_ref().and_then(host_and_port) else {
        return Reachability::NoName;
    };
    let found = tokio::time::timeout(STAGE_DEADLINE, lookup_host((host.as_str(), port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    if addresses.is_empty() {
        return Reachability::NoName;
    }
    let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    if !connects(&addresses).await {
        return Reachability::NoConnection { addresses: ips };
    }
    let encrypted = target.scheme() == "https";
    let before = now();
    let sent = client.execute(Request::new(Method::GET, target));
    let answer = match tokio::time::timeout(OSS_DEADLINE, sent).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if encrypted && error.is_connect() => {
            return Reachability::NoTls {
                addresses: ips,
                fault: tls_fault(&error_chain(&error)),
            };
        }
        Ok(Err(_)) | Err(_) => return Reachability::NoAnswer { addresses: ips },
    };
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let date = date
        .and_then(|date| rfc2822::parse(date).ok())
        .map(|date| date.timestamp());
    Reachability::Answered {
        addresses: ips,
        encrypted,
        offset: date.map(|date| offset(date, before, now())),
    }
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    let host = url.host_str()?.trim_matches(['[', ']']);
    Some((host.to_owned(), url.port_or_known_default()?))
}

/// Whether one of the addresses accepts a connection.
async fn connects(addresses: &[SocketAddr]) -> bool {
    let connected = tokio::time::timeout(STAGE_DEADLINE, TcpStream::connect(addresses)).await;
    matches!(connected, Ok(Ok(_)))
}

/// How far the server's clock is ahead. The header has whole seconds and was written between the two times, so only
/// what lies outside of them counts.
fn offset(date: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    let next = date.checked_add(SignedDuration::from_secs(1)).unwrap_or(date);
    if date > after {
        date.duration_since(after)
    } else if next < before {
        next.duration_since(before)
    } else {
        SignedDuration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_an_offset_that_is_certain_counts() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, after) = (at("2026-01-01T10:00:00.2Z"), at("2026-01-01T10:00:01.9Z"));
        for (date, seconds) in [
            ("2026-01-01T10:00:00Z", 0),
            ("2026-01-01T10:00:01Z", 0),
            ("2026-01-01T10:10:01.9Z", 600),
            ("2026-01-01T09:49:59.2Z", -600),
        ] {
            assert_eq!(offset(at(date), before, after).as_secs(), seconds, "{date}");
        }
    }
}
