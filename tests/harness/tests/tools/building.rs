//! What is built, again or for the first time, and what is said about it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use imm_harness::environment::checkout;

use crate::machine::{DEMO, GO, Machine, assets, text};

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
fn a_go_that_is_too_old_is_reported_before_anything_is_compiled() {
    let machine = Machine::new();
    for program in ["cc", "cargo"] {
        machine.program("path", program, r#"echo "$0 $*" >&2"#);
    }
    machine.program("path", "go", &GO.replace("1.26.8", "1.26rc1"));
    let output = machine.run("tests/harness/prepare.sh", &["kubectl"]);
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("go 1.26rc1 is older than the 1.26.0 that kubectl needs, and kubectl must be built"),
        "{said}"
    );
    assert!(!said.contains("cargo"), "{said}");
    // What a newer one has built is still there.
    machine.program("path", "go", &GO.replace("1.26.8", "1.27.0"));
    assert_eq!(machine.prepared(&[], "kubectl"), "built by Go\n");
    machine.program("path", "go", &GO.replace("1.26.8", "1.24.9"));
    assert_eq!(machine.missing(&[]).0, "");
}

#[test]
fn a_change_of_the_way_that_tools_are_built_rebuilds_them() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    std::fs::create_dir_all(machine.at("kwok/kustomize/stage")).unwrap();
    for stage in ["node/fast/node-a.yaml", "pod/fast/pod-b.yaml"] {
        let path = machine.at("kwok/kustomize/stage").join(stage);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, stage).unwrap();
    }
    let (from, to) = (checkout().join("tests/tools"), machine.at("tools"));
    std::fs::create_dir(&to).unwrap();
    for module in ["kubernetes", "kwok"] {
        symlink(from.join(module), to.join(module)).unwrap();
    }
    for script in ["build.sh", "compile.sh", "progress.sh"] {
        std::fs::copy(from.join(script), to.join(script)).unwrap();
    }
    let run = |list: &[&str]| {
        let names = &["kubectl", "kwok"];
        let mut command = machine.command(to.join("build.sh"), &[list, names].concat());
        let output = command.env("KWOK", machine.at("kwok")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    run(&[]);
    let stages = std::fs::read_to_string(machine.at("cache/imm-operator/tools/kwok-stages.yaml")).unwrap();
    assert_eq!(stages, "node/fast/node-a.yaml\n---\npod/fast/pod-b.yaml\n---\n");
    let missing_after = |script: &str, old: &str, new: &str| {
        let original = std::fs::read_to_string(to.join(script)).unwrap();
        assert!(original.contains(old), "{old}");
        std::fs::write(to.join(script), original.replacen(old, new, 1)).unwrap();
        let missing = run(&["--list"]);
        std::fs::write(to.join(script), original).unwrap();
        missing
    };
    assert_eq!(
        missing_after("build.sh", "pod/fast/pod-", "pod/general/pod-"),
        "kwok\n"
    );
    assert_eq!(
        missing_after("compile.sh", "CGO_ENABLED=0", "CGO_ENABLED=1"),
        "kubectl\nkwok\n"
    );
    assert_eq!(missing_after("compile.sh", "# ", "# Another comment. "), "");
}

#[test]
fn an_interrupted_build_leaves_no_compiler_and_no_files() {
    let machine = Machine::new();
    let tools = machine.at("cache/imm-operator/tools");
    // Left by builds that were killed: one of an earlier version of the script, and one that may still run.
    std::fs::create_dir_all(tools.join(".building.4")).unwrap();
    std::fs::create_dir_all(tools.join(".building.5/go-build")).unwrap();
    for name in [".kubectl.3", ".building.4"] {
        let path = tools.join(name);
        let file = std::fs::File::open(&path)
            .or_else(|_| std::fs::File::create(&path))
            .unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    machine.program("path", "cc", "");
    let compiler =
        r#"echo > "$HOME/${0##*/}.started"; echo "$0 works" >&2; sleep 20; : > "$HOME/${0##*/}.finished""#;
    machine.program("path", "cargo", compiler);
    machine.program("path", "compile", compiler);
    let go = GO.replace("while", "mkdir \"$GOTMPDIR/go-build1\"; compile\nwhile");
    machine.program("path", "go", &go);
    let mut command = machine.command("tests/harness/prepare.sh", &["kubectl"]);
    command.env("HOME", machine.home.path()).stderr(Stdio::piped());
    let mut script = command.spawn().unwrap();
    let mut said = BufReader::new(script.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    for _ in 0..2 {
        said.find(|line| line.ends_with(" works")).unwrap();
    }
    let id = script.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    // The end of the output: every program that the script has started is gone.
    said.for_each(drop);
    assert_eq!(script.wait().unwrap().code(), Some(130));
    for name in ["cargo", "compile"] {
        assert!(machine.at(&format!("{name}.started")).exists(), "{name}");
        assert!(!machine.at(&format!("{name}.finished")).exists(), "{name}");
    }
    let left = std::fs::read_dir(tools).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".building.5"]);
}

#[test]
fn the_oldest_control_plane_is_compiled_as_the_other_tools() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    for name in ["prometheus", "promtool"] {
        machine.program("path", name, "");
    }
    for stage in ["node/fast", "pod/fast"] {
        let folder = machine.at("kwok/kustomize/stage").join(stage);
        std::fs::create_dir_all(&folder).unwrap();
        let file = format!("{}-a.yaml", stage.trim_end_matches("/fast"));
        std::fs::write(folder.join(file), "").unwrap();
    }
    let mut command = machine.command("tests/tools/floor.sh", &[]);
    command
        .env("KWOK", machine.at("kwok"))
        .env("BUILDS", machine.at("builds"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folder = machine.at("cache/imm-operator/tools/kube-1.33");
    assert_eq!(text(&output.stdout), format!("{}\n", folder.display()));
    assert!(folder.join("kube-apiserver").is_file() && folder.join("etcd").is_file());
    let builds = std::fs::read_to_string(machine.at("builds")).unwrap();
    let flags = builds.lines().filter_map(|line| line.split_once(" -ldflags "));
    let flags: BTreeSet<&str> = flags.map(|(flags, _)| flags).collect();
    assert_eq!(builds.matches("build -mod").count(), 8, "{builds}");
    assert_eq!(flags.len(), 1, "{flags:?}");
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
    // The clock stands still, so that no second passes between two readings.
    machine.program(
        "path",
        "date",
        r"case $1 in +%s) echo 1000000000 ;; *) echo 12:00:00 ;; esac",
    );
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
