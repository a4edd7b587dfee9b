//! The files of the image for one architecture, in a folder that the stage `release` of the Dockerfile copies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{HarnessError, Result};

/// The certificates that the image trusts, of the Debian package ca-certificates.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The SBOM in the image. An image from source has none: its builder has no harness.
pub const BILL_IN_IMAGE: &str = "usr/share/sbom/imm-operator.cdx.json";

/// Writes the files of the image to a folder: the binary, its bill of materials, the certificates, and the account
/// that the Dockerfile in `root` writes into the image from source.
///
/// # Errors
/// A file cannot be read or written, or the Dockerfile writes no account.
pub fn image_files(root: &Path, binary: &Path, bill: &str, folder: &Path) -> Result<()> {
    let doing = || HarnessError::io(format!("writing the files of the image to {}", folder.display()));
    let certificates = folder.join("etc/ssl/certs");
    fs::create_dir_all(&certificates).map_err(doing())?;
    let program = folder.join("imm-operator");
    fs::copy(binary, &program).map_err(HarnessError::io(format!("copying {}", binary.display())))?;
    let roots = HarnessError::io(format!("reading {ROOTS} (Debian package ca-certificates)"));
    fs::copy(ROOTS, certificates.join("ca-certificates.crt")).map_err(roots)?;
    let account = account(&fs::read_to_string(root.join("Dockerfile")).map_err(doing())?)?;
    fs::write(folder.join("etc/passwd"), account).map_err(doing())?;
    fs::create_dir_all(folder.join("usr/share/sbom")).map_err(doing())?;
    fs::write(folder.join(BILL_IN_IMAGE), bill).map_err(doing())?;
    // The user of the image owns none of the files.
    for (name, mode) in [
        ("imm-operator", 0o755),
        ("etc/passwd", 0o644),
        ("etc/ssl/certs/ca-certificates.crt", 0o644),
        (BILL_IN_IMAGE, 0o644),
    ] {
        fs::set_permissions(folder.join(name), PermissionsExt::from_mode(mode)).map_err(doing())?;
    }
    Ok(())
}

/// Returns the line of /etc/passwd that the Dockerfile writes.
fn account(dockerfile: &str) -> Result<String> {
    let line = dockerfile
        .lines()
        .find_map(|line| line.split('\'').nth(1).filter(|_| line.contains("passwd")));
    line.map(|line| format!("{line}\n"))
        .ok_or_else(|| HarnessError::Surprise("the Dockerfile writes no /etc/passwd".to_owned()))
}
