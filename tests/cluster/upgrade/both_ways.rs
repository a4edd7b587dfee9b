//! Objects that the version before has made, and what the programs of both versions do with them: upgrade, rollback, and
//! another upgrade.

use std::sync::Arc;

use imm_emulator::ProjectSeed;
use serde_json::{Value, json};

use super::versions::{CRDS_APART, Version, roll_back, stored_crds, upgrade};
use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant, condition, reason};

const OTHERS: &str = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;
/// Images of the job that runs while the versions change, at one call per second.
const IMAGES: usize = 75;
/// Images of the job that has finished before: enough for a report.
const FINISHED: usize = 101;
const GRANTS: [&str; 3] = ["plain", "account", "consumers"];

/// Returns what no change of the version may change: identity and spec of every object, the ownership record of every
/// grant, and everything about the finished job.
async fn kept(stage: &Stage) -> Vec<Value> {
    let all = stage.kubectl(&["get", "ibg,isj,isr", "-A", "-o", "json"]).await;
    let all: Value = serde_json::from_str(&all).unwrap();
    let objects = all["items"].as_array().unwrap().iter();
    // The running job stores more reports, and its progress.
    let ours = objects.filter(|object| object["metadata"]["labels"]["immops.dev/job"] != "running");
    ours.map(|object| {
        let (metadata, status) = (&object["metadata"], &object["status"]);
        let finished = metadata["name"] == "done";
        json!({
            "name": metadata["name"], "uid": metadata["uid"], "generation": metadata["generation"],
            "finalizers": metadata["finalizers"], "spec": object["spec"], "report": object["report"],
            "owned": status["owned"], "finished": if finished { status } else { &Value::Null },
        })
    })
    .collect()
}

/// Fails if an object is not as before.
async fn unchanged(stage: &Stage, before: &[Value]) {
    let now = kept(stage).await;
    assert_eq!(now.len(), before.len());
    for (now, before) in now.iter().zip(before) {
        assert_eq!(now, before);
    }
}

/// Creates the objects with the version before, and waits until they are as they are to survive.
async fn objects(stage: &Arc<Stage>, name: &str) -> Tenant {
    let tenant = Tenant::with_policy(stage, name, OTHERS).await;
    let fast = format!("fast-{name}");
    for (project, speed) in [(&tenant.project, 1), (&fast, 100)] {
        stage.add_project(ProjectSeed {
            name: project.clone(),
            queries_per_second: Some(speed),
            ..ProjectSeed::default()
        });
    }
    stage.allow(json!({"namespaces": {"names": [name]}, "principals": ["ServiceRole", "Account"]}));
    let changes = [
        json!({"access": {"prefixes": ["a/"]}}),
        json!({"access": {"prefixes": ["b/"]}, "grantee": {"principal": "Account"}}),
        // The version before accepts names that no namespace can have.
        json!({"access": {"prefixes": ["c/"]}, "allowedConsumers": {"namespaces": ["Team_*"]}}),
    ];
    for (grant, changes) in GRANTS.iter().zip(&changes) {
        tenant.granted(grant, changes).await;
    }
    let keys: Vec<String> = (0..FINISHED).map(|number| format!("a/{number}.jpg")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for key in &keys {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    let mut granted = json!({"grantRef": {"name": "plain"}, "grantWait": {"settleSeconds": 0}});
    tenant
        .apply(&tenant.job("running", &keys[..IMAGES], &granted))
        .await;
    granted["project"] = json!({"name": fast});
    tenant.apply(&tenant.job("done", &keys, &granted)).await;
    tenant.until_true(JOB, "done", "Complete").await;
    progress(&tenant, 2).await;
    tenant
}

fn succeeded(job: &Value) -> u64 {
    job["status"]["items"]["succeeded"].as_u64().unwrap_or_default()
}

/// Waits until the job has more results than `than`, fails if it has finished, and returns their number.
async fn progress(tenant: &Tenant, than: u64) -> u64 {
    let job = tenant
        .until(JOB, "running", "to have more results", |job| {
            succeeded(job) > than
        })
        .await;
    assert_ne!(
        condition(&job, "Complete")[0],
        "True",
        "the job is too short: {job:#}"
    );
    assert_eq!(job["status"]["items"]["failed"].as_u64().unwrap_or_default(), 0);
    succeeded(&job)
}

/// Reconciles the grants, and checks that they are in effect.
async fn in_effect(tenant: &Tenant, grants: &[&str]) {
    for grant in grants {
        let found = tenant.reconcile(grant).await;
        assert_eq!(reason(&found), "Applied", "{found:#}");
    }
}

async fn deleted(tenant: &Tenant, grant: &str) {
    tenant.delete(GRANT, grant).await;
    tenant.until_deleted(GRANT, grant).await;
}

/// Upgrades, rolls back, upgrades again, and ends everything. Either Helm moves the CRDs, or they are applied apart,
/// before the upgrade, and stay at the rollback.
async fn there_and_back(stage: &Stage, name: &str, apart: bool) {
    let (earlier, this) = (Version::earlier(), Version::this());
    let values: &[&str] = if apart { &CRDS_APART } else { &[] };
    let stage = stage.another_without_operator(&earlier.chart(), values).await;
    if apart {
        earlier.apply_crds(&stage).await;
    }
    let operator = earlier.start(&stage).await;
    let tenant = objects(&stage, name).await;
    let (before, policy, old_crds) = (kept(&stage).await, tenant.policy(), stored_crds(&stage).await);
    // Three grants, the two jobs, and the report of the finished one.
    let names: Vec<&str> = before
        .iter()
        .filter_map(|object| object["name"].as_str())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    let results = progress(&tenant, 0).await;

    assert!(operator.terminate().await.unwrap().success());
    if apart {
        this.apply_crds(&stage).await;
    }
    upgrade(&stage, &this, values).await;
    let new_crds = stored_crds(&stage).await;
    assert_ne!(new_crds, old_crds, "the upgrade moves the CRDs");
    let operator = this.start(&stage).await;
    in_effect(&tenant, &GRANTS).await;
    let results = progress(&tenant, results).await;
    unchanged(&stage, &before).await;
    assert_eq!(tenant.policy(), policy);

    assert!(operator.terminate().await.unwrap().success());
    roll_back(&stage).await;
    let crds = if apart { &new_crds } else { &old_crds };
    assert_eq!(&stored_crds(&stage).await, crds);
    let operator = earlier.start(&stage).await;
    in_effect(&tenant, &GRANTS).await;
    let results = progress(&tenant, results).await;
    unchanged(&stage, &before).await;
    assert_eq!(tenant.policy(), policy);
    assert_eq!(
        tenant.puts().len(),
        GRANTS.len(),
        "each statement was written once"
    );
    deleted(&tenant, "consumers").await;
    let (before, policy) = (kept(&stage).await, tenant.policy());
    assert!(policy.contains("/b/*") && !policy.contains("/c/*"), "{policy}");

    assert!(operator.terminate().await.unwrap().success());
    upgrade(&stage, &this, values).await;
    assert_eq!(stored_crds(&stage).await, new_crds);
    let operator = this.start(&stage).await;
    in_effect(&tenant, &GRANTS[..2]).await;
    progress(&tenant, results).await;
    unchanged(&stage, &before).await;
    assert_eq!(tenant.policy(), policy);
    assert_eq!(tenant.puts().len(), GRANTS.len() + 1);

    // The job was stopped three times, and no image is billed twice.
    let complete = tenant.until_true(JOB, "running", "Complete").await;
    assert_eq!(complete["status"]["items"]["succeeded"], IMAGES);
    assert_eq!(complete["status"]["requests"]["estimatedBillable"], IMAGES);
    assert_eq!(tenant.scores().len(), IMAGES + FINISHED);
    for grant in &GRANTS[..2] {
        deleted(&tenant, grant).await;
    }
    assert_eq!(tenant.policy(), OTHERS);
    assert!(operator.terminate().await.unwrap().success());
    stage.finish().await.unwrap();
}

// P11
pub async fn nothing_is_lost_if_helm_moves_the_crds(stage: Arc<Stage>) {
    there_and_back(&stage, "by-helm", false).await;
}

// P11
pub async fn nothing_is_lost_if_the_crds_stay_at_a_rollback(stage: Arc<Stage>) {
    there_and_back(&stage, "apart", true).await;
}
