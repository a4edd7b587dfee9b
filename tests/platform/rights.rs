//! What the operator asks the API server, as the audit log tells it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::support::tenant::JOB;
use crate::support::{Stage, Tenant};

// P6, P7
pub async fn only_named_secrets_are_read_and_none_is_listed(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "audited").await;
    // A Secret of the same name elsewhere, and one beside ours that nobody names.
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

// P7, D10
pub async fn the_rights_of_the_chart_are_enough_and_no_more(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "rights").await;
    tenant.granted("rights", &json!({})).await;
    tenant.delete(crate::support::tenant::GRANT, "rights").await;
    tenant.until_gone(crate::support::tenant::GRANT, "rights").await;
    let mine: Vec<_> = stage
        .audited()
        .into_iter()
        .filter(|one| one.namespace == "rights")
        .collect();
    let refused: Vec<_> = mine.iter().filter(|one| one.code == 403).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let kinds: BTreeSet<String> = mine
        .iter()
        .map(|one| format!("{} {}", one.verb, one.resource))
        .collect();
    let expected = [
        "create events",
        "get secrets",
        "patch immbucketgrants",
        "update immbucketgrants/status",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
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
}
