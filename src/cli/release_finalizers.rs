//! `imm-operator release-finalizers`: takes our finalizers off all grants, so that nothing is stranded when the operator goes first. It
//! leaves every statement where it is: access stays until somebody removes it.

use std::process::ExitCode;

use crate::app::release_finalizers;

/// Flags of `drain`.
#[derive(Debug, clap::Args)]
pub struct ReleaseFinalizersArgs {
    /// Do it; without this flag the grants are only listed.
    #[arg(long)]
    yes: bool,
}

/// Lists the grants that we hold and, when told to, lets go of them.
pub async fn run(flags: &ReleaseFinalizersArgs) -> ExitCode {
    match release_finalizers(flags.yes).await {
        Ok(held) => {
            for (grant, statements) in &held {
                let word = if flags.yes {
                    "released"
                } else {
                    "would be released"
                };
                println!("{grant}: {word}; {statements} statements stay in the policy");
            }
            println!("{} grants", held.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("imm-operator release-finalizers: {error}");
            ExitCode::FAILURE
        }
    }
}
