//! What was seen: the answers of all calls, unjudged.

use std::net::IpAddr;

use k8s_openapi::jiff::SignedDuration;

use super::{
    AccessLog, FormsFindings, LimitsFindings, ProbeFindings, QuestionFacts, RestoreOutcome, WaysFindings,
};
use crate::api::{GrantSpec, JobSpec, LedgerEntry, ObservedBucket};
use crate::core::error::{CloudError, CredentialsError};
use crate::core::grant::PublicAccessBlock;
use crate::core::job::ProjectLimits;

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The endpoints that would be used.
    pub endpoints: Vec<EndpointFacts>,
    /// The names of OSS in the region of the bucket whose objects are listed.
    pub variants: Vec<VariantFacts>,
    /// The grant and its bucket.
    pub grant: Option<GrantFacts>,
    /// The job and its project.
    pub job: Option<JobFacts>,
    /// What reads say about the cloud.
    pub questions: QuestionFacts,
    /// The probe, if there was one.
    pub probe: Option<ProbeFacts>,
    /// The probe of the limits, if there was one.
    pub limits: Option<LimitsFacts>,
    /// The probe of unusual policies, if there was one.
    pub forms: Option<FormsFacts>,
    /// The probe of other ways to access, if there was one.
    pub ways: Option<WaysFacts>,
    /// An access log of the bucket.
    pub access_log: Option<AccessLogFacts>,
}

/// An access log, as far as it is about the role of the grantee.
#[derive(Clone, Debug)]
pub struct AccessLogFacts {
    /// The file.
    pub file: String,
    /// The account of the role.
    pub account: String,
    /// The role.
    pub role: String,
    /// What the log says.
    pub log: AccessLog,
}

/// A probe that has ended.
#[derive(Clone, Debug)]
pub struct ProbeFacts {
    /// The bucket that was named for it.
    pub bucket: String,
    /// The key of the image.
    pub key: String,
    /// What was found out.
    pub findings: ProbeFindings,
    /// How putting the policy back ended.
    pub outcome: RestoreOutcome,
    /// The file with the policy from before.
    pub file: String,
}

/// A probe of the limits that has ended.
#[derive(Clone, Debug)]
pub struct LimitsFacts {
    /// The bucket that was named for it.
    pub bucket: String,
    /// The keys of the image and of the other objects.
    pub keys: Vec<String>,
    /// What was found out.
    pub findings: LimitsFindings,
    /// How putting the policy back ended.
    pub outcome: RestoreOutcome,
    /// The file with the policy from before.
    pub file: String,
}

/// A probe of unusual policies that has ended.
#[derive(Clone, Debug)]
pub struct FormsFacts {
    /// The bucket that was named for it.
    pub bucket: String,
    /// What was found out.
    pub findings: FormsFindings,
    /// How putting the policy back ended.
    pub outcome: RestoreOutcome,
    /// The file with the policy from before.
    pub file: String,
}

/// A probe of other ways to access that has ended.
#[derive(Clone, Debug)]
pub struct WaysFacts {
    /// The bucket that was named for it.
    pub bucket: String,
    /// The key of the image.
    pub key: String,
    /// What was found out.
    pub findings: WaysFindings,
    /// How putting the policy back ended.
    pub outcome: RestoreOutcome,
    /// The file with the policy from before.
    pub file: String,
}

/// A service of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Object Storage Service.
    Oss,
    /// The host of Object Storage Service for the settings of an account.
    OssAccount,
    /// Intelligent Media Management.
    Imm,
    /// Security Token Service.
    Sts,
    /// The metadata service of the ECS instance.
    Metadata,
    /// The URI that answers with credentials.
    CredentialsUri,
}

impl Service {
    /// Returns the name of the service.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oss => "OSS",
            Self::OssAccount => "OSS, settings of the account",
            Self::Imm => "IMM",
            Self::Sts => "STS",
            Self::Metadata => "metadata service",
            Self::CredentialsUri => "credentials URI",
        }
    }

    /// Whether it is one that only some installations use, or that has the same names as another one.
    pub fn is_further(self) -> bool {
        match self {
            Self::OssAccount | Self::Metadata | Self::CredentialsUri => true,
            Self::Oss | Self::Imm | Self::Sts => false,
        }
    }

    /// Returns the flag or the environment variable that sets its endpoint.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Oss | Self::OssAccount => "--oss-endpoint",
            Self::Imm => "--imm-endpoint",
            Self::Sts => "--sts-endpoint",
            Self::Metadata => "--own-identity",
            Self::CredentialsUri => "ALIBABA_CLOUD_CREDENTIALS_URI",
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is of an authority that is not trusted.
    UnknownIssuer,
    /// The certificate is for another name.
    OtherName,
    /// The certificate has expired or is not valid yet.
    OutOfTime,
    /// No handshake, or another cause.
    Handshake,
}

/// How far a connection gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// The name has no address.
    NoName,
    /// No address accepts a connection.
    NoConnection {
        /// Addresses of the name.
        addresses: Vec<IpAddr>,
    },
    /// The TLS handshake fails.
    NoTls {
        /// Addresses of the name.
        addresses: Vec<IpAddr>,
        /// Why.
        fault: TlsFault,
    },
    /// No answer to a request.
    NoAnswer {
        /// Addresses of the name.
        addresses: Vec<IpAddr>,
    },
    /// An answer.
    Answered {
        /// Addresses of the name.
        addresses: Vec<IpAddr>,
        /// Whether the connection is encrypted.
        encrypted: bool,
        /// How far the server's clock is ahead of the local one, if the answer has a date.
        offset: Option<SignedDuration>,
    },
}

impl Reachability {
    /// Returns the addresses of the name.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::NoName => &[],
            Self::NoConnection { addresses }
            | Self::NoTls { addresses, .. }
            | Self::NoAnswer { addresses }
            | Self::Answered { addresses, .. } => addresses,
        }
    }

    /// Whether the server answers.
    pub fn is_answered(&self) -> bool {
        matches!(self, Self::Answered { .. })
    }
}

/// An endpoint in use.
#[derive(Clone, Debug)]
pub struct EndpointFacts {
    /// The service.
    pub service: Service,
    /// Region, for the services that have an endpoint for each.
    pub region: String,
    /// URL.
    pub url: String,
    /// Proxy that requests to it pass through.
    pub proxy: Option<String>,
    /// How far a connection gets.
    pub reached: Reachability,
    /// URLs of the other names of the service that do answer; looked for only if this one does not.
    pub answering: Vec<String>,
}

/// A name of OSS, and how it answers a request for the objects of a bucket.
#[derive(Clone, Debug)]
pub struct VariantFacts {
    /// Kind of the name.
    pub kind: &'static str,
    /// URL.
    pub url: String,
    /// Region.
    pub region: String,
    /// Whether it is the name in use.
    pub in_use: bool,
    /// The answer.
    pub objects: Result<(), CloudError>,
}

/// Credentials, and whether they could be obtained.
#[derive(Clone, Debug)]
pub struct CredentialFacts {
    /// Where they come from.
    pub origin: String,
    /// Whether they are a session that STS issued for a ServiceAccount token (RRSA).
    pub by_token: bool,
    /// Whether they could be obtained.
    pub result: Result<(), CredentialsError>,
}

/// A grant.
#[derive(Clone, Debug)]
pub struct GrantFacts {
    /// The spec.
    pub spec: GrantSpec,
    /// The statements that it owns.
    pub ledger: Vec<LedgerEntry>,
    /// Its credentials.
    pub credentials: CredentialFacts,
    /// Its bucket; `None` without credentials.
    pub bucket: Option<BucketFacts>,
}

/// The bucket of a grant, as its credentials see it.
#[derive(Clone, Debug)]
pub struct BucketFacts {
    /// Account of the credentials.
    pub account: Result<String, CloudError>,
    /// Owner and region.
    pub info: Result<ObservedBucket, CloudError>,
    /// Block Public Access of the bucket and its account.
    pub block: Result<PublicAccessBlock, CloudError>,
    /// The policy; `None` if the bucket has none.
    pub policy: Result<Option<Vec<u8>>, CloudError>,
    /// Whether OSS counts the policy as public; `None` if it does not say.
    pub policy_is_public: Option<bool>,
}

/// A job.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// The spec.
    pub spec: JobSpec,
    /// Its credentials.
    pub credentials: CredentialFacts,
    /// Account of the credentials; `None` without credentials.
    pub account: Option<Result<String, CloudError>>,
    /// The project; `None` if it was not asked for.
    pub project: Option<Result<ProjectLimits, CloudError>>,
    /// Reading the source; `None` if the source needs no reading.
    pub listing: Option<ListingFacts>,
}

/// Reading the source of a job.
#[derive(Clone, Debug)]
pub struct ListingFacts {
    /// The credentials, if they are not those of the job.
    pub credentials: Option<CredentialFacts>,
    /// Number of objects on the first page, or 1 for an object that was read; `None` without credentials.
    pub result: Option<Result<usize, CloudError>>,
}
