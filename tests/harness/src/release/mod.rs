//! Makes the files of a release. Publishing and signing are steps of `.github/workflows/release.yml`, which runs this first.
//! The files contain no time of the build and no path of the machine, so that the same binary gives the same bytes.

mod compile;
mod image_files;
mod notes;
pub mod sbom;

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

pub use self::compile::{ARCHITECTURES, Architecture, compile, missing_packages};
pub use self::image_files::image_files;
pub use self::notes::{filled, section};
use crate::environment::checkout;
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::tools::Tool;

/// The version of the workspace, of the chart and of the image.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The image that the release workflow pushes, and that the chart runs by default.
pub const IMAGE: &str = "ghcr.io/imm-operator/imm-operator";
/// The time of every file in an archive: a release has no time of its own.
const TIME: &str = "--mtime=@0";

/// What to make a release of.
#[derive(Clone, Debug)]
pub struct ReleaseOptions {
    /// The folder of the files.
    pub output: PathBuf,
    /// The binaries for [`ARCHITECTURES`]; `None` compiles them.
    pub binaries: Option<[PathBuf; ARCHITECTURES.len()]>,
    /// Use the section `Unreleased` of the changelog if the version has none yet.
    pub dry_run: bool,
}

/// Makes all files of a release and returns their names. The files of the image are in another folder, [`images`], below the
/// name of each architecture.
///
/// # Errors
/// Chart, changelog and workspace disagree about the version, or a command fails.
pub async fn make(options: &ReleaseOptions) -> Result<Vec<String>> {
    let root = checkout();
    let read =
        |name: &str| fs::read_to_string(root.join(name)).map_err(HarnessError::io(format!("reading {name}")));
    same_version(&read("charts/imm-operator/Chart.yaml")?)?;
    let notes = section(&read("CHANGELOG.md")?, VERSION, options.dry_run)?;

    let binaries = match &options.binaries {
        Some(binaries) => binaries.clone(),
        None => compiled(&root).await?,
    };
    let output = &options.output;
    let _ = fs::remove_dir_all(output);
    fs::create_dir_all(output).map_err(HarnessError::io(format!("creating {}", output.display())))?;
    let place = tempfile::tempdir().map_err(HarnessError::io("creating a folder for the archives"))?;

    let images = images(output);
    let _ = fs::remove_dir_all(&images);
    let checksums = sbom::locked_checksums(&read("Cargo.lock")?);
    let (mut names, mut archives) = (Vec::new(), Vec::new());
    for (architecture, binary) in ARCHITECTURES.iter().zip(&binaries) {
        let stem = format!("imm-operator-{VERSION}-linux-{}", architecture.name);
        let content = place.path().join(architecture.name);
        copy(binary, &content.join("imm-operator"))?;
        copy(&root.join("LICENSE"), &content.join("LICENSE"))?;
        image_files(&root, binary, &images.join(architecture.name))?;
        let archive = format!("{stem}.tar.gz");
        pack(&content, &["imm-operator", "LICENSE"], &output.join(&archive)).await?;

        let (all, linked) = (
            tree(architecture.target, "normal,build").await?,
            tree(architecture.target, "normal,no-proc-macro").await?,
        );
        let bill_name = format!("{stem}.cdx.json");
        let bill = sbom::bill(&all, &linked, &checksums);
        write(&output.join(&bill_name), &format!("{bill:#}\n"))?;
        let sum = sums(output, &[&archive]).await?;
        let sum = sum.split_whitespace().next().unwrap_or_default().to_owned();
        archives.push((architecture.name, sum));
        names.extend([archive, bill_name]);
    }

    let chart = format!("imm-operator-{VERSION}.tgz");
    package_chart(place.path(), &output.join(&chart)).await?;

    write(&output.join("RELEASE-NOTES.md"), &notes)?;
    for name in ["install.yaml", "crds.yaml"] {
        copy(&root.join("deploy").join(name), &output.join(name))?;
    }
    write(
        &output.join("imm.yaml"),
        &filled(&read("deploy/krew/imm.yaml")?, VERSION, &archives)?,
    )?;

    names.extend([
        chart,
        "RELEASE-NOTES.md".to_owned(),
        "install.yaml".to_owned(),
        "crds.yaml".to_owned(),
        "imm.yaml".to_owned(),
    ]);
    names.sort();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    write(&output.join("SHA256SUMS"), &sums(output, &all).await?)?;
    names.push("SHA256SUMS".into());
    Ok(names)
}

/// Returns the folder of the image's files for an output folder: `dist-image` beside `dist`.
pub fn images(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push("-image");
    output.with_file_name(name)
}

/// Fails unless the chart and its image have the version of the workspace.
fn same_version(chart: &str) -> Result<()> {
    for line in [
        format!("version: {VERSION}"),
        format!("appVersion: \"{VERSION}\""),
        format!("      image: {IMAGE}:{VERSION}"),
    ] {
        if !chart.lines().any(|found| found == line) {
            return Err(HarnessError::Surprise(format!(
                "Chart.yaml has no line `{line}`: give workspace and chart one version"
            )));
        }
    }
    Ok(())
}

/// Compiles the binaries in the target folder of the checkout.
async fn compiled(root: &Path) -> Result<[PathBuf; ARCHITECTURES.len()]> {
    let missing = missing_packages().join(" ");
    if !missing.is_empty() {
        return Err(HarnessError::Surprise(format!(
            "a release needs the Debian packages {missing}: install them and run the command again"
        )));
    }
    let [amd64, arm64] = ARCHITECTURES;
    let target = root.join("target");
    Ok([
        compile(amd64, root, &target).await?,
        compile(arm64, root, &target).await?,
    ])
}

/// Returns the crates of the binary, with macros and build scripts (`normal,build`) or without (`normal,no-proc-macro`).
async fn tree(target: &str, edges: &str) -> Result<sbom::Tree> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(checkout());
    let args = [
        "tree",
        "--locked",
        "--package",
        "imm-operator",
        "--target",
        target,
        "--prefix",
        "depth",
        "--format",
        sbom::FORMAT,
        "--edges",
        edges,
    ];
    sbom::Tree::parse(&clients::run(cargo, "cargo", &args, None).await?)
}

/// Packages the chart with Helm, which checks it, and packs its files again, because Helm writes the time into the archive.
async fn package_chart(place: &Path, to: &Path) -> Result<()> {
    let chart = checkout().join("charts/imm-operator").display().to_string();
    let folder = place.display().to_string();
    let command = clients::command(Tool::Helm4, Path::new("/dev/null"), place)?;
    clients::run(
        command,
        "helm4",
        &["package", &chart, "--destination", &folder],
        None,
    )
    .await?;
    let packed = place.join(format!("imm-operator-{VERSION}.tgz"));
    let unpacked = place.join("chart");
    fs::create_dir_all(&unpacked).map_err(HarnessError::io("creating a folder for the chart"))?;
    let (from, into) = (packed.display().to_string(), unpacked.display().to_string());
    clients::run(Command::new("tar"), "tar", &["-xzf", &from, "-C", &into], None).await?;
    pack(&unpacked, &["imm-operator"], to).await
}

/// Packs files of a folder, without owner and time.
async fn pack(folder: &Path, names: &[&str], to: &Path) -> Result<()> {
    let (from, to) = (folder.display().to_string(), to.display().to_string());
    let mut args = vec![
        "--sort=name",
        "--format=ustar",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u=rwX,go=rX",
        TIME,
        "--use-compress-program=gzip -9 -n",
        "-cf",
        &to,
        "-C",
        &from,
    ];
    args.extend(names);
    clients::run(Command::new("tar"), "tar", &args, None)
        .await
        .map(drop)
}

/// Returns the lines of `sha256sum` for files of a folder.
async fn sums(folder: &Path, names: &[&str]) -> Result<String> {
    let mut command = Command::new("sha256sum");
    command.current_dir(folder);
    clients::run(command, "sha256sum", names, None).await
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || HarnessError::io(format!("copying {}", from.display()));
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(doing())?;
    }
    fs::copy(from, to).map(drop).map_err(doing())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(HarnessError::io(format!("writing {}", path.display())))
}
