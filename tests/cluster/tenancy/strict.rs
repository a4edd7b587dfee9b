//! Rules that change for all tenants at once: an invalid file, and strict rules that cover own credentials too.

use std::sync::Arc;

use imm_harness::{Helm, until};
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{PATIENCE, Stage, Tenant, chart};

/// Replaces the rules and waits until they take effect.
pub async fn rules_in_force(stage: &Stage, text: &str) {
    let changes = || stage.log().matches("reloaded tenancy rules").count();
    let before = changes();
    stage.write_rules(text);
    until("the rules to take effect", PATIENCE, || async {
        (changes() > before).then_some(())
    })
    .await
    .unwrap();
}

async fn until_valid(stage: &Stage, wanted: f64) {
    until("the metric of valid rules", PATIENCE, || async {
        let valid = stage.metric("immops_tenancy_rules_valid", "").await;
        if (valid - wanted).abs() < 0.5 {
            Ok(())
        } else {
            Err(valid)
        }
    })
    .await
    .unwrap();
}

// D10, T13
pub async fn rules_that_do_not_parse_leave_the_last_good_ones_in_force(stage: Arc<Stage>) {
    // Rules apply to a whole cluster, so this test has one of its own.
    let stage = stage.another(Helm::Four, &chart()).await;
    let tenant = Tenant::new(&stage, "broken").await;
    let own = json!({"credentials": {"source": "Operator", "secretRef": null}});
    let rule = "rules: [{namespaces: {names: [broken]}, kinds: [ImmBucketGrant], credentialSources: [Operator], ownerUIDs: ['*']}]";
    rules_in_force(&stage, rule).await;
    until_valid(&stage, 1.0).await;
    // An unknown word or a lost text must neither allow nor deny anything.
    for broken in [
        "rules: [{namespace: broken}]",
        "strict: yes please\n",
        "rules: [",
        "",
        "strict: false\n",
    ] {
        stage.write_rules(broken);
        until_valid(&stage, 0.0).await;
        tenant.granted("broken", &own).await;
        tenant.delete(GRANT, "broken").await;
        tenant.until_deleted(GRANT, "broken").await;
        stage.write_rules(rule);
        until_valid(&stage, 1.0).await;
    }

    // A removed rule takes effect immediately, not at the next drift check; live statements stay.
    tenant.granted("broken", &own).await;
    rules_in_force(&stage, "rules: []").await;
    tenant.until_reason(GRANT, "broken", "TenancyDenied").await;
    assert!(!tenant.policy().is_empty());
    stage.finish().await.unwrap();
}
