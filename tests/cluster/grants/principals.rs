//! How statements name the grantee, where the documentation of OSS leaves open what works: Block Public Access, one
//! session, the whole account, and the spelling of the role.

use std::sync::Arc;

use imm_emulator::policy::PrincipalReading;
use imm_emulator::{BucketSeed, ProjectSeed};
use imm_operator::core::policy::fingerprint;
use serde_json::{Value, json};

use super::isolation::write_status;
use super::merging::FOREIGN;
use crate::support::seen::statements;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{ACCOUNT_A, Stage, Tenant, condition};

/// A tenant with one image, on a bucket as it is created by default.
async fn tenant_with(stage: &Arc<Stage>, name: &str, principals: PrincipalReading) -> Tenant {
    let bucket = BucketSeed {
        principals,
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(stage, name, bucket).await;
    assert!(
        stage
            .cloud
            .put_object(&tenant.bucket, "a.jpg", "pixels", Some("0.5"))
    );
    tenant
}

fn job(tenant: &Tenant, name: &str, grant: &str) -> String {
    let changes = json!({"grantRef": {"name": grant}, "grantWait": {"settleSeconds": 0}});
    tenant.job(name, &["a.jpg"], &changes)
}

fn principals(tenant: &Tenant) -> Vec<Value> {
    statements(&tenant.policy())
        .iter()
        .map(|statement| statement["Principal"].clone())
        .collect()
}

// C1
pub async fn a_policy_that_oss_counts_as_public_is_announced(stage: Arc<Stage>) {
    let bucket = BucketSeed {
        block_public_access: false,
        principals: PrincipalReading {
            session_wildcard_is_public: true,
            ..PrincipalReading::default()
        },
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(&stage, "unwalled", bucket).await;
    let grant = tenant
        .granted("unwalled", &json!({"access": {"passRoleStatement": "Omit"}}))
        .await;
    assert_eq!(grant["status"]["policy"]["public"], true);
    let [_, _, message] = condition(&grant, "Ready");
    for part in ["counts the policy as public", "access.mode RoleChain"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

// C1, C2
pub async fn a_rejected_session_wildcard_leaves_ways_that_the_message_names(stage: Arc<Stage>) {
    let wildcard_is_public = PrincipalReading {
        session_wildcard_is_public: true,
        ..PrincipalReading::default()
    };
    let tenant = tenant_with(&stage, "walled", wildcard_is_public).await;
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        session_name: Some("imm-session".to_owned()),
        ..ProjectSeed::default()
    });
    tenant.apply(&tenant.grant("walled", &json!({}))).await;
    let grant = tenant.until_reason(GRANT, "walled", "PublicAccessBlocked").await;
    let [_, _, message] = condition(&grant, "Ready");
    for way in ["access.mode RoleChain", "grantee.principal to ServiceRoleSession"] {
        assert!(message.contains(way), "{way}: {message}");
    }
    assert_eq!(condition(&grant, "Stalled")[0], "True");
    assert_eq!(tenant.policy(), "");

    let session = json!({"grantee": {"principal": "ServiceRoleSession", "sessionName": "imm-session"}});
    let grant = tenant.granted("walled", &session).await;
    assert_eq!(grant["status"]["policy"]["public"], false);
    let name = format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole/imm-session");
    assert_eq!(principals(&tenant), [json!([name])]);
    tenant.apply(&job(&tenant, "scores", "walled")).await;
    tenant.until_true(JOB, "scores", "Complete").await;
    assert_eq!(tenant.scores().len(), 1);
}

// C1
pub async fn a_statement_that_counts_as_public_is_announced(stage: Arc<Stage>) {
    let open = BucketSeed {
        block_public_access: false,
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(&stage, "announced", open).await;
    let announcement = "the ram:PassRole statement counts as public";
    let remedy = "set access.passRoleStatement to Omit";
    let announced = |message: &str| message.contains(announcement) && message.contains(remedy);
    tenant
        .apply(&tenant.grant("announced", &json!({"mode": "Preview"})))
        .await;
    let grant = tenant.until_reason(GRANT, "announced", "Preview").await;
    let message = condition(&grant, "Ready")[2];
    assert!(announced(message), "{message}");

    let grant = tenant.granted("announced", &json!({})).await;
    let message = condition(&grant, "Ready")[2];
    assert!(announced(message), "{message}");
    let note = tenant.one_event("announced", "StatementAdded").await;
    assert!(announced(&note), "{note}");

    let without = json!({"access": {"passRoleStatement": "Omit"}});
    tenant.apply(&tenant.grant("announced", &without)).await;
    let private = |grant: &Value| grant["status"]["policy"]["public"] == false;
    let grant = tenant
        .until(GRANT, "announced", "a policy that is not public", private)
        .await;
    let message = condition(&grant, "Ready")[2];
    assert!(!message.contains("public"), "{message}");
}

// C2
pub async fn the_case_of_a_role_is_written_and_not_compared(stage: Arc<Stage>) {
    let tenant = tenant_with(&stage, "spelled", PrincipalReading::default()).await;
    // IMM answers AliyunIMMDefaultRole, and OSS knows the role by its name in lower case.
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        principal_role: Some("aliyunimmdefaultrole".to_owned()),
        ..ProjectSeed::default()
    });
    tenant.granted("spelled", &json!({})).await;
    tenant.apply(&job(&tenant, "as-answered", "spelled")).await;
    let calls = stage
        .until_calls("the denied call", &tenant.bucket, "DetectImageScore", 1)
        .await;
    assert_eq!(calls[0].status, Some(403));
    tenant.delete(JOB, "as-answered").await;
    tenant.until_deleted(JOB, "as-answered").await;

    let lower = json!({"grantee": {"roleName": "aliyunimmdefaultrole"}});
    tenant.granted("spelled", &lower).await;
    let name = format!("arn:sts::{ACCOUNT_A}:assumed-role/aliyunimmdefaultrole/*");
    assert_eq!(principals(&tenant), [json!([name])]);
    assert_eq!(tenant.puts().len(), 2);
    tenant.apply(&job(&tenant, "as-compared", "spelled")).await;
    tenant.until_true(JOB, "as-compared", "Complete").await;
}

// C2
pub async fn a_whole_account_needs_a_rule_and_is_named(stage: Arc<Stage>) {
    let account_covers_sessions = PrincipalReading {
        account_covers_sessions: true,
        ..PrincipalReading::default()
    };
    let tenant = tenant_with(&stage, "accounted", account_covers_sessions).await;
    let account = json!({"grantee": {"principal": "Account"}});
    tenant.apply(&tenant.grant("accounted", &account)).await;
    let grant = tenant.until_reason(GRANT, "accounted", "TenancyDenied").await;
    let message = condition(&grant, "Ready")[2];
    assert!(message.contains("principals"), "{message}");
    assert_eq!(tenant.policy(), "");

    stage.allow(json!({"namespaces": {"names": ["accounted"]}, "principals": ["Account"]}));
    let grant = tenant.until_reason(GRANT, "accounted", "Applied").await;
    let message = condition(&grant, "Ready")[2];
    assert!(
        message.contains(&format!("the whole account {ACCOUNT_A} may read")),
        "{message}"
    );
    assert_eq!(principals(&tenant), [json!([ACCOUNT_A])]);
    tenant.apply(&job(&tenant, "scores", "accounted")).await;
    tenant.until_true(JOB, "scores", "Complete").await;

    // A statement that somebody wrote by hand, in another spelling, stays.
    let by_hand = tenant
        .policy()
        .replace(&format!("[\"{ACCOUNT_A}\"]"), &format!("\"{ACCOUNT_A}\""));
    assert!(stage.cloud.set_policy(&tenant.bucket, Some(&by_hand)));
    tenant.delete(GRANT, "accounted").await;
    tenant.until_deleted(GRANT, "accounted").await;
    assert_eq!(tenant.policy(), by_hand);
    tenant.one_event("accounted", "ResidualAccess").await;
}

// C2
pub async fn another_form_of_the_principal_is_one_write(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "reformed", FOREIGN).await;
    stage.allow(
        json!({"namespaces": {"names": ["reformed"]}, "principals": ["ServiceRole", "ServiceRoleSession", "Account"]}),
    );
    let role = format!("arn:sts::{ACCOUNT_A}:assumed-role/AliyunIMMDefaultRole");
    let forms = [
        (json!({}), format!("{role}/*")),
        (
            json!({"grantee": {"principal": "ServiceRoleSession", "sessionName": "imm.one@x"}}),
            format!("{role}/imm.one@x"),
        ),
        (json!({"grantee": {"principal": "Account"}}), ACCOUNT_A.to_owned()),
        (
            json!({"grantee": {"principal": "ServiceRole"}}),
            format!("{role}/*"),
        ),
    ];
    for (writes, (changes, principal)) in (1..).zip(forms) {
        tenant.apply(&tenant.grant("reformed", &changes)).await;
        tenant
            .until(GRANT, "reformed", "to be applied in its form", |grant| {
                condition(grant, "Ready")[1] == "Applied" && principals(&tenant).contains(&json!([principal]))
            })
            .await;
        assert_eq!(principals(&tenant).len(), 4, "{}", tenant.policy());
        assert_eq!(tenant.puts().len(), writes, "{principal}");
    }
    tenant.delete(GRANT, "reformed").await;
    tenant.until_deleted(GRANT, "reformed").await;
    assert_eq!(tenant.policy(), FOREIGN);
}

// C2
pub async fn what_this_version_cannot_verify_is_carried(stage: Arc<Stage>) {
    let tenant = Tenant::with_policy(&stage, "carried", FOREIGN).await;
    let grant = tenant.granted("carried", &json!({})).await;
    // An entry as another version may write it, with a statement that this one does not render.
    let text = statements(FOREIGN)[1].to_string();
    let entry = json!({"fingerprint": fingerprint(&text).unwrap(), "role": "Access", "state": "Applied",
        "preExisting": false, "statement": text});
    let mut ledger = grant["status"]["owned"].as_array().unwrap().clone();
    ledger.push(entry.clone());
    write_status(&tenant, "carried", &json!({"owned": ledger})).await;
    let owned = |grant: &Value| grant["status"]["owned"].as_array().unwrap().clone();
    assert!(owned(&tenant.reconcile("carried").await).contains(&entry));
    let narrower = json!({"access": {"prefixes": ["a/"]}});
    let grant = tenant.granted("carried", &narrower).await;
    assert!(owned(&grant).contains(&entry), "{}", grant["status"]);
    assert_eq!(statements(&tenant.policy()).len(), 4);

    tenant.delete(GRANT, "carried").await;
    tenant.until_deleted(GRANT, "carried").await;
    assert_eq!(tenant.policy(), FOREIGN);
    let note = tenant.one_event("carried", "ResidualAccess").await;
    assert!(note.contains("cannot verify"), "{note}");
}
