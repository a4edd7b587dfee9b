//! Standard output and exit codes of the commands.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::escape::escaped;

/// Exit code for an invalid command line, as in sysexits.h: 1 and 2 are results of `plan` and `doctor`.
pub const USAGE_ERROR: u8 = 64;

/// Writes the output of a command. Returns `false`, with the error on standard error, if it could not be written. A
/// reader that closes the pipe early, such as head, is not a failure.
pub(super) fn write_output(command: &str, text: &str) -> bool {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("imm-operator {command}: cannot write to standard output: {error}");
            false
        }
        Ok(()) | Err(_) => true,
    }
}

/// Writes the output of a command. Returns `code`, or exit code 1 if it could not be written.
pub fn print(command: &str, text: &str, code: ExitCode) -> ExitCode {
    if write_output(command, text) {
        code
    } else {
        ExitCode::FAILURE
    }
}

/// Writes why a command failed to standard error. Returns `code`.
pub(super) fn fail(command: &str, error: &impl Display, code: ExitCode) -> ExitCode {
    eprintln!("imm-operator {command}: {}", escaped(&error.to_string()));
    code
}
