//! The compilers of a release. The Dockerfile names the version of Rust, where Dependabot updates it; the release
//! workflow installs that version, and everything that is compiled for a release is compiled with it.

use std::path::Path;

use tokio::process::Command;

use crate::error::{HarnessError, Result};
use crate::plane::clients;

/// Programs that compile the C code, with the architecture they compile for.
const C_COMPILERS: [(&str, &str); 2] = [("amd64", "gcc"), ("arm64", "aarch64-linux-gnu-gcc")];

/// Returns the version of Rust that a Dockerfile compiles with, such as 1.95.0.
///
/// # Errors
/// The first image is not `rust:VERSION-alpine` with a version of three numbers, which names one compiler.
pub fn rust_version(dockerfile: &str) -> Result<String> {
    let base = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("FROM rust:"));
    let version = base.and_then(|base| base.split('-').next());
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let named = version.filter(|version| version.split('.').count() == 3 && version.split('.').all(number));
    named.map(ToOwned::to_owned).ok_or_else(|| {
        let text = "the Dockerfile has no line `FROM rust:1.2.3-alpine AS builder`: name the version of Rust with three numbers";
        HarnessError::Surprise(text.to_owned())
    })
}

/// Returns the compilers that are used in a folder, in one sentence. With another version of Rust than the one given, the
/// binaries are not those of a release: this is an error unless `any` is set.
///
/// # Errors
/// A compiler cannot be started, or rustc has another version.
pub async fn compilers(root: &Path, version: &str, any: bool) -> Result<String> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(root);
    let rustc = clients::run(rustc, "rustc", &["--version"], None).await?;
    let rustc = rustc.trim();
    if !any && !is_version(rustc, version) {
        return Err(HarnessError::Surprise(format!(
            "a release is compiled with Rust {version}, and this is {rustc}: set RUSTUP_TOOLCHAIN={version}, after \
             `rustup toolchain install {version}`"
        )));
    }
    let mut sentence = format!("Compiled with {rustc}");
    for (architecture, program) in C_COMPILERS {
        let printed = clients::run(Command::new(program), program, &["--version"], None).await?;
        let first = printed.lines().next().unwrap_or_default();
        sentence = format!("{sentence}, C code for {architecture} with {first}");
    }
    Ok(format!("{sentence}."))
}

fn is_version(rustc: &str, version: &str) -> bool {
    rustc.split(' ').nth(1) == Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_names_one_compiler() {
        let of = |base: &str| rust_version(&format!("# A comment.\nFROM {base} AS builder\nFROM scratch\n"));
        assert_eq!(of("rust:1.95.0-alpine").unwrap(), "1.95.0");
        assert_eq!(of("rust:1.95.0-alpine3.22@sha256:ab").unwrap(), "1.95.0");
        for wrong in [
            "rust:1.95-alpine",
            "rust:alpine",
            "rust:1.95.x-alpine",
            "debian:13",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn another_compiler_than_that_of_a_release_is_refused() {
        assert!(is_version("rustc 1.95.0 (59807616e 2026-04-14)", "1.95.0"));
        assert!(!is_version("rustc 1.95.1 (59807616e 2026-04-14)", "1.95.0"));
        let refused = compilers(Path::new("."), "0.0.1", false)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("RUSTUP_TOOLCHAIN=0.0.1"), "{refused}");
    }
}
