//! Errors of the harness, as opposed to failures of a test. Each message says what to do next.

use std::path::PathBuf;
use std::time::Duration;

/// The result of harness functions.
pub type Result<T, E = HarnessError> = std::result::Result<T, E>;

/// The reason why the harness gave up.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A binary of the control plane or one of its clients has not been built.
    #[error("{tool} is missing: {} does not exist; `tests/tools/build.sh {tool}` builds it", path.display())]
    MissingTool {
        /// The tool's name in `tests/tools/build.sh`.
        tool: &'static str,
        /// The expected path.
        path: PathBuf,
    },
    /// None of `TOOLS_DIR`, `XDG_CACHE_HOME` and `HOME` is set, so the tools folder is unknown.
    #[error("no folder for the tools: set TOOLS_DIR, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
    /// An operation on a file, folder or process failed.
    #[error("{doing}: {source}")]
    Io {
        /// The operation.
        doing: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("`{command}` ended with {status}:\n{output}")]
    Command {
        /// The command line, without secrets.
        command: String,
        /// The exit status as text.
        status: String,
        /// The last lines of the command's output.
        output: String,
    },
    /// A long-running process ended unexpectedly.
    #[error("{name} ended with {status}; its last lines:\n{log}")]
    Ended {
        /// The process.
        name: String,
        /// The exit status as text.
        status: String,
        /// The last lines of the process's log.
        log: String,
    },
    /// A wait gave up.
    #[error("gave up on {what} after {waited:?}; last seen: {seen}")]
    Late {
        /// The expected event.
        what: String,
        /// How long the wait lasted.
        waited: Duration,
        /// The last observed value.
        seen: String,
    },
    /// Keys or certificates of the control plane could not be generated.
    #[error("generating the keys of the control plane: {0}")]
    Keys(#[from] rcgen::Error),
    /// The demo may not use the user's cluster.
    #[error("the demo does not run on this cluster: {0}")]
    Refused(String),
    /// The user ended the demo.
    #[error("interrupted")]
    Interrupted,
    /// A checked value is not as expected.
    #[error("{0}")]
    Surprise(String),
}

impl HarnessError {
    /// Returns a function that adds the failed operation to an I/O error.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// Returns the last `count` lines of a text, to keep error messages short.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
}
