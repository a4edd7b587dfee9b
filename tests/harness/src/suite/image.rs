//! Tests the container image without a container engine. The static binary is built natively, buildah (which needs no
//! daemon) builds the Dockerfile's stage `release`, and the result is unpacked, inspected and run.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::stage::Stage;
use crate::cargo_program::CARGO_AUDITABLE;
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::release::{
    ARCHITECTURES, BILL_IN_IMAGE, BUILD, auditable, cargo_with_list, image_files, oci, sbom,
};
use crate::tools::can_start;

const LARGEST: u64 = 25 * 1024 * 1024;
const USER: &str = "65532:65532";
/// All files of the image.
const FILES: [&str; 4] = [
    "etc/passwd",
    "etc/ssl/certs/ca-certificates.crt",
    "imm-operator",
    BILL_IN_IMAGE,
];

/// Builds the image and checks its configuration and content.
pub(super) async fn stage(stage: &mut Stage<'_>) -> Result<()> {
    packages(stage).await?;
    let binary = binary(stage).await?;
    let folder = tempfile::tempdir().map_err(HarnessError::io("creating a folder for the image"))?;
    crate::process::guard::watch_folder(folder.path())?;
    let ours = ARCHITECTURES.into_iter().find(|one| one.name == architecture());
    let ours = ours.ok_or_else(|| unexpected("a release has no binary for this architecture"))?;
    let bill = sbom::of(stage.root(), ours).await?;
    let listed = auditable::verify(&binary, &bill).await;
    stage.check(
        "the binary lists the crates that are linked into it",
        listed.map_err(|error| error.to_string()),
    );
    let source = context(stage.root(), &binary, &bill, &folder)?;
    let image = build(stage, &folder, &source).await?;

    let config = config(&image)?;
    let settings = config.get("config").cloned().unwrap_or_default();
    let is = |name: &str, expected: &Value| match settings.get(name) {
        Some(value) if value == expected => Ok(()),
        other => Err(format!("{other:?}, expected {expected}")),
    };
    stage.check("runs as user 65532", is("User", &Value::from(USER)));
    stage.check(
        "starts the operator",
        is("Entrypoint", &serde_json::json!(["/imm-operator"])),
    );
    stage.check("stops on SIGTERM", is("StopSignal", &Value::from("SIGTERM")));
    let licence = settings.pointer("/Labels/org.opencontainers.image.licenses");
    stage.check(
        "names its licence",
        verify(licence == Some(&Value::from("Apache-2.0")), &settings),
    );

    let content = unpack(stage, &image, &folder).await?;
    let (files, bytes) = listing(&content, &content)?;
    stage.check(
        "contains the expected files and nothing else",
        verify(files == FILES, &files),
    );
    stage.check(
        &format!("is small ({} KiB)", bytes / 1024),
        verify(bytes < LARGEST, &bytes),
    );
    run(stage, &content).await
}

fn verify(holds: bool, observed: &impl std::fmt::Debug) -> std::result::Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("{observed:?}"))
    }
}

/// Installs what this stage needs.
async fn packages(stage: &mut Stage<'_>) -> Result<()> {
    let programs = [
        ("musl-gcc", "musl-tools"),
        ("buildah", "buildah"),
        ("readelf", "binutils"),
    ];
    let missing: Vec<&str> = programs
        .into_iter()
        .filter(|(program, _)| !can_start(program))
        .map(|(_, package)| package)
        .collect();
    stage.install(&missing).await
}

/// Compiles the operator as a static binary. Fails if the build fails.
async fn binary(stage: &mut Stage<'_>) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    stage.command("rustup", &["target", "add", &target]).await?;
    let here = std::env::current_exe().map_err(HarnessError::io("locating the target folder"))?;
    let folder = here
        .ancestors()
        .nth(2)
        .ok_or_else(|| unexpected("this binary is not in a target folder"))?;
    stage.installed(CARGO_AUDITABLE).await?;
    let mut cargo = cargo_with_list().await?;
    cargo
        .args(BUILD)
        .args(["--target", &target, "--target-dir"])
        .arg(folder);
    stage.prepared(cargo).await?;
    Ok(folder.join(target).join("release/imm-operator"))
}

/// Creates a build context as a release has it, and a Dockerfile without the stages that compile. Fails if the
/// Dockerfile has an unexpected form.
fn context(root: &Path, binary: &Path, bill: &str, folder: &TempDir) -> Result<PathBuf> {
    let doing = || HarnessError::io("creating the build context of the image");
    let context = folder.path().join("context");
    image_files(root, binary, bill, &context.join(architecture()))?;
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).map_err(doing())?;
    let stages = oci::release_stages(&dockerfile)?;
    fs::write(context.join("Dockerfile"), stages).map_err(doing())?;
    Ok(context)
}

/// The name of this machine's architecture in platforms of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Builds the image into a plain folder of blobs.
async fn build(stage: &mut Stage<'_>, folder: &TempDir, context: &Path) -> Result<PathBuf> {
    let store = |args: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(folder.path().join("store"));
        command.arg("--runroot").arg(folder.path().join("run"));
        command.args(["--storage-driver", "vfs"]).args(args);
        command
    };
    let mut build = store(&["build", "--isolation", "chroot", "--tag", "imm-operator"]);
    build.args(["--target", "release", "--build-arg"]);
    build.arg(format!("TARGETARCH={}", architecture()));
    build.arg(context);
    stage.prepared(build).await?;
    let image = folder.path().join("image");
    let place = format!("dir:{}", image.display());
    stage.prepared(store(&["push", "imm-operator", &place])).await?;
    Ok(image)
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(HarnessError::io(format!("reading {}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| unexpected(&format!("{} is not JSON: {error}", path.display())))
}

/// Returns the path of a blob. Fails if the digest is missing or not SHA-256.
fn blob(image: &Path, digest: Option<&Value>) -> Result<PathBuf> {
    let digest = digest
        .and_then(Value::as_str)
        .and_then(|digest| digest.strip_prefix("sha256:"));
    digest
        .map(|digest| image.join(digest))
        .ok_or_else(|| unexpected("the image's manifest names no such blob"))
}

fn config(image: &Path) -> Result<Value> {
    let manifest = read_json(&image.join("manifest.json"))?;
    read_json(&blob(image, manifest.pointer("/config/digest"))?)
}

/// Unpacks every layer, as a container runtime does.
async fn unpack(stage: &mut Stage<'_>, image: &Path, folder: &TempDir) -> Result<PathBuf> {
    let content = folder.path().join("content");
    fs::create_dir(&content).map_err(HarnessError::io("creating a folder for the image's files"))?;
    let manifest = read_json(&image.join("manifest.json"))?;
    let layers = manifest
        .get("layers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for layer in layers {
        let layer = blob(image, layer.get("digest"))?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(layer).arg("-C").arg(&content);
        stage.prepared(tar).await?;
    }
    Ok(content)
}

/// Returns the sorted names and the total size of the files below a folder.
fn listing(folder: &Path, base: &Path) -> Result<(Vec<String>, u64)> {
    let doing = || HarnessError::io(format!("listing {}", folder.display()));
    let (mut names, mut bytes) = (Vec::new(), 0);
    for entry in fs::read_dir(folder).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let data = entry.metadata().map_err(doing())?;
        if data.is_dir() {
            let (below, size) = listing(&entry.path(), base)?;
            names.extend(below);
            bytes += size;
        } else {
            names.push(
                entry
                    .path()
                    .strip_prefix(base)
                    .unwrap_or(&entry.path())
                    .display()
                    .to_string(),
            );
            bytes += data.len();
        }
    }
    names.sort();
    Ok((names, bytes))
}

/// Runs the binary in a root file system that contains only the image, so that a missing library makes it fail.
async fn run(stage: &mut Stage<'_>, content: &Path) -> Result<()> {
    let mut version = Command::new("chroot");
    version
        .arg(format!("--userspec={USER}"))
        .arg(content)
        .arg("/imm-operator");
    let printed = clients::run(version, "imm-operator", &["--version"], None).await?;
    let right = printed.trim() == concat!("imm-operator ", env!("CARGO_PKG_VERSION"));
    stage.check(
        "runs without other files and prints its version",
        verify(right, &printed),
    );
    Ok(())
}

fn unexpected(text: &str) -> HarnessError {
    HarnessError::Surprise(text.to_owned())
}
