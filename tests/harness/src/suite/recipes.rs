//! The stage `recipes`: linters for the files that no test can run whole, the Dockerfile and the workflows.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::stage::Stage;
use crate::environment::cache_folder;
use crate::error::{HarnessError, Result};

/// The linters of PyPI.
const PINS: &str = "tests/tools/lint/requirements.txt";
/// The module of the linter of workflows.
const MODULE: &str = "tests/tools/actionlint";
const PACKAGE: &str = "github.com/rhysd/actionlint";

/// Lints the Dockerfile with hadolint, and the workflows with actionlint, which has their commands read by shellcheck.
pub(super) async fn stage(stage: &mut Stage<'_>) -> Result<()> {
    let programs = from_pypi(stage).await?;
    let actionlint = actionlint(stage).await?;
    stage.command(programs.join("hadolint"), &["Dockerfile"]).await?;
    let shellcheck = programs.join("shellcheck").display().to_string();
    stage
        .command(
            actionlint,
            &["-no-color", "-shellcheck", &shellcheck, "-pyflakes="],
        )
        .await
}

/// Installs the linters of PyPI, once for these pins, and returns the folder of the programs.
async fn from_pypi(stage: &mut Stage<'_>) -> Result<PathBuf> {
    let pins = stage.root().join(PINS);
    let text = read(&pins)?;
    let versions = text
        .lines()
        .filter_map(|line| line.split("==").nth(1)?.split(' ').next());
    let folder = cache_folder()?.join(versions.fold("lint".to_owned(), |name, version| name + "-" + version));
    let programs = folder.join("bin");
    // pip can be interrupted between two packages.
    if !["hadolint", "shellcheck"]
        .iter()
        .all(|name| programs.join(name).is_file())
    {
        let place = folder.display().to_string();
        stage.command("python3", &["-m", "venv", &place]).await?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--only-binary=:all:",
        ];
        let mut install = Command::new(programs.join("python"));
        install
            .args(pip)
            .args(["--require-hashes", "--requirement"])
            .arg(&pins);
        stage.prepared(install).await?;
    }
    Ok(programs)
}

/// Builds actionlint, once for its version, and returns its path.
async fn actionlint(stage: &mut Stage<'_>) -> Result<PathBuf> {
    let module = stage.root().join(MODULE);
    let text = read(&module.join("go.mod"))?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(PACKAGE)?.strip_prefix(" v"))
        .and_then(|rest| rest.split(' ').next());
    let version =
        version.ok_or_else(|| HarnessError::Surprise(format!("{MODULE}/go.mod requires no {PACKAGE}")))?;
    let program = cache_folder()?.join(format!("actionlint-{version}/actionlint"));
    if !program.is_file() {
        let mut build = Command::new("go");
        build
            .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o"])
            .arg(&program)
            .arg(format!("{PACKAGE}/cmd/actionlint"))
            .current_dir(&module)
            .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")]);
        stage.prepared(build).await?;
    }
    Ok(program)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(HarnessError::io(format!("reading {}", path.display())))
}
