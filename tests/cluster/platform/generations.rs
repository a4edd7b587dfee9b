//! A status of an earlier generation: what kubectl and the other tools make of it right after a change of the spec.

use std::sync::Arc;

use serde_json::{Value, json};

use super::health::{install_expressions, shows};
use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant, condition};

/// Each condition that scripts wait for.
const AWAITED: [(&str, &str); 3] = [(GRANT, "Ready"), (JOB, "Ready"), (JOB, "Complete")];

/// Runs `kubectl wait` for a condition of the object `edited`; returns the object with which it ended. A timeout of 0
/// means that it reads the object once.
async fn wait_for(tenant: &Tenant, kind: &str, condition: &str, seconds: u8) -> Result<Value, String> {
    let (condition, timeout) = (
        format!("--for=condition={condition}"),
        format!("--timeout={seconds}s"),
    );
    let wait = [
        "wait",
        kind,
        "edited",
        "-n",
        &tenant.name,
        &condition,
        &timeout,
        "-o",
        "json",
    ];
    match tenant.stage.plane.kubectl(&wait).await {
        Ok(text) => Ok(serde_json::from_str(&text).expect(&text)),
        Err(error) => Err(error.to_string()),
    }
}

// P2, P4
pub async fn check_22_23_kubectl_wait_and_other_tools_ignore_a_status_of_an_old_generation(
    stage: Arc<Stage>,
) {
    let tenant = Tenant::new(&stage, "generations").await;
    install_expressions(&stage).await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant.granted("edited", &json!({})).await;
    let of_grant = json!({"grantRef": {"name": "edited"}, "grantWait": {"settleSeconds": 0}});
    tenant.apply(&tenant.job("edited", &["a.jpg"], &of_grant)).await;
    tenant.until_reason(JOB, "edited", "Completed").await;
    for (kind, awaited) in AWAITED {
        wait_for(&tenant, kind, awaited, 0).await.unwrap();
    }

    assert!(stage.stop_operator().await.success());
    for (kind, change) in [
        (GRANT, json!({"driftIntervalSeconds": 3_600})),
        (JOB, json!({"parallelism": 3})),
    ] {
        let edited = tenant.patch(kind, "edited", &json!({ "spec": change })).await;
        assert_eq!(condition(&edited, "Ready")[0], "True", "{edited}");
        assert_eq!(
            (
                &edited["metadata"]["generation"],
                &edited["status"]["observedGeneration"]
            ),
            (&json!(2), &json!(1))
        );
        shows(&tenant, &edited, "Progressing", "InProgress").await;
    }
    for (kind, awaited) in AWAITED {
        let refused = wait_for(&tenant, kind, awaited, 0).await.unwrap_err();
        assert!(
            refused.contains("condition not met for "),
            "{kind} {awaited}: {refused}"
        );
    }

    stage.start_operator().await;
    for (kind, awaited) in AWAITED {
        let seen = wait_for(&tenant, kind, awaited, 90).await.unwrap();
        assert_eq!(seen["status"]["observedGeneration"], 2, "{awaited}: {seen}");
    }
    // The same while the operator runs: kubectl may read the object before or after the operator does.
    for (kind, change) in [
        (GRANT, json!({"suspend": true})),
        (JOB, json!({"parallelism": 4})),
    ] {
        tenant.patch(kind, "edited", &json!({ "spec": change })).await;
        let seen = wait_for(&tenant, kind, "Ready", 90).await.unwrap();
        assert_eq!(seen["status"]["observedGeneration"], 3, "{seen}");
    }
}
