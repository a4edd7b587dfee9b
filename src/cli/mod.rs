//! Command line and environment variables, and their conversion to settings. No other module reads the environment.

mod cluster;
mod escape;
pub mod generate;
mod manifest;
pub mod plan;
pub mod release_finalizers;
pub mod results;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use self::cluster::ClusterArgs;
use self::plan::PlanArgs;
use self::release_finalizers::ReleaseFinalizersArgs;
use self::results::ResultsArgs;
use crate::app::{OperatorIdentity, Settings};
use crate::cloud::Endpoints;
use crate::core::validate::is_namespace_name;
use crate::kubernetes::now;
use crate::ports::AccessKeys;
use crate::runtime::telemetry::LogFormat;

/// Kubernetes operator that grants Alibaba Cloud IMM read access to OSS buckets of other accounts and scores their images.
#[derive(Debug, Parser)]
#[command(name = "imm-operator", version, about, args_override_self = true)]
pub struct Arguments {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator in the cluster of KUBECONFIG or of the pod's ServiceAccount. Exit code 0: stopped, 1: failed or
    /// lease lost, 2: invalid command line.
    Run(Box<RunArgs>),
    /// Print what a grant would change in a bucket's policy, without writing. Exit code 0: no change, 2: changes, 1: error.
    Plan(PlanArgs),
    /// Remove the operator's finalizers from all grants, for an uninstall; the statements stay in the policies. Stop the
    /// operator first, because it adds the finalizers again.
    #[command(alias = "drain")]
    ReleaseFinalizers(ReleaseFinalizersArgs),
    /// Print the results of an ImageScoreJob: all in item order, or only the lowest scores.
    Results(ResultsArgs),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
    /// Print the reference of all condition and event reasons as Markdown.
    Reasons,
}

/// Flags of `run`; each can also be set by an environment variable.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// IP address and port of probes and metrics. [::] serves IPv6 and IPv4, or IPv4 alone without IPv6. Port 0 selects a free port, which is logged. Change it if the port is
    /// taken or must not be reachable from other hosts.
    #[arg(long, env = "IMM_OPERATOR_ADMIN_ADDRESS", default_value = "[::]:8080")]
    admin_address: SocketAddr,
    /// URL of OSS; {region} is replaced by the bucket's region, and the bucket is prepended to the host. Change it for
    /// internal (VPC) endpoints or an emulator.
    #[arg(long, env = "IMM_OPERATOR_OSS_ENDPOINT", default_value = Endpoints::OSS)]
    oss_endpoint: String,
    /// URL of IMM; {region} is replaced by the project's region. Change it for internal (VPC) endpoints or an emulator.
    #[arg(long, env = "IMM_OPERATOR_IMM_ENDPOINT", default_value = Endpoints::IMM)]
    imm_endpoint: String,
    /// URL of STS, for AssumeRole, RRSA and GetCallerIdentity. Change it for internal (VPC) endpoints or an emulator.
    #[arg(long, env = "IMM_OPERATOR_STS_ENDPOINT", default_value = Endpoints::STS)]
    sts_endpoint: String,
    /// Namespace of the operator, for its lease and policy backups. If unset, there is no leader election and no backup; set
    /// it in every cluster.
    #[arg(long, env = "IMM_OPERATOR_NAMESPACE", value_parser = parse_namespace)]
    namespace: Option<String>,
    /// Name of the lease in the namespace of the operator. Give each install in one namespace another name, and other
    /// namespaces to watch.
    #[arg(long, env = "IMM_OPERATOR_LEASE_NAME", default_value = "imm-operator")]
    lease_name: String,
    /// Namespace of the policy backups; default: the namespace of the operator. Set it to separate the backups from the
    /// tenancy rules, which are a ConfigMap too.
    #[arg(long, env = "IMM_OPERATOR_BACKUP_NAMESPACE")]
    backup_namespace: Option<String>,
    /// Run without a lease. Use it only if no second operator can run at the same time, for example on a workstation: two
    /// operators would write the same policies.
    #[arg(long, env = "IMM_OPERATOR_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Prefix of the holder identity in the lease; default: the pod's name (HOSTNAME). Process ID and start time are
    /// appended. Change it to recognize a process that runs outside of a pod.
    #[arg(long, env = "IMM_OPERATOR_LEADER_NAME")]
    leader_name: Option<String>,
    /// YAML file with the tenancy rules, read again every 5 s. Set it to limit which namespaces may use which buckets and
    /// projects, or to let namespaces use the operator's own identity.
    #[arg(long, env = "IMM_OPERATOR_TENANCY_RULES")]
    tenancy_rules: Option<PathBuf>,
    /// Folder with the files accessKeyId, accessKeySecret and optionally securityToken: the operator's own identity, read
    /// at each use. Takes precedence over the ALIBABA_CLOUD_ variables.
    #[arg(long, env = "IMM_OPERATOR_CREDENTIALS_FOLDER")]
    credentials_folder: Option<PathBuf>,
    /// Namespaces to watch, separated by commas; can be repeated; default: all. Set it if the operator has Roles in some namespaces only, or
    /// to run several operators in one cluster.
    #[arg(long, env = "IMM_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',', value_parser = parse_namespace)]
    watch_namespaces: Vec<String>,
    /// Format of log lines on standard error. Use text for reading in a terminal.
    #[arg(long, env = "IMM_OPERATOR_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Minimum level of log lines: error, warn, info, debug or trace. Use debug to investigate failed requests.
    #[arg(long, env = "IMM_OPERATOR_LOG_LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
}

/// Parses the name of a namespace, or an empty text.
fn parse_namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || is_namespace_name(name) {
        return Ok(name.to_owned());
    }
    Err(
        "a namespace is 1 to 63 lower-case letters, digits and hyphens, without a hyphen at either end"
            .to_owned(),
    )
}

impl RunArgs {
    /// Converts the flags to settings.
    pub fn settings(&self) -> Settings {
        Settings {
            cluster: ClusterArgs::default().options(),
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
            operator_namespace: self.namespace.clone().filter(|n| !n.is_empty()),
            lease_name: self.lease_name.clone(),
            backup_namespace: self
                .backup_namespace
                .clone()
                .or_else(|| self.namespace.clone())
                .filter(|n| !n.is_empty()),
            leader_name: (!self.no_leader_election).then(|| self.pod_name()),
            tenancy_rules: self.tenancy_rules.clone(),
            operator_identity: self.operator_identity(),
        }
    }

    /// Returns the holder identity: the flag, HOSTNAME (in a pod, the pod's name) or the program's name, made unique with
    /// process ID and start time.
    fn pod_name(&self) -> String {
        let given = self.leader_name.clone().or_else(|| variable("HOSTNAME"));
        // A restarted container has the same host name and the same process ID as before.
        let started = now().as_millisecond();
        format!(
            "{}_{}_{started}",
            given.unwrap_or_else(|| "imm-operator".to_owned()),
            std::process::id()
        )
    }

    /// Returns the operator's own identity: the folder if set, else static credentials or RRSA from the variables of Alibaba
    /// Cloud's SDKs, in this order.
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

/// Returns the static credentials in the variables of Alibaba Cloud's SDKs; `None` unless ID and secret are set.
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

/// Returns an environment variable without surrounding white space; `None` if it is unset or empty.
#[expect(clippy::disallowed_methods, reason = "the only reader of the environment")]
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    // The value of a Secret that was created with `echo` ends with a line break.
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &[&str]) -> Result<Settings, clap::Error> {
        let given = ["imm-operator", "run"].iter().chain(flags).copied();
        let Command::Run(run) = Arguments::try_parse_from(given)?.command else {
            panic!("another command than run");
        };
        Ok(run.settings())
    }

    #[test]
    fn the_last_of_several_equal_flags_counts_and_namespaces_accumulate() {
        let flags = [
            "--admin-address=0.0.0.0:8080",
            "--admin-address=[::1]:9090",
            "--watch-namespaces=media, analytics,",
            "--watch-namespaces",
            "more",
        ];
        let settings = settings(&flags).unwrap();
        assert_eq!(settings.admin_address.to_string(), "[::1]:9090");
        assert_eq!(settings.namespaces, ["media", "analytics", "more"]);
    }

    #[test]
    fn a_namespace_that_cannot_exist_is_refused_at_the_start() {
        for wrong in ["Media", "a.b", "media analytics", "-a", "*"] {
            assert!(settings(&["--watch-namespaces", wrong]).is_err(), "{wrong}");
            assert!(settings(&[&format!("--namespace={wrong}")]).is_err(), "{wrong}");
        }
    }
}
