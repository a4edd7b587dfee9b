//! The names by which the program is called: `imm-operator`, or `kubectl imm` as a plugin of kubectl, which runs an
//! executable named `kubectl-imm`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::ErrorKind;

/// Name of the executable.
const EXECUTABLE: &str = "imm-operator";
/// Name of the executable as a plugin of kubectl.
const PLUGIN: &str = "kubectl-imm";
/// Name under which kubectl runs a plugin to complete its command line.
const COMPLETER: &str = "kubectl_complete-imm";
/// What a user of the plugin types.
const TYPED: &str = "kubectl imm";
/// Commands that only the container image runs: the plugin neither lists nor runs them. A user of kubectl who tries `run`
/// would start a second operator.
const IN_THE_CLUSTER: &[&str] = &["run", "selftest"];

/// Returns whether the program was called as a plugin of kubectl.
pub(super) fn is_plugin(called: Option<&OsStr>) -> bool {
    is_called(called, PLUGIN)
}

/// Returns whether kubectl called the program to complete the command line of the plugin.
pub(super) fn is_completer(called: Option<&OsStr>) -> bool {
    is_called(called, COMPLETER)
}

fn is_called(called: Option<&OsStr>, name: &str) -> bool {
    called.is_some_and(|path| Path::new(path).file_name() == Some(OsStr::new(name)))
}

/// Returns the name of the executable.
pub(super) fn executable(plugin: bool) -> &'static str {
    if plugin { PLUGIN } else { EXECUTABLE }
}

/// Returns the definition of the command line by the name that the user typed: as a plugin, usage lines and examples say
/// `kubectl imm`.
pub(super) fn as_called(program: clap::Command, plugin: bool) -> clap::Command {
    if !plugin {
        return program;
    }
    let mut program = program.bin_name(TYPED);
    for subcommand in program.get_subcommands_mut() {
        let examples = subcommand.get_after_help().map(ToString::to_string);
        let hidden = IN_THE_CLUSTER.contains(&subcommand.get_name());
        let mut changed = std::mem::take(subcommand).hide(hidden);
        if let Some(examples) = examples {
            changed = changed.after_help(examples.replace(&format!("{EXECUTABLE} "), &format!("{TYPED} ")));
        }
        *subcommand = changed;
    }
    program
}

/// Parses a command line.
///
/// # Errors
/// Returns help or a usage error to print. As a plugin, the commands of the container image are usage errors.
pub(super) fn parse(
    mut program: clap::Command,
    plugin: bool,
    line: Vec<OsString>,
) -> Result<clap::ArgMatches, clap::Error> {
    let matches = program.try_get_matches_from_mut(line)?;
    match matches.subcommand_name() {
        Some(name) if plugin && IN_THE_CLUSTER.contains(&name) => {
            let message = format!(
                "'{name}' is no command of the plugin: the operator runs in the cluster, from its container image; on a workstation, call {EXECUTABLE} {name}"
            );
            Err(program.error(ErrorKind::InvalidSubcommand, message))
        }
        _ => Ok(matches),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Arguments;

    fn command(plugin: bool) -> clap::Command {
        as_called(Arguments::command(), plugin)
    }

    fn help(plugin: bool, line: &[&str]) -> String {
        let asked = command(plugin).try_get_matches_from(line);
        asked.unwrap_err().to_string()
    }

    #[test]
    fn usage_and_examples_say_what_the_user_typed() {
        let text = help(true, &["/krew/bin/kubectl-imm", "results", "--help"]);
        assert!(text.contains("Usage: kubectl imm results"), "{text}");
        assert!(text.contains("  kubectl imm results -n analytics"), "{text}");
        assert!(!text.contains("imm-operator results"), "{text}");
        let wrong = help(true, &["kubectl-imm", "results", "--wrong"]);
        assert!(wrong.contains("Usage: kubectl imm results"), "{wrong}");
        let text = help(false, &["/imm-operator", "results", "--help"]);
        assert!(text.contains("Usage: imm-operator results"), "{text}");
        assert!(text.contains("  imm-operator results -n analytics"), "{text}");
    }

    #[test]
    fn the_plugin_lists_what_its_users_run() {
        let text = help(true, &["kubectl-imm", "--help"]);
        assert!(
            text.contains("\n  plan ") && text.contains("\n  doctor "),
            "{text}"
        );
        assert!(!text.contains("\n  run "), "{text}");
        assert!(help(false, &["imm-operator", "--help"]).contains("\n  run "));
    }

    #[test]
    fn the_plugin_starts_no_operator() {
        let called = |plugin, line: &[&str]| {
            let line = line.iter().map(Into::into).collect();
            parse(command(plugin), plugin, line)
        };
        for name in IN_THE_CLUSTER {
            let line = ["imm", name, "--namespace=imm-system"];
            let refused = called(true, &line).unwrap_err();
            assert!(refused.use_stderr(), "{name}");
            let said = format!("'{name}' is no command of the plugin");
            assert!(refused.to_string().contains(&said), "{refused}");
            assert!(called(false, &line).is_ok(), "{name}");
        }
        assert!(called(true, &["imm", "reasons"]).is_ok());
    }

    #[test]
    fn only_the_name_of_the_plugin_makes_a_plugin() {
        for (called, plugin) in [
            ("/home/a/.krew/bin/kubectl-imm", true),
            ("kubectl-imm", true),
            ("/imm-operator", false),
            ("/kubectl-imm/imm-operator", false),
        ] {
            assert_eq!(is_plugin(Some(called.as_ref())), plugin, "{called}");
        }
        assert!(!is_plugin(None) && !is_completer(None));
        assert!(is_completer(Some("/bin/kubectl_complete-imm".as_ref())));
        assert!(!is_completer(Some("kubectl-imm".as_ref())));
        assert!(is_plugin(Some(executable(true).as_ref())) && !is_plugin(Some(executable(false).as_ref())));
    }

    /// Returns the examples of a help text: each command line up to a pipe, a redirection or a parenthesis.
    fn examples(text: &str) -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let commands = lines.filter_map(|line| Some(line.split_at(line.find("imm-operator ")?).1));
        commands
            .map(|line| {
                let end = line.find([')', '|', '>', '<']).unwrap_or(line.len());
                line[..end].split_whitespace().map(ToOwned::to_owned).collect()
            })
            .collect()
    }

    #[test]
    fn every_example_is_accepted_and_every_command_has_some() {
        let all = command(false);
        for subcommand in all.get_subcommands() {
            let name = subcommand.get_name();
            let text = subcommand.get_after_help().map(ToString::to_string);
            let found = examples(&text.unwrap_or_default());
            // Only the chart runs the self-test, in one way.
            let wanted = if name == "selftest" { 1 } else { 2 };
            assert!(found.len() >= wanted, "{name}: {found:?}");
            for line in found {
                assert_eq!(line[1], name);
                let parsed = command(false).try_get_matches_from(&line);
                assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
            }
        }
    }
}
