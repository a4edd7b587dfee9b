//! Compiles the static binaries of a release, one for each architecture, on a machine with x86-64.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::VERSION;
use crate::cargo_program::CARGO_AUDITABLE;
use crate::environment::{cargo_home, path_starting_with};
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::tools::can_start;

/// An architecture that a release has a binary for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The name in file names and in platforms of images.
    pub name: &'static str,
    /// The compilation target.
    pub target: &'static str,
    /// Programs that the compilation and the image need, each with its Debian packages.
    pub programs: &'static [(&'static str, &'static str)],
    /// Variables of the compilation.
    variables: &'static [(&'static str, &'static str)],
    /// Starts the binary on this machine.
    emulator: Option<&'static str>,
}

/// The architectures of a release.
pub const ARCHITECTURES: [Architecture; 2] = [
    Architecture {
        name: "amd64",
        target: "x86_64-unknown-linux-musl",
        programs: &[
            ("musl-gcc", "musl-tools"),
            ("readelf", "binutils"),
            ("buildah", "buildah"),
        ],
        variables: &[],
        emulator: None,
    },
    Architecture {
        name: "arm64",
        target: "aarch64-unknown-linux-musl",
        programs: &[
            (
                "aarch64-linux-gnu-gcc",
                "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
            ),
            ("qemu-aarch64-static", "qemu-user-static"),
        ],
        // Only C code is compiled with glibc's headers; Rust links its own musl.
        variables: &[
            ("CC_aarch64_unknown_linux_musl", "aarch64-linux-gnu-gcc"),
            ("AR_aarch64_unknown_linux_musl", "aarch64-linux-gnu-ar"),
            (
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER",
                "aarch64-linux-gnu-gcc",
            ),
        ],
        emulator: Some("qemu-aarch64-static"),
    },
];

/// Arguments of cargo that build the program of a release, whatever the target. The Dockerfile has them too.
pub const BUILD: [&str; 7] = [
    "build",
    "--locked",
    "--release",
    "--package",
    "imm-operator",
    "--bin",
    "imm-operator",
];

/// Returns the Debian packages of the programs that are missing on this machine.
pub fn missing_packages() -> Vec<&'static str> {
    let programs = ARCHITECTURES
        .iter()
        .flat_map(|architecture| architecture.programs);
    let missing = programs.filter(|(program, _)| !can_start(program));
    missing.flat_map(|(_, packages)| packages.split(' ')).collect()
}

/// Compiles the sources in `root`, with `target` as the target folder, and starts the binary. The names of these
/// folders, and of the folder of crates, are not in the binary.
///
/// # Errors
/// The compilation fails, or the binary is not static, does not start, or has another version.
pub async fn compile(architecture: Architecture, root: &Path, target: &Path) -> Result<PathBuf> {
    let mut cargo = cargo_with_list().await?;
    cargo
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", remaps(root, target)?)
        .envs(architecture.variables.iter().copied());
    let folder = target.display().to_string();
    let places = ["--target", architecture.target, "--target-dir", &folder];
    let args = [&BUILD[..], &places].concat();
    clients::run(cargo, "cargo", &args, None).await?;
    let binary = target.join(architecture.target).join("release/imm-operator");
    start(architecture, &binary).await?;
    Ok(binary)
}

/// What `cargo auditable` sets for the cargo that it starts, except that it names itself by its path. Cargo mixes that
/// name into the symbols of the workspace: with a path, two machines would make other binaries.
const LISTING: [(&str, &str); 2] = [
    ("RUSTC_WORKSPACE_WRAPPER", CARGO_AUDITABLE.name),
    (
        "CARGO_AUDITABLE_ORIG_ARGS",
        r#"{"offline":false,"locked":true,"frozen":false,"config":[]}"#,
    ),
];

/// Returns a cargo that puts the list of crates into the program of [`BUILD`], as `cargo auditable` does. What it needs
/// is compiled if it is missing.
///
/// # Errors
/// The compilation fails.
pub async fn cargo_with_list() -> Result<Command> {
    let program = CARGO_AUDITABLE.installed().await?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let mut cargo = Command::new("cargo");
    cargo.env("PATH", path_starting_with(folder)?).envs(LISTING);
    Ok(cargo)
}

/// Returns compiler flags that replace the folders of sources and crates by fixed names, separated as cargo expects.
/// The last flag that matches wins.
fn remaps(root: &Path, target: &Path) -> Result<String> {
    let home = cargo_home()?;
    let flag = |(from, to): (&Path, &str)| format!("--remap-path-prefix={}={to}", from.display());
    let folders = [(home.as_path(), "/cargo"), (root, "/source"), (target, "/target")];
    Ok(folders.map(flag).join("\u{1f}"))
}

/// Fails unless the binary is static, starts on this machine and prints the version of the release.
async fn start(architecture: Architecture, binary: &Path) -> Result<()> {
    let wrong = |text: String| HarnessError::Surprise(format!("{}: {text}", binary.display()));
    let path = binary.display().to_string();
    let segments = clients::run(
        Command::new("readelf"),
        "readelf",
        &["--program-headers", "--wide", &path],
        None,
    )
    .await?;
    if segments.contains(" INTERP ") || !segments.contains(" LOAD ") {
        return Err(wrong(format!("not a static binary: {segments}")));
    }
    let mut arguments = vec![path.as_str(), "--version"];
    let program = architecture.emulator.unwrap_or_else(|| arguments.remove(0));
    let printed = clients::run(Command::new(program), program, &arguments, None).await?;
    if printed.trim() == format!("imm-operator {VERSION}") {
        Ok(())
    } else {
        Err(wrong(format!("--version prints {printed}")))
    }
}
