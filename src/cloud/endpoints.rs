//! Where the services are. Only the person who runs the operator can say otherwise; no object can.

use std::net::IpAddr;

use reqwest::Url;
use thiserror::Error;

/// An endpoint that cannot be used.
#[derive(Debug, Error)]
#[error("{flag} must be an http or https URL such as {example}, where {{region}} stands for the region")]
pub struct EndpointError {
    flag: &'static str,
    example: &'static str,
}

/// The services' addresses; `{region}` in them stands for the region of the bucket or project.
#[derive(Clone, Debug)]
pub struct Endpoints {
    oss: String,
    imm: String,
    sts: String,
}

impl Endpoints {
    /// The public service.
    pub const OSS: &'static str = "https://oss-{region}.aliyuncs.com";
    /// The public service.
    pub const IMM: &'static str = "https://imm.{region}.aliyuncs.com";
    /// The public service, the same for all regions.
    pub const STS: &'static str = "https://sts.aliyuncs.com";

    /// Checks the addresses once, at the start.
    pub fn new(oss: &str, imm: &str, sts: &str) -> Result<Self, EndpointError> {
        let usable = |address: &str| {
            let url = Url::parse(&address.replace("{region}", "cn-hangzhou"));
            url.is_ok_and(|u| {
                matches!(u.scheme(), "http" | "https")
                    && u.host_str().is_some()
                    && u.path() == "/"
                    && u.username().is_empty()
            })
        };
        for (flag, address, example) in [
            ("--oss-endpoint", oss, Self::OSS),
            ("--imm-endpoint", imm, Self::IMM),
            ("--sts-endpoint", sts, Self::STS),
        ] {
            if !usable(address) {
                return Err(EndpointError { flag, example });
            }
        }
        let plain = |address: &str| address.trim_end_matches('/').to_owned();
        Ok(Self {
            oss: plain(oss),
            imm: plain(imm),
            sts: plain(sts),
        })
    }

    /// Virtual-hosted style, the only one that OSS serves; an address by IP number takes the bucket in the path, as
    /// the official clients do.
    pub(super) fn bucket(&self, bucket: &str, region: &str) -> String {
        let service = self.oss.replace("{region}", region);
        let (scheme, host) = service.split_once("://").unwrap_or(("https", &service));
        let name = host
            .rsplit_once(':')
            .map_or(host, |(name, _)| name)
            .trim_matches(['[', ']']);
        if name.parse::<IpAddr>().is_ok() {
            format!("{service}/{bucket}/")
        } else {
            format!("{scheme}://{bucket}.{host}/")
        }
    }

    /// The service itself in a region.
    pub(super) fn oss_service(&self, region: &str) -> String {
        format!("{}/", self.oss.replace("{region}", region))
    }

    /// STS.
    pub(super) fn sts(&self) -> String {
        format!("{}/", self.sts)
    }

    /// IMM in a region.
    pub(super) fn imm(&self, region: &str) -> String {
        format!("{}/", self.imm.replace("{region}", region))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_in_the_host_unless_the_host_is_a_number() {
        let public = Endpoints::new(Endpoints::OSS, Endpoints::IMM, Endpoints::STS).unwrap();
        assert_eq!(
            public.bucket("pics", "cn-hangzhou"),
            "https://pics.oss-cn-hangzhou.aliyuncs.com/"
        );
        let local =
            Endpoints::new("http://127.0.0.1:9000", "http://127.0.0.1:9000/", Endpoints::STS).unwrap();
        assert_eq!(local.bucket("pics", "cn-hangzhou"), "http://127.0.0.1:9000/pics/");
        assert_eq!(local.imm("cn-hangzhou"), "http://127.0.0.1:9000/");
        assert!(Endpoints::new("ftp://x", Endpoints::IMM, Endpoints::STS).is_err());
        assert!(Endpoints::new("https://user@host", Endpoints::IMM, Endpoints::STS).is_err());
    }
}
