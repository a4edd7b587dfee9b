//! The stages that `make test-release` adds to those of `make test`: they take long, and a change rarely breaks them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use super::stage::{Stage, cargo_test};
use super::{LONG_TESTS, OF_RELEASE, WITH_LONG_TESTS};
use crate::cargo_program::CARGO_AUDITABLE;
use crate::environment::{cache_folder, tools_folder};
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::release::oci::Part;
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
/// The version before the first release: the last commit before the chart was reworked.
const BEFORE_RELEASES: &str = "224e41d8e849d5df6bf81e88696651c11d9be580";

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
    // The stage `tools` builds more than a release needs.
    let tools = stage.root().join("tests/tools/build.sh");
    stage.command(tools, &[release::PACKAGER.name()]).await?;
    stage.installed(CARGO_AUDITABLE).await?;
    for architecture in ARCHITECTURES {
        stage
            .command("rustup", &["target", "add", architecture.target])
            .await?;
    }
    let options = ReleaseOptions {
        output: stage.root().join("target/dist"),
        prepared: None,
        dry_run: true,
    };
    for name in release::make(&options).await? {
        stage.check(&format!("made {name}"), Ok(()));
    }
    let layout = release::image(&options.output);
    for part in release::oci::parts(&layout)? {
        let files = release::images(&options.output).join(&part.architecture);
        let what = format!("the image for {} has the files of the release", part.architecture);
        stage.check(&what, same_image(&part, &files).await);
    }
    Ok(())
}

/// Returns an error unless an image is for its architecture, has the labels of the release, and holds the files of a
/// folder and nothing else.
async fn same_image(part: &Part, files: &Path) -> std::result::Result<(), String> {
    for (place, expected) in [
        ("/os", "linux"),
        ("/architecture", part.architecture.as_str()),
        ("/created", "1970-01-01T00:00:00Z"),
        ("/config/User", "65532:65532"),
        (
            "/config/Labels/org.opencontainers.image.version",
            release::VERSION,
        ),
    ] {
        let found = part.config.pointer(place);
        if found.and_then(Value::as_str) != Some(expected) {
            return Err(format!("{place} is {found:?}, expected {expected}"));
        }
    }
    let text = |error: HarnessError| error.to_string();
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let place = folder.path().display().to_string();
    for layer in &part.layers {
        let layer = layer.display().to_string();
        let tar = ["-xf", &layer, "-C", &place];
        clients::run(Command::new("tar"), "tar", &tar, None)
            .await
            .map_err(text)?;
    }
    let compared = ["--recursive", &place, &files.display().to_string()];
    clients::run(Command::new("diff"), "diff", &compared, None)
        .await
        .map_err(text)?;
    Ok(())
}

/// Compiles the binaries again, from a copy of the sources in another folder, and compares them with those of the
/// stage before.
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
    let commit = earlier_commit(stage.root()).await?;
    let folder = cache_folder()?.join(format!("earlier-{commit}"));
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
    git.args(["archive", &commit, "--output"]).arg(&archive);
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

/// Returns the commit of the newest release before this version. Tags of this commit and of later ones are no earlier
/// release.
async fn earlier_commit(root: &Path) -> Result<String> {
    let git = || {
        let mut git = Command::new("git");
        git.current_dir(root);
        git
    };
    let listed = ["tag", "--list", "v*", "--no-contains", "HEAD"];
    let tags = clients::run(git(), "git", &listed, None).await?;
    let Some(tag) = newest_release(&tags, release::VERSION) else {
        return Ok(BEFORE_RELEASES.to_owned());
    };
    let named = format!("refs/tags/{tag}^{{commit}}");
    let commit = clients::run(git(), "git", &["rev-parse", "--verify", &named], None).await?;
    Ok(commit.trim().to_owned())
}

/// Returns the tag of the newest release that is not newer than a version. Nobody needs to upgrade from a
/// pre-release.
fn newest_release<'a>(tags: &'a str, version: &str) -> Option<&'a str> {
    let this = numbers(version.split('-').next()?)?;
    let releases = tags
        .lines()
        .filter_map(|tag| Some((numbers(tag.strip_prefix('v')?)?, tag)));
    let newest = releases.filter(|(numbers, _)| *numbers <= this).max();
    newest.map(|(_, tag)| tag)
}

/// Returns the three numbers of a version without a name after them.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
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
    fn an_upgrade_starts_at_the_newest_earlier_release() {
        let tags = "v0.1.0\nv0.10.0\nv0.2.0\nv0.9.0\nv0.9.1-rc.1\nvendor\nv1.0\n";
        for (version, tag) in [
            ("0.9.1", Some("v0.9.0")),
            ("0.9.1-rc.2", Some("v0.9.0")),
            // After the release of the version, until the next one has a number.
            ("0.10.0", Some("v0.10.0")),
            ("0.1.0", Some("v0.1.0")),
            ("0.0.9", None),
        ] {
            assert_eq!(newest_release(tags, version), tag, "{version}");
        }
        assert_eq!(newest_release("", "0.1.0"), None);
    }

    #[tokio::test]
    async fn the_tag_of_this_commit_is_no_earlier_release() {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut git = std::process::Command::new("git");
            git.current_dir(folder.path()).args(args);
            // The settings of the user, and a repository that a hook names.
            git.env_remove("GIT_DIR")
                .env_remove("GIT_WORK_TREE")
                .env_remove("GIT_INDEX_FILE");
            git.env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_NOSYSTEM", "1");
            let done = git.output().unwrap();
            assert!(done.status.success(), "{args:?}: {done:?}");
            String::from_utf8_lossy(&done.stdout).trim().to_owned()
        };
        let commit = |name: &str| {
            let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
            git(&[&identity[..], &["commit", "--quiet", "--allow-empty", "-m", name]].concat());
        };
        git(&["init", "--quiet"]);
        commit("one");
        assert_eq!(earlier_commit(folder.path()).await.unwrap(), BEFORE_RELEASES);
        git(&["tag", "v0.0.1"]);
        assert_eq!(earlier_commit(folder.path()).await.unwrap(), BEFORE_RELEASES);
        let first = git(&["rev-parse", "HEAD"]);
        commit("two");
        git(&["tag", &format!("v{}", release::VERSION)]);
        assert_eq!(earlier_commit(folder.path()).await.unwrap(), first);
    }

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
