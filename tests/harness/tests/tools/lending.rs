//! What is taken from the PATH and from the assets.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::machine::{DEMO, GO, Machine, assets, text};

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
    std::fs::remove_file(machine.at("assets/etcd")).unwrap();
    machine.program("path", "go", GO);
    assert_eq!(machine.prepared(&[], "etcd"), "built by Go\n");
    // Linked by an earlier version of the script.
    machine.program("assets", "old", "echo etcd Version: 3.6.2");
    let tools = machine.at("cache/imm-operator/tools");
    std::fs::remove_file(tools.join("etcd")).unwrap();
    symlink(machine.at("assets/old"), tools.join("etcd")).unwrap();
    std::fs::remove_file(tools.join(".etcd.key")).unwrap();
    assert_eq!(machine.prepared(&[], "etcd"), "built by Go\n");
    let asset = std::fs::read_to_string(machine.at("assets/old")).unwrap();
    assert!(asset.contains("3.6.2"));
}

#[test]
fn the_tests_keep_their_copy_of_an_asset_that_is_replaced() {
    let machine = Machine::new();
    assets(&machine);
    machine.program("assets", "helm4", "echo v4.2.0");
    assert_eq!(machine.prepared(&[], "etcd"), "etcd Version: 3.6.1\n");
    machine.program("assets", "etcd", "echo etcd Version: 3.5.1");
    let etcd = machine.at("cache/imm-operator/tools/etcd");
    let kept = Command::new(&etcd).arg("--version").output().unwrap();
    assert_eq!(text(&kept.stdout), "etcd Version: 3.6.1\n");
    machine.program("assets", "etcd", "echo etcd Version: 3.6.4");
    assert_eq!(machine.prepared(&[], "etcd"), "etcd Version: 3.6.4\n");
    // What starts another program of its folder has no version as a copy.
    machine.program("assets", "real", "echo etcd Version: 3.6.5");
    machine.program("assets", "etcd", r#"exec "${0%/*}/real""#);
    let output = machine.run("tests/tools/build.sh", &["etcd"]);
    assert!(
        !output.status.success() && text(&output.stderr).contains("does not run as a copy"),
        "{}",
        text(&output.stderr)
    );
    let kept = Command::new(etcd).arg("--version").output().unwrap();
    assert_eq!(text(&kept.stdout), "etcd Version: 3.6.4\n");
}

#[test]
fn a_pre_release_does_not_count_as_its_version() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    machine.program(
        "assets",
        "kube-apiserver",
        "echo Kubernetes v1.36.0-alpha.0.12+0f1e2d",
    );
    machine.program("assets", "etcd", "echo etcd Version: 3.6.0-rc.4");
    machine.program("assets", "helm", "echo v4.2.0-beta.1");
    machine.program("assets", "kubectl", "echo Client Version: v1.36.2-eks-1a2b3c");
    for mode in [&[][..], &["--demo"]] {
        let (missing, said) = machine.missing(mode);
        assert_eq!(missing, "kube-apiserver helm4 etcd");
        assert!(said.contains("has version 1.36.0-alpha.0.12, which"), "{said}");
    }
}

#[test]
fn a_tool_that_the_demo_was_lent_is_not_lent_to_itself() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    machine.program("path", "kubectl", "echo Client Version: v1.35.9");
    let lend = |cache: &str, first: &str| {
        let mut paths = vec![machine.at(first)];
        paths.push(machine.at("path"));
        let mut command = machine.command("tests/tools/build.sh", &["--demo", "kubectl"]);
        command.env("PATH", std::env::join_paths(paths).unwrap());
        let output = command.env("TOOLS_DIR", machine.at(cache)).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        std::fs::read_to_string(machine.at(cache).join("demo/kubectl")).unwrap()
    };
    let expected = format!("exec '{}' \"$@\"\n", machine.at("path/kubectl").display());
    // The second time in a terminal with the PATH that the demo prints; then with the PATH of another cache.
    for (cache, first) in [("one", "path"), ("one", "one/demo"), ("two", "one/demo")] {
        let script = lend(cache, first);
        assert!(script.ends_with(&expected), "{script}");
    }
}

#[test]
fn a_tool_of_the_cache_is_no_asset() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.at("cache/imm-operator/tools")).unwrap();
    let built = "echo Client Version: v1.36.2";
    machine.program("cache/imm-operator/tools", "kubectl", built);
    symlink(
        machine.at("cache/imm-operator/tools/kubectl"),
        machine.at("assets/kubectl"),
    )
    .unwrap();
    let output = machine.run("tests/tools/build.sh", &["kubectl"]);
    assert!(text(&output.stderr).contains("go is missing, and kubectl must be built"));
    let kept = std::fs::read_to_string(machine.at("cache/imm-operator/tools/kubectl")).unwrap();
    assert!(kept.contains(built), "{kept}");
}

#[test]
fn a_lent_program_is_started_by_its_absolute_path_whatever_that_contains() {
    let machine = Machine::new();
    machine.program("path", "go", GO);
    let folder = machine.at("Größe $1 'x' `y`");
    std::fs::create_dir(&folder).unwrap();
    let name = folder.file_name().unwrap().to_owned();
    machine.program(
        name.to_str().unwrap(),
        "etcd",
        r#"echo "etcd Version: 3.6.1 of $1""#,
    );
    for assets in [folder.as_os_str(), &name] {
        let mut command = machine.command("tests/tools/build.sh", &["--demo", "etcd"]);
        command
            .env("KUBEBUILDER_ASSETS", assets)
            .env("TOOLS_DIR", "tools")
            .current_dir(machine.home.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(
            text(&output.stdout),
            format!("{}\n", machine.at("tools/demo").display())
        );
        let mut etcd = Command::new(machine.at("tools/demo/etcd"));
        let output = etcd.env_clear().arg("--version").output().unwrap();
        assert_eq!(text(&output.stdout), "etcd Version: 3.6.1 of --version\n");
    }
}

#[test]
fn kwok_and_prometheus_are_not_taken_from_elsewhere_and_no_version_is_blamed() {
    let machine = Machine::new();
    for name in ["kwok", "prometheus", "promtool"] {
        machine.program("assets", name, "echo version 0.8.0");
    }
    let output = machine.run(
        "tests/tools/build.sh",
        &["--list", "prometheus", "promtool", "kwok"],
    );
    let said = text(&output.stderr);
    assert_eq!(text(&output.stdout), "prometheus\npromtool\n");
    assert!(said.contains("go is missing, and kwok must be built"), "{said}");
    assert!(
        !said.contains("has version") && !said.contains("ASSETS"),
        "{said}"
    );
}
