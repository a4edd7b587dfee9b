//! The stage `licences`: what cargo-deny finds in the dependencies. Advisories need a database on GitHub, which a
//! machine may not reach: then they are not checked, and the end of the output says so.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::stage::Stage;
use crate::cargo_program::CARGO_DENY;
use crate::error::Result;
use crate::plane::clients;

/// How long the advisory database may take. A network that drops packets never answers.
const PATIENCE: Duration = Duration::from_secs(120);
const CHECK: [&str; 3] = ["--locked", "check", "--hide-inclusion-graph"];

/// Checks licences, banned crates and sources, and advisories if their database can be fetched.
pub(super) async fn stage(stage: &mut Stage<'_>) -> Result<()> {
    let deny = stage.installed(CARGO_DENY).await?;
    let of = |what: &[&'static str]| [&CHECK[..], what].concat();
    stage
        .command(&deny, &of(&["licenses", "bans", "sources"]))
        .await?;
    match fetched(stage.root(), &deny).await {
        Ok(()) => stage.command(&deny, &of(&["advisories"])).await,
        Err(reason) => {
            stage.gap(&format!(
                "advisories and withdrawn crates, because their database cannot be fetched ({reason}): `cargo deny --locked check \
                 advisories` checks them on a machine that reaches GitHub"
            ));
            Ok(())
        }
    }
}

/// Fetches the advisory database. An error is the reason why that fails, in one line.
async fn fetched(root: &Path, deny: &Path) -> std::result::Result<(), String> {
    let mut fetch = Command::new(deny);
    fetch.current_dir(root).kill_on_drop(true);
    let fetching = clients::run(fetch, "cargo-deny", &["--locked", "fetch", "db"], None);
    match tokio::time::timeout(PATIENCE, fetching).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(last_line(&error.to_string())),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fetches with another program in place of cargo-deny.
    async fn with(program: &str) -> std::result::Result<(), String> {
        fetched(Path::new("/"), Path::new(program)).await
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_fetched_is_a_reason_and_no_failure() {
        assert_eq!(with("true").await, Ok(()));
        let refused = with("cat").await.unwrap_err();
        assert!(refused.contains("cat") && !refused.contains('\n'), "{refused}");
    }

    #[test]
    fn the_reason_is_the_last_line_with_a_text() {
        assert_eq!(
            last_line("[ERROR] failed\nfatal: no such host\n \n"),
            "fatal: no such host"
        );
        assert_eq!(last_line(""), "");
    }
}
