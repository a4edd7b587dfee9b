//! Strict rules over three namespaces, three buckets and both kinds: allowed combinations reach the cloud with the
//! credentials of their own namespace, and no other combination does.

use std::collections::BTreeSet;
use std::sync::Arc;

use imm_harness::until;
use serde_json::json;

use super::strict::rules_in_force;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{PATIENCE, Stage, Tenant, condition};

const NAMES: [&str; 3] = ["cell-a", "cell-b", "cell-c"];
/// The first namespace may use both kinds on its own bucket, the second grants on two buckets, the third jobs on two: a
/// rule with a project or an owner that does not exist allows only one kind.
const RULES: &str = r#"{"strict": true, "rules": [
    {"namespaces": {"names": ["cell-a"]}, "buckets": ["cell-a-*"]},
    {"namespaces": {"names": ["cell-b"]}, "buckets": ["cell-a-*", "cell-b-*"], "projects": ["none"]},
    {"namespaces": {"names": ["cell-c"]}, "buckets": ["cell-b-*", "cell-c-*"], "ownerUIDs": ["99999"]}]}"#;
const GRANTS: [(&str, &str); 3] = [("cell-a", "cell-a"), ("cell-b", "cell-a"), ("cell-b", "cell-b")];
const JOBS: [(&str, &str); 3] = [("cell-a", "cell-a"), ("cell-c", "cell-b"), ("cell-c", "cell-c")];

/// Returns namespace and bucket of every call with credentials of one kind.
fn reached(stage: &Stage, who: &str) -> BTreeSet<(String, String)> {
    let key = format!("LTAI-{who}-");
    let calls = stage.cloud.calls().into_iter();
    calls
        .filter_map(|call| {
            let namespace = call.access_key_id?.strip_prefix(&key)?.to_owned();
            let bucket = call.bucket?.strip_suffix("-bucket")?.to_owned();
            namespace.starts_with("cell-").then_some((namespace, bucket))
        })
        .collect()
}

fn cells(allowed: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    let owned = |(namespace, bucket): &(&str, &str)| ((*namespace).to_owned(), (*bucket).to_owned());
    allowed.iter().map(owned).collect()
}

// G15, P5
pub async fn exactly_the_allowed_combinations_reach_the_cloud(stage: Arc<Stage>) {
    let mut tenants = Vec::new();
    for name in NAMES {
        tenants.push(Tenant::new(&stage, name).await);
    }
    rules_in_force(&stage, RULES).await;
    for tenant in &tenants {
        for bucket in NAMES {
            let object = format!("on-{bucket}");
            let elsewhere = json!({"bucket": {"name": format!("{bucket}-bucket")}});
            tenant.apply(&tenant.grant(&object, &elsewhere)).await;
            let uri = format!("oss://{bucket}-bucket/image.jpg");
            let job = tenant.job(&object, &["image.jpg"], &json!({"source": {"uris": [uri]}}));
            tenant.apply(&job).await;
        }
    }
    for tenant in &tenants {
        for bucket in NAMES {
            let (object, cell) = (format!("on-{bucket}"), (tenant.name.as_str(), bucket));
            if GRANTS.contains(&cell) {
                tenant.until_reason(GRANT, &object, "Applied").await;
            } else {
                tenant.until_reason(GRANT, &object, "TenancyDenied").await;
            }
            let denied = !JOBS.contains(&cell);
            tenant
                .until(JOB, &object, "a finished or denied job", |job| {
                    let denied_now = condition(job, "Allowed")[1] == "TenancyDenied";
                    let ended = ["Complete", "Failed"].map(|end| condition(job, end)[0] == "True");
                    denied_now == denied && (denied || ended.contains(&true))
                })
                .await;
        }
    }
    assert_eq!(reached(&stage, "owner"), cells(&GRANTS));
    assert_eq!(reached(&stage, "caller"), cells(&JOBS));

    // When the rules are relaxed again, the grants recover automatically.
    stage.restore_rules();
    until("every cell to be granted", PATIENCE, || async {
        for tenant in &tenants {
            for bucket in NAMES {
                let grant = tenant.object(GRANT, &format!("on-{bucket}")).await;
                let [_, reason, message] = condition(&grant, "Ready");
                if reason != "Applied" {
                    return Err(format!("{} on {bucket}: {message}", tenant.name));
                }
            }
        }
        Ok(())
    })
    .await
    .unwrap();
}
