//! Flags and environment variables about Alibaba Cloud: endpoints, and the operator's own identity.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use thiserror::Error;

use super::environment::{credentials_from_environment, variable};
use crate::app::OperatorIdentity;
use crate::cloud::{ClientError, CredentialsUri, CredentialsUriError, MetadataService};
use crate::core::endpoints::{EndpointSettings, Network, RegionSources, StsEnvironment};
use crate::core::validate::check_role;

/// Names of the cloud's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkArg {
    /// Public names.
    Public,
    /// Internal names in the own region, public ones elsewhere.
    Internal,
}

/// Source of the operator's own identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IdentityArg {
    /// The folder of --credentials-folder.
    Folder,
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID`, `ALIBABA_CLOUD_ACCESS_KEY_SECRET` and `ALIBABA_CLOUD_SECURITY_TOKEN`.
    Environment,
    /// The token file of ACK's webhook, exchanged at STS.
    Rrsa,
    /// The RAM role of the ECS instance, by its metadata service.
    Ecs,
    /// The URI in `ALIBABA_CLOUD_CREDENTIALS_URI`.
    Uri,
    /// No identity.
    None,
}

/// Settings of the operator's own identity that contradict each other or are incomplete.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The named source is not configured.
    #[error("--own-identity {name} needs {needed}: set it, or name another source")]
    Incomplete {
        /// The source.
        name: String,
        /// What is missing.
        needed: &'static str,
    },
    /// Two sources are named.
    #[error("--own-identity {name} excludes --credentials-folder: remove one of them")]
    Contradiction {
        /// The source.
        name: String,
    },
    /// The role is malformed.
    #[error("ALIBABA_CLOUD_ECS_METADATA must be the name of a RAM role, without acs:ram::UID:role/")]
    Role,
    /// The credentials URI cannot be used.
    #[error(transparent)]
    Uri(#[from] CredentialsUriError),
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Flags about Alibaba Cloud.
#[derive(Debug, clap::Args)]
pub(super) struct CloudArgs {
    /// URL of OSS for all regions, or REGION=URL for one; can be repeated, the last one for a region counts. {region} is
    /// replaced by the bucket's region, and the bucket is prepended to the host. Default: by --network. Change it for
    /// proxies or an emulator.
    #[arg(
        long,
        env = "IMM_OPERATOR_OSS_ENDPOINT",
        value_name = "[REGION=]URL",
        value_delimiter = ','
    )]
    oss_endpoint: Vec<String>,
    /// URL of IMM for all regions, or REGION=URL for one; can be repeated, the last one for a region counts. {region} is
    /// replaced by the project's region. Default: by --network. Change it for proxies or an emulator.
    #[arg(
        long,
        env = "IMM_OPERATOR_IMM_ENDPOINT",
        value_name = "[REGION=]URL",
        value_delimiter = ','
    )]
    imm_endpoint: Vec<String>,
    /// URL of STS, for AssumeRole, RRSA and GetCallerIdentity, or REGION=URL for operators in one region. {region} is
    /// replaced by the operator's own region. Default: by --network. Change it for proxies or an emulator.
    #[arg(
        long,
        env = "IMM_OPERATOR_STS_ENDPOINT",
        value_name = "[REGION=]URL",
        value_delimiter = ','
    )]
    sts_endpoint: Vec<String>,
    /// Names of OSS, IMM and STS: internal uses the internal (VPC) names in the operator's own region and public names
    /// elsewhere. Default: public, and for STS what ACK's webhook sets in ALIBABA_CLOUD_STS_ENDPOINT,
    /// ALIBABA_CLOUD_STS_REGION and ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED. Use internal in a VPC without internet access.
    #[arg(long, env = "IMM_OPERATOR_NETWORK", value_enum)]
    network: Option<NetworkArg>,
    /// Region that the operator runs in, for example cn-hangzhou. Default: ALIBABA_CLOUD_STS_REGION, the Pod's label
    /// topology.kubernetes.io/region, or with --own-identity ecs the metadata service. Needed only for internal names.
    #[arg(long, env = "IMM_OPERATOR_REGION")]
    region: Option<String>,
    /// The Pod's label topology.kubernetes.io/region, by the downward API.
    #[arg(long, env = "IMM_OPERATOR_POD_REGION", hide = true)]
    pod_region: Option<String>,
    /// Source of the operator's own identity. A named source that fails is never replaced by another. Default: the first
    /// configured one of folder, environment and rrsa. ecs and uri are used only if they are named here.
    #[arg(long, env = "IMM_OPERATOR_OWN_IDENTITY", value_enum)]
    own_identity: Option<IdentityArg>,
    /// Folder with the files accessKeyId, accessKeySecret and optionally securityToken: the operator's own identity, read
    /// at each use. Takes precedence over the ALIBABA_CLOUD_ variables.
    #[arg(long, env = "IMM_OPERATOR_CREDENTIALS_FOLDER")]
    credentials_folder: Option<PathBuf>,
    /// Address of a metadata service on this machine, for tests. Addresses of other machines are rejected: the
    /// server that answers decides which identity the operator has.
    #[arg(long, hide = true, value_parser = parse_loopback)]
    metadata_address: Option<SocketAddr>,
}

/// Parses IP address and port of this machine.
fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    address
        .filter(|address| address.ip().is_loopback())
        .ok_or_else(|| "must be a loopback address and a port, such as 127.0.0.1:8100".to_owned())
}

impl CloudArgs {
    /// Returns what decides about the endpoints.
    pub(super) fn endpoints(&self) -> EndpointSettings {
        let sts_region = variable("ALIBABA_CLOUD_STS_REGION");
        EndpointSettings {
            oss: self.oss_endpoint.clone(),
            imm: self.imm_endpoint.clone(),
            sts: self.sts_endpoint.clone(),
            network: self.network.map(|network| match network {
                NetworkArg::Public => Network::Public,
                NetworkArg::Internal => Network::Internal,
            }),
            sts_environment: StsEnvironment {
                endpoint: variable("ALIBABA_CLOUD_STS_ENDPOINT"),
                regional: sts_region.is_some(),
                vpc: is_true("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"),
            },
            region: RegionSources {
                flag: self.region.clone(),
                sts_region,
                pod_label: self.pod_region.clone(),
            },
        }
    }

    /// Returns the operator's own identity: the named source; without one the folder, static credentials or RRSA from the
    /// variables of Alibaba Cloud's SDKs, in this order.
    pub(super) fn operator_identity(&self) -> Result<OperatorIdentity, IdentityError> {
        let folder = || self.credentials_folder.clone().map(OperatorIdentity::Folder);
        let environment = || credentials_from_environment().map(OperatorIdentity::Static);
        let Some(named) = self.own_identity else {
            let first = folder().or_else(environment).or_else(token_from_environment);
            return Ok(first.unwrap_or_default());
        };
        let name = || {
            let value = named.to_possible_value();
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        if named != IdentityArg::Folder && self.credentials_folder.is_some() {
            return Err(IdentityError::Contradiction { name: name() });
        }
        let missing = |needed| IdentityError::Incomplete { name: name(), needed };
        match named {
            IdentityArg::Folder => folder().ok_or_else(|| missing("--credentials-folder")),
            IdentityArg::Environment => environment().ok_or_else(|| {
                missing("ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET")
            }),
            IdentityArg::Rrsa => token_from_environment().ok_or_else(|| {
                missing("ALIBABA_CLOUD_OIDC_TOKEN_FILE, ALIBABA_CLOUD_ROLE_ARN and ALIBABA_CLOUD_OIDC_PROVIDER_ARN")
            }),
            IdentityArg::Ecs => {
                let role = variable("ALIBABA_CLOUD_ECS_METADATA");
                if role.as_ref().is_some_and(|role| check_role("role", role).is_err()) {
                    return Err(IdentityError::Role);
                }
                let version_1 = !is_true("ALIBABA_CLOUD_IMDSV1_DISABLED");
                let service = MetadataService::new(self.metadata_address, version_1)?;
                Ok(OperatorIdentity::Instance { service, role })
            }
            IdentityArg::Uri => {
                let uri = variable("ALIBABA_CLOUD_CREDENTIALS_URI");
                let uri = uri.ok_or_else(|| missing("ALIBABA_CLOUD_CREDENTIALS_URI"))?;
                Ok(OperatorIdentity::Uri(CredentialsUri::new(&uri)?))
            }
            IdentityArg::None => Ok(OperatorIdentity::None),
        }
    }
}

/// Returns RRSA from the variables that ACK's webhook sets.
fn token_from_environment() -> Option<OperatorIdentity> {
    Some(OperatorIdentity::Token {
        file: variable("ALIBABA_CLOUD_OIDC_TOKEN_FILE")?.into(),
        role_arn: variable("ALIBABA_CLOUD_ROLE_ARN")?,
        provider_arn: variable("ALIBABA_CLOUD_OIDC_PROVIDER_ARN")?,
    })
}

fn is_true(name: &str) -> bool {
    variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
