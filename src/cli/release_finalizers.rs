//! `imm-operator release-finalizers`: removes the operator's finalizers from all grants, so that deleted grants do
//! not stay Terminating after the operator is uninstalled. The statements stay in the policies: access remains until
//! they are removed.

use std::process::ExitCode;

use super::cluster::ClusterArgs;
use super::output::{fail, print};
use crate::app::release_finalizers;
use crate::core::text::counted;

const COMMAND: &str = "release-finalizers";

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # List the grants that would stay Terminating without the operator
  imm-operator release-finalizers

  # Release them, after the operator was stopped
  imm-operator release-finalizers --yes

Exit code 0: done, 1: failed, 64: invalid command line.";

/// Flags of `release-finalizers`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ReleaseFinalizersArgs {
    /// Remove the finalizers. Without this flag, the grants with a finalizer are only listed.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Lists the grants with the operator's finalizer and, with `--yes`, removes it. Returns exit code 1 after an error.
pub async fn run(flags: &ReleaseFinalizersArgs) -> ExitCode {
    match release_finalizers(&flags.cluster.options(), flags.yes).await {
        Ok(None) => {
            let text = "The cluster has no CRD immbucketgrants.immops.dev, so there are no grants and no finalizers\n";
            print(COMMAND, text, ExitCode::SUCCESS)
        }
        Ok(Some(held)) => {
            let verb = if flags.yes {
                "released"
            } else {
                "would be released with --yes"
            };
            let lines = held.iter().map(|(grant, statements)| {
                let statements = counted(*statements, "statement");
                format!("{grant}: {verb}; kept in the policy: {statements}\n")
            });
            let text = lines.collect::<String>() + &counted(held.len(), "grant") + "\n";
            print(COMMAND, &text, ExitCode::SUCCESS)
        }
        Err(error) => fail(COMMAND, &error, ExitCode::FAILURE),
    }
}
