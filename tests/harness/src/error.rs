//! What can go wrong around a test rather than in it. Each text says what to do next, because it is read by
//! somebody who expected a test result and got none.

use std::path::PathBuf;
use std::time::Duration;

/// The result of everything the harness does.
pub type Result<T, E = HarnessError> = std::result::Result<T, E>;

/// Why the harness gave up.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A binary of the control plane or one of its clients has not been built.
    #[error("{tool} is missing: {} does not exist; `tests/tools/build.sh {tool}` builds it", path.display())]
    MissingTool {
        /// Name as `tests/tools/build.sh` takes it.
        tool: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Neither `TOOLS_DIR`, `XDG_CACHE_HOME` nor `HOME` says where the tools are kept.
    #[error("no folder for the tools: set TOOLS_DIR, XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
    /// A file, a folder or a process could not be handled.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A command ended with a failure.
    #[error("`{command}` ended with {status}:\n{output}")]
    Command {
        /// The command line, without secrets.
        command: String,
        /// Exit status in words.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A long-running process ended when it should have stayed.
    #[error("{name} ended with {status}; its last lines:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// Exit status in words.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// Something waited for did not come.
    #[error("waited {limit:?} for {what}; last seen: {seen}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// The last value that was not good enough.
        seen: String,
    },
    /// Keys or certificates of the control plane could not be made.
    #[error("making the keys of the control plane: {0}")]
    Keys(#[from] rcgen::Error),
    /// Something that was shown or checked is not as it must be.
    #[error("{0}")]
    Surprise(String),
}

impl HarnessError {
    /// Gives an input or output error the words for what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// The last lines of a text, for error messages that must stay readable.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
}
