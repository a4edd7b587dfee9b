//! A long-running child process in its own process group. Its output goes to a file, and it is killed on drop. Uses the
//! standard library's processes rather than tokio's, so that tests with separate runtimes can share a control plane.

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

/// A child process that the harness has to end.
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
    /// Starts a command and appends both its outputs to `log`. Fails if the command cannot be started.
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
        // Registered after the value exists: if the guard fails, dropping the value kills the child.
        guard::watch_group(process.id())?;
        Ok(process)
    }

    /// Returns the process id, which is also the process group id.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the output so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Returns the exit status, or `None` if the process still runs.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.poll(&mut self.state())
    }

    fn poll(&self, state: &mut State) -> Result<Option<ExitStatus>> {
        if state.ended.is_none() {
            let waiting = HarnessError::io(format!("waiting for {}", self.name));
            state.ended = state.child.try_wait().map_err(waiting)?;
            if state.ended.is_some() {
                guard::forget_group(self.id);
            }
        }
        Ok(state.ended)
    }

    /// Fails with the last lines of the log if the process has ended.
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

    /// Sends SIGTERM and waits until the process ends. Fails if it still runs after `limit`; drop then kills it.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.end("after SIGTERM", limit).await
    }

    /// Waits until the process ends. `when` completes the error message of a timeout.
    pub async fn end(&self, when: &str, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {} {when}", self.name);
        until(&what, limit, || {
            let ended = self.ended();
            async move {
                ended
                    .map_err(|error| error.to_string())?
                    .ok_or_else(|| "still running".to_owned())
            }
        })
        .await
    }

    /// Sends a signal to the whole process group. Does nothing if the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The lock is held from the check to the signal, because the number of a reaped child may be reused.
        self.signal_in(&mut self.state(), signal)
    }

    fn signal_in(&self, state: &mut State, signal: Signal) -> Result<()> {
        if self.poll(state)?.is_some() {
            return Ok(());
        }
        let group = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        let sent = group.map_or(Ok(()), |group| rustix::process::kill_process_group(group, signal));
        sent.map_err(|errno| HarnessError::io(format!("signalling {}", self.name))(errno.into()))
    }

    /// Kills the process group and reaps the process, as a crash or the kernel would.
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
        // Drop cannot report errors; the guard kills the group again when the harness ends.
        let _ = self.kill();
    }
}

/// Returns an exit status as text that distinguishes a signal from an exit code.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}
