//! Determines the bucket and object of a request. Clients use several address styles, which are tried in a fixed order.
//! The order matters: `ali-oss` connects to an IP address and sends the real cloud's host name with the bucket in it.

use crate::encoding::percent_decode;
use crate::hosts;
use crate::request::Request;

/// The address of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The bucket. Absent for service-level requests.
    pub bucket: Option<String>,
    /// The object key, decoded. Absent for bucket-level requests.
    pub key: Option<String>,
    /// The region in the host name.
    pub region: Option<String>,
    /// Whether the bucket was taken from the host name.
    pub by_host: bool,
}

/// Returns the label in front of a base name: `Some("")` for the bare name or an empty label, `None` for another host.
fn label<'a>(host: &'a str, base: &str) -> Option<&'a str> {
    let front = host.strip_suffix(base)?;
    if front.is_empty() {
        Some("")
    } else {
        front.strip_suffix('.')
    }
}

/// Returns label and region of a host name of the real cloud, or `None` for another host.
fn cloud_host(host: &str) -> Option<(&str, Option<String>)> {
    let front = host.strip_suffix(".aliyuncs.com")?;
    let (label, endpoint) = front.rsplit_once('.').unwrap_or(("", front));
    if let Some(region) = hosts::oss_region(endpoint) {
        return Some((
            label,
            (!region.starts_with("accelerate")).then(|| region.to_owned()),
        ));
    }
    // Dual stack: {bucket}.{region}.oss.aliyuncs.com
    (endpoint == "oss").then(|| {
        let (label, region) = label.rsplit_once('.').unwrap_or(("", label));
        (label, Some(region.to_owned()))
    })
}

impl Address {
    /// Parses the host first, then the path.
    pub fn find(request: &Request, base_names: &[String]) -> Self {
        let host = request.host().to_ascii_lowercase();
        let mut known = base_names.iter().map(String::as_str).chain(["localhost"]);
        let (label, region) = known
            .find_map(|base| label(&host, base).map(|label| (label, None)))
            .or_else(|| cloud_host(&host))
            .unwrap_or(("", None));
        let path = request.path.strip_prefix('/').unwrap_or(&request.path);
        let (bucket, key) = if label.is_empty() {
            // The bucket ends at the first literal slash: a key may begin with an encoded one.
            path.split_once('/').unwrap_or((path, ""))
        } else {
            (label, path)
        };
        let decoded = |text: &str| {
            (!text.is_empty()).then(|| String::from_utf8_lossy(&percent_decode(text)).into_owned())
        };
        Self {
            bucket: decoded(bucket),
            key: decoded(key),
            region,
            by_host: !label.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(host: &str, path: &str) -> Address {
        let request = Request {
            path: path.to_owned(),
            headers: vec![("host".to_owned(), host.to_owned())],
            ..Request::default()
        };
        Address::find(&request, &["oss.test".to_owned()])
    }

    #[test]
    fn every_way_to_address_an_object_finds_it() {
        for (host, path, region) in [
            ("b-1.oss.test:9000", "/a%2Fb", None),
            ("b-1.localhost", "/a/b", None),
            ("b-1.oss-cn-hangzhou.aliyuncs.com", "/a/b", Some("cn-hangzhou")),
            (
                "b-1.oss-cn-hangzhou-internal.aliyuncs.com",
                "/a/b",
                Some("cn-hangzhou"),
            ),
            ("b-1.cn-hangzhou.oss.aliyuncs.com", "/a/b", Some("cn-hangzhou")),
            ("b-1.oss-accelerate.aliyuncs.com", "/a/b", None),
            (
                "b-1.oss-cn-hzfinance.aliyuncs.com",
                "/a/b",
                Some("cn-hangzhou-finance"),
            ),
            ("127.0.0.1:9000", "/b-1/a/b", None),
            (".oss-cn-hangzhou.aliyuncs.com", "/b-1/a/b", Some("cn-hangzhou")),
        ] {
            let found = find(host, path);
            let got = (
                found.bucket.as_deref(),
                found.key.as_deref(),
                found.region.as_deref(),
            );
            assert_eq!(got, (Some("b-1"), Some("a/b"), region), "{host}");
        }
    }

    #[test]
    fn the_bare_service_has_no_bucket_and_odd_slashes_stay() {
        assert_eq!(find("oss.test", "/").bucket, None);
        assert_eq!(
            find("127.0.0.1", "/b-1//x/../y/").key.as_deref(),
            Some("/x/../y/")
        );
        assert_eq!(find("127.0.0.1", "/b-1/").key, None);
    }
}
