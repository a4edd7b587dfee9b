//! The host names of the cloud, by region. Most follow one rule; the regions that differ from it are listed here.
//! Sources: OSS page "Regions and endpoints"; the endpoint map in the official clients of IMM 2020-09-30.

const SUFFIX: &str = ".aliyuncs.com";

/// The hosts of OSS in finance regions, without the suffix. The first is the public one.
const FINANCE: &[(&str, &[&str])] = &[
    (
        "cn-hangzhou-finance",
        &[
            "oss-cn-hzfinance",
            "oss-cn-hzfinance-internal",
            "oss-cn-hzjbp-a-internal",
            "oss-cn-hzjbp-b-internal",
        ],
    ),
    (
        "cn-shanghai-finance-1",
        &[
            "oss-cn-shanghai-finance-1-pub",
            "oss-cn-shanghai-finance-1-internal",
            "oss-cn-shanghai-finance-1-pub-internal",
        ],
    ),
    (
        "cn-shenzhen-finance-1",
        &[
            "oss-cn-szfinance",
            "oss-cn-szfinance-internal",
            "oss-cn-shenzhen-finance-1-internal",
        ],
    ),
    (
        "cn-beijing-finance-1",
        &[
            "oss-cn-beijing-finance-1-pub",
            "oss-cn-beijing-finance-1-internal",
            "oss-cn-beijing-finance-1-pub-internal",
        ],
    ),
];

/// Regions in which IMM has its internal name only.
const IMM_INTERNAL_ONLY: &[&str] = &["cn-beijing-gov-1"];

/// Returns whether a region is one of the finance cloud.
pub(crate) fn is_finance(region: &str) -> bool {
    FINANCE.iter().any(|(name, _)| *name == region)
}

/// Returns the region of a host of OSS without the suffix, such as `oss-cn-hangzhou-internal`. `None` for another host.
pub(crate) fn oss_region(endpoint: &str) -> Option<&str> {
    let of_finance = FINANCE.iter().find(|(_, hosts)| hosts.contains(&endpoint));
    if let Some((region, _)) = of_finance {
        return Some(region);
    }
    let name = endpoint.strip_prefix("oss-")?;
    Some(name.strip_suffix("-internal").unwrap_or(name))
}

/// Returns the public and the internal host of OSS in a region. `finance` says whether finance regions have hosts of
/// their own.
pub(crate) fn oss_hosts(region: &str, finance: bool) -> [String; 2] {
    let own = FINANCE.iter().find(|(name, _)| finance && *name == region);
    let host = |internal: bool| {
        let mut hosts = own.iter().flat_map(|(_, hosts)| hosts.iter());
        hosts.find(|host| host.ends_with("-internal") == internal)
    };
    let by_rule = |internal: bool| format!("oss-{region}{}", if internal { "-internal" } else { "" });
    [false, true].map(|internal| {
        let front = host(internal).map_or_else(|| by_rule(internal), |host| (*host).to_owned());
        format!("{front}{SUFFIX}")
    })
}

/// Returns whether the cloud has a host. A host of another domain is the emulator's own.
pub(crate) fn exists(host: &str, finance: bool) -> bool {
    let host = host.to_ascii_lowercase();
    let Some(front) = host.strip_suffix(SUFFIX) else {
        return true;
    };
    let is_finance = |region: &str| finance && is_finance(region);
    if let Some((product, region)) = front.split_once('.') {
        let imm = matches!(product, "imm" | "imm-vpc");
        if imm && (is_finance(region) || (product == "imm" && IMM_INTERNAL_ONLY.contains(&region))) {
            return false;
        }
    }
    let (before, endpoint) = front.rsplit_once('.').unwrap_or(("", front));
    if endpoint == "oss" {
        let region = before.rsplit_once('.').map_or(before, |(_, region)| region);
        return !is_finance(region);
    }
    let by_rule = endpoint
        .strip_prefix("oss-")
        .is_some_and(|name| is_finance(name.strip_suffix("-internal").unwrap_or(name)));
    !by_rule || FINANCE.iter().any(|(_, hosts)| hosts.contains(&endpoint))
}

/// Returns whether a host can be reached from the network of a region: internal hosts of other regions cannot.
/// Without a network, every host can.
pub(crate) fn is_near(host: &str, network: Option<&str>) -> bool {
    let host = host.to_ascii_lowercase();
    let Some((network, front)) = network.zip(host.strip_suffix(SUFFIX)) else {
        return true;
    };
    if let Some(region) = ["imm-vpc.", "sts-vpc."]
        .iter()
        .find_map(|product| front.strip_prefix(product))
    {
        return region == network;
    }
    let endpoint = front.rsplit_once('.').map_or(front, |(_, endpoint)| endpoint);
    !endpoint.ends_with("-internal") || oss_region(endpoint) == Some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_with_names_of_its_own_has_no_others() {
        for (host, on, off) in [
            ("imm.cn-beijing-gov-1.aliyuncs.com", false, false),
            ("imm-vpc.cn-beijing-gov-1.aliyuncs.com", true, true),
            ("imm.cn-north-2-gov-1.aliyuncs.com", true, true),
            ("b-1.oss-cn-north-2-gov-1.aliyuncs.com", true, true),
            ("imm.oss-cn-hangzhou.aliyuncs.com", true, true),
            ("imm.cn-shanghai-finance-1.aliyuncs.com", false, true),
            ("imm-vpc.cn-hangzhou-finance.aliyuncs.com", false, true),
            ("b-1.OSS-cn-shanghai-finance-1.aliyuncs.com", false, true),
            ("oss-cn-hangzhou-finance-internal.aliyuncs.com", false, true),
            ("b-1.cn-beijing-finance-1.oss.aliyuncs.com", false, true),
            ("b-1.oss-cn-shanghai-finance-1-pub.aliyuncs.com", true, true),
            ("oss-cn-shanghai-finance-1-internal.aliyuncs.com", true, true),
            ("oss-cn-hzjbp-a-internal.aliyuncs.com", true, true),
            ("sts.cn-shanghai-finance-1.aliyuncs.com", true, true),
            ("sts.aliyuncs.com", true, true),
            ("127.0.0.1", true, true),
        ] {
            assert_eq!((exists(host, true), exists(host, false)), (on, off), "{host}");
        }
    }

    #[test]
    fn an_internal_host_is_near_in_its_own_region_only() {
        for (host, near) in [
            ("b-1.oss-cn-hangzhou-internal.aliyuncs.com", true),
            ("b-1.oss-cn-beijing-internal.aliyuncs.com", false),
            ("b-1.oss-cn-beijing.aliyuncs.com", true),
            ("imm-vpc.cn-hangzhou.aliyuncs.com", true),
            ("imm-vpc.cn-beijing.aliyuncs.com", false),
            ("imm.cn-beijing.aliyuncs.com", true),
            ("sts-vpc.cn-beijing.aliyuncs.com", false),
            ("sts.aliyuncs.com", true),
        ] {
            assert_eq!(is_near(host, Some("cn-hangzhou")), near, "{host}");
            assert!(is_near(host, None), "{host}");
        }
    }

    #[test]
    fn a_host_of_oss_belongs_to_one_region() {
        for (endpoint, region) in [
            ("oss-cn-hangzhou-internal", "cn-hangzhou"),
            ("oss-cn-hzjbp-b-internal", "cn-hangzhou-finance"),
            ("oss-cn-szfinance", "cn-shenzhen-finance-1"),
            ("oss-cn-shanghai-finance-1-pub-internal", "cn-shanghai-finance-1"),
        ] {
            assert_eq!(oss_region(endpoint), Some(region));
        }
        for (region, finance, hosts) in [
            (
                "cn-hangzhou",
                true,
                ["oss-cn-hangzhou", "oss-cn-hangzhou-internal"],
            ),
            (
                "cn-shenzhen-finance-1",
                true,
                ["oss-cn-szfinance", "oss-cn-szfinance-internal"],
            ),
            (
                "cn-hangzhou-finance",
                false,
                ["oss-cn-hangzhou-finance", "oss-cn-hangzhou-finance-internal"],
            ),
        ] {
            let hosts = hosts.map(|host| format!("{host}.aliyuncs.com"));
            assert_eq!(oss_hosts(region, finance), hosts);
        }
    }
}
