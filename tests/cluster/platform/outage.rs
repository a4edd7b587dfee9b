//! An API server that accepts connections and does not answer.

use std::sync::Arc;

use imm_harness::{Helm, until};
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant, chart, condition};

const OTHERS: &str = r#"{"Version":"1","Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;

// P12
pub async fn without_an_api_server_nothing_is_written_and_nothing_breaks(stage: Arc<Stage>) {
    // The API server is frozen for all clients, so this test has a cluster of its own.
    let stage = stage.another(Helm::Four, &chart()).await;
    let tenant = Tenant::with_policy(&stage, "outage", OTHERS).await;
    tenant.granted("outage", &json!({})).await;
    let policy = tenant.policy();
    stage.plane.freeze().unwrap();
    // Drift that is restored immediately if the ledger can be stored first.
    let others = OTHERS.replace("27490", "27491");
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&others)));
    until("a reconcile without an API server", PATIENCE, || async {
        let log = stage.log();
        let failed = |line: &str| line.contains("failed to list grants") && line.contains("outage-bucket");
        log.lines().any(failed).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        tenant.puts().len(),
        1,
        "nothing is written without a stored ledger"
    );
    assert_eq!(
        stage.page("/livez").await.0,
        200,
        "liveness does not depend on the API server"
    );

    stage.plane.thaw().unwrap();
    let grant = tenant
        .until(GRANT, "outage", "one corrected drift", |grant| {
            grant["status"]["lastDrift"]["count"] == 1 && condition(grant, "Ready")[1] == "Applied"
        })
        .await;
    assert_eq!(condition(&grant, "Granted")[0], "True");
    assert_eq!(tenant.policy(), policy.replace("27490", "27491"));
    stage.finish().await.unwrap();
}
