//! Rules by namespace labels: the current label counts, and the grant is not touched.

use std::sync::Arc;

use imm_harness::{Helm, until};
use serde_json::{Value, json};

use super::strict::rules_in_force;

use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant, chart, condition};

/// Returns a cluster whose operator follows a rule with a label, with the permission that the chart adds for it.
async fn with_a_rule(stage: &Stage) -> Arc<Stage> {
    let stage = stage.another(Helm::Four, &chart()).await;
    let rule = json!({"namespaces": {"matchLabels": {"team": "media", "site": "north"}}, "credentialSources": ["Operator"],
        "kinds": ["ImmBucketGrant"], "ownerUIDs": ["*"]});
    let set = format!("tenancy.rules={}", json!([rule]));
    let chart = chart().display().to_string();
    let upgrade = [
        "upgrade",
        "imm-operator",
        &chart,
        "-n",
        "imm-system",
        "--set-json",
        &set,
    ];
    stage.plane.helm(Helm::Four, &upgrade).await.unwrap();
    rules_in_force(&stage, &json!({ "rules": [rule] }).to_string()).await;
    stage
}

async fn label(stage: &Stage, namespace: &str, labels: &[&str]) {
    stage
        .kubectl(&[&["label", "namespace", namespace], labels].concat())
        .await;
}

fn operator() -> Value {
    json!({"credentials": {"source": "Operator", "secretRef": null}})
}

/// Checks that the rules are applied again directly before a write.
async fn label_removed_between_the_two_reads(stage: &Arc<Stage>) {
    let tenant = Tenant::new(stage, "unlabelled").await;
    label(stage, "unlabelled", &["team=media", "site=north"]).await;
    let second_read = tenant.hold("GetBucketPolicy", 1, Some(1));
    tenant.apply(&tenant.grant("late", &operator())).await;
    until("the ledger before the write", PATIENCE, || async {
        let grant = tenant.object(GRANT, "late").await;
        (grant["status"]["owned"][0]["state"] == "Intended").then_some(())
    })
    .await
    .unwrap();
    label(stage, "unlabelled", &["team-"]).await;
    drop(second_read);
    tenant.until_reason(GRANT, "late", "TenancyDenied").await;
    assert!(tenant.puts().is_empty());
    assert_eq!(tenant.policy(), "");
}

// P5
pub async fn a_label_of_the_namespace_allows_and_denies_without_touching_the_grant(stage: Arc<Stage>) {
    let stage = with_a_rule(&stage).await;
    let tenant = Tenant::new(&stage, "labelled").await;
    // One of two labels is not enough, nor is another value.
    label(&stage, "labelled", &["team=media", "site=south"]).await;
    tenant.apply(&tenant.grant("labelled", &operator())).await;
    tenant.until_reason(GRANT, "labelled", "TenancyDenied").await;
    assert!(stage.calls(&tenant.bucket, "GetBucketPolicy").is_empty());

    label(&stage, "labelled", &["site=north", "--overwrite"]).await;
    // Labels are not watched: the next reconcile reads the new label, within a minute.
    label_removed_between_the_two_reads(&stage).await;
    let grant = tenant.until_reason(GRANT, "labelled", "Applied").await;
    assert_eq!(condition(&grant, "Allowed")[0], "True");
    assert_eq!(
        grant["metadata"]["annotations"],
        Value::Null,
        "the grant is not touched"
    );
    let policy = tenant.policy();

    label(&stage, "labelled", &["team-"]).await;
    // Another grant of the bucket triggers a reconcile of all grants of the bucket.
    let mut beside = operator();
    beside["access"] = json!({"prefixes": ["a/"]});
    tenant.apply(&tenant.grant("beside", &beside)).await;
    for name in ["beside", "labelled"] {
        let grant = tenant.until_reason(GRANT, name, "TenancyDenied").await;
        assert_eq!(condition(&grant, "Allowed")[0], "False");
    }
    assert_eq!(tenant.policy(), policy, "live statements stay, and none is added");
    let asked = stage.audited().into_iter();
    let mut asked = asked.filter(|one| one.resource == "namespaces");
    assert!(
        asked.all(|one| one.verb == "get"),
        "namespaces are read by name and not listed"
    );
    stage.finish().await.unwrap();
}
