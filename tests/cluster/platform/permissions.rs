//! Requests of the operator to the API server, from the audit log.

use std::collections::BTreeSet;
use std::sync::Arc;

use imm_harness::{Helm, Operator, OperatorOptions, until};
use serde_json::{Value, json};

use crate::support::stage::Audited;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{PATIENCE, Stage, Tenant, chart, condition};

// P6, P7
pub async fn only_named_secrets_are_read_and_none_is_listed(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "audited").await;
    // A Secret of the same name in another namespace, and one beside ours that no object names.
    let beside =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "beside", "namespace": "audited"}});
    let elsewhere =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owner", "namespace": "default"}});
    tenant.apply(&format!("{beside}\n---\n{elsewhere}")).await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant.granted("audited", &json!({})).await;
    let grant = json!({"grantRef": {"name": "audited"}, "grantWait": {"settleSeconds": 0}});
    tenant.apply(&tenant.job("audited", &["a.jpg"], &grant)).await;
    tenant.until_true(JOB, "audited", "Complete").await;

    let asked: Vec<_> = stage
        .audited()
        .into_iter()
        .filter(|one| one.resource == "secrets")
        .collect();
    assert!(
        asked.iter().all(|one| one.verb == "get" && !one.name.is_empty()),
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .all(|one| one.namespace != "default" && one.namespace != "imm-system"),
        "{asked:?}"
    );
    let here: BTreeSet<&str> = asked
        .iter()
        .filter(|one| one.namespace == "audited")
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(here, BTreeSet::from(["caller", "owner"]));
}

/// Creates a grant, a job, a lease and events, so that the operator makes every kind of request.
async fn everything_asked(stage: &Arc<Stage>) {
    let others = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;
    let tenant = Tenant::with_policy(stage, "permissions", others).await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant.granted("permissions", &json!({})).await;
    let job = json!({"grantRef": {"name": "permissions"}, "grantWait": {"settleSeconds": 0}});
    tenant.apply(&tenant.job("permissions", &["a.jpg"], &job)).await;
    tenant.until_true(JOB, "permissions", "Complete").await;
    // A job that takes more than a second writes its report twice; the report is then deleted.
    let long = json!({"grantRef": {"name": "permissions"}, "grantWait": {"settleSeconds": 0},
        "results": {"ttlSecondsAfterFinished": 0}});
    tenant.apply(&tenant.job("long", &["a.jpg"; 250], &long)).await;
    tenant
        .until(JOB, "long", "its results to be deleted", |job| {
            condition(job, "ResultsStored")[1] == "ResultsExpired"
        })
        .await;
    // The second event of a kind updates the count of the first one; a second write stores a second backup.
    for _ in 1..=2 {
        tenant.set_permissions("owner", Some(&[]));
        tenant.reconcile_until_reason("permissions", "AccessDenied").await;
        tenant.set_permissions("owner", None);
        tenant.reconcile_until_reason("permissions", "Applied").await;
    }
    tenant.delete(GRANT, "permissions").await;
    tenant.until_deleted(GRANT, "permissions").await;

    // The stage's operator holds no lease; this one does, and has nothing else to do.
    let options = stage.options("operator-of-nothing.log");
    let nowhere = ["--watch-namespaces".to_owned(), "nowhere".to_owned()];
    let holder = Operator::start(OperatorOptions {
        leader_election: true,
        extra_args: options.extra_args.iter().cloned().chain(nowhere).collect(),
        ..options
    })
    .await
    .unwrap();
    until("the lease to be renewed", PATIENCE, || async {
        let used = stage.audited();
        used.iter()
            .any(|one| one.resource == "leases" && one.verb == "update")
            .then_some(())
    })
    .await
    .unwrap();
    assert!(holder.terminate().await.unwrap().success());
}

/// Returns verb and resource of every rule that the chart gives the operator.
async fn given(stage: &Stage) -> BTreeSet<String> {
    let kinds = "clusterrolebindings,rolebindings";
    let bindings = stage.kubectl(&["get", kinds, "-A", "-o", "json"]).await;
    let bindings: Value = serde_json::from_str(&bindings).unwrap();
    let mut permissions = BTreeSet::new();
    for binding in bindings["items"].as_array().unwrap() {
        // Roles that tenants create belong to no release.
        let released = &binding["metadata"]["labels"]["app.kubernetes.io/instance"];
        if released != "imm-operator" {
            continue;
        }
        assert_eq!(binding["subjects"][0]["name"], "imm-operator", "{binding}");
        let [kind, name] = ["kind", "name"].map(|member| binding["roleRef"][member].as_str().unwrap());
        let role = stage
            .kubectl(&["get", kind, name, "-n", "imm-system", "-o", "json"])
            .await;
        let role: Value = serde_json::from_str(&role).unwrap();
        let texts = |list: &Value| -> Vec<String> {
            let list = list.as_array().unwrap().iter();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        for rule in role["rules"].as_array().unwrap() {
            for resource in texts(&rule["resources"]) {
                permissions.extend(
                    texts(&rule["verbs"])
                        .iter()
                        .map(|verb| format!("{verb} {resource}")),
                );
            }
        }
    }
    assert!(permissions.len() >= 18, "{permissions:?}");
    permissions
}

// P7, D10
pub async fn check_17_the_permissions_of_the_chart_are_sufficient_and_minimal(stage: Arc<Stage>) {
    // In a cluster of its own, where no other test requests what is forbidden.
    let stage = stage.another(Helm::Four, &chart()).await;
    everything_asked(&stage).await;
    let asked = stage.audited();
    let refused: Vec<_> = asked.iter().filter(|one| one.code == 403).collect();
    assert!(refused.is_empty(), "{refused:?}");
    // Every client may read the description of the API and the version.
    let resources = asked.iter().filter(|one| !one.resource.is_empty());
    let used: BTreeSet<String> = resources.map(Audited::permission).collect();
    let given = given(&stage).await;
    // Lists are streamed by a watch; only an API server that does not offer that is asked for a list.
    let paged = |permission: &&String| *permission == "list imagescorejobs";
    let unused: Vec<_> = given.difference(&used).filter(|one| !paged(one)).collect();
    assert!(unused.is_empty(), "never used: {unused:?}");
    // Every client may read its own identity; tenants grant access to Secrets, not the chart.
    let others: Vec<_> = used.difference(&given).map(String::as_str).collect();
    assert_eq!(others, ["create selfsubjectreviews", "get secrets"]);
    let account = "--as=system:serviceaccount:imm-system:imm-operator";
    for question in [
        "list secrets",
        "watch secrets",
        "get secrets",
        "create serviceaccounts/token",
        "delete immbucketgrants.immops.dev",
        "create immbucketgrants.immops.dev",
        "create pods",
        "get configmaps",
    ] {
        let asked: Vec<&str> = question.split(' ').collect();
        let args = [&["auth", "can-i", "-n", "default", account], &asked[..]].concat();
        let answer = stage.plane.kubectl(&args).await;
        let refused = answer
            .as_ref()
            .is_err_and(|error| error.to_string().lines().any(|line| line == "no"));
        assert!(refused, "{question}: {answer:?}");
    }
    stage.finish().await.unwrap();
}
