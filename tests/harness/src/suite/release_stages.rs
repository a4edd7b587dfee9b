//! The stages that `make test-release` adds to those of `make test`: they take long, and a change rarely breaks them.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::stage::{Stage, cargo_test};
use super::{LONG_TESTS, OF_RELEASE, WITH_LONG_TESTS};
use crate::environment::{cache_folder, tools_folder};
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::release::{self, ARCHITECTURES, ReleaseOptions};

/// The oldest minor version of Kubernetes that the chart accepts.
const FLOOR: &str = "1.33";
/// The test programs that run on a control plane of that version.
const ON_FLOOR: [&str; 8] = [
    "plane",
    "install",
    "grants",
    "jobs",
    "platform",
    "tenancy",
    "credentials",
    "leader",
];
/// The version before this one: until there is a release, the last commit before the chart was reworked.
const EARLIER: &str = "224e41d8e849d5df6bf81e88696651c11d9be580";

/// Runs tests on a control plane of the oldest version of Kubernetes.
pub(super) async fn floor(stage: &mut Stage<'_>) -> Result<()> {
    stage
        .command(stage.root().join("tests/tools/floor.sh"), &[])
        .await?;
    let mut tests = cargo_test(vec!["--workspace".to_owned()]);
    tests
        .args(ON_FLOOR.iter().flat_map(|program| ["--test", *program]))
        .env("TOOLS_DIR", tools_folder()?.join(format!("kube-{FLOOR}")));
    stage.prepared(tests).await
}

/// Runs the tests that wait for minutes.
pub(super) async fn conclusions(stage: &mut Stage<'_>) -> Result<()> {
    let long = ["--test", WITH_LONG_TESTS, "--", LONG_TESTS];
    stage.prepared(cargo_test(long.map(str::to_owned).to_vec())).await
}

/// Makes the files of a release.
pub(super) async fn files(stage: &mut Stage<'_>) -> Result<()> {
    stage.install(&release::missing_packages()).await?;
    for architecture in ARCHITECTURES {
        stage
            .command("rustup", &["target", "add", architecture.target])
            .await?;
    }
    let options = ReleaseOptions {
        output: stage.root().join("target/dist"),
        binaries: None,
        dry_run: true,
    };
    for name in release::make(&options).await? {
        stage.check(&format!("made {name}"), Ok(()));
    }
    Ok(())
}

/// Compiles the binaries again, from a copy of the sources in another folder, and compares them with those of the stage
/// before.
pub(super) async fn compare(stage: &mut Stage<'_>) -> Result<()> {
    let folder = tempfile::tempdir().map_err(HarnessError::io("creating a folder for the sources"))?;
    crate::process::guard::watch_folder(folder.path())?;
    let sources = folder.path().join("elsewhere/sources");
    copy_sources(stage.root(), &sources).await?;
    for architecture in ARCHITECTURES {
        let target = stage.root().join("target").join(architecture.target);
        let first = target.join("release/imm-operator");
        if !first.is_file() {
            let text = format!("{} is missing: run the stage `release` first", first.display());
            return Err(HarnessError::Surprise(text));
        }
        let first = digest(&first).await?;
        let again = release::compile(architecture, &sources, &folder.path().join("built")).await?;
        let again = digest(&again).await?;
        let same = if first == again {
            Ok(())
        } else {
            Err(format!("the other has {again}"))
        };
        let what = format!("two builds for {} are the same bytes: {first}", architecture.name);
        stage.check(&what, same);
    }
    Ok(())
}

/// Builds the version before, and tests the upgrade from it and the rollback to it.
pub(super) async fn upgrade(stage: &mut Stage<'_>) -> Result<()> {
    let sources = earlier(stage).await?;
    let mut tests = cargo_test(vec!["--test".to_owned(), OF_RELEASE.to_owned()]);
    tests.env("IMM_EARLIER", &sources);
    stage.prepared(tests).await
}

/// Returns the sources of the version before, with its program in them.
async fn earlier(stage: &mut Stage<'_>) -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("earlier-{EARLIER}"));
    let sources = folder.join("sources");
    let program = sources.join("imm-operator");
    if program.is_file() {
        return Ok(sources);
    }
    std::fs::create_dir_all(&sources)
        .map_err(HarnessError::io("creating a folder for the version before"))?;
    let archive = folder.join("sources.tar");
    // A clone without history does not have the commit: then git says so, and the stage fails.
    let mut git = Command::new("git");
    git.args(["archive", EARLIER, "--output"]).arg(&archive);
    stage.prepared(git).await?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(&sources);
    stage.prepared(tar).await?;
    let target = folder.join("target");
    let build = ["build", "--locked", "--bin", "imm-operator", "--target-dir"];
    let mut cargo = Command::new("cargo");
    cargo.args(build).arg(&target).current_dir(&sources);
    stage.prepared(cargo).await?;
    std::fs::copy(target.join("debug/imm-operator"), &program)
        .map_err(HarnessError::io("copying the program of the version before"))?;
    Ok(sources)
}

/// Copies the files that git tracks, or would track.
async fn copy_sources(root: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(HarnessError::io("creating a folder for the sources"))?;
    let (from, to) = (root.display().to_string(), to.display().to_string());
    let script = "git -C \"$1\" ls-files -z --cached --others --exclude-standard | \
                  tar -C \"$1\" --null --files-from=- -cf - | tar -C \"$2\" -xf -";
    let arguments = ["-o", "pipefail", "-c", script, "copy", &from, &to];
    clients::run(Command::new("bash"), "bash", &arguments, None)
        .await
        .map(drop)
}

async fn digest(file: &Path) -> Result<String> {
    let path = file.display().to_string();
    let line = clients::run(Command::new("sha256sum"), "sha256sum", &[&path], None).await?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::checkout;

    #[test]
    fn the_floor_is_the_oldest_version_that_the_chart_accepts() {
        let read = |name: &str| std::fs::read_to_string(checkout().join(name)).unwrap();
        let chart = read("charts/imm-operator/Chart.yaml");
        let accepted = format!("kubeVersion: \">={FLOOR}.0-0\"");
        assert!(chart.lines().any(|line| line == accepted), "{chart}");
        let module = read(&format!("tests/tools/kubernetes-{FLOOR}/go.mod"));
        assert!(
            module.contains(&format!("k8s.io/kubernetes v{FLOOR}.")),
            "{module}"
        );
        assert!(read("tests/tools/floor.sh").contains(&format!("version={FLOOR}.")));
    }
}
