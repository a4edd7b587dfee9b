//! One long-running child: its own process group, its output in a file, ended when dropped. Standard library
//! processes rather than tokio's, so that a plane can be shared by tests that each have a runtime of their own.

pub(crate) mod guard;

use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::error::{HarnessError, Result, last_lines};
use crate::wait::until;

/// A child process that is still ours to end.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: u32,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command; both its outputs are appended to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let doing = || HarnessError::io(format!("starting {name} with its log in {}", log.display()));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(doing())?;
        let copy = file.try_clone().map_err(doing())?;
        command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .process_group(0);
        let child = command.spawn().map_err(doing())?;
        let (id, state) = (child.id(), Mutex::new(State { child, ended: None }));
        let process = Self {
            name: name.to_owned(),
            id,
            log: log.to_path_buf(),
            state,
        };
        // After the value exists: should the guard fail, dropping it ends the child.
        guard::watch_group(process.id())?;
        Ok(process)
    }

    /// The process id, which is its group's too.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the process has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.look(&mut self.state())
    }

    fn look(&self, state: &mut State) -> Result<Option<ExitStatus>> {
        if state.ended.is_none() {
            let waiting = HarnessError::io(format!("waiting for {}", self.name));
            state.ended = state.child.try_wait().map_err(waiting)?;
            if state.ended.is_some() {
                guard::forget_group(self.id);
            }
        }
        Ok(state.ended)
    }

    /// An error with the end of the log if the process is no longer there.
    pub fn must_run(&self) -> Result<()> {
        let Some(status) = self.ended()? else {
            return Ok(());
        };
        Err(HarnessError::Ended {
            name: self.name.clone(),
            status: describe(status),
            log: last_lines(&self.log(), 20),
        })
    }

    /// Sends SIGTERM and waits for the end; a process that does not listen is an error (and killed on drop).
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.end("after SIGTERM", limit).await
    }

    /// Waits for the end; `when` says in an error what it was waited for after.
    pub async fn end(&self, when: &str, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {} {when}", self.name);
        until(&what, limit, || {
            let ended = self.ended();
            async move {
                ended
                    .map_err(|error| error.to_string())?
                    .ok_or_else(|| "it still runs".to_owned())
            }
        })
        .await
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The lock is held from the look to the signal: a reaped child's number may be somebody else's.
        self.signal_in(&mut self.state(), signal)
    }

    fn signal_in(&self, state: &mut State, signal: Signal) -> Result<()> {
        if self.look(state)?.is_some() {
            return Ok(());
        }
        let group = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        let sent = group.map_or(Ok(()), |group| rustix::process::kill_process_group(group, signal));
        sent.map_err(|errno| HarnessError::io(format!("signalling {}", self.name))(errno.into()))
    }

    /// Ends it at once, as a crash or the kernel would.
    pub fn kill(&self) -> Result<()> {
        let mut state = self.state();
        self.signal_in(&mut state, Signal::KILL)?;
        if state.ended.is_none() {
            let reaping = HarnessError::io(format!("reaping {}", self.name));
            state.ended = Some(state.child.wait().map_err(reaping)?);
            guard::forget_group(self.id);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be reported from here, and the guard tries once more when we end.
        let _ = self.kill();
    }
}

/// An exit status in words that tell a signal from a code.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}
