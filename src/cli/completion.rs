//! `imm-operator completion`: prints a script that completes commands, flags and their values in a shell.

use clap::ValueEnum;
use clap_complete::{Shell, generate};

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # In the current bash
  source <(imm-operator completion bash)

  # In every new shell
  imm-operator completion bash > ~/.local/share/bash-completion/completions/imm-operator
  imm-operator completion zsh > ~/.zfunc/_imm-operator
  imm-operator completion fish > ~/.config/fish/completions/imm-operator.fish";

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
}
