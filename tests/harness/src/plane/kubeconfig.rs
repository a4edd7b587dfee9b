//! Kubeconfig files. They are written as JSON, which is valid YAML and needs no quoting rules, and are readable only by
//! their owner because each contains a bearer token.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{HarnessError, Result};

/// Writes a kubeconfig for one user of one server.
pub(crate) fn write(path: PathBuf, server: &str, authority: &Path, token: &str) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "plane", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user", "namespace": "default"}}],
        "current-context": "plane",
    });
    write_private(&path, &config.to_string())?;
    Ok(path)
}

/// Writes a file that only its owner may read. Fails if the file cannot be written.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let doing = || HarnessError::io(format!("writing {}", path.display()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(doing())?;
    file.write_all(text.as_bytes()).map_err(doing())
}
