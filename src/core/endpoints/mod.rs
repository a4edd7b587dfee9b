//! Endpoints of the services: which address is used for which region. Only the operator's flags and environment
//! decide; no resource can.

mod address;
mod region;
mod variants;

pub use address::{Address, AddressFault, is_this_machine};
pub use region::RegionSources;
pub use variants::{EndpointVariant, accelerated, variants_of};

use std::collections::BTreeMap;

use thiserror::Error;

use super::place::{BucketPlace, ProjectPlace};
use super::validate::{check_region, check_region_id};

/// A setting that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    /// An address is malformed.
    #[error("{flag} {}, for example {example}", fault.advice())]
    Address {
        /// Flag or environment variable.
        flag: &'static str,
        /// What is wrong.
        fault: AddressFault,
        /// An address that is well formed.
        example: &'static str,
    },
    /// The text before `=` is not a region.
    #[error(
        "{flag} must be a URL or REGION=URL, and the text before = is not the ID of a region: write for example cn-hangzhou={example}"
    )]
    RegionOfAddress {
        /// Flag.
        flag: &'static str,
        /// An address that is well formed.
        example: &'static str,
    },
    /// A value is not the ID of a region.
    #[error("{source_name} must be the ID of a region, for example cn-hangzhou")]
    Region {
        /// Flag or environment variable.
        source_name: &'static str,
    },
    /// The own region is needed and unknown.
    #[error(
        "{flag} needs the region that the operator runs in, and nothing names it: set --region (Helm value region), for example cn-hangzhou"
    )]
    RegionUnknown {
        /// Flag that needs it.
        flag: &'static str,
    },
}

/// Which names of the cloud's services are used where no address is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Public names in every region.
    Public,
    /// Internal names in the operator's own region, public names in other regions.
    Internal,
}

/// What ACK's webhook writes into the environment of a Pod about STS.
#[derive(Clone, Debug, Default)]
pub struct StsEnvironment {
    /// `ALIBABA_CLOUD_STS_ENDPOINT`: a host, or a URL.
    pub endpoint: Option<String>,
    /// Whether `ALIBABA_CLOUD_STS_REGION` is set.
    pub regional: bool,
    /// `ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED`.
    pub vpc: bool,
}

/// Everything that decides about the endpoints. Each list holds URLs and `REGION=URL`.
#[derive(Clone, Debug, Default)]
pub struct EndpointSettings {
    /// Addresses of OSS.
    pub oss: Vec<String>,
    /// Addresses of IMM.
    pub imm: Vec<String>,
    /// Addresses of STS.
    pub sts: Vec<String>,
    /// The chosen network; `None` means public, unless `sts_environment` says otherwise for STS.
    pub network: Option<Network>,
    /// Where the own region is named.
    pub region: RegionSources,
    /// STS by the environment.
    pub sts_environment: StsEnvironment,
}

const OSS_FLAG: &str = "--oss-endpoint";
const IMM_FLAG: &str = "--imm-endpoint";
const STS_FLAG: &str = "--sts-endpoint";
/// Public name of OSS.
pub const PUBLIC_OSS: &str = "https://oss-{region}.aliyuncs.com";
/// Public name of IMM.
pub const PUBLIC_IMM: &str = "https://imm.{region}.aliyuncs.com";
/// Public name of STS, the same for all regions: a session is not bound to one.
pub const PUBLIC_STS: &str = "https://sts.aliyuncs.com";
const REGIONAL_STS: &str = "https://sts.{region}.aliyuncs.com";
const INTERNAL_OSS: &str = "https://oss-{region}-internal.aliyuncs.com";
const INTERNAL_IMM: &str = "https://imm-vpc.{region}.aliyuncs.com";
const INTERNAL_STS: &str = "https://sts-vpc.{region}.aliyuncs.com";
/// Regions in which IMM has its internal name only.
const IMM_INTERNAL_ONLY: &[&str] = &["cn-beijing-gov-1"];

/// The addresses of one service.
#[derive(Clone, Debug, Default)]
struct Addresses {
    all: Option<Address>,
    by_region: BTreeMap<String, Address>,
}

impl Addresses {
    fn parse(flag: &'static str, given: &[String], example: &'static str) -> Result<Self, EndpointError> {
        let mut found = Self::default();
        // A list may end with a comma. A flag without any address is a mistake.
        let is_empty = |text: &String| text.trim().is_empty();
        let skipped = given.iter().any(|text| !is_empty(text));
        for text in given.iter().filter(|text| !(skipped && is_empty(text))) {
            // The part before = of a URL contains a colon.
            let (region, url) = match text.split_once('=') {
                Some((region, url)) if !region.contains([':', '/']) => (Some(region.trim()), url),
                _ => (None, text.as_str()),
            };
            if region.is_some_and(|region| check_region("region", region).is_err()) {
                return Err(EndpointError::RegionOfAddress { flag, example });
            }
            let address =
                Address::parse(url).map_err(|fault| EndpointError::Address { flag, fault, example })?;
            match region {
                Some(region) => {
                    found.by_region.insert(region.to_owned(), address);
                }
                None => found.all = Some(address),
            }
        }
        Ok(found)
    }

    fn given_for(&self, region: Option<&str>) -> Option<&Address> {
        region
            .and_then(|region| self.by_region.get(region))
            .or(self.all.as_ref())
    }

    /// Whether a service that is the same for all regions gets another address by the own region.
    fn depends_on_region(&self) -> bool {
        !self.by_region.is_empty() || self.all.as_ref().is_some_and(Address::has_region)
    }

    fn is_empty(&self) -> bool {
        self.all.is_none() && self.by_region.is_empty()
    }
}

/// The names of a service where no address is given.
#[derive(Clone, Debug)]
struct Names {
    public: Address,
    internal: Address,
}

impl Names {
    fn of(public: &'static str, internal: &'static str) -> Result<Self, EndpointError> {
        Ok(Self {
            public: preset(public)?,
            internal: preset(internal)?,
        })
    }
}

/// The endpoints in use.
#[derive(Clone, Debug)]
pub struct Endpoints {
    oss: Addresses,
    oss_names: Names,
    imm: Addresses,
    imm_names: Names,
    sts: Address,
    own_region: Option<String>,
    /// Whether internal names are used in the own region.
    internal: bool,
}

impl EndpointSettings {
    /// Whether the own region is used and no setting names it, so that the metadata service should be asked.
    ///
    /// # Errors
    /// An address of STS or a region that is malformed.
    pub fn lacks_region(&self) -> Result<bool, EndpointError> {
        if self.region.named()?.is_some() {
            return Ok(false);
        }
        let sts = Addresses::parse(STS_FLAG, &self.sts, PUBLIC_STS)?;
        let by_environment =
            sts.is_empty() && self.sts_environment.endpoint.is_none() && self.sts_environment.vpc;
        Ok(self.network == Some(Network::Internal) || sts.depends_on_region() || by_environment)
    }

    /// Checks all settings and returns the endpoints. `from_metadata` is the own region by the metadata service.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn resolve(&self, from_metadata: Option<String>) -> Result<Endpoints, EndpointError> {
        let named = self.region.named()?;
        let measured = from_metadata.filter(|region| check_region_id("region", region).is_ok());
        let own_region = named.or(measured);
        let oss = Addresses::parse(OSS_FLAG, &self.oss, PUBLIC_OSS)?;
        let imm = Addresses::parse(IMM_FLAG, &self.imm, PUBLIC_IMM)?;
        let internal = self.network == Some(Network::Internal);
        if internal && own_region.is_none() {
            return Err(EndpointError::RegionUnknown {
                flag: "--network internal",
            });
        }
        let sts = self.sts_address(own_region.as_deref())?;
        Ok(Endpoints {
            oss,
            oss_names: Names::of(PUBLIC_OSS, INTERNAL_OSS)?,
            imm,
            imm_names: Names::of(PUBLIC_IMM, INTERNAL_IMM)?,
            sts,
            own_region,
            internal,
        })
    }

    /// Decides about STS, which has one address for all regions: the flag, the network, then the environment.
    fn sts_address(&self, own_region: Option<&str>) -> Result<Address, EndpointError> {
        let given = Addresses::parse(STS_FLAG, &self.sts, PUBLIC_STS)?;
        if own_region.is_none() && given.depends_on_region() {
            return Err(EndpointError::RegionUnknown { flag: STS_FLAG });
        }
        if let Some(address) = given.given_for(own_region) {
            return Ok(address.clone());
        }
        let environment = &self.sts_environment;
        let name = match (self.network, own_region) {
            (Some(Network::Internal), _) => INTERNAL_STS,
            (Some(Network::Public), _) => PUBLIC_STS,
            (None, _) if environment.endpoint.is_some() => {
                return environment_endpoint(environment.endpoint.as_deref(), own_region);
            }
            (None, Some(_)) if environment.vpc => INTERNAL_STS,
            (None, Some(_)) if environment.regional => REGIONAL_STS,
            (None, _) => PUBLIC_STS,
        };
        preset(name)
    }
}

/// Reads `ALIBABA_CLOUD_STS_ENDPOINT`, a host without a scheme in the official clients.
fn environment_endpoint(value: Option<&str>, own_region: Option<&str>) -> Result<Address, EndpointError> {
    let flag = "ALIBABA_CLOUD_STS_ENDPOINT";
    let host = value.unwrap_or_default().trim();
    let url = if host.contains("://") {
        host.to_owned()
    } else {
        format!("https://{host}")
    };
    let address = Address::parse(&url).map_err(|fault| EndpointError::Address {
        flag,
        fault,
        example: "sts-vpc.cn-hangzhou.aliyuncs.com",
    })?;
    if address.has_region() && own_region.is_none() {
        return Err(EndpointError::RegionUnknown { flag });
    }
    Ok(address)
}

/// Reads a name of this file; a test reads all of them.
fn preset(name: &'static str) -> Result<Address, EndpointError> {
    Address::parse(name).map_err(|fault| EndpointError::Address {
        flag: "--network",
        fault,
        example: PUBLIC_STS,
    })
}

impl Endpoints {
    /// Returns the endpoints of three plain URLs or templates.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(oss: &str, imm: &str, sts: &str) -> Result<Self, EndpointError> {
        let settings = EndpointSettings {
            oss: vec![oss.to_owned()],
            imm: vec![imm.to_owned()],
            sts: vec![sts.to_owned()],
            ..EndpointSettings::default()
        };
        settings.resolve(None)
    }

    /// Returns the URL of a bucket.
    pub fn bucket(&self, place: &BucketPlace) -> String {
        self.oss_address(place).bucket_url(place.name(), place.region())
    }

    /// Returns the URL of OSS in the region of a bucket, without the bucket.
    pub fn oss_service(&self, place: &BucketPlace) -> String {
        self.oss_address(place).url(place.region())
    }

    /// Returns the URL of IMM in the region of a project.
    pub fn imm(&self, project: &ProjectPlace) -> String {
        let region = project.region();
        let internal = self.is_internal(region) || IMM_INTERNAL_ONLY.contains(&region);
        address_of(&self.imm, &self.imm_names, region, internal).url(region)
    }

    /// Returns the URL of STS.
    pub fn sts(&self) -> String {
        self.sts.url(self.own_region.as_deref().unwrap_or_default())
    }

    /// The region that the operator runs in, if it is known.
    pub fn own_region(&self) -> Option<&str> {
        self.own_region.as_deref()
    }

    /// The addresses of OSS and of IMM, for a log line.
    pub fn describe(&self) -> [String; 2] {
        let line = |given: &Addresses, names: &Names| {
            let internal = self.own_region.as_ref().filter(|_| self.internal);
            let mut regional: BTreeMap<&str, String> = given
                .by_region
                .iter()
                .map(|(region, address)| (region.as_str(), address.url(region)))
                .collect();
            if let Some(region) = internal.filter(|_| given.all.is_none()) {
                let url = || names.internal.url(region);
                regional.entry(region).or_insert_with(url);
            }
            let all = given.all.as_ref().unwrap_or(&names.public).template();
            let regional = regional
                .into_iter()
                .map(|(region, url)| format!("{region}={url}"));
            std::iter::once(all).chain(regional).collect::<Vec<_>>().join(",")
        };
        [line(&self.oss, &self.oss_names), line(&self.imm, &self.imm_names)]
    }

    fn oss_address(&self, place: &BucketPlace) -> &Address {
        let region = place.region();
        address_of(&self.oss, &self.oss_names, region, self.is_internal(region))
    }

    fn is_internal(&self, region: &str) -> bool {
        self.internal && self.own_region.as_deref() == Some(region)
    }
}

/// Returns the address that is given for a region, or else the internal or the public one.
fn address_of<'a>(given: &'a Addresses, names: &'a Names, region: &str, internal: bool) -> &'a Address {
    let name = if internal { &names.internal } else { &names.public };
    given.given_for(Some(region)).unwrap_or(name)
}

#[cfg(test)]
mod tests;
