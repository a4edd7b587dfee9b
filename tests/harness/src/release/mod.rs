//! Makes the files of a release. Publishing and signing are steps of `.github/workflows/release.yml`, which runs this
//! first. The files contain no time of the build and no path of the machine, so that the same binary gives the same
//! bytes.

pub mod auditable;
mod changes;
mod compile;
mod image_files;
mod notes;
pub mod oci;
mod rust;
pub mod sbom;
mod unreleased;

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use self::changes::for_release;
pub use self::compile::{ARCHITECTURES, Architecture, BUILD, cargo_with_list, compile, missing_packages};
pub use self::image_files::{BILL_IN_IMAGE, image_files};
pub use self::notes::{filled, section};
use self::notes::{pinned, with_absolute_links, with_build};
pub use self::rust::{compilers, rust_version};
pub use self::unreleased::places;
use crate::environment::checkout;
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::tools::Tool;

/// The version of the workspace, of the chart and of the image.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The image that the release workflow pushes, and that the chart runs by default.
pub const IMAGE: &str = "ghcr.io/imm-operator/imm-operator";
/// The repository, whose workflow makes the releases.
pub const REPOSITORY: &str = "https://github.com/imm-operator/imm-operator";
/// The tool that packages the chart.
pub const PACKAGER: Tool = Tool::Helm4;
/// The time of every file in an archive: a release has no time of its own.
const TIME: &str = "--mtime=@0";

/// What to make a release of.
#[derive(Clone, Debug)]
pub struct ReleaseOptions {
    /// The folder of the files.
    pub output: PathBuf,
    /// What is made already; `None` compiles the binaries and builds the image.
    pub prepared: Option<Prepared>,
    /// Use the section `Unreleased` of the changelog if the version has none yet, allow pages that say that there is
    /// no release, and any version of Rust.
    pub dry_run: bool,
}

/// What a release is made of, if it is not to be made.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The binaries for [`ARCHITECTURES`].
    pub binaries: [PathBuf; ARCHITECTURES.len()],
    /// The digest of the image.
    pub digest: String,
}

/// Checks what can be checked before anything is compiled, and returns the section of the changelog.
///
/// # Errors
/// Chart, changelog and workspace disagree about the version; or it is no dry run, and a page says that there is no
/// release.
pub async fn check(root: &Path, dry_run: bool) -> Result<String> {
    same_version(&read(root, "charts/imm-operator/Chart.yaml")?)?;
    let places = if dry_run { Vec::new() } else { places(root).await? };
    if !places.is_empty() {
        return Err(HarnessError::Surprise(format!(
            "these pages say that no version is released: write what holds from now on\n{}",
            places.join("\n")
        )));
    }
    section(&read(root, "CHANGELOG.md")?, VERSION, dry_run)
}

/// Makes all files of a release and returns their names. The files of the image are in another folder, below the name
/// of each architecture, and the image is in a third one: [`images`] and [`image`].
///
/// # Errors
/// Chart, changelog and workspace disagree about the version, or a command fails.
pub async fn make(options: &ReleaseOptions) -> Result<Vec<String>> {
    let root = checkout();
    let section = check(&root, options.dry_run).await?;
    let rust = rust_version(&read(&root, "Dockerfile")?)?;
    let (binaries, built) = if let Some(prepared) = &options.prepared {
        (prepared.binaries.clone(), format!("For Rust {rust}."))
    } else {
        missing()?;
        let built = compilers(&root, &rust, options.dry_run).await?;
        (compiled(&root).await?, built)
    };
    let notes = with_absolute_links(&with_build(&section, &built), VERSION);
    let output = &options.output;
    let _ = fs::remove_dir_all(output);
    fs::create_dir_all(output).map_err(HarnessError::io(format!("creating {}", output.display())))?;
    let place = tempfile::tempdir().map_err(HarnessError::io("creating a folder for the archives"))?;

    let images = images(output);
    let _ = fs::remove_dir_all(&images);
    let (mut names, mut archives) = (Vec::new(), Vec::new());
    for (architecture, binary) in ARCHITECTURES.iter().zip(&binaries) {
        let stem = format!("imm-operator-{VERSION}-linux-{}", architecture.name);
        let content = place.path().join(architecture.name);
        copy(binary, &content.join("imm-operator"))?;
        copy(&root.join("LICENSE"), &content.join("LICENSE"))?;
        let bill = sbom::of(&root, *architecture).await?;
        if options.prepared.is_none() {
            auditable::verify(binary, &bill).await?;
        }
        image_files(&root, binary, &bill, &images.join(architecture.name))?;
        let archive = format!("{stem}.tar.gz");
        pack(&content, &["imm-operator", "LICENSE"], &output.join(&archive)).await?;

        let bill_name = format!("{stem}.cdx.json");
        write(&output.join(&bill_name), &bill)?;
        let sum = sums(output, &[&archive]).await?;
        let sum = sum.split_whitespace().next().unwrap_or_default().to_owned();
        archives.push((architecture.name, sum));
        names.extend([archive, bill_name]);
    }

    let chart = format!("imm-operator-{VERSION}.tgz");
    let digest = if let Some(prepared) = &options.prepared {
        prepared.digest.clone()
    } else {
        let image = image(output);
        let _ = fs::remove_dir_all(&image);
        oci::build(&root, &images, &image).await?
    };
    let metadata = for_release(
        &read(&root, "charts/imm-operator/Chart.yaml")?,
        &section,
        VERSION,
        &digest,
    )?;
    package_chart(&root, place.path(), &metadata, &output.join(&chart)).await?;

    write(&output.join("RELEASE-NOTES.md"), &notes)?;
    let manifest = pinned(&read(&root, "deploy/install.yaml")?, IMAGE, VERSION, &digest)?;
    write(&output.join("install.yaml"), &manifest)?;
    copy(&root.join("deploy/crds.yaml"), &output.join("crds.yaml"))?;
    write(
        &output.join("imm.yaml"),
        &filled(&read(&root, "deploy/krew/imm.yaml")?, VERSION, &archives)?,
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
    sums(output, &["--check", "--strict", "--quiet", "SHA256SUMS"]).await?;
    names.push("SHA256SUMS".into());
    Ok(names)
}

/// Returns the folder of the image's files for an output folder: `dist-image` beside `dist`.
pub fn images(output: &Path) -> PathBuf {
    beside(output, "-image")
}

/// Returns the folder of the image for an output folder: `dist-oci` beside `dist`.
pub fn image(output: &Path) -> PathBuf {
    beside(output, "-oci")
}

fn beside(output: &Path, ending: &str) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    output.with_file_name(name)
}

fn read(root: &Path, name: &str) -> Result<String> {
    fs::read_to_string(root.join(name)).map_err(HarnessError::io(format!("reading {name}")))
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

/// Fails if the compilation needs Debian packages that are missing.
fn missing() -> Result<()> {
    let missing = missing_packages().join(" ");
    if missing.is_empty() {
        return Ok(());
    }
    Err(HarnessError::Surprise(format!(
        "a release needs the Debian packages {missing}: install them and run the command again"
    )))
}

/// Compiles the binaries in the target folder of the checkout.
async fn compiled(root: &Path) -> Result<[PathBuf; ARCHITECTURES.len()]> {
    let [amd64, arm64] = ARCHITECTURES;
    let target = root.join("target");
    Ok([
        compile(amd64, root, &target).await?,
        compile(arm64, root, &target).await?,
    ])
}

/// Packages the chart with Helm, which checks it, and packs its files again, because Helm writes the time into the
/// archive.
async fn package_chart(root: &Path, place: &Path, metadata: &str, to: &Path) -> Result<()> {
    let folder = place.display().to_string();
    let sources = root.join("charts/imm-operator").display().to_string();
    clients::run(Command::new("cp"), "cp", &["-R", &sources, &folder], None).await?;
    let copied = place.join("imm-operator");
    write(&copied.join("Chart.yaml"), metadata)?;
    link_to_version(&copied)?;
    let chart = copied.display().to_string();
    let command = clients::command(PACKAGER, Path::new("/dev/null"), place)?;
    clients::run(
        command,
        PACKAGER.name(),
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

/// Makes the links of all files in a folder lead to the pages of this version: those of `main` describe later ones.
fn link_to_version(folder: &Path) -> Result<()> {
    let (main, version) = (
        format!("{REPOSITORY}/blob/main/"),
        format!("{REPOSITORY}/blob/v{VERSION}/"),
    );
    for entry in fs::read_dir(folder).map_err(HarnessError::io("listing the chart"))? {
        let path = entry.map_err(HarnessError::io("listing the chart"))?.path();
        if path.is_dir() {
            link_to_version(&path)?;
        } else {
            let text = fs::read_to_string(&path).map_err(HarnessError::io("reading the chart"))?;
            write(&path, &text.replace(&main, &version))?;
        }
    }
    Ok(())
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

/// Returns what `sha256sum` prints in a folder.
async fn sums(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("sha256sum");
    command.current_dir(folder);
    clients::run(command, "sha256sum", arguments, None).await
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
