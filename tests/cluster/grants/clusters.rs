//! Two clusters, each with a control plane and an operator of its own, that share one bucket without knowing each other.

use std::sync::Arc;

use imm_harness::{Helm, until};
use serde_json::json;

use super::merging::FOREIGN;
use crate::support::seen::statements;
use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant, chart};

// G34
pub async fn two_clusters_share_a_statement_and_the_remaining_one_restores_it(stage: Arc<Stage>) {
    let other = stage.another(Helm::Four, &chart()).await;
    let here = Tenant::with_policy(&stage, "two-clusters", FOREIGN).await;
    let there = here.in_cluster(&other).await;
    let interval = json!({"driftIntervalSeconds": 60});
    let retained = json!({"driftIntervalSeconds": 60, "deletionPolicy": "Retain"});

    here.granted("same", &interval).await;
    let both = here.policy();
    let grant = there.granted("same", &retained).await;
    assert_eq!(grant["status"]["owned"][0]["preExisting"], true);
    assert_eq!(here.puts().len(), 1, "one statement for both");

    // With Retain on the deleted side no statement is missing at any time, because nothing is written.
    there.delete(GRANT, "same").await;
    there.until_deleted(GRANT, "same").await;
    assert_eq!(here.policy(), both);
    assert_eq!(here.puts().len(), 1);

    // Without Retain the cluster that owns the statement removes it, and the other cluster restores it automatically.
    there.granted("same", &interval).await;
    here.delete(GRANT, "same").await;
    here.until_deleted(GRANT, "same").await;
    assert_eq!(here.puts().len(), 2);
    until("the other cluster to restore the statement", PATIENCE, || async {
        let policy = here.policy();
        if policy == both { Ok(()) } else { Err(policy) }
    })
    .await
    .unwrap();
    there
        .until(GRANT, "same", "an owned statement after one drift", |grant| {
            grant["status"]["owned"][0]["preExisting"] == false && grant["status"]["lastDrift"]["count"] == 1
        })
        .await;
    there.until_reason(GRANT, "same", "Applied").await;
    assert_eq!(statements(&here.policy()).len(), 4, "no duplicate statement");
    there.delete(GRANT, "same").await;
    there.until_deleted(GRANT, "same").await;
    assert_eq!(here.policy(), FOREIGN);
    other.finish().await.unwrap();
}
