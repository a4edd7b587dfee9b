//! The one place of the harness that reads the process environment and knows where the checkout is, so that
//! everything else takes folders as arguments.

use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};

/// The root of the checkout this harness was compiled from.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where `tests/tools/build.sh` keeps its binaries: the same rule as in that script.
pub fn tools_folder() -> Result<PathBuf> {
    if let Some(folder) = read("TOOLS_DIR") {
        return Ok(folder);
    }
    Ok(cache_folder()?.join("tools"))
}

/// Where everything that is costly to make and safe to delete is kept.
pub fn cache_folder() -> Result<PathBuf> {
    let base = read("XDG_CACHE_HOME").or_else(|| read("HOME").map(|home| home.join(".cache")));
    base.map(|base| base.join("imm-operator"))
        .ok_or(HarnessError::NoCacheFolder)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this module is the harness's one reader of the environment"
)]
fn read(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
