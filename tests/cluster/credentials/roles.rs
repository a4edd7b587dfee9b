//! A role assumed with a Secret, and the operator's own identity.

use std::sync::Arc;

use imm_emulator::seed::{AccountSeed, PassedRole, RoleSeed, TrustSeed};
use imm_emulator::{ProjectSeed, Seed};
use serde_json::json;

use crate::support::stage::OWN_KEY;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{ACCOUNT_A, ACCOUNT_B, REGION, Stage, Tenant, condition};

// D10
pub async fn a_role_is_assumed_with_a_secret_and_an_external_id(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "assumed").await;
    let role = RoleSeed {
        name: "writer-role".to_owned(),
        trust: Some(TrustSeed {
            accounts: vec![ACCOUNT_B.to_owned()],
            external_id: Some("agreed-word".to_owned()),
            ..TrustSeed::default()
        }),
        ..RoleSeed::default()
    };
    let account = AccountSeed {
        uid: ACCOUNT_B.to_owned(),
        roles: vec![role],
        ..AccountSeed::default()
    };
    let seed = Seed {
        accounts: vec![account],
        ..Seed::default()
    };
    stage.cloud.add(seed).unwrap();
    // The AccessKey pair of the Secret may assume roles and nothing else.
    tenant.set_permissions("owner", Some(&["sts:AssumeRole"]));
    let arn = format!("acs:ram::{ACCOUNT_B}:role/writer-role");
    tenant
        .apply(&tenant.grant(
            "assumed",
            &json!({"credentials": {"assumeRole": {"roleARN": arn}}}),
        ))
        .await;
    let grant = tenant
        .until_reason(GRANT, "assumed", "CredentialsUnavailable")
        .await;
    assert_eq!(condition(&grant, "CredentialsValid")[1], "AssumeRoleDenied");
    assert!(stage.calls(&tenant.bucket, "GetBucketPolicy").is_empty());

    let with_word = json!({"credentials": {"assumeRole": {"roleARN": arn, "externalID": "agreed-word"}}});
    tenant.granted("assumed", &with_word).await;
    let put = tenant.puts().remove(0);
    let session = format!("arn:sts::{ACCOUNT_B}:assumed-role/writer-role/imm-operator@assumed");
    assert_eq!(put.principal, Some(session));
    let key = put.access_key_id.unwrap();
    let lets = |action| stage.cloud.session_lets(&key, action, &tenant.bucket);
    assert_eq!(
        [lets("oss:PutBucketPolicy"), lets("oss:DeleteBucket")],
        [Some(true), Some(false)]
    );
}

// D10, C17
pub async fn a_session_of_a_job_may_only_score_in_its_project(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "scorer").await;
    stage.add_project(ProjectSeed {
        name: "second-project".to_owned(),
        ..ProjectSeed::default()
    });
    let role = RoleSeed {
        name: "scorer".to_owned(),
        trust: Some(TrustSeed {
            accounts: vec![ACCOUNT_A.to_owned()],
            ..TrustSeed::default()
        }),
        ..RoleSeed::default()
    };
    let account = AccountSeed {
        uid: ACCOUNT_A.to_owned(),
        roles: vec![role],
        ..AccountSeed::default()
    };
    let seed = Seed {
        accounts: vec![account],
        ..Seed::default()
    };
    stage.cloud.add(seed).unwrap();
    tenant.granted("scorer", &json!({})).await;
    let arn = format!("acs:ram::{ACCOUNT_A}:role/scorer");
    let mut keys = Vec::new();
    for project in [tenant.project.as_str(), "second-project"] {
        let key = format!("{project}.jpg");
        assert!(
            stage
                .cloud
                .put_object(&tenant.bucket, &key, "pixels", Some("0.5"))
        );
        let job = json!({"project": {"name": project}, "credentials": {"assumeRole": {"roleARN": arn}},
            "grantRef": {"name": "scorer"}, "grantWait": {"settleSeconds": 0}});
        tenant.apply(&tenant.job(project, &[&key], &job)).await;
        tenant.until_true(JOB, project, "Complete").await;
        keys.extend(tenant.scores().pop().unwrap().access_key_id);
    }
    assert_ne!(keys[0], keys[1], "one session for each project");
    let on = |project: &str| format!("acs:imm:{REGION}:{ACCOUNT_A}:project/{project}");
    let lets = |action, resource: &str| stage.cloud.session_lets_on(&keys[0], action, resource);
    let own = on(&tenant.project);
    assert_eq!(lets("imm:DetectImageScore", &own), Some(true));
    for (action, resource) in [
        ("imm:DetectImageScore", on("second-project")),
        ("imm:DeleteProject", own),
        (
            "oss:GetObject",
            format!("acs:oss:{REGION}:{ACCOUNT_B}:scorer-bucket/a.jpg"),
        ),
    ] {
        assert_eq!(lets(action, &resource), Some(false), "{action} {resource}");
    }

    // The session may pass the role that the job names, and no other one.
    let roles = format!(
        "accounts: [{{uid: '{ACCOUNT_A}', roles: [{{name: chain-start, allow: ['sts:AssumeRole'], trust: {{services: [imm.aliyuncs.com]}}}}]}}, \
         {{uid: '{ACCOUNT_B}', roles: [{{name: reader, allow: ['oss:GetObject'], trust: {{accounts: ['{ACCOUNT_A}']}}}}]}}]"
    );
    stage.cloud.add(Seed::from_yaml(&roles).unwrap()).unwrap();
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        caller_passes: PassedRole::NamedRole,
        ..ProjectSeed::default()
    });
    let image = format!("{}.jpg", tenant.project);
    let link = json!({"role": "reader", "assumeRoleFor": ACCOUNT_B});
    let chain = json!({"credentials": {"assumeRole": {"roleARN": arn}},
        "access": {"mode": "RoleChain", "roleChain": {"serviceRole": "chain-start", "chain": [link]}}});
    tenant.apply(&tenant.job("chained", &[&image], &chain)).await;
    tenant.until_true(JOB, "chained", "Complete").await;
    let chained = tenant.scores().pop().unwrap().access_key_id.unwrap();
    for (key, role, allowed) in [
        (&chained, "chain-start", true),
        (&chained, "admin", false),
        (&keys[0], "chain-start", false),
    ] {
        let resource = format!("acs:ram::{ACCOUNT_A}:role/{role}");
        let lets = stage.cloud.session_lets_on(key, "ram:PassRole", &resource);
        assert_eq!(lets, Some(allowed), "{role}");
    }

    // Where IMM also requires it for the role of the project, a session is refused whose job does not name it, and a
    // key is not.
    stage.add_project(ProjectSeed {
        name: tenant.project.clone(),
        caller_passes: PassedRole::EveryRole,
        ..ProjectSeed::default()
    });
    let granted = json!({"grantRef": {"name": "scorer"}, "grantWait": {"settleSeconds": 0}});
    let mut by_session = granted.clone();
    by_session["credentials"] = json!({"assumeRole": {"roleARN": arn}});
    tenant
        .apply(&tenant.job("by-session", &[&image], &by_session))
        .await;
    let job = tenant.until_true(JOB, "by-session", "Failed").await;
    let [_, reason, message] = condition(&job, "Failed");
    assert_eq!(reason, "PermissionDenied");
    for part in [
        "the session policy does not allow ram:PassRole",
        "set access.passedRole",
    ] {
        assert!(message.contains(part), "{message}");
    }
    by_session["access"] = json!({"passedRole": "AliyunIMMDefaultRole"});
    tenant.apply(&tenant.job("passing", &[&image], &by_session)).await;
    tenant.until_true(JOB, "passing", "Complete").await;
    let passing = tenant.scores().pop().unwrap().access_key_id.unwrap();
    for (role, allowed) in [("AliyunIMMDefaultRole", true), ("chain-start", false)] {
        let resource = format!("acs:ram::{ACCOUNT_A}:role/{role}");
        let lets = stage.cloud.session_lets_on(&passing, "ram:PassRole", &resource);
        assert_eq!(lets, Some(allowed), "{role}");
    }
    tenant.apply(&tenant.job("by-key", &[&image], &granted)).await;
    tenant.until_true(JOB, "by-key", "Complete").await;
}

// D10
pub async fn the_operators_own_credentials_write_where_a_rule_allows_it(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "own").await;
    stage.allow(
        json!({"namespaces": {"names": ["own"]}, "kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"],
            "ownerUIDs": [ACCOUNT_B], "buckets": ["own-*"]}),
    );
    let own = json!({"credentials": {"source": "Operator", "secretRef": null}});
    tenant.granted("own", &own).await;
    let keys = tenant.puts().into_iter().map(|put| put.access_key_id.unwrap());
    assert_eq!(keys.collect::<Vec<_>>(), [OWN_KEY]);
    let read: Vec<_> = stage.audited();
    let secrets = read
        .iter()
        .filter(|one| one.resource == "secrets" && one.namespace == "own");
    assert_eq!(secrets.count(), 0, "no Secret of the tenant is needed");
}
