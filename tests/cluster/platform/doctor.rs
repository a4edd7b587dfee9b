//! `imm-operator doctor` on objects in the cluster, with the permissions of the user who runs it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use imm_harness::until;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Stage, Tenant};

/// Runs the command for an object of a tenant. Returns the exit code and the report.
async fn doctor(tenant: &Tenant, kubeconfig: PathBuf, object: &str) -> (Option<i32>, Value) {
    let (code, text, error) = run(tenant, kubeconfig, &[object]).await;
    let report = serde_json::from_str(&text);
    (code, report.unwrap_or_else(|_| panic!("{text}{error}")))
}

/// Runs the command with arguments. Returns exit code, standard output and standard error.
async fn run(tenant: &Tenant, kubeconfig: PathBuf, arguments: &[&str]) -> (Option<i32>, String, String) {
    let url = tenant.stage.cloud.url();
    let services = ["oss", "imm", "sts"].map(|service| format!("--{service}-endpoint={url}"));
    // Without an object in the cluster, the namespace is that of the context.
    let namespace = ["-n".to_owned(), tenant.name.clone()];
    let namespace = namespace
        .into_iter()
        .filter(|_| !arguments.contains(&"-f"))
        .collect::<Vec<_>>();
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command
            .args(["doctor", "-o", "json"])
            .args(namespace)
            .args(arguments)
            .args(services)
            .env_clear()
            .env("KUBECONFIG", kubeconfig);
        command.output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

// P19
pub async fn a_report_needs_no_more_than_the_rights_of_the_caller(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "doctor-caller").await;
    tenant.granted("g", &json!({})).await;
    let job = tenant.job(
        "j",
        &["a.jpg"],
        &json!({"suspend": true, "grantRef": {"name": "g"}}),
    );
    tenant.apply(&job).await;
    let (before, puts) = (tenant.policy(), tenant.puts().len());

    let (code, report) = doctor(&tenant, stage.plane.kubeconfig().to_owned(), "isj/j").await;
    assert_eq!(code, Some(0), "{report:#}");
    for name in [
        "grant-credentials",
        "job-credentials",
        "job-fits-grant",
        "service-role",
    ] {
        assert_eq!(check(&report, name)["level"], "ok", "{report:#}");
    }
    let plan = check(&report, "policy-plan")["seen"].as_str().unwrap();
    assert!(plan.contains("nothing would change"), "{plan}");

    // A manifest without a namespace is checked in that of the context, where kubectl would apply it.
    let folder = tempfile::tempdir().unwrap();
    let (config, manifest) = (folder.path().join("config"), folder.path().join("grant.json"));
    let text = std::fs::read_to_string(stage.plane.kubeconfig()).unwrap();
    let mut of_tenant: Value = serde_json::from_str(&text).unwrap();
    of_tenant["contexts"][0]["context"]["namespace"] = json!(tenant.name);
    std::fs::write(&config, of_tenant.to_string()).unwrap();
    let mut grant: Value = serde_json::from_str(&tenant.grant("g", &json!({}))).unwrap();
    grant["metadata"].as_object_mut().unwrap().remove("namespace");
    std::fs::write(&manifest, grant.to_string()).unwrap();
    let from_file = ["-f", manifest.to_str().unwrap(), "--keys", "cluster"];
    let (_, text, error) = run(&tenant, config, &from_file).await;
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}"));
    assert_eq!(check(&report, "grant-credentials")["level"], "ok", "{report:#}");

    // The bucket of a grant is not for experiments.
    let probe = [
        "isj/j",
        "--probe-bucket",
        &tenant.bucket,
        "--probe-object",
        "a.jpg",
        "--yes",
    ];
    for flags in [&probe[..], &[&probe[..], &["--i-own", &tenant.bucket]].concat()] {
        let (code, _, error) = run(&tenant, stage.plane.kubeconfig().to_owned(), flags).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("a grant of the cluster names bucket"), "{error}");
    }

    // A user who may read the grant, and not its Secret.
    let subject = json!([{"kind": "ServiceAccount", "name": "viewer", "namespace": tenant.name}]);
    let metadata = json!({"name": "viewer", "namespace": tenant.name});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
        "rules": [{"apiGroups": ["immops.dev"], "resources": ["immbucketgrants"], "verbs": ["get"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"}, "subjects": subject});
    tenant
        .apply(&format!("{account}\n---\n{role}\n---\n{binding}"))
        .await;
    let viewer = stage
        .plane
        .service_account_kubeconfig(&tenant.name, "viewer")
        .await
        .unwrap();
    let who = format!("--as=system:serviceaccount:{}:viewer", tenant.name);
    let ask = [
        "auth",
        "can-i",
        "get",
        "immbucketgrants",
        "-n",
        &tenant.name,
        &who,
    ];
    until("the role to be in force", PATIENCE, || async {
        let asked = stage.plane.kubectl(&ask).await;
        asked.map(|_| ()).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    let (code, report) = doctor(&tenant, viewer, "ibg/g").await;
    assert_eq!(code, Some(1), "{report:#}");
    let denied = check(&report, "grant-credentials");
    assert_eq!(denied["level"], "warning");
    assert!(
        denied["seen"]
            .as_str()
            .unwrap()
            .contains("no permission to read Secret owner"),
        "{denied}"
    );
    assert_eq!((tenant.policy(), tenant.puts().len()), (before, puts));
    assert!(tenant.scores().is_empty());
}
