//! The tenancy rules of a process that does not lead yet.

use std::sync::Arc;

use imm_harness::until;
use serde_json::{Value, json};

use super::pair::{Rival, TERM, room, rules_file, two};
use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_B, PATIENCE, Stage, Tenant};

fn write(tenant: &Tenant, rules: &Value) {
    let file = rules_file(tenant);
    let new = file.with_extension("new");
    std::fs::write(&new, json!({ "rules": rules }).to_string()).unwrap();
    std::fs::rename(&new, &file).unwrap();
}

async fn until_logged(process: &Rival, part: &str) {
    until(&format!("{} to log {part}", process.name), PATIENCE, || async {
        let log = process.operator.log();
        if log.contains(part) { Ok(()) } else { Err(log) }
    })
    .await
    .unwrap();
}

// P5
pub async fn a_standby_follows_the_rules_before_it_leads(stage: Arc<Stage>) {
    let tenant = room(&stage, "ruled").await;
    let rule = json!({"namespaces": {"names": ["ruled"]}, "kinds": ["ImmBucketGrant"],
        "credentialSources": ["Operator"], "ownerUIDs": [ACCOUNT_B], "buckets": ["ruled-*"]});
    write(&tenant, &json!([rule]));
    let (first, second) = two(&tenant, "strict", "stricter").await;

    // The rule is gone, and later the file cannot be parsed.
    write(&tenant, &json!([]));
    until_logged(&second, "reloaded tenancy rules").await;
    write(&tenant, &Value::Null);
    until_logged(&second, "failed to reload tenancy rules").await;
    first.operator.terminate().await.unwrap();
    second.leads(TERM).await;
    let own = json!({"credentials": {"source": "Operator", "secretRef": null}});
    tenant.apply(&tenant.grant("late", &own)).await;
    tenant.until_reason(GRANT, "late", "TenancyDenied").await;
    assert_eq!(tenant.puts().len(), 0);
    assert!(second.operator.terminate().await.unwrap().success());
}
