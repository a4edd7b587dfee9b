//! The only module of the harness that reads environment variables and the location of the checkout. All other modules
//! take folders as arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};

/// Returns the root of the checkout that this harness was compiled from.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Returns the folder of the binaries built by `tests/tools/build.sh`, by the same rule as that script. Fails if no
/// variable names it.
pub fn tools_folder() -> Result<PathBuf> {
    if let Some(folder) = read("TOOLS_DIR") {
        return Ok(folder);
    }
    Ok(cache_folder()?.join("tools"))
}

/// Returns the folder for files that are expensive to build and safe to delete. Fails if neither `XDG_CACHE_HOME` nor
/// `HOME` is set.
pub fn cache_folder() -> Result<PathBuf> {
    let base = read("XDG_CACHE_HOME").or_else(|| read("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("imm-operator"))
        .ok_or(HarnessError::NoCacheFolder)
}

/// Returns the value of `PATH` with a folder before all others. Fails if the folder's name contains a colon.
pub fn path_starting_with(folder: &Path) -> Result<OsString> {
    let others = read("PATH").unwrap_or_default();
    let all = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&others));
    std::env::join_paths(all)
        .map_err(|error| HarnessError::Surprise(format!("{} cannot be in PATH: {error}", folder.display())))
}

/// Returns cargo's folder of crates. Fails if neither `CARGO_HOME` nor `HOME` is set.
pub fn cargo_home() -> Result<PathBuf> {
    read("CARGO_HOME")
        .or_else(|| read("HOME").map(|home| home.join(".cargo")))
        .ok_or(HarnessError::NoCacheFolder)
}

/// Returns the names of the set variables that begin with `beginning`.
pub(crate) fn names(beginning: &str) -> Vec<OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names
        .filter(|name| name.as_encoded_bytes().starts_with(beginning.as_bytes()))
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "only this module of the harness reads environment variables"
)]
fn read(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
