//! `CredentialConfig`: an object read as the last role of a chain, and every way in which a chain can be invalid.
//! The bucket never has a policy, so only the chain can allow the read.

use imm_emulator::seed::PassedRole;
use imm_emulator::{Emulator, Options, ProjectSeed, Seed};
use serde_json::{Value, json};

use crate::client::{ACCOUNT_A, ACCOUNT_B, BUCKET, Client, Reply, grant_policy, started};

/// Roles in both accounts. The name of an invalid role is its defect.
const ROLES: &str = r#"
accounts:
  - uid: "1234567890123456"
    roles:
      - { name: first, allow: ["sts:AssumeRole"], trust: { services: [imm.aliyuncs.com] } }
      - { name: idle, allow: ["oss:*"], trust: { services: [imm.aliyuncs.com] } }
      - { name: private, allow: ["sts:AssumeRole"] }
    keys:
      - { id: passer, secret: canary-passer, user: "1", allow: ["imm:*", "ram:PassRole"] }
      - { id: user, secret: canary-user, user: "2", allow: ["imm:*"] }
  - uid: "6543210987654321"
    roles:
      - { name: reader, allow: ["oss:GetObject"], trust: { accounts: ["1234567890123456"] } }
      - { name: lister, allow: ["oss:ListObjects"], trust: { accounts: ["1234567890123456"] } }
      - { name: closed, allow: ["oss:GetObject"], trust: { accounts: ["6543210987654321"] } }
      - { name: worded, allow: ["oss:GetObject"], trust: { accounts: ["1234567890123456"], externalId: agreed } }
      - { name: service, allow: ["oss:GetObject"], trust: { services: [imm.aliyuncs.com] } }
      - { name: between, allow: ["sts:AssumeRole"], trust: { accounts: ["1234567890123456"] } }
      - { name: last, allow: ["oss:GetObject"] }
      - { name: decrypter, allow: ["oss:GetObject", "kms:Decrypt"], trust: { accounts: ["1234567890123456"] } }
"#;

async fn cloud() -> Emulator {
    let emulator = started(Options::default()).await;
    emulator.add(Seed::from_yaml(ROLES).unwrap()).unwrap();
    emulator.set_policy(BUCKET, None);
    emulator
}

fn link(role: &str, role_type: &str) -> Value {
    json!({"AssumeRoleFor": ACCOUNT_B, "Role": role, "RoleType": role_type})
}

fn chain(service_role: &str, role: &str) -> String {
    json!({"ServiceRole": service_role, "Chain": [link(role, "user")]}).to_string()
}

async fn score(emulator: &Emulator, config: &str) -> Reply {
    let uri = format!("oss://{BUCKET}/test-object.jpg");
    let parameters = [
        ("ProjectName", "immtest"),
        ("SourceURI", uri.as_str()),
        ("CredentialConfig", config),
    ];
    Client::caller(emulator)
        .imm("DetectImageScore", &parameters)
        .await
}

#[tokio::test]
async fn the_last_role_reads_without_any_bucket_policy() {
    let emulator = cloud().await;
    let through_two =
        json!({"ServiceRole": "first", "Chain": [link("between", "user"), link("last", "user")]});
    let by_service = json!({"ServiceRole": "first", "Chain": [link("service", "service")]});
    let narrowed = json!({"ServiceRole": "first", "Chain": [link("reader", "user")], "Policy":
        r#"{"Version":"1","Statement":[{"Action":"oss:*","Effect":"Allow","Resource":"*"}]}"#});
    for (config, role) in [
        (chain("first", "reader"), "reader"),
        (through_two.to_string(), "last"),
        (by_service.to_string(), "service"),
        (narrowed.to_string(), "reader"),
    ] {
        emulator.clear_calls();
        let reply = score(&emulator, &config).await;
        assert_eq!(
            (
                reply.status,
                reply.json()["ImageScore"]["OverallQualityScore"].as_f64()
            ),
            (200, Some(0.727)),
            "{config}"
        );
        let read_as = emulator.calls()[0].read_as.clone().unwrap();
        let session = format!("arn:sts::{ACCOUNT_B}:assumed-role/{role}/imm-");
        assert!(read_as.starts_with(&session), "{read_as}");
    }
}

#[tokio::test]
async fn a_chain_with_an_invalid_link_is_denied_and_billed() {
    let emulator = cloud().await;
    let untyped = json!({"ServiceRole": "first", "Chain": [{"AssumeRoleFor": ACCOUNT_A, "Role": "reader"}]});
    let narrowed = json!({"ServiceRole": "first", "Chain": [link("reader", "user")], "Policy":
        r#"{"Version":"1","Statement":[{"Action":"oss:ListObjects","Effect":"Allow","Resource":"*"}]}"#});
    let wrong_type = json!({"ServiceRole": "first", "Chain": [link("reader", "service")]});
    let cases = [
        (chain("absent", "reader"), "role/absent does not exist"),
        (chain("private", "reader"), "role/private does not trust IMM"),
        (chain("idle", "reader"), "role/reader may not be assumed"),
        (chain("first", "absent"), "role/absent does not exist"),
        (
            untyped.to_string(),
            &format!("{ACCOUNT_A}:role/reader does not exist"),
        ),
        (chain("first", "closed"), "role/closed does not trust"),
        (chain("first", "worded"), "role/worded does not trust"),
        (chain("first", "service"), "role/service does not trust"),
        (wrong_type.to_string(), "role/reader does not trust"),
        (chain("first", "lister"), "has no right to read"),
        (narrowed.to_string(), "has no right to read"),
    ];
    for (config, why) in &cases {
        let reply = score(&emulator, config).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "AccessDenied"),
            "{config}"
        );
        assert!(reply.text().contains(why), "{config}: {}", reply.text());
    }
    assert_eq!(emulator.billed(), u64::try_from(cases.len()).unwrap());
    assert!(emulator.calls().iter().all(|call| call.read_as.is_none()));
}

#[tokio::test]
async fn the_default_role_created_by_imm_cannot_start_a_chain() {
    let emulator = cloud().await;
    let project = ProjectSeed {
        name: "own".to_owned(),
        region: "cn-hangzhou".to_owned(),
        account: ACCOUNT_B.to_owned(),
        ..ProjectSeed::default()
    };
    emulator.add_project(project).unwrap();
    let (uri, config) = (
        format!("oss://{BUCKET}/test-object.jpg"),
        chain("AliyunIMMDefaultRole", "last"),
    );
    let parameters = [
        ("ProjectName", "own"),
        ("SourceURI", uri.as_str()),
        ("CredentialConfig", config.as_str()),
    ];
    let owner = Client::owner(&emulator);
    let reply = owner.imm("DetectImageScore", &parameters).await;
    assert!(
        reply.text().contains("role/last may not be assumed"),
        "{}",
        reply.text()
    );
    let reply = owner.imm("DetectImageScore", &parameters[..2]).await;
    assert_eq!(reply.status, 200, "the role itself may read: {}", reply.text());
}

#[tokio::test]
async fn a_bucket_policy_may_still_deny_the_last_role() {
    let emulator = cloud().await;
    let denial = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Deny","Action":["oss:GetObject"],"Principal":
        ["arn:sts::{ACCOUNT_B}:assumed-role/reader/*"],"Resource":["acs:oss:*:{ACCOUNT_B}:{BUCKET}/*"]}}]}}"#
    );
    emulator.set_policy(BUCKET, Some(&denial));
    assert_eq!(
        score(&emulator, &chain("first", "reader")).await.code(),
        "AccessDenied"
    );
    emulator.set_policy(BUCKET, None);
    assert_eq!(score(&emulator, &chain("first", "reader")).await.status, 200);
}

#[tokio::test]
async fn a_project_may_demand_that_its_callers_may_pass_the_service_role() {
    let emulator = cloud().await;
    let uri = format!("oss://{BUCKET}/test-object.jpg");
    let config = chain("first", "reader");
    let parameters = [
        ("ProjectName", "immtest"),
        ("SourceURI", uri.as_str()),
        ("CredentialConfig", config.as_str()),
    ];
    let user = Client::new(&emulator, "user", "canary-user");
    let passer = Client::new(&emulator, "passer", "canary-passer");
    for (demanded, statuses) in [
        (PassedRole::Nothing, [200, 200]),
        (PassedRole::EveryRole, [403, 200]),
        (PassedRole::NamedRole, [403, 200]),
    ] {
        let project = ProjectSeed {
            name: "immtest".to_owned(),
            region: "cn-hangzhou".to_owned(),
            account: ACCOUNT_A.to_owned(),
            caller_passes: demanded,
            ..ProjectSeed::default()
        };
        emulator.add_project(project).unwrap();
        for (client, status) in [&user, &passer].into_iter().zip(statuses) {
            let reply = client.imm("DetectImageScore", &parameters).await;
            assert_eq!(reply.status, status, "{}", reply.text());
            if status == 403 {
                assert_eq!(reply.code(), "NoPermission");
                assert_eq!(reply.json()["AccessDeniedDetail"]["AuthAction"], "ram:PassRole");
            }
        }
    }
    // A call without a config names no role.
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    let reply = user.imm("DetectImageScore", &parameters[..2]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let every = "projects: [{name: immtest, region: cn-hangzhou, account: '1234567890123456', callerPasses: everyRole}]";
    emulator.add(Seed::from_yaml(every).unwrap()).unwrap();
    for (client, status) in [(&user, 403), (&passer, 200)] {
        let reply = client.imm("DetectImageScore", &parameters[..2]).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
}

#[tokio::test]
async fn an_object_with_a_kms_key_is_read_by_a_role_of_the_same_account_that_may_decrypt() {
    let emulator = cloud().await;
    emulator.set_policy(BUCKET, Some(&grant_policy()));
    assert!(emulator.encrypt_with_key_of(ACCOUNT_B, BUCKET, "test-object.jpg"));
    assert!(!emulator.encrypt_with_key_of(ACCOUNT_B, BUCKET, "no-such-object.jpg"));
    for config in ["", &chain("first", "reader")] {
        let reply = score(&emulator, config).await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, "AccessDenied".to_owned()),
            "{config}"
        );
    }
    assert!(emulator.calls().iter().all(|call| call.read_as.is_none()));
    assert_eq!(score(&emulator, &chain("first", "decrypter")).await.status, 200);
    let object = format!("/{BUCKET}/test-object.jpg");
    let reply = Client::owner(&emulator).oss("GET", &object, b"").await;
    assert_eq!(reply.header("x-oss-server-side-encryption"), Some("KMS"));
    emulator.encrypt_with_key_of(ACCOUNT_A, BUCKET, "test-object.jpg");
    let reply = Client::owner(&emulator).oss("GET", &object, b"").await;
    assert_eq!((reply.status, reply.code()), (403, "AccessDenied".to_owned()));
    assert_eq!(
        Client::owner(&emulator).oss("HEAD", &object, b"").await.status,
        200
    );
}

#[tokio::test]
async fn an_invalid_credential_config_is_rejected() {
    let emulator = cloud().await;
    let reader = link("reader", "user");
    for config in [
        "{".to_owned(),
        "[]".to_owned(),
        json!({"serviceRole": "first"}).to_string(),
        json!({"ServiceRole": "first", "Chain": [{"Role": "reader"}]}).to_string(),
        json!({"ServiceRole": "first", "Chain": [{"AssumeRoleFor": ACCOUNT_B, "Role": ""}]}).to_string(),
        json!({"ServiceRole": "first", "Chain": [link("reader", "owner")]}).to_string(),
        json!({"Chain": [reader]}).to_string(),
        json!({"ServiceRole": "first", "Chain": [reader], "Policy": "everything"}).to_string(),
    ] {
        let reply = score(&emulator, &config).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "InvalidArgument"),
            "{config}"
        );
    }
}

#[tokio::test]
async fn a_config_without_a_role_uses_the_project_role() {
    let emulator = cloud().await;
    for config in ["", "{}", r#"{"Chain":[]}"#] {
        let reply = score(&emulator, config).await;
        assert_eq!(reply.code(), "AccessDenied", "{config}");
        assert!(reply.text().contains("AliyunIMMDefaultRole"), "{}", reply.text());
    }
}
