//! The names of the same service in the same region, to compare which of them answer.

/// A name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointVariant {
    /// Kind of the name.
    pub kind: &'static str,
    /// URL for one region, without a slash at its end.
    pub url: String,
    /// Whether it is the name in use.
    pub in_use: bool,
}

/// The name of OSS for acceleration. It is no variant, because what is sent through it is billed.
const ACCELERATE: (&str, &str) = ("accelerate", "oss-accelerate.aliyuncs.com");

/// The names of each service, by kind.
const NAMES: &[&[(&str, &str)]] = &[
    &[
        ("public", "oss-{region}.aliyuncs.com"),
        ("internal", "oss-{region}-internal.aliyuncs.com"),
        ("dual-stack", "{region}.oss.aliyuncs.com"),
    ],
    &[
        ("public", "imm.{region}.aliyuncs.com"),
        ("internal", "imm-vpc.{region}.aliyuncs.com"),
    ],
    &[
        ("public", "sts.aliyuncs.com"),
        ("regional", "sts.{region}.aliyuncs.com"),
        ("internal", "sts-vpc.{region}.aliyuncs.com"),
    ],
];

/// Returns the names of the service that a URL names, with the scheme and the port of the URL. Empty if the URL has
/// none of Alibaba Cloud's own names: a proxy or an emulator has no other name.
pub fn variants_of(url: &str, region: &str) -> Vec<EndpointVariant> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Vec::new();
    };
    let authority = rest.trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, format!(":{port}")),
        None => (authority, String::new()),
    };
    let host_of = |name: &str| name.replace("{region}", region);
    let service = NAMES
        .iter()
        .find(|names| names.iter().any(|(_, name)| host_of(name) == host));
    let names = service.copied().unwrap_or_default();
    names
        .iter()
        .map(|(kind, name)| EndpointVariant {
            kind,
            url: format!("{scheme}://{}{port}", host_of(name)),
            in_use: host_of(name) == host,
        })
        .collect()
}

/// Returns the name of OSS for acceleration, with the scheme and the port of a variant.
pub fn accelerated(variant: &EndpointVariant) -> Option<EndpointVariant> {
    let (scheme, authority) = variant.url.split_once("://")?;
    let port = authority
        .rsplit_once(':')
        .map_or_else(String::new, |(_, port)| format!(":{port}"));
    let (kind, host) = ACCELERATE;
    Some(EndpointVariant {
        kind,
        url: format!("{scheme}://{host}{port}"),
        in_use: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_alibaba_cloud_has_variants_and_another_address_has_none() {
        let found = variants_of(
            "http://oss-cn-hangzhou-internal.aliyuncs.com:8080/",
            "cn-hangzhou",
        );
        let shown: Vec<(&str, &str, bool)> =
            found.iter().map(|v| (v.kind, v.url.as_str(), v.in_use)).collect();
        assert_eq!(
            shown,
            [
                ("public", "http://oss-cn-hangzhou.aliyuncs.com:8080", false),
                (
                    "internal",
                    "http://oss-cn-hangzhou-internal.aliyuncs.com:8080",
                    true
                ),
                ("dual-stack", "http://cn-hangzhou.oss.aliyuncs.com:8080", false),
            ]
        );
        let accelerated = accelerated(&found[0]).unwrap();
        assert_eq!(
            (accelerated.kind, accelerated.url.as_str(), accelerated.in_use),
            ("accelerate", "http://oss-accelerate.aliyuncs.com:8080", false)
        );
        assert_eq!(variants_of("https://sts.aliyuncs.com/", "cn-hangzhou").len(), 3);
        assert_eq!(
            variants_of("https://imm.cn-beijing.aliyuncs.com/", "cn-beijing").len(),
            2
        );
        for other in [
            "https://oss-cn-beijing.aliyuncs.com/",
            "https://oss.example.com/",
            "http://127.0.0.1:9000/",
            "",
        ] {
            assert!(variants_of(other, "cn-hangzhou").is_empty(), "{other}");
        }
    }
}
