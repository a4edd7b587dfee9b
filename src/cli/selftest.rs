//! `imm-operator selftest`: checks an installation from inside, without writing and without a call to Alibaba Cloud. The
//! chart's `helm test` runs it.

use std::process::ExitCode;
use std::time::Duration;

use super::cluster::ClusterArgs;
use super::escape::escaped;
use super::output::{USAGE_ERROR, fail, print};
use super::scope_args::ScopeArgs;
use crate::app::{SelftestSettings, selftest};
use crate::core::doctor::{Check, Level};
use crate::core::selftest::Installation;
use crate::core::text::counted;

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # What `helm test` runs in a Pod of the release, with the ServiceAccount of the operator
  imm-operator selftest --namespace=imm-system --lease-name=imm-operator --backup-namespace=imm-system

Exit code 0: all checks are ok, 1: a check failed, 64: invalid command line.";

/// Flags of `selftest`; give those that the operator has.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SelftestArgs {
    /// What the operator's permissions follow from.
    #[command(flatten)]
    scope: ScopeArgs,
    /// HOST:PORT of the operator's probes and metrics, for example of the Service for metrics. Without it, they are
    /// not read.
    #[arg(long, value_name = "HOST:PORT")]
    operator_address: Option<String>,
    /// Seconds for which a check may fail: an operator that has just been installed needs some to start. A leader
    /// renews its lease every 5 s, so set at least 10.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Where the cluster is configured.
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints one line for each check. Returns exit code 1 if one failed, and 64 without the namespace of the operator.
pub async fn run(flags: &SelftestArgs) -> ExitCode {
    let (Some(namespace), Some(backup_namespace)) = (flags.scope.namespace(), flags.scope.backup_namespace())
    else {
        let message = "--namespace is required: name the namespace of the operator";
        return fail("selftest", &message, ExitCode::from(USAGE_ERROR));
    };
    let installation = Installation {
        namespace,
        lease_name: flags.scope.lease_name.clone(),
        backup_namespace,
        watched: flags.scope.watched(),
        reads_labels: false,
    };
    let checks = Box::pin(selftest(SelftestSettings {
        cluster: flags.cluster.options(),
        installation,
        tenancy_rules: flags.scope.tenancy_rules.clone(),
        operator_address: flags.operator_address.clone(),
        timeout: Duration::from_secs(flags.timeout),
    }))
    .await;
    let text: String = checks.iter().map(Check::to_line).collect();
    let failed = checks.iter().filter(|check| check.level != Level::Ok).count();
    let count = counted(checks.len(), "check");
    let (result, code) = if failed == 0 {
        (format!("{count} ok"), ExitCode::SUCCESS)
    } else {
        (format!("{failed} of {count} failed"), ExitCode::FAILURE)
    };
    print("selftest", &format!("{}{result}\n", escaped(&text)), code)
}
