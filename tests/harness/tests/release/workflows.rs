//! What docs/src/project/scorecard.md says of workflows and files of the repository.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use imm_harness::release::rust_version;

use super::{Value, checkout, output};

fn workflows() -> Vec<(String, String, Value)> {
    let folder = checkout().join(".github/workflows");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let parsed = serde_saphyr::from_str(&text).unwrap();
        (path.display().to_string(), text, parsed)
    };
    let found: Vec<_> = files.map(read).collect();
    assert!(found.len() >= 3);
    found
}

#[test]
fn actions_are_pinned_by_commit() {
    let mut checked = 0;
    for (name, text, _) in workflows() {
        for line in text.lines().filter(|line| line.contains("uses: ")) {
            checked += 1;
            let (_, pin) = line.split_once('@').unwrap();
            let (commit, version) = pin.split_once(" # v").unwrap_or_default();
            assert!(
                commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()) && !version.is_empty(),
                "{name}: {line}"
            );
        }
    }
    assert!(checked >= 6, "only {checked} actions");
}

/// Without this, each later step could push with the token of the job.
#[test]
fn no_checkout_leaves_its_token_behind() {
    let mut checked = 0;
    for (name, _, workflow) in workflows() {
        for (job, content) in workflow["jobs"].as_object().unwrap() {
            for step in content["steps"].as_array().unwrap() {
                if step["uses"].to_string().contains("actions/checkout@") {
                    checked += 1;
                    assert_eq!(step["with"]["persist-credentials"], false, "{name}: {job}");
                }
            }
        }
    }
    assert!(checked >= 6, "only {checked} checkouts");
}

/// The lowest version of Rust is compiled with, and everything else uses the one of a release.
#[test]
fn every_change_is_compiled_with_the_oldest_rust_and_tested_with_that_of_a_release() {
    let workflow = std::fs::read_to_string(checkout().join(".github/workflows/ci.yml")).unwrap();
    let workflow: Value = serde_saphyr::from_str(&workflow).unwrap();
    let run = |job: &str, text: &str| {
        let steps = workflow["jobs"][job]["steps"].as_array().unwrap();
        let mut found = steps.iter().filter_map(|step| step["run"].as_str());
        let script = found.find(|script| script.contains(text)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rustup = folder.path().join("rustup");
        std::fs::write(&rustup, "#!/bin/sh\necho \"${0##*/} $*\"\n").unwrap();
        std::fs::set_permissions(&rustup, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(&rustup, folder.path().join("cargo")).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let exported = folder.path().join("exported");
        let done = std::process::Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", script])
            .current_dir(checkout())
            .env("PATH", path)
            .env("GITHUB_ENV", &exported)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        let exported = std::fs::read_to_string(exported).unwrap_or_default();
        String::from_utf8_lossy(&done.stdout).into_owned() + &exported
    };
    let manifest = std::fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
    let oldest = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""));
    let oldest = oldest.unwrap().trim_end_matches('"');
    let said = run("oldest-rust", "rustup toolchain install");
    assert!(
        said.contains(&format!("rustup toolchain install {oldest} ")),
        "{said}"
    );
    assert!(
        said.contains(&format!("cargo +{oldest} check --locked ")),
        "{said}"
    );
    let dockerfile = std::fs::read_to_string(checkout().join("Dockerfile")).unwrap();
    let newest = rust_version(&dockerfile).unwrap();
    let said = run("test", "rustup toolchain install");
    assert!(
        said.contains(&format!("rustup toolchain install {newest} ")),
        "{said}"
    );
    assert!(said.contains(&format!("RUSTUP_TOOLCHAIN={newest}\n")), "{said}");
    let page = std::fs::read_to_string(checkout().join("docs/src/project/compatibility.md")).unwrap();
    let row = format!("| Rust, to build | {newest} | {oldest} and newer");
    assert!(page.contains(&row), "{row}");
}

/// Paths of the owners exist, and what a release is made by needs a second approval.
#[test]
fn what_decides_about_a_release_has_owners() {
    let owners = std::fs::read_to_string(checkout().join(".github/CODEOWNERS")).unwrap();
    let rows: Vec<&str> = owners.lines().filter(|line| line.starts_with('/')).collect();
    for row in &rows {
        let path = row.split_whitespace().next().unwrap().trim_start_matches('/');
        assert!(path.contains('*') || checkout().join(path).exists(), "{path}");
    }
    let paths =
        "/.ci/ /.github/ /Cargo.lock /Dockerfile /deny.toml /tests/harness/src/release/ /tests/tools/";
    for path in paths.split(' ') {
        let row = rows
            .iter()
            .find(|row| row.split(' ').next() == Some(path))
            .unwrap();
        assert!(row.ends_with(" @imm-operator/security"), "{row}");
    }
}

#[test]
fn a_workflow_starts_with_read_access_and_runs_no_code_of_strangers() {
    for (name, text, workflow) in workflows() {
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({"contents": "read"}),
            "{name}"
        );
        for trigger in ["pull_request_target", "workflow_run", "issue_comment"] {
            assert!(!text.contains(trigger), "{name}: {trigger}");
        }
        for foreign in ["${{ github.event", "github.head_ref"] {
            assert!(!text.contains(foreign), "{name}: {foreign}");
        }
    }
}

#[test]
fn the_repository_contains_no_binary() {
    let listed = output("git", &checkout(), &["ls-files"]);
    let mut checked = 0;
    for file in listed.lines() {
        let path = checkout().join(file);
        let Ok(content) = std::fs::read(&path) else {
            continue;
        };
        checked += 1;
        let start = &content[..content.len().min(4)];
        for magic in [&b"\x7fELF"[..], b"PK\x03\x04", b"\x1f\x8b", b"\0asm", b"MZ"] {
            assert!(!start.starts_with(magic), "{file} is an executable or an archive");
        }
    }
    assert!(checked > 200, "only {checked} files");
}

#[test]
fn the_page_answers_every_check_of_scorecard() {
    let page = std::fs::read_to_string(checkout().join("docs/src/project/scorecard.md")).unwrap();
    let answered: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .filter(|name| name.starts_with(char::is_uppercase))
        .collect();
    let checks = "Binary-Artifacts Branch-Protection CI-Tests CII-Best-Practices Code-Review Contributors \
        Dangerous-Workflow Dependency-Update-Tool Fuzzing License Maintained Packaging Pinned-Dependencies SAST SBOM \
        Security-Policy Signed-Releases Token-Permissions Vulnerabilities Webhooks";
    assert_eq!(answered, checks.split_whitespace().collect());
    // Files that an answer names exist.
    for path in page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| text.contains('/') && !text.contains(' '))
    {
        assert!(checkout().join(path).exists(), "{path}");
    }
}

#[test]
fn every_module_of_a_tool_is_updated() {
    let text = std::fs::read_to_string(checkout().join(".github/dependabot.yml")).unwrap();
    let config: Value = serde_saphyr::from_str(&text).unwrap();
    let updates = config["updates"].as_array().unwrap();
    let of = |kind: &str| {
        updates
            .iter()
            .find(|update| update["package-ecosystem"] == kind)
            .unwrap()
    };
    for kind in ["cargo", "docker", "github-actions"] {
        assert_eq!(of(kind)["directory"], "/");
    }
    let manifests = [
        ("gomod", "*go.mod"),
        ("npm", "*package.json"),
        ("pip", "*requirements.txt"),
    ];
    for (kind, pattern) in manifests {
        let updates = updates
            .iter()
            .filter(|update| update["package-ecosystem"] == kind);
        let listed: BTreeSet<String> = updates
            .flat_map(|update| update["directories"].as_array().unwrap())
            .map(|folder| folder.as_str().unwrap().trim_start_matches('/').to_owned())
            .collect();
        let files = output("git", &checkout(), &["ls-files", pattern]);
        let folders = files
            .lines()
            .map(|file| file.rsplit_once('/').unwrap().0.to_owned());
        assert_eq!(listed, folders.collect(), "{kind}");
    }
    // The page names them all.
    let kinds: BTreeSet<&str> = updates
        .iter()
        .map(|update| update["package-ecosystem"].as_str().unwrap())
        .collect();
    let page = std::fs::read_to_string(checkout().join("docs/src/project/scorecard.md")).unwrap();
    let answer = page
        .lines()
        .find(|line| line.starts_with("| Dependency-Update-Tool |"))
        .unwrap();
    for kind in kinds {
        assert!(answer.contains(kind), "{kind}: {answer}");
    }
}

/// Dependabot updates only what a Dockerfile names literally.
#[test]
fn every_image_of_the_dockerfile_is_named_literally_and_by_version() {
    let dockerfile = std::fs::read_to_string(checkout().join("Dockerfile")).unwrap();
    let bases: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let version = rust_version(&dockerfile).unwrap();
    let (tag, digest) = bases[0].split_once('@').unwrap_or((bases[0], ""));
    assert!(tag.starts_with(&format!("rust:{version}-alpine")), "{tag}");
    let hexadecimal = |sum: &str| sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit());
    assert!(
        digest.is_empty() || digest.strip_prefix("sha256:").is_some_and(hexadecimal),
        "{digest}"
    );
    assert_eq!(bases[1..], ["scratch", "settings", "settings"]);
    assert!(!bases.iter().any(|base| base.contains('$')), "{bases:?}");
}
