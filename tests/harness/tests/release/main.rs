//! The files of a release, made of a binary that is no operator: they are complete, agree with each other and the
//! repository, and are the same bytes each time.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

mod dockerfile;
mod publishing;
mod publishing_scripts;
mod workflows;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use imm_harness::environment::checkout;
use imm_harness::release::{
    ARCHITECTURES, BILL_IN_IMAGE, IMAGE, Prepared, REPOSITORY, ReleaseOptions, VERSION, check, make, places,
};
use serde_json::Value;

/// Makes a release in a folder and returns the names of its files.
async fn release(folder: &Path) -> Vec<String> {
    let binary = folder.join("operator");
    std::fs::write(&binary, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    let options = ReleaseOptions {
        output: folder.join("dist"),
        prepared: Some(Prepared {
            binaries: [binary.clone(), binary],
            digest: digest(),
        }),
        dry_run: true,
    };
    make(&options).await.unwrap()
}

/// The digest of an image that these tests do not build.
fn digest() -> String {
    format!("sha256:{}", "d".repeat(64))
}

fn output(program: &str, folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let done = command.current_dir(folder).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn two_releases_of_one_binary_are_the_same_bytes() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = release(folders[0].path()).await;
    assert_eq!(first, release(folders[1].path()).await);
    for name in first {
        // The two could be made within one second.
        if name.ends_with("gz") {
            let listing = output("tar", &folders[0].path().join("dist"), &["--utc", "-tvzf", &name]);
            let all = listing.lines().all(|line| line.contains(" 1970-01-01 00:00 "));
            assert!(all && !listing.is_empty(), "{listing}");
        }
        let [one, two] = [0, 1].map(|n: usize| std::fs::read(folders[n].path().join("dist").join(&name)));
        assert!(one.unwrap() == two.unwrap(), "{name} differs");
    }
}

#[tokio::test]
async fn the_files_of_the_image_are_made_of_the_same_binary() {
    let folder = tempfile::tempdir().unwrap();
    release(folder.path()).await;
    for architecture in ARCHITECTURES {
        let image = folder.path().join("dist-image").join(architecture.name);
        let listed = output("find", &image, &[".", "-type", "f", "-printf", "%P %m\n"]);
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            [
                "etc/passwd 644",
                "etc/ssl/certs/ca-certificates.crt 644",
                "imm-operator 755",
                &format!("{BILL_IN_IMAGE} 644"),
            ]
        );
        let archive = format!("dist/imm-operator-{VERSION}-linux-{}.tar.gz", architecture.name);
        let packed = output("tar", folder.path(), &["-xOzf", &archive, "imm-operator"]);
        assert_eq!(
            std::fs::read_to_string(image.join("imm-operator")).unwrap(),
            packed
        );
        let bill = format!("dist/imm-operator-{VERSION}-linux-{}.cdx.json", architecture.name);
        assert_eq!(
            std::fs::read_to_string(image.join(BILL_IN_IMAGE)).unwrap(),
            std::fs::read_to_string(folder.path().join(bill)).unwrap()
        );
        let account = std::fs::read_to_string(image.join("etc/passwd")).unwrap();
        assert!(account.starts_with("operator:x:65532:65532:"), "{account}");
    }
}

#[tokio::test]
async fn the_files_agree_with_each_other_and_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let names = release(folder.path()).await;
    let dist = folder.path().join("dist");
    let page = std::fs::read_to_string(checkout().join("docs/src/project/verify.md")).unwrap();
    for name in &names {
        let listed = format!("| `{}` |", name.replace(VERSION, "VERSION"));
        assert!(page.contains(&listed), "the page has no line for {listed}");
    }
    let checked = output("sha256sum", &dist, &["--check", "--strict", "SHA256SUMS"]);
    assert_eq!(checked.matches(": OK").count(), names.len() - 1, "{checked}");

    let sums = std::fs::read_to_string(dist.join("SHA256SUMS")).unwrap();
    let plugin = std::fs::read_to_string(dist.join("imm.yaml")).unwrap();
    let plugin: Value = serde_saphyr::from_str(&plugin).unwrap();
    assert_eq!(plugin["spec"]["version"], format!("v{VERSION}"));
    let platforms = plugin["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), ARCHITECTURES.len());
    for (platform, architecture) in platforms.iter().zip(ARCHITECTURES) {
        let archive = format!("imm-operator-{VERSION}-linux-{}.tar.gz", architecture.name);
        let listing = output("tar", &dist, &["-tvzf", &archive]);
        assert!(listing.contains("-rwxr-xr-x 0/0"), "{listing}");
        assert_eq!(platform["selector"]["matchLabels"]["arch"], architecture.name);
        let sum = platform["sha256"].as_str().unwrap();
        assert!(sums.contains(&format!("{sum}  {archive}\n")), "{sums}");
        let address =
            format!("https://github.com/imm-operator/imm-operator/releases/download/v{VERSION}/{archive}");
        assert_eq!(platform["uri"], address);
        for file in platform["files"].as_array().unwrap() {
            let from = format!(" {}", file["from"].as_str().unwrap());
            assert!(listing.lines().any(|line| line.ends_with(&from)), "{listing}");
        }
        assert_eq!(platform["bin"], platform["files"][0]["to"]);
    }

    let chart = output(
        "tar",
        &dist,
        &[
            "-xOzf",
            &format!("imm-operator-{VERSION}.tgz"),
            "imm-operator/Chart.yaml",
        ],
    );
    assert!(chart.contains(&format!("version: {VERSION}")), "{chart}");
    let all = output("tar", &dist, &["-xOzf", &format!("imm-operator-{VERSION}.tgz")]);
    let [main, version] =
        ["main".to_owned(), format!("v{VERSION}")].map(|at| format!("{REPOSITORY}/blob/{at}/"));
    assert!(
        all.contains(&version) && !all.contains(&main),
        "links of another version"
    );
    let chart: Value = serde_saphyr::from_str(&chart).unwrap();
    // A version without a name after its numbers.
    assert_eq!(chart["annotations"]["artifacthub.io/prerelease"], "false");
    assert_eq!(chart["annotations"]["immops.dev/image-digest"], digest());
    let manifest = std::fs::read_to_string(dist.join("install.yaml")).unwrap();
    assert!(manifest.contains(&format!("image: \"{IMAGE}@{}\"", digest())));
    assert!(!manifest.contains(&format!("{IMAGE}:")), "a tag is left");
    let changes = chart["annotations"]["artifacthub.io/changes"].as_str().unwrap();
    let changes: Vec<Value> = serde_saphyr::from_str(changes).unwrap();
    assert!(changes.len() > 5, "{changes:?}");
    let first = "ImmBucketGrant: keeps statements in an OSS bucket policy for the IMM service role of another account";
    assert_eq!(
        changes[0],
        serde_json::json!({"kind": "added", "description": first})
    );
    let notes = std::fs::read_to_string(dist.join("RELEASE-NOTES.md")).unwrap();
    assert!(
        notes.contains("`ImmBucketGrant`") && !notes.contains("\n## "),
        "{notes}"
    );
    assert!(notes.contains("\n### Build\n\nFor Rust 1."), "{notes}");
    let base = format!("({REPOSITORY}/blob/v{VERSION}/");
    assert!(notes.contains(&base), "{notes}");
    for link in notes.split("](").skip(1) {
        assert!(link.starts_with("https://"), "{link}");
    }
}

/// A release fails as long as a page says that there is none, and a dry run does not.
#[tokio::test]
async fn a_release_names_the_pages_that_say_that_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("README.md", "# A\n\n**Maturity:** no release yet.\n");
    write("other.md", "# B\n\nNothing.\n");
    write("untracked.md", "no release yet\n");
    output("git", folder.path(), &["init", "--quiet"]);
    output("git", folder.path(), &["add", "README.md", "other.md"]);
    assert_eq!(
        places(folder.path()).await.unwrap(),
        ["README.md:3: no release yet"]
    );

    check(&checkout(), true).await.unwrap();
    let found = places(&checkout()).await.unwrap();
    let checked = check(&checkout(), false).await;
    for place in found {
        let text = checked.as_ref().unwrap_err().to_string();
        assert!(text.contains(&place), "{place} is not in {text}");
    }
}

#[tokio::test]
async fn check_25_the_bill_lists_what_the_binary_is_made_of() {
    let folder = tempfile::tempdir().unwrap();
    release(folder.path()).await;
    for architecture in ARCHITECTURES {
        let name = format!("dist/imm-operator-{VERSION}-linux-{}.cdx.json", architecture.name);
        let bill = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let bill: Value = serde_json::from_str(&bill).unwrap();
        let components = bill["components"].as_array().unwrap();
        let scopes: BTreeMap<&str, &str> = components
            .iter()
            .map(|c| (c["name"].as_str().unwrap(), c["scope"].as_str().unwrap()))
            .collect();
        let manifest = std::fs::read_to_string(checkout().join("Cargo.toml")).unwrap();
        let (_, own) = manifest.split_once("\n[dependencies]\n").unwrap();
        let (own, tests) = own.split_once("[dev-dependencies]").unwrap();
        let mut direct = 0;
        for line in own
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            direct += 1;
            let name = line.split(['.', ' ']).next().unwrap();
            // A procedural macro runs in the compiler and is not in the binary.
            let scope = if name == "async-trait" {
                "excluded"
            } else {
                "required"
            };
            assert_eq!(scopes.get(name), Some(&scope), "{name}");
        }
        assert!(
            direct > 15 && components.len() > 150,
            "{direct} of {}",
            components.len()
        );
        for name in ["serde_derive", "cc"] {
            assert_eq!(scopes.get(name), Some(&"excluded"), "{name}");
        }
        for name in ["proptest", "mlua", "libtest-mimic", "imm-emulator"] {
            assert!(tests.contains(name) && !scopes.contains_key(name), "{name}");
        }
        for component in components {
            let digest = component["hashes"][0]["content"].as_str().unwrap_or_default();
            assert_eq!(digest.len(), 64, "{component}");
            let licence = component["licenses"][0]["expression"].as_str().unwrap();
            assert!(!licence.is_empty() && !licence.contains('/'), "{component}");
        }
        assert_eq!(
            bill["dependencies"].as_array().unwrap().len(),
            components.len() + 1
        );
    }
}
