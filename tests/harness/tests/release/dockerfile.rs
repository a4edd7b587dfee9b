//! The Dockerfile's stage that compiles, which needs an image that these machines cannot pull: its commands are those
//! of a release, and what it copies into the image are the files of a release.

use std::path::Path;

use imm_harness::cargo_program::CARGO_AUDITABLE;
use imm_harness::release::{BILL_IN_IMAGE, BUILD, image_files};

use super::{checkout, output};

/// Returns the commands of the stage, each in one line.
fn commands(dockerfile: &str) -> Vec<String> {
    let (_, stage) = dockerfile.split_once(" AS builder\n").unwrap();
    let (stage, _) = stage.split_once("\nFROM ").unwrap();
    let joined = stage.replace("\\\n", " ");
    let runs = joined.lines().filter_map(|line| line.strip_prefix("RUN "));
    runs.map(ToOwned::to_owned).collect()
}

fn dockerfile() -> String {
    std::fs::read_to_string(checkout().join("Dockerfile")).unwrap()
}

#[test]
fn the_builder_compiles_as_a_release_does() {
    let dockerfile = dockerfile();
    let commands = commands(&dockerfile);
    assert_eq!(commands.len(), 4, "{commands:?}");
    // A C compiler with make, and the certificates that are copied.
    assert_eq!(commands[0], "apk add --no-cache build-base ca-certificates");
    let install = format!(
        "cargo install --locked --quiet cargo-auditable --version {}",
        CARGO_AUDITABLE.version
    );
    assert_eq!(commands[1], install);
    // Without a target: that of Alpine's compiler is musl.
    assert_eq!(commands[2], format!("cargo auditable {}", BUILD.join(" ")));
    let (_, stage) = dockerfile.split_once(" AS builder\n").unwrap();
    let sources = stage.find("\nCOPY . .\n").unwrap();
    assert!(sources < stage.find("\nRUN cargo auditable ").unwrap());
    assert!(stage.find("\nWORKDIR /source\n").unwrap() < sources);
    // The folder target is not copied, and everything that the compilation reads is.
    let ignored = std::fs::read_to_string(checkout().join(".dockerignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(ignored, [".git", "target"]);
    assert!(dockerfile.ends_with("\nCOPY --from=builder /image/ /\n"));
}

/// Runs the last command of the stage in a folder in place of the builder's root.
fn copied(root: &Path, command: &str) {
    std::fs::create_dir_all(root.join("source/target/release")).unwrap();
    std::fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
    std::fs::write(root.join("source/target/release/imm-operator"), "the program").unwrap();
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    std::fs::copy(certificates, root.join(certificates.trim_start_matches('/'))).unwrap();
    let inside = command
        .replace(" /image/", &format!(" {}/image/", root.display()))
        .replace(" /etc/ssl/", &format!(" {}/etc/ssl/", root.display()));
    output("sh", &root.join("source"), &["-eu", "-c", &inside]);
}

#[test]
fn the_image_from_source_has_the_files_of_a_release() {
    let folder = tempfile::tempdir().unwrap();
    let command = commands(&dockerfile()).pop().unwrap();
    copied(folder.path(), &command);
    let ours = folder.path().join("ours");
    let program = folder.path().join("source/target/release/imm-operator");
    image_files(&checkout(), &program, "{}\n", &ours).unwrap();
    // The stage has no program that makes the bill.
    std::fs::remove_file(ours.join(BILL_IN_IMAGE)).unwrap();
    let files = |folder: &Path| {
        let listed = output("find", folder, &[".", "-type", "f", "-printf", "%P\n"]);
        let mut names: Vec<String> = listed.lines().map(ToOwned::to_owned).collect();
        names.sort_unstable();
        let content = |name: String| {
            let bytes = std::fs::read(folder.join(&name)).unwrap();
            (name, bytes)
        };
        names.into_iter().map(content).collect::<Vec<_>>()
    };
    let (built, released) = (files(&folder.path().join("image")), files(&ours));
    assert_eq!(released.len(), 3);
    assert!(built == released, "{command}");
}

#[test]
fn a_command_over_several_lines_is_one() {
    let text =
        "FROM x AS builder\nRUN one\n# A comment.\nRUN two \\\n && three\n\nFROM scratch AS y\nRUN four\n";
    assert_eq!(commands(text), ["one", "two   && three"]);
}
