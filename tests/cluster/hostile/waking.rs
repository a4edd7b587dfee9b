//! One write of a user must not become thousands of requests of the operator.

use std::sync::Arc;

use imm_harness::until;
use serde_json::{Value, json};

use crate::support::tenant::{GRANT, JOB};
use crate::support::{PATIENCE, Stage, Tenant};

const JOBS: usize = 200;
const ANNOTATIONS: usize = 10;

fn reads(stage: &Stage, namespace: &str) -> usize {
    let kinds = ["get imagescorejobs", "get immbucketgrants"];
    let requests = stage.audited().into_iter();
    requests
        .filter(|one| one.namespace == namespace && kinds.contains(&one.permission().as_str()))
        .count()
}

// T12
pub async fn annotations_of_a_grant_wake_none_of_the_jobs_that_name_it(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "crowd").await;
    tenant
        .apply(&tenant.grant("named", &json!({"suspend": true})))
        .await;
    tenant.until_reason(GRANT, "named", "Suspended").await;
    let jobs: Vec<Value> = (0..JOBS)
        .map(|number| {
            let change = json!({"grantRef": {"name": "named"}});
            let job = tenant.job(&format!("waiting-{number}"), &["a.jpg"], &change);
            serde_json::from_str(&job).unwrap()
        })
        .collect();
    tenant
        .apply(&json!({"apiVersion": "v1", "kind": "List", "items": jobs}).to_string())
        .await;
    for number in 0..JOBS {
        let name = format!("waiting-{number}");
        tenant.until_reason(JOB, &name, "WaitingForGrant").await;
    }
    // A waiting job checks its grant every minute, so some reads happen anyway.
    let before = reads(&stage, "crowd");
    for _ in 0..ANNOTATIONS {
        tenant.reconcile("named").await;
    }
    let after = reads(&stage, "crowd");
    assert!(after - before < 3 * JOBS, "{} reads", after - before);

    // A change that concerns them wakes them all.
    tenant
        .apply(&tenant.grant("named", &json!({"suspend": false})))
        .await;
    until("all jobs to see the live grant", PATIENCE, || async {
        let mut waiting = 0;
        for number in 0..JOBS {
            let job = tenant.object(JOB, &format!("waiting-{number}")).await;
            waiting += usize::from(crate::support::reason(&job) == "WaitingForGrant");
        }
        if waiting == 0 {
            Ok(())
        } else {
            Err(waiting.to_string())
        }
    })
    .await
    .unwrap();
}
