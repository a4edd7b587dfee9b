//! Command line and environment variables, and their conversion to settings. No other module reads the environment.

mod cloud_args;
mod cluster;
mod completion;
pub mod doctor;
mod environment;
mod escape;
pub mod generate;
mod kind;
mod manifest;
pub mod output;
pub mod plan;
mod program;
pub mod release_finalizers;
pub mod results;
mod scope_args;
pub mod selftest;

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use thiserror::Error;

use self::cloud_args::{CloudArgs, IdentityError};
use self::cluster::ClusterArgs;
pub use self::completion::CompletionArgs;
use self::doctor::DoctorArgs;
pub use self::environment::credentials_from_environment;
use self::environment::variable;
use self::output::USAGE_ERROR;
use self::plan::PlanArgs;
use self::release_finalizers::ReleaseFinalizersArgs;
use self::results::ResultsArgs;
use self::scope_args::ScopeArgs;
use self::selftest::SelftestArgs;
use crate::app::{LeaseSettings, Settings};
use crate::kubernetes::now;
use crate::runtime::telemetry::LogFormat;

/// Examples in the help texts of commands without a module of their own.
const RUN_EXAMPLES: &str = "Examples:
  # On a workstation, in the cluster of the current context, while no other operator runs
  imm-operator run --no-leader-election --namespace imm-system --log-format text

  # Only two namespaces, through the internal (VPC) names of Alibaba Cloud
  imm-operator run --namespace imm-system --watch-namespaces media,analytics --network internal";
const CRD_EXAMPLES: &str = "Examples:
  # What an update of the CRDs would change in the cluster
  imm-operator crd | kubectl diff --server-side -f -

  # Update them without Helm
  imm-operator crd | kubectl apply --server-side -f -";
const REASONS_EXAMPLES: &str = "Examples:
  # What a reason means, and what to do
  imm-operator reasons | grep PolicyTooLarge

  # All of them, to read in a terminal
  imm-operator reasons | less";

/// Kubernetes operator that grants Alibaba Cloud IMM read access to OSS buckets of other accounts and scores their
/// images.
#[derive(Debug, Parser)]
#[command(name = "imm-operator", version, about, args_override_self = true)]
pub struct Arguments {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Parses the command line of the process. Prints help or an error and ends the process if there is nothing to run.
    pub fn of_process() -> Self {
        let line: Vec<_> = std::env::args_os().collect();
        if program::is_completer(line.first().map(OsString::as_os_str)) {
            let program = program::as_called(Self::command(), true);
            let written = output::write_output("completion", &completion::for_kubectl(program, line));
            std::process::exit(i32::from(!written));
        }
        let plugin = called_as_plugin();
        let program = program::as_called(Self::command(), plugin);
        let parsed = program::parse(program, plugin, line);
        let parsed = parsed.and_then(|matches| Self::from_arg_matches(&matches));
        parsed.unwrap_or_else(|error| {
            // Nothing can be said about output that cannot be written.
            let _ = error.print();
            std::process::exit(if error.use_stderr() { USAGE_ERROR.into() } else { 0 })
        })
    }
}

fn called_as_plugin() -> bool {
    program::is_plugin(std::env::args_os().next().as_deref())
}

/// Returns the script of `completion`, for the name by which the program was called.
pub fn completion_script(flags: &CompletionArgs) -> String {
    flags.script(Arguments::command(), program::executable(called_as_plugin()))
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator in the cluster of KUBECONFIG or of the pod's ServiceAccount. Exit code 0: stopped, 1: failed or
    /// lease lost, 64: invalid command line.
    Run(Box<RunArgs>),
    /// Print what a grant would change in a bucket's policy, without writing. Exit code 0: no change, 2: changes, 1:
    /// error, 64: invalid command line.
    Plan(PlanArgs),
    /// Say whether an installation will work with the real cloud, and which values to set. Without --probe-bucket,
    /// nothing is written and no call is billed. Exit code 0: all is well, 1: warnings, 2: failed, 64: invalid
    /// command line.
    Doctor(Box<DoctorArgs>),
    /// Check an installation from inside the cluster: API server, CRDs, permissions, leader and metrics. Nothing is
    /// written, and Alibaba Cloud is not called.
    Selftest(SelftestArgs),
    /// Remove the operator's finalizers from all grants, for an uninstall; the statements stay in the policies. Stop the
    /// operator first, because it adds the finalizers again.
    #[command(alias = "drain")]
    ReleaseFinalizers(ReleaseFinalizersArgs),
    /// Print the results of an ImageScoreJob: all in item order, or only the lowest scores.
    Results(ResultsArgs),
    /// Print a script that completes commands and flags in a shell.
    Completion(CompletionArgs),
    /// Print the CustomResourceDefinitions as YAML.
    #[command(after_help = CRD_EXAMPLES)]
    Crd,
    /// Print the reference of all condition and event reasons as Markdown.
    #[command(after_help = REASONS_EXAMPLES)]
    Reasons,
}

/// Flags of `run`; each can also be set by an environment variable.
#[derive(Debug, clap::Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// IP address and port of probes and metrics. [::] serves IPv6 and IPv4, or IPv4 alone without IPv6. Port 0
    /// selects a free port, which is logged. Change it if the port is taken or must not be reachable from other
    /// hosts.
    #[arg(long, env = "IMM_OPERATOR_ADMIN_ADDRESS", default_value = "[::]:8080")]
    admin_address: SocketAddr,
    /// Endpoints and the operator's own identity.
    #[command(flatten)]
    cloud: CloudArgs,
    /// Namespaces, lease and tenancy rules.
    #[command(flatten)]
    scope: ScopeArgs,
    /// Run without a lease. Use it only if no second operator can run at the same time, for example on a workstation: two
    /// operators would write the same policies.
    #[arg(long, env = "IMM_OPERATOR_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Prefix of the holder identity in the lease; default: the host name (HOSTNAME). Process ID and start time are
    /// appended. The chart sets it to the pod's name, from which the host name differs with hostNetwork or beyond 63
    /// characters. Change it to recognize a process that runs outside of a pod.
    #[arg(long, env = "IMM_OPERATOR_LEADER_NAME")]
    leader_name: Option<String>,
    /// Format of log lines on standard error. Use text for reading in a terminal.
    #[arg(long, env = "IMM_OPERATOR_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// Minimum level of log lines: error, warn, info, debug or trace. Use debug to investigate failed requests.
    #[arg(long, env = "IMM_OPERATOR_LOG_LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
}

/// Reasons why the flags and variables of `run` make no settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// Neither a lease nor its absence is chosen.
    #[error("set --namespace for the lease, or --no-leader-election if no other operator runs")]
    NoLease,
    /// The operator's own identity is contradictory or incomplete.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl RunArgs {
    /// Converts the flags to settings.
    ///
    /// # Errors
    /// Flags and variables that contradict each other or are incomplete.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Ok(Settings {
            cluster: ClusterArgs::default().options(),
            admin_address: self.admin_address,
            endpoints: self.cloud.endpoints(),
            namespaces: self.scope.watched(),
            lease: self.lease()?,
            backup_namespace: self.scope.backup_namespace(),
            tenancy_rules: self.scope.tenancy_rules.clone(),
            operator_identity: self.cloud.operator_identity()?,
        })
    }

    /// Returns the lease; `None` with --no-leader-election.
    ///
    /// # Errors
    /// Fails without a namespace: an operator that runs unnoticed without a lease is a second writer of the policies.
    fn lease(&self) -> Result<Option<LeaseSettings>, SettingsError> {
        if self.no_leader_election {
            return Ok(None);
        }
        Ok(Some(LeaseSettings {
            namespace: self.scope.namespace().ok_or(SettingsError::NoLease)?,
            name: self.scope.lease_name.clone(),
            holder: self.holder_identity(),
        }))
    }

    /// Returns the holder identity: the flag, HOSTNAME or the program's name, made unique with process ID and start time.
    fn holder_identity(&self) -> String {
        let given = self.leader_name.clone().or_else(|| variable("HOSTNAME"));
        // A restarted container has the same host name and the same process ID as before.
        let started = now().as_millisecond();
        format!(
            "{}_{}_{started}",
            given.unwrap_or_else(|| "imm-operator".to_owned()),
            std::process::id()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::OperatorIdentity;

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let given = ["imm-operator", "run", "--namespace=imm-system"]
            .iter()
            .chain(flags)
            .copied();
        let parsed = Arguments::try_parse_from(given).map_err(|error| error.to_string())?;
        let Command::Run(run) = parsed.command else {
            panic!("another command than run");
        };
        run.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_of_several_equal_flags_counts_and_namespaces_accumulate_each_once() {
        let flags = [
            "--admin-address=0.0.0.0:8080",
            "--admin-address=[::1]:9090",
            "--watch-namespaces=media, analytics,,media",
            "--watch-namespaces",
            "more",
            "--watch-namespaces=analytics",
        ];
        let settings = settings(&flags).unwrap();
        assert_eq!(settings.admin_address.to_string(), "[::1]:9090");
        assert_eq!(settings.namespaces, ["analytics", "media", "more"]);
    }

    #[test]
    fn a_namespace_that_cannot_exist_is_refused_at_the_start() {
        for wrong in ["Media", "a.b", "media analytics", "-a", "*"] {
            assert!(settings(&["--watch-namespaces", wrong]).is_err(), "{wrong}");
            assert!(settings(&[&format!("--namespace={wrong}")]).is_err(), "{wrong}");
            assert!(settings(&["--backup-namespace", wrong]).is_err());
        }
        for wrong in ["My Lease", "-a", "a..b", "a/b"] {
            assert!(settings(&[&format!("--lease-name={wrong}")]).is_err(), "{wrong}");
        }
        for (given, lease) in [(" one.lease\n", "one.lease"), ("", "imm-operator")] {
            let used = settings(&["--backup-namespace= backups\n", "--lease-name", given]).unwrap();
            assert_eq!(used.lease.unwrap().name, lease);
            assert_eq!(used.backup_namespace.as_deref(), Some("backups"));
        }
    }

    #[test]
    fn a_process_without_a_lease_says_so() {
        let lease = settings(&[]).unwrap().lease.unwrap();
        assert_eq!(lease.namespace, "imm-system");
        assert!(settings(&["--no-leader-election"]).unwrap().lease.is_none());
        let refused = settings(&["--namespace="]).err().unwrap();
        assert!(
            refused.contains("set --namespace for the lease, or --no-leader-election"),
            "{refused}"
        );
        assert!(settings(&["--namespace=", "--no-leader-election"]).is_ok());
    }

    #[test]
    fn endpoints_accumulate_and_are_separated_by_commas() {
        let flags = [
            "--oss-endpoint=https://first.example.com",
            "--oss-endpoint=cn-hangzhou=https://one.example.com,cn-beijing=https://two.example.com",
            "--oss-endpoint",
            "https://last.example.com, ",
            "--network=internal",
            "--region=cn-shanghai",
        ];
        let endpoints = settings(&flags).unwrap().endpoints;
        assert_eq!(endpoints.oss.len(), 5);
        let used = endpoints.resolve(None).unwrap();
        assert_eq!(used.sts(), "https://sts-vpc.cn-shanghai.aliyuncs.com/");
        assert!(used.describe()[0].starts_with("https://last.example.com/,"));
    }

    #[test]
    fn a_named_identity_is_complete_and_the_only_one() {
        let folder = "--credentials-folder=/keys";
        let named = |name: &str, more: &[&str]| {
            let flag = format!("--own-identity={name}");
            settings(&[&[flag.as_str()], more].concat()).map(|settings| settings.operator_identity)
        };
        assert!(matches!(named("ecs", &[]), Ok(OperatorIdentity::Instance { .. })));
        assert!(matches!(
            named("folder", &[folder]),
            Ok(OperatorIdentity::Folder(_))
        ));
        assert!(matches!(named("none", &[]), Ok(OperatorIdentity::None)));
        for (name, more, part) in [
            ("folder", &[][..], "--credentials-folder"),
            ("environment", &[], "ALIBABA_CLOUD_ACCESS_KEY_ID"),
            ("rrsa", &[], "ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
            ("uri", &[], "ALIBABA_CLOUD_CREDENTIALS_URI"),
            ("ecs", &[folder], "excludes --credentials-folder"),
            ("ecs", &["--metadata-address=10.0.0.1:80"], "loopback"),
            ("imds", &[], "possible values"),
        ] {
            let message = named(name, more).err().unwrap();
            assert!(message.contains(part), "{name}: {message}");
        }
    }
}
