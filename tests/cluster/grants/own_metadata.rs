//! What others do to the metadata and the records that the operator owns: tools that replace whole objects drop its
//! finalizer, and newer versions of the operator leave members in its ledger.

use std::sync::Arc;

use imm_emulator::{FaultAnswer, FaultEffect};
use imm_harness::until;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::merging::FOREIGN;
use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant};

fn has_finalizer(grant: &Value) -> bool {
    let finalizers = grant["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|all| all.contains(&json!("immops.dev/grant")))
}

async fn until_policy(tenant: &Tenant, wanted: &str) {
    let what = format!("the policy of {} without our statement", tenant.bucket);
    until(&what, PATIENCE, || async {
        let policy = tenant.policy();
        if policy == wanted { Ok(()) } else { Err(policy) }
    })
    .await
    .unwrap();
}

/// Removes all finalizers, as a tool does that replaces the whole object.
async fn drop_finalizers(tenant: &Tenant, name: &str) {
    tenant
        .patch(GRANT, name, &json!({"metadata": {"finalizers": null}}))
        .await;
}

// G47
pub async fn a_grant_that_is_replaced_and_deleted_at_once_leaves_no_statement(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "replaced", FOREIGN).await;
    let manifest = tenant.grant("replaced", &json!({}));
    let file = stage.plane.folder().join("replaced.json");
    std::fs::write(&file, &manifest).unwrap();
    let file = file.display().to_string();
    tenant.granted("replaced", &json!({})).await;
    assert_ne!(tenant.policy(), FOREIGN);
    stage.kubectl(&["replace", "-f", &file]).await;
    stage.kubectl(&["delete", "-f", &file, "--wait=false"]).await;
    tenant.until_deleted(GRANT, "replaced").await;
    until_policy(&tenant, FOREIGN).await;
}

// G47
pub async fn a_removed_finalizer_is_added_again(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "stripped", FOREIGN).await;
    tenant.granted("stripped", &json!({})).await;
    drop_finalizers(&tenant, "stripped").await;
    tenant
        .until(GRANT, "stripped", "its finalizer again", has_finalizer)
        .await;
    // The next reconcile of the bucket would add it too, however much later, and without this line.
    until("the log to name the grant", PATIENCE, || async {
        let log = stage.log();
        let mut lines = log.lines();
        let named = |line: &str| line.contains("finalizer was removed") && line.contains("stripped/stripped");
        lines.any(named).then_some(())
    })
    .await
    .unwrap();
    let patches = stage.audited().into_iter().filter(|one| {
        one.permission() == "patch immbucketgrants" && one.namespace == "stripped" && one.code == 200
    });
    assert_eq!(
        patches.count(),
        2,
        "the first finalizer, and one patch that restores it"
    );
    tenant.delete(GRANT, "stripped").await;
    tenant.until_deleted(GRANT, "stripped").await;
    assert_eq!(tenant.policy(), FOREIGN);
    assert_eq!(tenant.puts().len(), 2);
}

// G47
pub async fn a_deletion_that_bypasses_the_finalizer_is_finished_from_memory(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "bypassed", FOREIGN).await;
    tenant.granted("bypassed", &json!({})).await;
    let busy = FaultAnswer {
        status: 503,
        code: "ServiceUnavailable".to_owned(),
        ..FaultAnswer::default()
    };
    tenant.fault("GetBucketPolicy", 0, 3, FaultEffect::Answer(busy));
    tenant.delete(GRANT, "bypassed").await;
    tenant.until_reason(GRANT, "bypassed", "CloudUnavailable").await;
    drop_finalizers(&tenant, "bypassed").await;
    tenant.until_deleted(GRANT, "bypassed").await;
    until_policy(&tenant, FOREIGN).await;
    until("the metric", PATIENCE, || async {
        let finished = stage
            .metric("immops_unprotected_deletions_total", "finished")
            .await;
        if finished >= 1.0 {
            Ok(())
        } else {
            Err(finished.to_string())
        }
    })
    .await
    .unwrap();
}

// P18
pub async fn a_grant_with_the_longest_name_has_events(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "longname").await;
    let name = "g".repeat(253);
    tenant.granted(&name, &json!({})).await;
    tenant.one_event(&name, "StatementAdded").await;
}

// G48
pub async fn large_members_of_a_ledger_entry_survive_the_writes_of_its_status(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "newer-ledger", FOREIGN).await;
    let grant = tenant.granted("newer", &json!({})).await;
    let mut owned = grant["status"]["owned"].clone();
    owned[0]["approvals"] = json!(vec![json!({"by": "a newer version"}); 10_000]);
    owned[0]["revision"] = json!(2);
    let newer = Patch::Merge(json!({"status": {"owned": owned}}));
    let grants = tenant.api(GRANT);
    grants
        .patch_status("newer", &PatchParams::default(), &newer)
        .await
        .unwrap();
    let written = tenant.reconcile("newer").await;
    assert!(written["status"]["owned"] == owned, "a member is lost");
    // A removal is recorded in the same entry.
    tenant.delete(GRANT, "newer").await;
    tenant.until_deleted(GRANT, "newer").await;
    assert_eq!(tenant.policy(), FOREIGN);
}
