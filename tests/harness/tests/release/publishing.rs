//! The workflow that publishes a release, which no test can run: what it does, and in which order.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use imm_harness::release::{IMAGE, REPOSITORY, VERSION, rust_version};
use imm_harness::suite::RELEASE_STAGES;

use super::{Value, checkout};

fn read(name: &str) -> String {
    std::fs::read_to_string(checkout().join(name)).unwrap()
}

fn workflow() -> Value {
    serde_saphyr::from_str(&read(".github/workflows/release.yml")).unwrap()
}

/// Returns each step of a job as text.
fn steps(job: &str) -> Vec<String> {
    let workflow = workflow();
    let steps = workflow.pointer(&format!("/jobs/{job}/steps")).unwrap();
    let text = |step: &Value| format!("{} {}", step["uses"], step["run"].as_str().unwrap_or_default());
    steps.as_array().unwrap().iter().map(text).collect()
}

/// Returns the number of the only step with a text.
fn place(steps: &[String], text: &str) -> usize {
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
        workflow["jobs"]["release"]["needs"],
        serde_json::json!(["check", "tests"])
    );
    assert_eq!(workflow["jobs"]["tests"]["needs"], "check");
    // Without this shell, a command before a pipe could fail unnoticed.
    assert_eq!(workflow["defaults"]["run"]["shell"], "bash");
    let steps = steps("check");
    for text in [
        "merge-base --is-ancestor HEAD origin/main",
        "actions/workflows/ci.yml/runs?branch=main&event=push&status=success",
        "= \"$GITHUB_REF_NAME\"",
    ] {
        place(&steps, text);
    }
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
        // Tests on a cluster need the tools; the others need a stage before them.
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
}

/// Returns the script of the only step of a job with a text.
fn script(job: &str, text: &str) -> String {
    let mut steps = steps(job);
    let step = steps.swap_remove(place(&steps, text));
    step.split_once(' ').unwrap().1.to_owned()
}

/// Runs a script of a workflow in the checkout, as the runner does. Returns what it prints, if it succeeds.
fn run(script: &str, variables: &[(&str, &str)]) -> Option<String> {
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
    for job in ["tests", "release"] {
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

/// Publishes the files with a gh that has a release in this state, and returns the commands that change something.
fn published(state: Option<&str>) -> (bool, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let gh = folder.path().join("gh");
    let view = state.map_or("exit 1".to_owned(), |state| format!("echo {state}"));
    let program =
        format!("#!/bin/sh\nif [ \"$2\" = view ]; then {view}; else echo \"$2\" >> \"${{0%/*}}/log\"; fi\n");
    std::fs::write(&gh, program).unwrap();
    std::fs::set_permissions(&gh, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let script = script("release", "gh release create");
    let done = run(&script, &[("PATH", &path), ("GITHUB_REF_NAME", "v0.1.0")]).is_some();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    (done, log.lines().map(ToOwned::to_owned).collect())
}

#[test]
fn a_second_run_uses_the_draft_of_the_first_and_no_run_changes_a_published_release() {
    assert_eq!(published(None), (true, vec!["create".to_owned()]));
    let (done, again) = published(Some("true"));
    assert_eq!(
        (done, again),
        (true, vec!["edit".to_owned(), "upload".to_owned()])
    );
    assert_eq!(published(Some("false")), (false, Vec::new()));
    assert!(script("release", "gh release create").contains("--clobber target/dist/*"));
}

#[test]
fn everything_is_built_and_checked_before_anything_is_pushed_and_the_chart_is_last() {
    let steps = steps("release");
    let order = [
        "diff -r first/dist target/dist",
        "docker run --rm check --version",
        "cosign sign-blob",
        "docker login",
        " --push ",
        "cosign attest --yes --type cyclonedx",
        "gh release create",
        "push \"target/dist/imm-operator-",
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
fn the_image_holds_the_binaries_of_the_files() {
    let steps = steps("release");
    let builds: Vec<&str> = steps
        .iter()
        .flat_map(|step| step.split("docker buildx build ").skip(1))
        .collect();
    assert_eq!(builds.len(), 3, "{builds:?}");
    for build in builds {
        assert!(
            build.contains("--target release") && build.contains("--file Dockerfile target/dist-image"),
            "{build}"
        );
    }
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains("\nFROM settings AS release\nARG TARGETARCH\nCOPY ${TARGETARCH}/ /\n"));
}
