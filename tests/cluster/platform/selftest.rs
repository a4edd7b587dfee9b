//! `helm test` on a real API server. No kubelet runs here: the test starts the program with the arguments of the
//! chart's Pod and the token of its ServiceAccount, and sets the phase of the Pod by the exit code.

use std::process::Command;
use std::sync::Arc;

use imm_harness::{Helm, Operator, OperatorOptions, until};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Stage, chart};

const RULES: &str = "--tenancy-rules=/etc/imm-operator/tenancy/rules.yaml";

/// Starts an operator that takes part in leader election.
async fn leader(stage: &Stage, log: &str) -> Operator {
    let options = stage.options(log);
    let mut extra_args = options.extra_args.clone();
    extra_args.extend(["--watch-namespaces", "nowhere"].map(str::to_owned));
    let started = Operator::start(OperatorOptions {
        leader_election: true,
        extra_args,
        ..options
    });
    started.await.unwrap()
}

/// Returns the Pod that `helm test` creates.
async fn test_pod(stage: &Stage) -> Value {
    let hooks = stage
        .plane
        .helm(Helm::Four, &["get", "hooks", "imm-operator", "-n", "imm-system"])
        .await
        .unwrap();
    serde_saphyr::from_str(hooks.trim_start_matches("---")).unwrap()
}

/// Returns the arguments of the chart's Pod, with the path of the rules on this machine, and further ones.
async fn arguments(stage: &Stage, more: &[&str]) -> Vec<String> {
    let pod = test_pod(stage).await;
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "imm-operator");
    let container = &spec["containers"][0];
    assert_eq!(container["env"][0]["name"], "IMM_OPERATOR_NAMESPACE");
    assert_eq!(container["env"].as_array().unwrap().len(), 1);
    let query = [
        "get",
        "configmap",
        "imm-operator-tenancy",
        "-n",
        "imm-system",
        "-o",
        "json",
    ];
    let rules: Value = serde_json::from_str(&stage.kubectl(&query).await).unwrap();
    let file = stage.plane.folder().join("mounted-rules.yaml");
    std::fs::write(&file, rules["data"]["rules.yaml"].as_str().unwrap()).unwrap();
    let given = container["args"].as_array().unwrap().iter();
    let mut arguments: Vec<String> = given.map(|arg| arg.as_str().unwrap().to_owned()).collect();
    let rules = arguments.iter_mut().find(|argument| *argument == RULES).unwrap();
    *rules = format!("--tenancy-rules={}", file.display());
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    arguments
}

/// Runs the program as the container of the Pod would. Returns whether it succeeded, and its output.
async fn run(stage: &Stage, more: &[&str]) -> (bool, String) {
    let arguments = arguments(stage, more).await;
    let kubeconfig = stage.kubeconfig.clone();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command
            .args(arguments)
            .env_clear()
            .env("IMM_OPERATOR_NAMESPACE", "imm-system")
            .env("KUBECONFIG", kubeconfig);
        command.output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// Waits for the Pod, runs its container, and sets its phase.
async fn kubelet(stage: &Stage, more: &[&str]) -> String {
    let pod = test_pod(stage).await;
    let pod = pod["metadata"]["name"].as_str().unwrap();
    assert!(pod.starts_with("imm-operator-selftest-"), "{pod}");
    let pending = [
        "get",
        "pod",
        pod,
        "-n",
        "imm-system",
        "-o",
        "jsonpath={.status.phase}",
    ];
    until("the Pod of the test", PATIENCE, || async {
        let phase = stage
            .plane
            .kubectl(&pending)
            .await
            .map_err(|error| error.to_string())?;
        if phase == "Pending" { Ok(()) } else { Err(phase) }
    })
    .await
    .unwrap();
    let (succeeded, output) = run(stage, more).await;
    let phase = if succeeded { "Succeeded" } else { "Failed" };
    let status = json!({"status": {"phase": phase}}).to_string();
    stage
        .kubectl(&[
            "patch",
            "pod",
            pod,
            "-n",
            "imm-system",
            "--subresource=status",
            "--type=merge",
            "-p",
            &status,
        ])
        .await;
    output
}

async fn helm_test(stage: &Stage, helm: Helm, more: &[&str]) -> (Result<String, String>, String) {
    let test = ["test", "imm-operator", "-n", "imm-system", "--timeout", "150s"];
    let (helm, output) = futures::join!(stage.plane.helm(helm, &test), kubelet(stage, more));
    (helm.map_err(|error| error.to_string()), output)
}

// The release is installed by Helm 4.
pub async fn check_24_helm_test_succeeds_with_both_majors(stage: Arc<Stage>) {
    let leader = leader(&stage, "operator-that-leads.log").await;
    let address = leader.admin_url();
    let address = format!("--operator-address={}", address.trim_start_matches("http://"));
    // The Pod that the first test leaves is replaced by the second one.
    for helm in [Helm::Three, Helm::Four] {
        let (result, output) = helm_test(&stage, helm, &[&address]).await;
        let result = result.unwrap_or_else(|error| panic!("{error}{output}"));
        assert!(result.contains("Succeeded"), "{result}");
        assert!(output.ends_with("6 checks ok\n"), "{output}");
        for check in [
            "api-server",
            "tenancy-rules",
            "crds",
            "permissions",
            "lease",
            "metrics",
        ] {
            assert!(line(&output, check).starts_with("ok "), "{output}");
        }
    }
    assert!(leader.terminate().await.unwrap().success());
}

/// Returns the line of a check.
fn line<'a>(output: &'a str, check: &str) -> &'a str {
    let mut lines = output.lines();
    lines
        .find(|line| line.split_whitespace().nth(1) == Some(check))
        .unwrap_or_else(|| panic!("no {check}: {output}"))
}

pub async fn check_24_helm_test_fails_and_names_the_cause(stage: Arc<Stage>) {
    let stage = stage.another(Helm::Four, &chart()).await;

    // Nobody leads.
    let (result, output) = helm_test(
        &stage,
        Helm::Four,
        &["--timeout=2", "--operator-address=127.0.0.1:1"],
    )
    .await;
    assert!(result.is_err(), "{result:?}");
    assert!(line(&output, "crds").starts_with("ok"), "{output}");
    assert!(
        line(&output, "lease").contains("Lease imm-system/imm-operator does not exist"),
        "{output}"
    );
    assert!(
        line(&output, "metrics").contains("127.0.0.1:1/readyz cannot be read"),
        "{output}"
    );

    let leader = leader(&stage, "operator-that-leads.log").await;
    let name = "immbucketgrants.immops.dev";
    let stored = stage.kubectl(&["get", "crd", name, "-o", "json"]).await;
    let mut older: Value = serde_json::from_str(&stored).unwrap();
    let entry = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/owned/items";
    let entry = older.pointer_mut(entry).unwrap().as_object_mut().unwrap();
    entry.remove("x-kubernetes-preserve-unknown-fields").unwrap();
    entry["properties"]
        .as_object_mut()
        .unwrap()
        .remove("preExisting")
        .unwrap();
    replace_crd(&stage, older).await;
    until("the older CRD to be served", PATIENCE, || async {
        let (succeeded, output) = run(&stage, &["--timeout=1"]).await;
        let found = line(&output, "crds").to_owned();
        (!succeeded
            && found.starts_with("failed")
            && found.contains("ImmBucketGrant.status.owned[].preExisting"))
        .then_some(())
        .ok_or(found)
    })
    .await
    .unwrap();
    replace_crd(&stage, serde_json::from_str(&stored).unwrap()).await;
    assert!(leader.terminate().await.unwrap().success());

    // Released, so without a holder.
    let (succeeded, output) = run(&stage, &["--timeout=1"]).await;
    assert!(
        !succeeded && line(&output, "lease").contains("has no holder"),
        "{output}"
    );
    every_rule_is_missed(&stage).await;
    stage.finish().await.unwrap();
}

async fn replace_crd(stage: &Stage, mut crd: Value) {
    let name = crd["metadata"]["name"].as_str().unwrap();
    let version = "jsonpath={.metadata.resourceVersion}";
    let version = stage.kubectl(&["get", "crd", name, "-o", version]).await;
    crd["metadata"]["resourceVersion"] = version.into();
    let file = stage.plane.folder().join("crd.json");
    std::fs::write(&file, crd.to_string()).unwrap();
    stage
        .kubectl(&["replace", "-f", &file.display().to_string()])
        .await;
}

/// Roles of the release, with their rules.
async fn roles(stage: &Stage) -> Vec<Value> {
    let mut found = Vec::new();
    for role in ["clusterrole/imm-operator", "role/imm-operator-own"] {
        let stored = stage
            .kubectl(&["get", role, "-n", "imm-system", "-o", "json"])
            .await;
        found.push(serde_json::from_str(&stored).unwrap());
    }
    found
}

/// Removes each rule of the chart in turn; a permission that is then missing must be named.
async fn every_rule_is_missed(stage: &Stage) {
    let mut removed = 0;
    for role in roles(stage).await {
        let name = format!(
            "{}/{}",
            role["kind"].as_str().unwrap().to_lowercase(),
            role["metadata"]["name"].as_str().unwrap()
        );
        let rules = role["rules"].as_array().unwrap();
        for (index, rule) in rules.iter().enumerate() {
            let mut fewer = rules.clone();
            fewer.remove(index);
            set_rules(stage, &name, &fewer).await;
            let resource = rule["resources"][0].as_str().unwrap();
            until("the missing rule to be named", PATIENCE, || async {
                let (_, output) = run(stage, &["--timeout=3"]).await;
                let found = line(&output, "permissions").to_owned();
                (found.starts_with("failed") && found.contains(resource))
                    .then_some(())
                    .ok_or(found)
            })
            .await
            .unwrap();
            removed += 1;
        }
        set_rules(stage, &name, rules).await;
    }
    assert!(removed >= 7, "only {removed} rules were removed");
    until("all permissions to be back", PATIENCE, || async {
        let (_, output) = run(stage, &["--timeout=3"]).await;
        let found = line(&output, "permissions").to_owned();
        found.starts_with("ok").then_some(()).ok_or(found)
    })
    .await
    .unwrap();
}

async fn set_rules(stage: &Stage, role: &str, rules: &[Value]) {
    let patch = json!({"rules": rules}).to_string();
    stage
        .kubectl(&["patch", role, "-n", "imm-system", "--type=merge", "-p", &patch])
        .await;
}
