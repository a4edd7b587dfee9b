//! `imm-operator release-finalizers`: removes the operator's finalizers from all grants, so that deleted grants do not stay
//! Terminating after the operator is uninstalled. The statements stay in the policies: access remains until they are
//! removed.

use std::process::ExitCode;

use super::cluster::ClusterArgs;
use super::escape::escaped;
use crate::app::release_finalizers;
use crate::core::condition_builder::counted;

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # List the grants that would stay Terminating without the operator
  imm-operator release-finalizers

  # Release them, after the operator was stopped
  imm-operator release-finalizers --yes

Exit code 0: done, 1: failed, 2: invalid command line.";

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
            println!(
                "The cluster has no CRD immbucketgrants.immops.dev, so there are no grants and no finalizers"
            );
            ExitCode::SUCCESS
        }
        Ok(Some(held)) => {
            for (grant, statements) in &held {
                let word = if flags.yes {
                    "released"
                } else {
                    "would be released with --yes"
                };
                println!(
                    "{grant}: {word}; kept in the policy: {}",
                    counted(*statements, "statement")
                );
            }
            println!("{}", counted(held.len(), "grant"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("imm-operator release-finalizers: {}", escaped(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
