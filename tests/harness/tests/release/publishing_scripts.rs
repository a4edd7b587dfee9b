//! The scripts of the release workflow that decide whether something may be published, run with programs in place of
//! gh, skopeo and helm.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use imm_harness::release::VERSION;
use tempfile::TempDir;

use super::publishing::script;

/// A folder in which a script runs, with programs that come before those of the machine.
struct Place(TempDir);

/// What a script printed, if it succeeded, or else on its standard error.
type Done = Result<String, String>;

impl Place {
    fn with(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        for (name, text) in programs {
            let program = folder.path().join("bin").join(name);
            fs::write(&program, format!("#!/bin/bash\n{text}\n")).unwrap();
            fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Runs a script as the runner does.
    fn run(&self, script: &str, variables: &[(&str, &str)]) -> Done {
        let path = format!("{}/bin:/usr/bin:/bin", self.folder().display());
        let done = Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", script])
            .current_dir(self.folder())
            .envs([
                ("PATH", path.as_str()),
                ("GITHUB_REPOSITORY", "imm-operator/imm-operator"),
                ("GH_REPO", "imm-operator/imm-operator"),
                ("GITHUB_REF_NAME", &format!("v{VERSION}")),
                ("VERSION", VERSION),
                ("IMAGE", "registry/image"),
                ("CHARTS", "registry/charts"),
            ])
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if done.status.success() {
            Ok(text(&done.stdout))
        } else {
            Err(text(&done.stderr))
        }
    }
}

/// A gh that prints the drafts of a tag, or fails as it does without a network.
fn gh(drafts: Option<&str>) -> String {
    let answer = drafts.map_or("echo 'error connecting' >&2; exit 1".to_owned(), |drafts| {
        format!("printf '%s' '{drafts}'; exit 0")
    });
    format!("if [ \"$1\" = api ]; then {answer}; fi\necho \"$@\" >> log")
}

#[test]
fn a_published_version_is_refused_before_anything_is_made() {
    let script = script("check", "gh api --paginate");
    let with = |drafts| Place::with(&[("gh", &gh(drafts))]).run(&script, &[]);
    assert!(with(Some("")).is_ok());
    assert!(with(Some("true\n")).is_ok());
    for published in ["false\n", "true\nfalse\n"] {
        let refused = with(Some(published)).unwrap_err();
        assert!(refused.contains("is published already"), "{refused}");
    }
    // A failing request is no answer.
    assert!(with(None).unwrap_err().contains("error connecting"));
}

/// Checks what has the version, with a registry that answers so for the image and for the chart.
fn nothing_else(image: &str, chart: &str, drafts: Option<&str>, digest: &str) -> Done {
    let skopeo = format!("case $3 in *image*) {image} ;; *) {chart} ;; esac");
    let place = Place::with(&[("gh", &gh(drafts)), ("skopeo", &skopeo)]);
    fs::create_dir(place.folder().join("dist")).unwrap();
    let packed = format!("dist/imm-operator-{VERSION}.tgz");
    fs::write(place.folder().join(packed), "chart").unwrap();
    place.run(&script("publish", "skopeo inspect"), &[("DIGEST", digest)])
}

const ABSENT: &str = "echo 'reading manifest 0.1.0: manifest unknown' >&2; exit 1";
const NEW: &str = "echo 'repository: name unknown: not known' >&2; exit 1";
const DOWN: &str = "echo 'connection refused' >&2; exit 1";

/// The digest of a text, as of a manifest.
fn digest(text: &str) -> String {
    let place = Place::with(&[]);
    let printed = place
        .run("printf '%s' \"$TEXT\" | sha256sum", &[("TEXT", text)])
        .unwrap();
    format!("sha256:{}", printed.split(' ').next().unwrap())
}

#[test]
fn a_tag_of_the_registry_is_not_moved_to_another_image() {
    let (ours, other) = ("printf '{\"a\":1}'", "printf '{\"a\":2}'");
    let wanted = digest("{\"a\":1}");
    let check = |image, chart| nothing_else(image, chart, Some("true"), &wanted);
    assert!(check(ABSENT, ABSENT).is_ok());
    assert!(check(NEW, NEW).is_ok());
    // A run that failed later has pushed it already.
    assert!(check(ours, ABSENT).is_ok());
    let refused = check(other, ABSENT).unwrap_err();
    assert!(refused.contains("is another image than"), "{refused}");
    assert!(check(DOWN, ABSENT).unwrap_err().contains("connection refused"));
    assert!(check(ABSENT, DOWN).unwrap_err().contains("connection refused"));
}

#[test]
fn a_tag_of_the_registry_is_not_moved_to_another_chart() {
    let manifest = |sum: &str| format!("echo '{{\"layers\":[{{\"digest\":\"{sum}\"}}]}}'");
    let check = |chart: &str| nothing_else(ABSENT, chart, Some(""), "sha256:ab");
    assert!(check(&manifest(&digest("chart"))).is_ok());
    let refused = check(&manifest(&digest("another"))).unwrap_err();
    assert!(refused.contains("is another chart than"), "{refused}");
}

#[test]
fn a_release_that_was_published_meanwhile_is_refused() {
    let refused = nothing_else(ABSENT, ABSENT, Some("false"), "sha256:ab").unwrap_err();
    assert!(refused.contains("is published already"), "{refused}");
    let failed = nothing_else(ABSENT, ABSENT, None, "sha256:ab").unwrap_err();
    assert!(failed.contains("error connecting"), "{failed}");
}

/// Publishes the files of a version, and returns the commands that change something.
fn published(drafts: Option<&str>, version: &str) -> (bool, Vec<String>) {
    let place = Place::with(&[("gh", &gh(drafts))]);
    fs::create_dir(place.folder().join("dist")).unwrap();
    fs::write(place.folder().join("dist/SHA256SUMS"), "").unwrap();
    let tag = format!("v{version}");
    let variables = [("VERSION", version), ("GITHUB_REF_NAME", tag.as_str())];
    let done = place
        .run(&script("publish", "gh release create"), &variables)
        .is_ok();
    let log = fs::read_to_string(place.folder().join("log")).unwrap_or_default();
    (done, log.lines().map(ToOwned::to_owned).collect())
}

#[test]
fn a_second_run_uses_the_draft_of_the_first_and_no_run_changes_a_published_release() {
    let options = "--prerelease=false --title v0.1.0 --notes-file dist/RELEASE-NOTES.md";
    let created = format!("release create v0.1.0 --draft --verify-tag {options} dist/SHA256SUMS");
    assert_eq!(published(Some(""), "0.1.0"), (true, vec![created]));
    let edited = format!("release edit v0.1.0 {options}");
    let uploaded = "release upload v0.1.0 --clobber dist/SHA256SUMS".to_owned();
    assert_eq!(published(Some("true"), "0.1.0"), (true, vec![edited, uploaded]));
    for state in [Some("false"), Some("true\nfalse"), None] {
        assert_eq!(published(state, "0.1.0"), (false, Vec::new()), "{state:?}");
    }
}

#[test]
fn a_version_with_a_name_after_its_numbers_is_published_as_a_pre_release() {
    let (_, commands) = published(Some(""), "0.2.0-rc.1");
    assert!(commands[0].contains(" --prerelease=true "), "{commands:?}");
}

#[test]
fn files_that_changed_on_the_way_are_not_published() {
    let place = Place::with(&[]);
    let pack = "mkdir dist dist-oci\necho a > dist/a\n(cd dist && sha256sum a > SHA256SUMS)\n\
        echo '{\"manifests\":[{\"digest\":\"sha256:ab\"}]}' > dist-oci/index.json\n\
        tar -cf release.tar dist dist-oci\nrm -r dist dist-oci\nsha256sum < release.tar";
    let packed = place.run(pack, &[]).unwrap();
    let sum = packed.split(' ').next().unwrap();
    let exported = place.folder().join("exported").display().to_string();
    let script = script("publish", "tar -xf release.tar");
    let verify = |sum: &str, digest: &str| {
        place.run(
            &script,
            &[("SUM", sum), ("DIGEST", digest), ("GITHUB_ENV", &exported)],
        )
    };
    assert!(verify(sum, "sha256:ab").is_ok());
    let variables = fs::read_to_string(&exported).unwrap();
    assert_eq!(variables, format!("VERSION={VERSION}\n"));
    assert!(verify(sum, "sha256:ac").is_err());
    place.run("echo >> release.tar", &[]).unwrap();
    assert!(verify(sum, "sha256:ab").is_err());
    // A job that has no sum must not publish anything.
    assert!(verify("", "sha256:ab").is_err());
}

/// The time of the file is in the manifest that Helm pushes.
#[test]
fn the_chart_is_pushed_with_a_fixed_time() {
    let helm = "stat --format %Y \"$2\" > time; echo \"$TZ\" >> time; echo 'Pushed: x'; echo \"Digest: sha256:$(printf 'a%.0s' {1..64})\" >&2";
    let place = Place::with(&[("helm", helm), ("cosign", "echo \"$@\" > signed")]);
    fs::create_dir(place.folder().join("dist")).unwrap();
    fs::write(
        place.folder().join(format!("dist/imm-operator-{VERSION}.tgz")),
        "chart",
    )
    .unwrap();
    place.run(&script("publish", "helm push"), &[]).unwrap();
    let read = |name: &str| fs::read_to_string(place.folder().join(name)).unwrap();
    assert_eq!(read("time"), "0\nUTC\n");
    let signed = format!(
        "sign --yes registry/charts/imm-operator@sha256:{}\n",
        "a".repeat(64)
    );
    assert_eq!(read("signed"), signed);
}
