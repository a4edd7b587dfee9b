//! Which clusters `make demo` accepts.

use std::process::Command;

use imm_harness::environment::checkout;

use super::machine::{Machine, text};

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
    for variable in ["CONTEXT", "REMOVE"] {
        let (done, _, said) = make(&[&format!("{variable}=a")]);
        let expected = format!("{variable} is for CLUSTER=current");
        assert!(!done && said.contains(&expected), "{said}");
    }

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
        typed.contains(r#"--cluster current --context "$CONTEXT""#) && !typed.contains("--remove"),
        "{typed}"
    );
    let (_, remove, _) = make(&["CLUSTER=current", "REMOVE=imm-demo-a"]);
    assert!(remove.contains(r#"--remove "$REMOVE""#), "{remove}");
}

#[test]
fn make_demo_refuses_a_wrong_context_before_anything_is_built() {
    let machine = Machine::new();
    let make = |args: &[&str]| {
        let mut make = Command::new("/usr/bin/make");
        make.args(["--no-print-directory", "demo", "CLUSTER=current"])
            .args(args)
            .current_dir(checkout());
        make.env_clear()
            .env("PATH", machine.at("path"))
            .env("XDG_CACHE_HOME", machine.at("cache"));
        let output = make.output().unwrap();
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let builds = "cargo is missing";
    // The machine has no kubectl that could say more.
    assert!(make(&[]).contains(builds));
    machine.program("path", "kubectl", "exit 1");
    assert!(make(&[]).contains(builds));
    machine.program("path", "kubectl", "echo prod");
    for args in [&[][..], &["CONTEXT=kind-kind"]] {
        let said = make(args);
        assert!(
            said.contains("type CONTEXT=prod") && !said.contains(builds),
            "{said}"
        );
    }
    assert!(make(&["CONTEXT=prod"]).contains(builds));
    machine.program("path", "kubectl", "echo kind-kind");
    assert!(make(&[]).contains(builds));
}
