//! Exec plugins of a kubeconfig. One can wait for a person, who has to know that.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use kube::config::{ExecConfig, ExecInteractiveMode};

use super::error::PartError;

/// How long a plugin may take before somebody is told.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Runs what may wait, and tells after a time what is waited for.
pub(super) fn tell_if_slow<T>(
    what: &str,
    patience: Duration,
    tell: impl FnOnce(&str) + Send + 'static,
    work: impl FnOnce() -> T,
) -> T {
    let what = what.to_owned();
    let (running, ended) = channel::<()>();
    let watcher = thread::spawn(move || {
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tell(&what);
        }
    });
    let result = work();
    drop(running);
    // It ends at once. Whether it could tell anything changes no result.
    let _ = watcher.join();
    result
}

/// What is waited for while a plugin runs.
pub(super) fn described(exec: &ExecConfig) -> String {
    let command = exec.command.as_deref().unwrap_or_default();
    let text = format!(
        "waiting for {command}, the exec plugin of the kubeconfig, which may wait for you to sign in"
    );
    if exec.interactive_mode == Some(ExecInteractiveMode::Never) {
        return format!("{text}; what it prints is not shown, because its interactiveMode is Never");
    }
    text
}

/// Like kubectl: a plugin that always needs a terminal does not run without one, where nobody could answer it.
///
/// # Errors
/// The plugin needs a terminal.
pub(super) fn check_terminal(exec: Option<&ExecConfig>, is_terminal: bool) -> Result<(), PartError> {
    let always = exec.filter(|exec| exec.interactive_mode == Some(ExecInteractiveMode::Always));
    match always {
        Some(exec) if !is_terminal => {
            let command = exec.command.clone();
            Err(PartError::NoTerminal(command.unwrap_or_default()))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_plugin_is_named() {
        let (sender, heard) = channel();
        let first = sender.clone();
        let tell = move |text: &str| first.send(text.to_owned()).unwrap();
        let said = tell_if_slow("a plugin", Duration::ZERO, tell, || heard.recv().unwrap());
        assert_eq!(said, "a plugin");
        let tell = move |text: &str| sender.send(text.to_owned()).unwrap();
        tell_if_slow("a plugin", Duration::from_secs(3600), tell, || ());
        assert!(heard.try_recv().is_err());
    }
}
