//! Ensures that no child process and no temporary folder survives this process, however it ends. A small shell keeps
//! the list of both. Its standard input is a pipe held only by this process, which the kernel closes on Ctrl-C, on a
//! crash and on SIGKILL alike. The shell then kills every process group and removes every folder still on its list.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{HarnessError, Result};

const SCRIPT: &str = r#"
groups=
while IFS= read -r line; do
  what=${line#* }
  case $line in
    "group "*) groups="$groups $what" ;;
    "ended "*) kept=; for g in $groups; do [ "$g" = "$what" ] || kept="$kept $g"; done; groups=$kept ;;
    "folder "*) set -- "$@" "$what" ;;
  esac
done
for g in $groups; do kill -9 -"$g"; done 2>/dev/null
[ $# -eq 0 ] || rm -rf -- "$@"
"#;

static GUARD: OnceLock<Mutex<Option<ChildStdin>>> = OnceLock::new();

/// Adds a process group to the list. Fails if the guard cannot be started or written to.
pub(super) fn watch_group(group: u32) -> Result<()> {
    send(&format!("group {group}"))
}

/// Removes an ended process group from the list, because the kernel may reuse its number.
pub(super) fn forget_group(group: u32) {
    // A failed write means that the guard has died, so nothing is left that could kill a reused number.
    let _ = send(&format!("ended {group}"));
}

/// Adds a temporary folder to the list. Fails if the guard cannot be started or written to.
pub(crate) fn watch_folder(folder: &Path) -> Result<()> {
    send(&format!("folder {}", folder.display()))
}

fn send(line: &str) -> Result<()> {
    let guard = GUARD.get_or_init(|| Mutex::new(None));
    let mut pipe = guard.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = start().map_err(HarnessError::io("starting the guard that ends children"))?;
    }
    let written = pipe.as_mut().map_or(Ok(()), |pipe| writeln!(pipe, "{line}"));
    written.map_err(HarnessError::io("writing to the guard that ends children"))
}

fn start() -> std::io::Result<Option<ChildStdin>> {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A process group of its own: the terminal's Ctrl-C must reach the harness and not the guard.
        .process_group(0)
        .spawn()?;
    Ok(shell.stdin.take())
}
