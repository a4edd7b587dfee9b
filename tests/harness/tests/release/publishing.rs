//! The workflow that publishes a release, which no test can run: what it does, and in which order.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use imm_harness::cargo_program::CARGO_DENY;
use imm_harness::release::{IMAGE, REPOSITORY, VERSION, missing_packages, rust_version};
use imm_harness::suite::RELEASE_STAGES;

use super::{Value, checkout};

pub(super) fn read(name: &str) -> String {
    std::fs::read_to_string(checkout().join(name)).unwrap()
}

pub(super) fn workflow() -> Value {
    serde_saphyr::from_str(&read(".github/workflows/release.yml")).unwrap()
}

/// Returns each step of a job as text.
pub(super) fn steps(job: &str) -> Vec<String> {
    let workflow = workflow();
    let steps = workflow.pointer(&format!("/jobs/{job}/steps")).unwrap();
    let text = |step: &Value| format!("{} {}", step["uses"], step["run"].as_str().unwrap_or_default());
    steps.as_array().unwrap().iter().map(text).collect()
}

/// Returns the number of the only step with a text.
pub(super) fn place(steps: &[String], text: &str) -> usize {
    let all = steps.iter().enumerate();
    let found: Vec<usize> = all
        .filter(|(_, step)| step.contains(text))
        .map(|(number, _)| number)
        .collect();
    assert_eq!(found.len(), 1, "{text} is in steps {found:?}");
    found.first().copied().unwrap()
}

#[test]
fn the_release_pushes_the_image_that_the_chart_runs() {
    let workflow = workflow();
    let chart: Value = serde_saphyr::from_str(&read("charts/imm-operator/Chart.yaml")).unwrap();
    assert_eq!(chart["home"], REPOSITORY);
    let repository = REPOSITORY.strip_prefix("https://github.com/").unwrap();
    let pushed = workflow["env"]["IMAGE"].as_str().unwrap();
    assert_eq!(pushed.replace("${{ github.repository }}", repository), IMAGE);
    // Files that are published with the image, or show its name.
    for name in [
        "deploy/install.yaml",
        "charts/imm-operator/Chart.yaml",
        "charts/imm-operator/README.md",
        "docs/src/operate/install.md",
        "docs/src/project/verify.md",
    ] {
        assert!(read(name).contains(IMAGE), "{name} does not name {IMAGE}");
    }
    assert!(read("deploy/install.yaml").contains(&format!("image: \"{IMAGE}:{VERSION}\"")));
}

#[test]
fn a_tag_is_released_only_from_a_tested_commit_of_main() {
    let workflow = workflow();
    assert_eq!(
        workflow["jobs"]["publish"]["needs"],
        serde_json::json!(["check", "tests", "build"])
    );
    for job in ["tests", "build"] {
        assert_eq!(workflow["jobs"][job]["needs"], "check");
    }
    // Without this shell, a command before a pipe could fail unnoticed.
    assert_eq!(workflow["defaults"]["run"]["shell"], "bash");
    let steps = steps("check");
    for text in [
        "merge-base --is-ancestor HEAD origin/main",
        "actions/workflows/ci.yml/runs?branch=main&event=push&status=success",
        "= \"$GITHUB_REF_NAME\"",
        "cargo deny --locked check advisories",
    ] {
        place(&steps, text);
    }
    // The version that `make test` uses.
    let install = format!(
        "cargo install --locked --quiet cargo-deny --version {}\n",
        CARGO_DENY.version
    );
    for name in ["release", "advisories"] {
        let text = read(&format!(".github/workflows/{name}.yml"));
        assert!(text.contains(&install), "{name}: {install}");
    }
    let rules = read("deny.toml");
    assert!(rules.contains("\n[advisories]\n") && rules.contains("\nyanked = \"deny\"\n"));
    let tested: Value = serde_saphyr::from_str(&read(".github/workflows/ci.yml")).unwrap();
    assert_eq!(tested["on"]["push"]["branches"][0], "main");
}

#[test]
fn a_tag_needs_every_stage_of_a_release() {
    let workflow = workflow();
    let job = &workflow["jobs"]["tests"];
    let entries = job["strategy"]["matrix"]["stages"].as_array().unwrap();
    let entries = entries.iter().map(|entry| entry.as_str().unwrap());
    let mut run = BTreeSet::new();
    for entry in entries {
        let stages: Vec<&str> = entry.split(' ').collect();
        let has = |stage: &str| stages.contains(&stage);
        // Tests on a cluster need the tools. The stage `release` builds the one that it needs, and the others need a
        // stage before them.
        let cluster = has("floor") || has("conclusions") || has("upgrade");
        assert_eq!(has("tools"), cluster, "{entry}");
        assert_eq!(has("release"), has("compare"), "{entry}");
        assert_eq!(has("book"), has("browser"), "{entry}");
        run.extend(stages);
    }
    let all: BTreeSet<&str> = RELEASE_STAGES.into_iter().chain(["tools"]).collect();
    assert_eq!(run, all);
    // The upgrade compiles an earlier commit, and stage.rs waits longer than this for a silent command.
    assert_eq!(job["steps"][0]["with"]["fetch-depth"], 0);
    assert!(job["timeout-minutes"].as_u64().unwrap() >= 120);
    let steps = steps("tests");
    assert!(
        steps
            .last()
            .unwrap()
            .contains("make test-release STAGES=\"$STAGES\"")
    );
    // A tag can read the cache of main, under the same key.
    let cache = |workflow: &Value, job: &str| {
        let steps = workflow["jobs"][job]["steps"].as_array().unwrap();
        let mut caches = steps
            .iter()
            .filter(|step| step["uses"].to_string().contains("actions/cache@"));
        let found = caches.next().map(|step| step["with"].clone());
        assert!(caches.next().is_none());
        found
    };
    let tested: Value = serde_saphyr::from_str(&read(".github/workflows/ci.yml")).unwrap();
    assert_eq!(cache(&workflow, "tests"), cache(&tested, "test"));
    assert!(cache(&workflow, "tests").is_some());
    // What is published is made of nothing that another run has left.
    for job in ["build", "publish"] {
        assert_eq!(cache(&workflow, job), None);
    }
}

#[test]
fn two_runs_for_one_tag_wait_for_each_other() {
    let expected = serde_json::json!({"group": "release-${{ github.ref }}", "cancel-in-progress": false});
    assert_eq!(workflow()["concurrency"], expected);
}

#[test]
fn what_compiles_may_not_write_and_what_may_write_does_not_compile() {
    let workflow = workflow();
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        let permissions = job["permissions"].as_object().cloned().unwrap_or_default();
        let writes = permissions.values().any(|access| access != "read");
        assert_eq!(writes, name == "publish", "{name}: {permissions:?}");
        assert_eq!(name == "publish", job["environment"] == "release", "{name}");
    }
    let steps = steps("publish");
    for step in &steps {
        for compiler in [
            "cargo ",
            "rustup",
            "make ",
            "go ",
            "build.sh",
            "buildx",
            "actions/checkout",
            "actions/cache",
        ] {
            assert!(!step.contains(compiler), "{compiler}: {step}");
        }
    }
    assert!(steps.first().unwrap().contains("actions/download-artifact@"));
    assert!(steps.get(1).unwrap().contains("sha256sum --check --strict <<<"));
    // The checksum comes from the outputs of the job that built, and the files from the store of artifacts.
    let outputs = &workflow["jobs"]["build"]["outputs"];
    assert_eq!(outputs["sum"], "${{ steps.pack.outputs.sum }}");
    let verify = &workflow["jobs"]["publish"]["steps"][1];
    assert_eq!(verify["env"]["SUM"], "${{ needs.build.outputs.sum }}");
}

#[test]
fn the_build_installs_what_a_release_needs() {
    let step = script("build", "apt-get install");
    for architecture in imm_harness::release::ARCHITECTURES {
        for (_, packages) in architecture.programs {
            for package in packages.split(' ') {
                assert!(step.split_whitespace().any(|word| word == package), "{package}");
            }
        }
    }
    assert!(missing_packages().iter().all(|package| step.contains(package)));
}

/// Returns the script of the only step of a job with a text.
pub(super) fn script(job: &str, text: &str) -> String {
    let mut steps = steps(job);
    let step = steps.swap_remove(place(&steps, text));
    step.split_once(' ').unwrap().1.to_owned()
}

/// Runs a script of a workflow in the checkout, as the runner does. Returns what it prints, if it succeeds.
pub(super) fn run(script: &str, variables: &[(&str, &str)]) -> Option<String> {
    let mut bash = Command::new("bash");
    bash.args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(checkout());
    let done = bash.envs(variables.iter().copied()).output().unwrap();
    done.status
        .success()
        .then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn a_tag_of_another_repository_is_refused() {
    let script = script("check", "home: https://github.com/$GITHUB_REPOSITORY");
    let own = REPOSITORY.strip_prefix("https://github.com/").unwrap();
    assert!(run(&script, &[("GITHUB_REPOSITORY", own)]).is_some());
    for other in [
        "somebody/imm-operator",
        "imm-operator/imm-operator2",
        "imm.operator/imm-operator",
    ] {
        assert_eq!(run(&script, &[("GITHUB_REPOSITORY", other)]), None, "{other}");
    }
    assert_eq!(IMAGE, format!("ghcr.io/{own}"));
}

#[test]
fn the_workflow_compiles_with_the_rust_of_the_dockerfile() {
    let folder = tempfile::tempdir().unwrap();
    let rustup = folder.path().join("rustup");
    std::fs::write(&rustup, "#!/bin/sh\necho \"$@\"\n").unwrap();
    std::fs::set_permissions(&rustup, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let rust = rust_version(&read("Dockerfile")).unwrap();
    for job in ["check", "tests", "build"] {
        let exported = folder.path().join(job).display().to_string();
        let script = script(job, "rustup toolchain install");
        let said = run(&script, &[("PATH", &path), ("GITHUB_ENV", &exported)]).unwrap();
        assert_eq!(said, format!("toolchain install {rust} --profile minimal\n"));
        let exported = std::fs::read_to_string(exported).unwrap();
        assert_eq!(exported, format!("RUSTUP_TOOLCHAIN={rust}\n"));
        // Before anything is compiled.
        let steps = steps(job);
        let before = place(&steps, "rustup toolchain install");
        let compiles = |step: &String| step.contains("cargo ") || step.contains("make test");
        assert!(steps.iter().position(compiles).unwrap() > before);
    }
}

#[test]
fn everything_is_built_and_checked_before_anything_is_pushed_and_the_chart_is_last() {
    let built = self::steps("build");
    let order = [
        "tests/harness/prepare.sh helm4\ncargo xtask release\n",
        "diff -r \"first/$folder\" \"target/$folder\"",
        "docker run --rm check --version",
        "sha256sum < release.tar",
        "actions/upload-artifact@",
    ];
    let places: Vec<usize> = order.iter().map(|text| place(&built, text)).collect();
    assert!(places.is_sorted(), "{places:?}");
    let steps = self::steps("publish");
    let order = [
        "sha256sum --check --strict SHA256SUMS",
        "docker login",
        "skopeo inspect --raw",
        "cosign sign-blob",
        "skopeo copy --all --preserve-digests",
        "cosign attest --yes --type cyclonedx",
        "gh release create",
        "helm push \"dist/imm-operator-",
    ];
    let places: Vec<usize> = order.iter().map(|text| place(&steps, text)).collect();
    assert!(places.is_sorted_by(|one, two| one < two), "{places:?}");
    assert_eq!(places.last().copied(), steps.len().checked_sub(1));
    assert!(steps.last().unwrap().contains("cosign sign --yes \"$CHARTS/"));
}

#[test]
fn the_page_verifies_everything_that_is_pushed() {
    let page = read("docs/src/project/verify.md");
    let charts = IMAGE.replace("/imm-operator/imm-operator", "/imm-operator/charts/imm-operator");
    for command in [
        format!("cosign verify \"{IMAGE}:$VERSION\""),
        format!("cosign verify \"{charts}:$VERSION\""),
        format!("gh attestation verify \"oci://{IMAGE}:$VERSION\""),
        "--signer-workflow imm-operator/imm-operator/.github/workflows/release.yml".to_owned(),
        "--source-ref \"refs/tags/v$VERSION\"".to_owned(),
        format!("cosign verify-attestation --type cyclonedx \"{IMAGE}@"),
        "cosign verify-blob SHA256SUMS".to_owned(),
    ] {
        assert!(page.contains(&command), "{command}");
    }
    for (name, command) in [("install", "helm install"), ("upgrade", "helm upgrade")] {
        let page = read(&format!("docs/src/operate/{name}.md"));
        let command = format!("{command} imm-operator oci://{charts} --version ");
        assert!(page.contains(&command), "{name}: {command}");
    }
    let owner = workflow()["env"]["CHARTS"].as_str().unwrap().to_owned();
    assert_eq!(
        format!(
            "{}/imm-operator",
            owner.replace("${{ github.repository_owner }}", "imm-operator")
        ),
        charts
    );
}

#[test]
fn the_page_names_the_cosign_that_signs() {
    let workflow = workflow();
    let steps = workflow["jobs"]["publish"]["steps"].as_array().unwrap();
    let mut installers = steps
        .iter()
        .filter(|step| step["uses"].to_string().contains("cosign-installer@"));
    let version = installers.next().unwrap()["with"]["cosign-release"]
        .as_str()
        .unwrap();
    let page = read("docs/src/project/verify.md");
    assert!(
        page.contains(&format!("cosign {}", version.trim_start_matches('v'))),
        "{version}"
    );
}

#[test]
fn the_image_that_is_pushed_is_the_one_that_the_files_name() {
    let pushed = script("publish", "skopeo copy");
    assert!(
        pushed.contains("oci:dist-oci \"docker://$IMAGE:$VERSION\""),
        "{pushed}"
    );
    assert!(
        pushed.contains("test \"$(cat pushed.txt)\" = \"$DIGEST\""),
        "{pushed}"
    );
    let workflow = workflow();
    assert_eq!(
        workflow["jobs"]["publish"]["env"]["DIGEST"],
        "${{ needs.build.outputs.digest }}"
    );
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains("\nFROM settings AS release\nARG TARGETARCH\nCOPY ${TARGETARCH}/ /\n"));
    // The permission for a record in another place is not asked for.
    let steps = workflow["jobs"]["publish"]["steps"].as_array().unwrap();
    let image = steps
        .iter()
        .find(|step| step["name"] == "Provenance of the image")
        .unwrap();
    assert_eq!(image["with"]["create-storage-record"], false);
}
