//! Endpoints of the services. Only the operator's flags set them; no resource can.

use std::net::IpAddr;

use reqwest::Url;
use thiserror::Error;

use crate::core::place::{BucketPlace, ProjectPlace};

/// An invalid endpoint flag.
#[derive(Debug, Error)]
#[error(
    "{flag} must be an http or https URL without path, query or user name, such as {example}{placeholder}"
)]
pub struct EndpointError {
    flag: &'static str,
    example: &'static str,
    placeholder: &'static str,
}

/// The endpoints; `{region}` is replaced by the region of the bucket or project.
#[derive(Clone, Debug)]
pub struct Endpoints {
    oss: String,
    imm: String,
    sts: String,
}

impl Endpoints {
    /// Public endpoint of OSS.
    pub const OSS: &'static str = "https://oss-{region}.aliyuncs.com";
    /// Public endpoint of IMM.
    pub const IMM: &'static str = "https://imm.{region}.aliyuncs.com";
    /// Public endpoint of STS, the same for all regions: STS knows no region.
    pub const STS: &'static str = "https://sts.aliyuncs.com";

    /// Validates the endpoints. Fails with the first flag that is not an http or https URL without path and user name.
    pub fn new(oss: &str, imm: &str, sts: &str) -> Result<Self, EndpointError> {
        for (flag, address, example) in [
            ("--oss-endpoint", oss, Self::OSS),
            ("--imm-endpoint", imm, Self::IMM),
            ("--sts-endpoint", sts, Self::STS),
        ] {
            // A session is not bound to a region, so the endpoint of STS has none either.
            let regional = flag != "--sts-endpoint";
            if !is_usable(address, regional) {
                let placeholder = if regional {
                    " ({region}: the region)"
                } else {
                    ", and has no {region}, because sessions are for all regions"
                };
                return Err(EndpointError {
                    flag,
                    example,
                    placeholder,
                });
            }
        }
        let plain = |address: &str| address.trim().trim_end_matches('/').to_owned();
        Ok(Self {
            oss: plain(oss),
            imm: plain(imm),
            sts: plain(sts),
        })
    }

    /// Returns the URL of a bucket: virtual-hosted style, the only one that OSS supports. With an IP address as the host,
    /// the bucket is in the path, as in the official clients.
    pub(super) fn bucket(&self, place: &BucketPlace) -> String {
        let bucket = place.name();
        let service = self.oss.replace("{region}", place.region());
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

    /// Returns the URL of OSS in the region of a bucket, without the bucket.
    pub(super) fn oss_service(&self, place: &BucketPlace) -> String {
        format!("{}/", self.oss.replace("{region}", place.region()))
    }

    /// Returns the URL of STS.
    pub(super) fn sts(&self) -> String {
        format!("{}/", self.sts)
    }

    /// Returns the URL of IMM in the region of a project.
    pub(super) fn imm(&self, project: &ProjectPlace) -> String {
        format!("{}/", self.imm.replace("{region}", project.region()))
    }
}

/// Whether an endpoint gives a URL with a host and nothing else, in the form in which it is used. Braces other than
/// `{region}` are a misspelled placeholder.
fn is_usable(address: &str, regional: bool) -> bool {
    let used = if regional {
        address.trim().replace("{region}", "cn-hangzhou")
    } else {
        address.trim().to_owned()
    };
    let host_only = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.path() == "/"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    !used.contains(['{', '}']) && Url::parse(&used).is_ok_and(|url| host_only(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_in_the_host_unless_the_host_is_a_number() {
        let public = Endpoints::new(Endpoints::OSS, Endpoints::IMM, Endpoints::STS).unwrap();
        let pics = BucketPlace::new("pics", "cn-hangzhou").unwrap();
        assert_eq!(public.bucket(&pics), "https://pics.oss-cn-hangzhou.aliyuncs.com/");
        let local =
            Endpoints::new("http://127.0.0.1:9000", "http://127.0.0.1:9000/", Endpoints::STS).unwrap();
        assert_eq!(local.bucket(&pics), "http://127.0.0.1:9000/pics/");
        assert_eq!(local.oss_service(&pics), "http://127.0.0.1:9000/");
    }

    #[test]
    fn an_endpoint_is_refused_unless_it_is_used_as_it_was_checked() {
        for wrong in [
            "ftp://x",
            "https://user@host",
            "https://:word@host",
            "https://host/path",
            "https://host?x=1",
            "https://host/?x",
            "https://host#f",
            "https://oss-{Region}.example.com",
            "https://oss-{ region }.example.com",
            "https://oss-{region.example.com",
            "oss-{region}.aliyuncs.com",
            "",
        ] {
            assert!(
                Endpoints::new(wrong, Endpoints::IMM, Endpoints::STS).is_err(),
                "{wrong}"
            );
            let error = Endpoints::new(Endpoints::OSS, wrong, Endpoints::STS).unwrap_err();
            assert!(error.to_string().contains("--imm-endpoint"), "{wrong}: {error}");
            assert!(
                Endpoints::new(Endpoints::OSS, Endpoints::IMM, wrong).is_err(),
                "{wrong}"
            );
        }
        let error = Endpoints::new(
            Endpoints::OSS,
            Endpoints::IMM,
            "https://sts-vpc.{region}.aliyuncs.com",
        );
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains("--sts-endpoint") && message.contains("has no {region}"),
            "{message}"
        );
        let vpc = "https://sts-vpc.cn-hangzhou.aliyuncs.com/";
        let used = Endpoints::new(Endpoints::OSS, Endpoints::IMM, vpc).unwrap();
        assert_eq!(used.sts(), vpc);
    }
}
