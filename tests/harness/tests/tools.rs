//! The scripts that build the tools and the demo, with programs that only pretend to be Go, kubectl and the others: what is
//! built, what is taken from elsewhere, and what is said about it.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use imm_harness::environment::checkout;
use tempfile::TempDir;

const DEMO: [&str; 4] = ["kube-apiserver", "kubectl", "helm4", "etcd"];
/// What the scripts start besides the tools. A test's PATH has nothing else, because the machine may have a Go.
const USUAL: [&str; 20] = [
    "bash",
    "env",
    "sh",
    "basename",
    "cat",
    "chmod",
    "cut",
    "date",
    "dirname",
    "grep",
    "head",
    "ln",
    "mkdir",
    "mktemp",
    "mv",
    "nice",
    "rm",
    "sed",
    "sha256sum",
    "tr",
];
const GO: &str = r#"
[ "$1" != env ] || { echo amd64; echo go1.26.8; exit; }
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\necho built by Go\n' > "$2"; chmod 755 "$2"
"#;

/// A machine with a PATH, a cache and a folder of assets of its own.
struct Machine {
    home: TempDir,
}

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for folder in ["path", "assets", "cache"] {
            std::fs::create_dir(home.path().join(folder)).unwrap();
        }
        let machine = Self { home };
        for name in USUAL.into_iter().chain(["sleep", "tail"]) {
            let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
            let program = found.iter().find(|path| path.exists()).unwrap();
            symlink(program, machine.at("path").join(name)).unwrap();
        }
        machine
    }

    fn at(&self, folder: &str) -> PathBuf {
        self.home.path().join(folder)
    }

    /// Puts a program into a folder.
    fn program(&self, folder: &str, name: &str, script: &str) {
        let path = self.at(folder).join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn run(&self, script: &str, args: &[&str]) -> Output {
        let mut command = Command::new(checkout().join(script));
        command.args(args).env_clear().env("PATH", self.at("path"));
        command.env("XDG_CACHE_HOME", self.at("cache"));
        if std::fs::read_dir(self.at("assets")).unwrap().next().is_some() {
            command.env("KUBEBUILDER_ASSETS", self.at("assets"));
        }
        command.output().unwrap()
    }

    /// Returns what must be built, and what was said.
    fn missing(&self, mode: &[&str]) -> (String, String) {
        let output = self.run("tests/tools/build.sh", &[mode, &["--list"], &DEMO].concat());
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        (text(&output.stdout).trim().replace('\n', " "), said)
    }

    /// Prepares the tools and returns the output of one of them.
    fn prepared(&self, mode: &[&str], tool: &str) -> String {
        let output = self.run("tests/tools/build.sh", &[mode, &DEMO].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let folder = text(&output.stdout).lines().last().unwrap().to_owned();
        let mut program = Command::new(Path::new(&folder).join(tool));
        text(&program.arg("--version").output().unwrap().stdout)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assets(machine: &Machine) {
    machine.program("assets", "kube-apiserver", "echo Kubernetes v1.36.0");
    machine.program("assets", "etcd", "echo etcd Version: 3.6.1");
    machine.program("assets", "kubectl", "echo Client Version: v1.36.2");
}

#[test]
fn the_demo_takes_tools_of_the_right_version_from_the_path_and_the_tests_do_not() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    machine.program("path", "kubectl", "echo Client Version: v1.35.9");
    machine.program("path", "helm", "echo v3.18.0+g1234567");
    assert_eq!(machine.missing(&["--demo"]).0, "kube-apiserver etcd");
    assert_eq!(machine.missing(&[]).0, DEMO.join(" "));
    assert_eq!(
        machine.prepared(&["--demo"], "kubectl"),
        "Client Version: v1.35.9\n"
    );
    assert_eq!(machine.prepared(&["--demo"], "etcd"), "built by Go\n");
    // The demo left nothing that the tests could take for their own.
    assert_eq!(machine.missing(&[]).0, "kubectl helm4");
    assert_eq!(machine.prepared(&[], "kubectl"), "built by Go\n");
}

#[test]
fn a_tool_of_another_version_is_named_and_not_used() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    machine.program("path", "kubectl", "echo Client Version: v1.32.4-dispatcher");
    machine.program("path", "helm", "echo v3.17.3");
    assets(&machine);
    machine.program("assets", "kubectl", "exit 1");
    machine.program("assets", "etcd", "echo etcd Version: 3.5.1");
    let (missing, said) = machine.missing(&["--demo"]);
    assert_eq!(missing, "kubectl helm4 etcd");
    for part in [
        "path/kubectl has version 1.32.4",
        "path/helm has version 3.17.3",
        "etcd has version 3.5.1",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("assets/kubectl has version unknown"), "{said}");
}

#[test]
fn without_go_the_assets_suffice_and_nothing_is_built_over_them() {
    let machine = Machine::new();
    assets(&machine);
    machine.program("path", "helm", "echo v4.0.1");
    assert_eq!(machine.prepared(&["--demo"], "etcd"), "etcd Version: 3.6.1\n");
    assert_eq!(machine.missing(&["--demo"]).0, "");
    // The tests take assets too. A later build of the same tool leaves the asset as it is.
    machine.program("assets", "helm4", "echo v4.2.0");
    assert_eq!(machine.prepared(&[], "etcd"), "etcd Version: 3.6.1\n");
    let asset = std::fs::read_to_string(machine.at("assets/etcd")).unwrap();
    std::fs::remove_file(machine.at("assets/etcd")).unwrap();
    machine.program("path", "go", GO);
    assert_eq!(machine.prepared(&[], "etcd"), "built by Go\n");
    assert!(asset.contains("3.6.1"));
}

#[test]
fn a_missing_go_is_reported_with_the_tool_that_needs_it() {
    let machine = Machine::new();
    assets(&machine);
    let output = machine.run("tests/tools/build.sh", &["--demo", "--list", "kubectl", "helm4"]);
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("go is missing, and helm4 must be built") && said.contains("KUBEBUILDER_ASSETS"),
        "{said}"
    );
}

#[test]
fn a_built_tool_is_kept_without_go_and_built_again_for_another_version_of_go() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    assert_eq!(machine.prepared(&[], "kubectl"), "built by Go\n");
    assert_eq!(machine.missing(&[]).0, "");
    machine.program("path", "go", &GO.replace("1.26.8", "1.27.0"));
    assert_eq!(machine.missing(&[]).0, DEMO.join(" "));
    std::fs::remove_file(machine.at("path/go")).unwrap();
    assert_eq!(machine.missing(&[]).0, "");
}

#[test]
fn the_demo_builds_two_programs_of_the_workspace_and_prints_the_folder_of_its_tools() {
    let machine = Machine::new();
    machine.program("path", "cc", "");
    machine.program("path", "go", GO);
    machine.program("path", "cargo", r#"echo "cargo $*""#);
    let output = machine.run("tests/harness/prepare.sh", &[&["--demo"][..], &DEMO].concat());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let cargo = "cargo build --package imm-operator --bin imm-operator --package imm-harness --bin imm-harness --locked\n";
    assert!(said.contains(cargo), "{said}");
    let folder = machine.at("cache/imm-operator/tools/demo");
    assert_eq!(text(&output.stdout), format!("{}\n", folder.display()));
    let longest_first = DEMO.map(|name| {
        said.find(&format!("building {name} (not built here before)"))
            .unwrap()
    });
    assert!(longest_first.is_sorted(), "{said}");

    let others = machine.run("tests/harness/prepare.sh", &["etcd"]);
    assert!(text(&others.stderr).contains("cargo build --workspace --locked\n"));
    assert_eq!(text(&others.stdout), "");
}

#[test]
fn the_progress_names_what_is_built_and_how_long_it_took_the_last_time() {
    let machine = Machine::new();
    let script = r#"#!/usr/bin/env bash
set -euo pipefail
. "$1"
export BUILD_PROGRESS=$2; mkdir "$2"
waiting etcd; waiting helm4; begin helm4; end helm4 71; end helm4 4
begin kube-apiserver; echo "$(($(date +%s) - 90))" > "$2/kube-apiserver.running"
progress; end kube-apiserver 250; begin kube-apiserver; begin etcd; end etcd 1; end kube-apiserver 2; progress; begin helm4
"#;
    machine.program("path", "show", "");
    std::fs::write(machine.at("path/show"), script).unwrap();
    let progress = checkout().join("tests/tools/progress.sh").display().to_string();
    let state = machine.at("state").display().to_string();
    let mut show = Command::new(machine.at("path/show"));
    show.args([progress, state])
        .env_clear()
        .env("PATH", machine.at("path"));
    let output = show.env("XDG_CACHE_HOME", machine.at("cache")).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let said: Vec<&str> = said.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let expected = [
        "building helm4 (not built here before) ...",
        "built helm4 in 71 s",
        "building kube-apiserver (not built here before) ...",
        "building kube-apiserver for 90 s (not built here before), then etcd (not built here before)",
        "built kube-apiserver in 250 s",
        "building kube-apiserver (last time 250 s) ...",
        "building etcd (not built here before) ...",
        "building helm4 (last time 71 s) ...",
    ];
    assert_eq!(said, expected);
}

#[test]
fn make_demo_refuses_unknown_clusters_before_anything_is_built() {
    let make = |args: &[&str]| {
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "-n", "demo"])
            .args(args)
            .current_dir(checkout());
        make.env("CLUSTER", "of-the-shell")
            .env("CONTEXT", "of-the-shell")
            .env_remove("MAKEFLAGS");
        let output = make.output().unwrap();
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    for cluster in ["prod", "currently", "current prod"] {
        let (done, _, said) = make(&[&format!("CLUSTER={cluster}")]);
        assert!(
            !done && said.contains(&format!("CLUSTER={cluster} is unknown")),
            "{said}"
        );
    }
    let (done, _, said) = make(&["CONTEXT=prod"]);
    assert!(!done && said.contains("CONTEXT is for CLUSTER=current"), "{said}");

    let (_, plain, _) = make(&[]);
    assert!(
        plain.contains("--demo kube-apiserver kubectl helm4 etcd") && !plain.contains("--cluster"),
        "{plain}"
    );
    let (_, local, _) = make(&["CLUSTER=current"]);
    assert!(
        local.contains("--demo kubectl helm4)") && local.contains("--cluster current"),
        "{local}"
    );
    assert!(!local.contains("--context"), "{local}");
    let (_, typed, _) = make(&["CLUSTER=current", "CONTEXT=prod"]);
    assert!(
        typed.contains(r#"--cluster current --context "$CONTEXT""#),
        "{typed}"
    );
}
