//! The demo's output: one line per step, the commands a user would type with their output, and a line before and after
//! every wait. All output is recorded, so that the last step can search it for secrets.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::wait::{Poll, until};

/// The output of a demo.
pub(super) struct Show {
    started: Instant,
    shown: Mutex<String>,
}

impl Show {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            shown: Mutex::new(String::new()),
        }
    }

    /// Prints the title of a step.
    pub(super) fn step(&self, text: &str) {
        self.line(&format!(
            "\n[{:5.1} s] {text}",
            self.started.elapsed().as_secs_f32()
        ));
    }

    /// Prints a command and its output.
    pub(super) fn command(&self, line: &str, answer: &str) {
        self.line(&format!("$ {line}"));
        self.line(answer.trim_end());
    }

    /// Prints a verified fact.
    pub(super) fn fact(&self, text: &str) {
        self.line(&format!("  ok: {text}"));
    }

    /// Prints a line and records it.
    pub(super) fn line(&self, text: &str) {
        // The terminal may be closed, which must not end a demo that still has to remove what it created.
        let _closed = writeln!(std::io::stdout(), "{text}");
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.push_str(text);
        shown.push('\n');
    }

    /// Waits until `poll` finds something, with a line before and after. Fails after `limit`.
    pub(super) async fn wait<L, F, Fut>(&self, what: &str, limit: Duration, poll: F) -> Result<L::Found>
    where
        L: Poll,
        F: FnMut() -> Fut,
        Fut: Future<Output = L>,
    {
        self.line(&format!(
            "  waiting for {what} (at most {} s) ...",
            limit.as_secs()
        ));
        let started = Instant::now();
        let found = until(what, limit, poll).await?;
        self.line(&format!("  ... {:.1} s", started.elapsed().as_secs_f32()));
        Ok(found)
    }

    /// Returns everything printed so far.
    pub(super) fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
