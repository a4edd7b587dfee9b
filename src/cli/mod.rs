//! The command line and the environment, as typed and as meant. The only reader of the environment.

pub mod generate;
pub mod plan;
pub mod release_finalizers;
pub mod results;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use self::plan::PlanArgs;
use self::release_finalizers::ReleaseFinalizersArgs;
use self::results::ResultsArgs;
use crate::app::{OperatorIdentity, Settings};
use crate::cloud::Endpoints;
use crate::kubernetes::now;
use crate::ports::AccessKeys;
use crate::runtime::telemetry::LogFormat;

/// Grants across accounts for Alibaba Cloud OSS buckets, and image scores by IMM.
#[derive(Debug, Parser)]
#[command(name = "imm-operator", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator against the cluster of KUBECONFIG or of the pod's ServiceAccount.
    Run(Box<RunArgs>),
    /// Prints what a grant would change in a bucket's policy. Exit code 0: nothing, 2: something, 1: an error.
    Plan(PlanArgs),
    /// Removes the finalizers of all grants before an uninstall; their statements stay in the policies.
    #[command(alias = "drain")]
    ReleaseFinalizers(ReleaseFinalizersArgs),
    /// Prints the results of a job: all of them in order, or the lowest scores.
    Results(ResultsArgs),
    /// Prints the CustomResourceDefinitions as YAML.
    Crd,
    /// Prints the reference of condition and event reasons as Markdown.
    Reasons,
}

/// Flags of `run`; each can be given in the environment as well.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Address of probes and metrics; port 0 takes a free one, which the log names.
    #[arg(long, env = "IMM_OPERATOR_ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    admin_address: SocketAddr,
    /// Address of OSS; {region} stands for the bucket's region.
    #[arg(long, env = "IMM_OPERATOR_OSS_ENDPOINT", default_value = Endpoints::OSS)]
    oss_endpoint: String,
    /// Address of IMM; {region} stands for the project's region.
    #[arg(long, env = "IMM_OPERATOR_IMM_ENDPOINT", default_value = Endpoints::IMM)]
    imm_endpoint: String,
    /// Address of STS.
    #[arg(long, env = "IMM_OPERATOR_STS_ENDPOINT", default_value = Endpoints::STS)]
    sts_endpoint: String,
    /// The operator's own namespace, where its lease and copies of policies are kept; without it there is neither.
    #[arg(long, env = "IMM_OPERATOR_NAMESPACE")]
    namespace: Option<String>,
    /// Work without holding a lease; only safe when there is never a second process.
    #[arg(long, env = "IMM_OPERATOR_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Name under which the lease is held; the pod's name by default.
    #[arg(long, env = "IMM_OPERATOR_LEADER_NAME")]
    leader_name: Option<String>,
    /// File with the tenancy rules (YAML); looked at again every five seconds.
    #[arg(long, env = "IMM_OPERATOR_TENANCY_RULES")]
    tenancy_rules: Option<PathBuf>,
    /// Folder with files accessKeyId, accessKeySecret and optionally securityToken: the operator's own identity.
    #[arg(long, env = "IMM_OPERATOR_CREDENTIALS_FOLDER")]
    credentials_folder: Option<PathBuf>,
    /// Namespaces to work in, separated by commas; none means all.
    #[arg(long, env = "IMM_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// How log lines look.
    #[arg(long, env = "IMM_OPERATOR_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Least severe level to log: error, warn, info, debug or trace.
    #[arg(long, env = "IMM_OPERATOR_LOG_LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
}

impl RunArgs {
    /// What the flags mean.
    pub fn settings(&self) -> Settings {
        Settings {
            admin_address: self.admin_address,
            oss_endpoint: self.oss_endpoint.clone(),
            imm_endpoint: self.imm_endpoint.clone(),
            sts_endpoint: self.sts_endpoint.clone(),
            namespaces: self
                .watch_namespaces
                .iter()
                .filter(|n| !n.is_empty())
                .cloned()
                .collect(),
            operator_namespace: self.namespace.clone(),
            leader_name: (!self.no_leader_election).then(|| self.pod_name()),
            tenancy_rules: self.tenancy_rules.clone(),
            operator_identity: self.operator_identity(),
        }
    }

    /// The pod's name, which Kubernetes puts into HOSTNAME; elsewhere something that no second process has.
    fn pod_name(&self) -> String {
        let given = self.leader_name.clone().or_else(|| variable("HOSTNAME"));
        // A container that is started again in its Pod has the same host name and the same process id.
        let started = now().as_millisecond();
        format!(
            "{}_{}_{started}",
            given.unwrap_or_else(|| "imm-operator".to_owned()),
            std::process::id()
        )
    }

    /// A folder if one is named; else the variables that Alibaba's SDKs read, in their order.
    fn operator_identity(&self) -> OperatorIdentity {
        if let Some(folder) = &self.credentials_folder {
            return OperatorIdentity::Folder(folder.clone());
        }
        if let Some(keys) = credentials_from_environment() {
            return OperatorIdentity::Static(keys);
        }
        let file = variable("ALIBABA_CLOUD_OIDC_TOKEN_FILE");
        match (
            file,
            variable("ALIBABA_CLOUD_ROLE_ARN"),
            variable("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"),
        ) {
            (Some(file), Some(role_arn), Some(provider_arn)) => OperatorIdentity::Token {
                file: file.into(),
                role_arn,
                provider_arn,
            },
            _ => OperatorIdentity::None,
        }
    }
}

/// Static keys in the variables that Alibaba's SDKs read.
pub fn credentials_from_environment() -> Option<AccessKeys> {
    let (id, secret) = (
        variable("ALIBABA_CLOUD_ACCESS_KEY_ID")?,
        variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET")?,
    );
    let token = variable("ALIBABA_CLOUD_SECURITY_TOKEN").map(Into::into);
    Some(AccessKeys {
        id,
        secret: secret.into(),
        token,
        expires_at: None,
    })
}

/// A variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    // A Secret that was made with echo ends in a line break.
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}
