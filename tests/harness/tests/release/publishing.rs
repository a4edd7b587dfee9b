//! The workflow that publishes a release, which no test can run: what it does, and in which order.

use imm_harness::release::{IMAGE, VERSION};

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
    let home = "https://github.com/imm-operator/imm-operator";
    let chart: Value = serde_saphyr::from_str(&read("charts/imm-operator/Chart.yaml")).unwrap();
    assert_eq!(chart["home"], home);
    let repository = home.strip_prefix("https://github.com/").unwrap();
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
    assert_eq!(workflow["jobs"]["release"]["needs"], "check");
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
