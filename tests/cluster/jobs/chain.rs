//! Access through a chain of roles: no grant is needed, and a broken chain costs one request.

use std::sync::Arc;

use imm_emulator::Seed;
use serde_json::{Value, json};

use super::fixtures::assert_counts;
use crate::support::tenant::JOB;
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage, Tenant, condition};

fn chained(role: &str) -> Value {
    let link = json!({"role": role, "assumeRoleFor": ACCOUNT_B});
    json!({"access": {"mode": "RoleChain", "roleChain": {"serviceRole": "chain-start", "chain": [link]}}})
}

// J15
pub async fn a_chain_of_roles_needs_no_grant_and_costs_one_request_when_broken(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "chain").await;
    let roles = format!(
        "accounts: [{{uid: '{ACCOUNT_A}', roles: [{{name: chain-start, allow: ['sts:AssumeRole'], trust: {{services: [imm.aliyuncs.com]}}}}]}}, \
         {{uid: '{ACCOUNT_B}', roles: [{{name: chain-reader, allow: ['oss:GetObject'], trust: {{accounts: ['{ACCOUNT_A}']}}}}]}}]"
    );
    stage.cloud.add(Seed::from_yaml(&roles).unwrap()).unwrap();
    let keys: Vec<String> = (0..20).map(|n| format!("{n}.jpg")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for key in &keys {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    // No grant: the bucket has no policy.
    tenant
        .apply(&tenant.job("chain", &keys, &chained("chain-reader")))
        .await;
    let job = tenant.until_true(JOB, "chain", "Complete").await;
    assert_eq!(job["status"]["items"]["succeeded"], 20);
    assert_eq!(condition(&job, "GrantReady")[0], "");
    assert!(tenant.policy().is_empty() && tenant.puts().is_empty());
    let scores = tenant.scores();
    assert_eq!(scores.len(), 20);
    let session = format!("arn:sts::{ACCOUNT_B}:assumed-role/chain-reader/");
    for call in &scores {
        assert!(call.read_as.as_deref().unwrap().starts_with(&session), "{call:?}");
    }
    assert_counts(&tenant, &job);

    tenant
        .apply(&tenant.job("broken", &keys, &chained("no-such-role")))
        .await;
    let job = tenant.until_true(JOB, "broken", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "PermissionDenied");
    assert!(message.contains("the last role of the chain"), "{message}");
    assert_eq!(tenant.scores().len(), 21);
    assert_eq!(job["status"]["requests"]["estimatedBillable"], 1);
}

// J15
pub async fn an_invalid_chain_is_rejected_with_its_own_message(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "chained").await;
    let mut granted = chained("chain-reader");
    granted["grantRef"] = json!({"name": "open"});
    let error = tenant
        .expect_rejection(&tenant.job("both", &["a.jpg"], &granted))
        .await;
    assert!(error.contains("a role chain needs no grant"), "{error}");
    let mut long = chained("chain-reader");
    let links = &mut long["access"]["roleChain"]["chain"];
    *links = json!(vec![links[0].clone(); 3]);
    let error = tenant
        .expect_rejection(&tenant.job("long", &["a.jpg"], &long))
        .await;
    assert!(error.contains("spec.access.roleChain.chain"), "{error}");
    let named = json!({"access": {"roleChain": chained("r")["access"]["roleChain"]}});
    let error = tenant
        .expect_rejection(&tenant.job("named", &["a.jpg"], &named))
        .await;
    assert!(
        error.contains("roleChain is required with mode: RoleChain, and not allowed otherwise"),
        "{error}"
    );
}
