//! Generated reference pages of the book. Each is derived from what users meet: the CRDs, the help texts of the
//! program, the registered metrics, the names of annotations and labels, and the values of the chart.

mod api;
mod metrics;
mod names;

use std::fmt::Write as _;

use crate::chart_files::described_table;
use crate::error::{HarnessError, Result};

/// Folder of the reference pages in the checkout.
pub const FOLDER: &str = "docs/src/reference";

pub use api::page as api_page;
pub use metrics::page as metrics_page;
pub use names::page as names_page;

/// Returns the first lines of a generated page.
fn head(title: &str, source: &str) -> String {
    format!("# {title}\n\nGenerated from {source} by `make generate`; do not edit.\n")
}

/// Returns text as the content of a cell of a Markdown table.
fn cell(text: &str) -> String {
    let text = text.trim().replace('|', "\\|").replace('<', "&lt;");
    text.replace('\n', "<br>")
}

/// Returns the page of the commands, from the name and the help text of each. Fails if a help text is empty.
pub fn commands_page(commands: &[(String, String)]) -> Result<String> {
    let mut page = head("Commands", "the help texts of `imm-operator`");
    page += "\nThe plugin `kubectl imm …` is the same program, without `run` and `selftest`. Flags follow the subcommand: \
             `kubectl imm results gallery -n media`, because kubectl accepts none before the name of a plugin.\n";
    for (name, help) in commands {
        if help.trim().is_empty() {
            return Err(HarnessError::Surprise(format!("{name} has no help text")));
        }
        let lines: Vec<&str> = help.trim().lines().map(str::trim_end).collect();
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
    }
    Ok(page)
}

/// Returns the names of the commands in the help text of the program.
pub fn command_names(help: &str) -> Vec<String> {
    let listed = help.split("Commands:").nth(1).unwrap_or_default();
    let listed = listed.split("Options:").next().unwrap_or_default();
    let names = listed.lines().filter_map(|line| {
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        name.split_whitespace().next()
    });
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Returns the page of the chart's values.
pub fn values_page(values: &str) -> String {
    let intro = "\nUnknown names and invalid values are rejected by the schema of the chart.\n\n";
    head("Helm values", "the chart's `values.yaml`") + intro + &described_table(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "A program\n\nUsage: x <COMMAND>\n\nCommands:\n  run     Run it\n          now\n  plan    Plan\n  help    Print this message\n\nOptions:\n  -h, --help\n";

    #[test]
    fn every_command_but_help_is_found() {
        assert_eq!(command_names(HELP), ["run", "plan"]);
        assert!(command_names("nothing").is_empty());
    }

    #[test]
    fn a_command_without_a_help_text_is_rejected() {
        let page = commands_page(&[("imm-operator".to_owned(), format!("{HELP}  \n"))]).unwrap();
        assert!(page.contains("## imm-operator\n\n```text\nA program\n"), "{page}");
        assert!(commands_page(&[("imm-operator".to_owned(), " \n".to_owned())]).is_err());
    }

    #[test]
    fn a_bar_a_tag_and_a_line_break_stay_in_their_cell() {
        assert_eq!(cell("a | <b>\n- c\n"), "a \\| &lt;b><br>- c");
    }
}
