//! `imm-operator completion`: prints a script that completes commands, flags and their values in a shell. kubectl completes
//! the command lines of its plugins itself, and asks the program for the candidates.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::ValueEnum;
use clap_complete::engine::complete;
use clap_complete::{Shell, generate};

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # In the current bash
  source <(imm-operator completion bash)

  # In every new shell
  imm-operator completion bash > ~/.local/share/bash-completion/completions/imm-operator
  imm-operator completion zsh > ~/.zfunc/_imm-operator
  imm-operator completion fish > ~/.config/fish/completions/imm-operator.fish

  # For kubectl imm, where kubectl itself is completed: a second name of the plugin
  ln -s \"$(command -v kubectl-imm)\" ~/.local/bin/kubectl_complete-imm";

/// Directives of cobra, whose completion kubectl uses: no space after a candidate, and no names of files.
const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;

/// Shells with a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CompletedShell {
    /// Bash 4 or newer.
    Bash,
    /// Z shell.
    Zsh,
    /// Fish.
    Fish,
}

/// Flags of `completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionArgs {
    /// Shell that reads the script.
    #[arg(value_enum)]
    shell: CompletedShell,
}

impl CompletionArgs {
    /// Returns the script that completes a program under a name.
    pub(super) fn script(&self, mut program: clap::Command, name: &str) -> String {
        let shell = match self.shell {
            CompletedShell::Bash => Shell::Bash,
            CompletedShell::Zsh => Shell::Zsh,
            CompletedShell::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut program, name, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

/// Returns what kubectl reads from `kubectl_complete-imm`: a candidate for the last word of the command line in each line,
/// with a tab before its help, and a colon with cobra's directives in the last line.
pub(super) fn for_kubectl(mut program: clap::Command, line: Vec<OsString>) -> String {
    let last = line.len().saturating_sub(1);
    let folder = std::env::current_dir().ok();
    let candidates = complete(&mut program, line, last, folder.as_deref()).unwrap_or_default();
    let mut text = String::new();
    let mut directives = NO_FILES;
    for candidate in candidates.iter().filter(|candidate| !candidate.is_hide_set()) {
        let value = candidate.get_value().to_string_lossy();
        // The path continues in that folder.
        if value.ends_with('/') {
            directives |= NO_SPACE;
        }
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{value}\t{}", help.lines().next().unwrap_or_default());
    }
    let _ = writeln!(text, ":{directives}");
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn every_shell_completes_every_command_under_either_name() {
        for shell in CompletedShell::value_variants() {
            for name in ["imm-operator", "kubectl-imm"] {
                let script = CompletionArgs { shell: *shell }.script(Arguments::command(), name);
                assert!(script.contains(name), "{shell:?} {name}");
                for expected in Arguments::command().get_subcommands() {
                    assert!(script.contains(expected.get_name()), "{shell:?} {expected}");
                }
                assert!(script.contains("lowest"), "{shell:?} {name}");
            }
        }
    }

    #[test]
    fn bash_accepts_the_script_and_completes_with_it() {
        let script = CompletionArgs {
            shell: CompletedShell::Bash,
        }
        .script(Arguments::command(), "imm-operator");
        // The name of the function is clap_complete's own.
        let ask = "
            registered=$(complete -p imm-operator); registered=${registered##*-F }
            COMP_WORDS=(imm-operator res); COMP_CWORD=1
            ${registered%% *} imm-operator res imm-operator
            echo \"${COMPREPLY[@]}\"";
        let bash = std::process::Command::new("bash")
            .args(["--norc", "-c", &format!("{script}{ask}")])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&bash.stdout),
            "results\n",
            "{}",
            String::from_utf8_lossy(&bash.stderr)
        );
    }

    fn answer(arguments: &[&str]) -> String {
        let line = ["kubectl_complete-imm"].iter().chain(arguments);
        for_kubectl(Arguments::command(), line.map(OsString::from).collect())
    }

    #[test]
    fn kubectl_gets_commands_flags_and_values_with_their_help() {
        let commands = answer(&["res"]);
        assert!(commands.starts_with("results\tPrint the results"), "{commands}");
        assert!(commands.ends_with("\n:4\n"), "{commands}");
        let flags = answer(&["results", "--low"]);
        assert!(flags.starts_with("--lowest\t"), "{flags}");
        let values = answer(&["results", "--output", "j"]);
        assert!(values.starts_with("json"), "{values}");
        assert!(!answer(&[""]).contains("drain"), "an alias is no candidate");
    }

    #[test]
    fn a_word_that_nothing_completes_has_no_candidates() {
        assert_eq!(answer(&["nothing-begins-so"]), ":4\n");
        assert_eq!(answer(&["nothing-begins-so", ""]).lines().last(), Some(":4"));
    }
}
