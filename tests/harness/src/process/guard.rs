//! Nothing outlives this process, however it ends. A small shell keeps the list of what was started; its standard
//! input is a pipe that only we hold, so the system closes it on Ctrl-C, on a crash and on SIGKILL alike, and the
//! shell then ends every process group and removes every folder still on its list.

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
    "gone "*) kept=; for g in $groups; do [ "$g" = "$what" ] || kept="$kept $g"; done; groups=$kept ;;
    "folder "*) set -- "$@" "$what" ;;
  esac
done
for g in $groups; do kill -9 -"$g"; done 2>/dev/null
[ $# -eq 0 ] || rm -rf -- "$@"
"#;

static GUARD: OnceLock<Mutex<Option<ChildStdin>>> = OnceLock::new();

/// Puts a process group on the list.
pub(super) fn watch_group(group: u32) -> Result<()> {
    tell(&format!("group {group}"))
}

/// Takes a process group off the list: it has ended, and its number may be given to somebody else.
pub(super) fn forget_group(group: u32) {
    // A guard that cannot be told has died; then there is nobody left who could use the number.
    let _ = tell(&format!("gone {group}"));
}

/// Puts a temporary folder on the list.
pub(crate) fn watch_folder(folder: &Path) -> Result<()> {
    tell(&format!("folder {}", folder.display()))
}

fn tell(line: &str) -> Result<()> {
    let guard = GUARD.get_or_init(|| Mutex::new(None));
    let mut pipe = guard.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = start().map_err(HarnessError::io("starting the guard that ends children"))?;
    }
    let written = pipe.as_mut().map_or(Ok(()), |pipe| writeln!(pipe, "{line}"));
    written.map_err(HarnessError::io("telling the guard that ends children"))
}

fn start() -> std::io::Result<Option<ChildStdin>> {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own: the terminal's Ctrl-C must reach us and not the guard.
        .process_group(0)
        .spawn()?;
    Ok(shell.stdin.take())
}
