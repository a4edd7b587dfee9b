//! The operator's own identity, which a rule lends to a namespace for one purpose.

use std::sync::Arc;

use imm_emulator::{Fault, FaultAnswer, FaultEffect, FaultMatch, ProjectSeed};
use serde_json::{Value, json};

use crate::support::stage::OWN_KEY;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{ACCOUNT_A, ACCOUNT_B, REGION, Stage, Tenant, condition};

const ROLE: &str = "acs:ram::6543210987654321:role/policy-admin";

fn own() -> Value {
    json!({"credentials": {"source": "Operator", "secretRef": null}})
}

/// Returns a job that lists the tenant's bucket with the operator's own identity.
fn listing_job(tenant: &Tenant, name: &str) -> String {
    let prefix = json!({"bucket": tenant.bucket, "credentials": {"source": "Operator"}});
    let changes = json!({"budget": {"maxRequests": 10}, "source": {"uris": null, "prefix": prefix}});
    tenant.job(name, &[], &changes)
}

/// Returns the actions that the operator's own identity called on the tenant's bucket.
fn called(tenant: &Tenant) -> Vec<String> {
    let calls = tenant.stage.cloud.calls().into_iter();
    calls
        .filter(|call| call.access_key_id.as_deref() == Some(OWN_KEY))
        .filter(|call| call.bucket.as_deref() == Some(&tenant.bucket))
        .map(|call| call.action)
        .collect()
}

fn denied() -> FaultEffect {
    FaultEffect::Answer(FaultAnswer {
        status: 403,
        code: "AccessDenied".to_owned(),
        ..FaultAnswer::default()
    })
}

// T5
pub async fn a_rule_for_grants_lends_the_operators_identity_to_no_job_and_only_with_its_role(
    stage: Arc<Stage>,
) {
    let tenant = Tenant::new(&stage, "borrower").await;
    stage.allow(
        json!({"namespaces": {"names": ["borrower"]}, "kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"],
            "assumeRoleARNs": [ROLE], "ownerUIDs": [ACCOUNT_B], "presets": ["Documented"]}),
    );
    tenant.apply(&listing_job(&tenant, "lists")).await;
    tenant.apply(&tenant.job("scores", &["a.jpg"], &own())).await;
    tenant.apply(&tenant.grant("without-role", &own())).await;
    let mut other = own();
    other["credentials"]["assumeRole"] = json!({"roleARN": "acs:ram::6543210987654321:role/other"});
    tenant.apply(&tenant.grant("other-role", &other)).await;
    for (kind, name) in [
        (JOB, "lists"),
        (JOB, "scores"),
        (GRANT, "without-role"),
        (GRANT, "other-role"),
    ] {
        let object = tenant.until_reason(kind, name, "TenancyDenied").await;
        assert_eq!(condition(&object, "Allowed")[..2], ["False", "TenancyDenied"]);
    }
    assert!(called(&tenant).is_empty(), "{:?}", called(&tenant));
}

// T5
pub async fn the_operators_identity_lists_only_buckets_of_allowed_owners(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "lister").await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant.granted("open", &json!({})).await;
    let rule = |owners: &[&str]| {
        json!({"namespaces": {"names": ["lister"]}, "kinds": ["ImageScoreJob"], "credentialSources": ["Operator"],
            "projects": [tenant.project], "buckets": ["lister-*"], "granteeUIDs": [ACCOUNT_A], "ownerUIDs": owners})
    };
    // The name of the bucket fits, and its owner is neither in the rule nor the account of the project.
    stage.allow(rule(&[]));
    tenant.apply(&listing_job(&tenant, "lists")).await;
    let job = tenant
        .until(JOB, "lists", "an owner that is not allowed", |job| {
            condition(job, "Ready")[2].contains(ACCOUNT_B)
        })
        .await;
    assert_eq!(condition(&job, "Allowed")[..2], ["False", "TenancyDenied"]);
    assert!(called(&tenant).iter().all(|action| action == "GetBucketInfo"));

    // An owner that cannot be read is not an allowed one.
    tenant.fault("GetBucketInfo", 0, 1, denied());
    stage.allow(rule(&[ACCOUNT_B]));
    tenant.until_reason(JOB, "lists", "SourceUnreadable").await;
    assert!(called(&tenant).iter().all(|action| action == "GetBucketInfo"));
    tenant.until_true(JOB, "lists", "Complete").await;
    assert!(
        called(&tenant).contains(&"ListObjectsV2".to_owned()),
        "{:?}",
        called(&tenant)
    );
}

// T5
pub async fn a_job_with_the_operators_identity_waits_until_sts_confirms_its_account(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "billed").await;
    // The account of the operator's identity has a project of the same name as the one in the rule.
    stage
        .cloud
        .add_project(ProjectSeed {
            name: tenant.project.clone(),
            account: ACCOUNT_B.to_owned(),
            region: REGION.to_owned(),
            ..ProjectSeed::default()
        })
        .unwrap();
    stage.cloud.add_fault(Fault {
        matching: FaultMatch {
            action: Some("GetCallerIdentity".to_owned()),
            access_key_id: Some(OWN_KEY.to_owned()),
            ..FaultMatch::default()
        },
        skip: 0,
        times: Some(1),
        effect: denied(),
    });
    stage.allow(
        json!({"namespaces": {"names": ["billed"]}, "kinds": ["ImageScoreJob"], "credentialSources": ["Operator"],
            "projects": [tenant.project], "buckets": [tenant.bucket], "granteeUIDs": [ACCOUNT_A]}),
    );
    tenant.apply(&tenant.job("scores", &["a.jpg"], &own())).await;
    let job = tenant
        .until(JOB, "scores", "a refused account", |job| {
            condition(job, "Ready")[2].contains("STS does not say")
        })
        .await;
    assert_eq!(condition(&job, "Ready")[1], "CredentialsUnavailable");
    // Once STS answers, the account turns out to be another one.
    let other = |job: &Value| condition(job, "CredentialsValid")[1] == "OtherAccount";
    tenant.until(JOB, "scores", "the other account", other).await;
    assert!(tenant.scores().is_empty());
}

// T5
pub async fn a_forged_status_lends_the_operators_identity_no_bucket_of_another_owner(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "forger").await;
    stage.allow(
        json!({"namespaces": {"names": ["forger"]}, "kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"],
            "ownerUIDs": [ACCOUNT_A], "buckets": ["forger-*"]}),
    );
    let mut grant = own();
    grant["bucket"] = json!({"ownerUID": ACCOUNT_A});
    grant["suspend"] = json!(true);
    tenant.apply(&tenant.grant("forged", &grant)).await;
    tenant.until_reason(GRANT, "forged", "Suspended").await;
    // The status claims that the owner was read for the generation that is about to be stored.
    let forged = json!({"status": {
        "observedGeneration": 2,
        "bucket": {"ownerUID": ACCOUNT_A, "region": REGION},
    }});
    let args = [
        "patch",
        "ibg",
        "forged",
        "-n",
        &tenant.name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &forged.to_string(),
    ];
    stage.kubectl(&args).await;
    grant["suspend"] = json!(false);
    tenant.apply(&tenant.grant("forged", &grant)).await;
    let stored = tenant.until_reason(GRANT, "forged", "OwnerMismatch").await;
    assert_eq!(stored["metadata"]["generation"], 2);
    assert_eq!(stored["status"]["bucket"]["ownerUID"], ACCOUNT_B);
    let of_policies = |action: &String| action.contains("Policy");
    assert!(!called(&tenant).iter().any(of_policies), "{:?}", called(&tenant));
    assert_eq!(tenant.policy(), "");
}
