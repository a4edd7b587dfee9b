//! Whole demos, which end by themselves, by a signal, or without any chance to remove something.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use imm_harness::current::created::CreatedObject;
use imm_harness::process::Process;
use imm_harness::{ControlPlane, until};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::{HARNESS, plane, tools_with};

const SOON: Duration = Duration::from_secs(60);

/// Returns every object of the cluster with its uid, except what comes and goes by itself.
async fn everything(plane: &ControlPlane) -> BTreeSet<String> {
    let kinds = plane
        .kubectl(&["api-resources", "--verbs=list,delete", "-o", "name"])
        .await
        .unwrap();
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.starts_with("leases"))
        .collect();
    let list = [
        "get",
        &kinds.join(","),
        "--all-namespaces",
        "--ignore-not-found",
        "-o",
        "json",
    ];
    let found: Value = serde_json::from_str(&plane.kubectl(&list).await.unwrap()).unwrap();
    let found = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(CreatedObject::of);
    found
        .map(|object| format!("{} {}", object.place(), object.uid))
        .collect()
}

/// Returns the demo on the user's cluster, in a shell whose variables and files are for other clusters and commands.
fn demo(kubeconfig: &Path) -> Command {
    assert!(
        Path::new(HARNESS).with_file_name("imm-operator").is_file(),
        "the operator is missing: run `cargo build`"
    );
    let preferences = kubeconfig.with_file_name("kuberc");
    let asking = "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\ndefaults:\n- command: delete\n  \
        options: [{name: interactive, default: \"true\"}]\n";
    std::fs::write(&preferences, asking).unwrap();
    let mut demo = Command::new(HARNESS);
    demo.args(["demo", "--cluster", "current"])
        .env("KUBECONFIG", kubeconfig)
        .env("KUBERC", preferences)
        .env("HELM_DRIVER", "configmap")
        .env("HELM_NAMESPACE", "default")
        .env("HELM_KUBECONTEXT", "another")
        .env("HELM_KUBEAPISERVER", "https://127.0.0.1:1")
        .env("HELM_KUBETOKEN", "of-another-cluster")
        .stdin(Stdio::null());
    demo
}

/// Starts a demo and waits until its output contains a text.
async fn started(kubeconfig: &Path, name: &str, until_it_says: &str) -> Process {
    let log = kubeconfig.with_file_name(format!("{name}.log"));
    let demo = Process::spawn("imm-harness demo", &mut demo(kubeconfig), &log).unwrap();
    says(&demo, until_it_says).await;
    demo
}

async fn says(demo: &Process, text: &str) {
    until(&format!("the demo to say {text}"), SOON, || async {
        demo.must_run().map_err(|error| error.to_string())?;
        let said = demo.log();
        if said.contains(text) { Ok(()) } else { Err(said) }
    })
    .await
    .unwrap();
}

fn text(output: &Output) -> String {
    let (said, errors) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(said),
        String::from_utf8_lossy(errors)
    )
}

#[tokio::test]
async fn the_demo_leaves_a_cluster_as_it_was_also_when_it_is_interrupted() {
    let (plane, path) = plane().await;
    let before = everything(&plane).await;

    // Keys of a terminal go to its whole process group, and can be typed again while the demo removes what it created.
    for (name, says_first, signal) in [
        ("ctrl-c", "waiting for the grant to be applied", Signal::INT),
        ("ctrl-backslash", "Installing the chart", Signal::QUIT),
    ] {
        let demo = started(&path, name, says_first).await;
        demo.signal(signal).unwrap();
        says(&demo, "Removing from the cluster").await;
        let status = until("the end of the demo", SOON, || async {
            demo.signal(signal).map_err(|error| error.to_string())?;
            let ended = demo.ended().map_err(|error| error.to_string())?;
            ended.ok_or_else(|| demo.log())
        })
        .await
        .unwrap();
        let said = demo.log();
        assert!(
            status.code() == Some(1) && said.contains("were removed by their uid"),
            "{status:?}\n{said}"
        );
        assert!(said.ends_with("error: interrupted\n"), "{said}");
        assert_eq!(everything(&plane).await, before, "{said}");
    }

    let output = demo(&path).output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("the policy equals the original, byte for byte")
            && !said.contains("  left: ")
            && !said.contains("  not looked at: "),
        "{said}"
    );
    assert_eq!(everything(&plane).await, before, "{said}");
    plane.stop().unwrap();
}

#[tokio::test]
async fn the_demo_leaves_a_cluster_as_it_was_when_its_terminal_is_closed() {
    let (plane, path) = plane().await;
    let before = everything(&plane).await;
    let mut demo = demo(&path);
    let mut demo = demo
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("Storing each tenant's AccessKey pair")));
    drop((said, demo.stderr.take()));
    let group = Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap();
    kill_process_group(group, Signal::HUP).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    assert_eq!(everything(&plane).await, before);
    plane.stop().unwrap();
}

#[tokio::test]
async fn what_a_killed_demo_left_is_removed_by_its_mark() {
    let (plane, path) = plane().await;
    let before = everything(&plane).await;
    let killed = started(&path, "killed", "waiting for the grant to be applied").await;
    killed.kill().unwrap();

    let refused = text(&demo(&path).output().unwrap());
    let command = "make demo CLUSTER=current CONTEXT=kind-demo REMOVE=";
    let (_, mark) = refused.split_once(command).unwrap();
    let (mark, _) = mark.split_once('`').unwrap();
    assert!(killed.log().contains(mark), "{refused}");

    for wrong in ["imm-demo-another", "imm-demo-", "another"] {
        let output = demo(&path).args(["--remove", wrong]).output().unwrap();
        assert!(!output.status.success() && text(&output).contains(wrong));
    }
    let output = demo(&path).args(["--remove", mark]).output().unwrap();
    let said = text(&output);
    assert!(
        output.status.success() && said.contains("were removed by their uid") && !said.contains("  left: "),
        "{said}"
    );
    assert_eq!(everything(&plane).await, before, "{said}");
    plane.stop().unwrap();
}

#[tokio::test]
async fn an_object_that_was_replaced_during_the_demo_is_not_changed() {
    let (plane, path) = plane().await;
    // When the demo lists everything, somebody replaces one of its objects.
    let real = imm_harness::environment::tools_folder().unwrap().join("kubectl");
    let replace = format!(
        r#"
case "$*" in
  "get imm -A -o wide")
    {0} delete role read-job-secrets -n analytics >/dev/null
    {0} create role read-job-secrets -n analytics --verb=get --resource=pods >/dev/null ;;
esac"#,
        real.display()
    );
    let tools: PathBuf = tools_with(plane.folder(), "kubectl", &replace);
    let output = demo(&path).env("TOOLS_DIR", tools).output().unwrap();
    let said = text(&output);
    let expected = "Role read-job-secrets in namespace analytics is not the one that the demo created";
    assert!(!output.status.success() && said.contains(expected), "{said}");
    let left = "left: namespace analytics, because of Role read-job-secrets in namespace analytics";
    assert!(said.contains(left), "{said}");
    let role = ["get", "role", "read-job-secrets", "-n", "analytics", "-o", "json"];
    let role: Value = serde_json::from_str(&plane.kubectl(&role).await.unwrap()).unwrap();
    assert_eq!(role["rules"][0]["resources"][0], "pods");
    plane.stop().unwrap();
}
