//! Why the cloud refuses a call: the operator knows the side, the action and the type of the caller, and nothing else.

use imm_emulator::{Emulator, Options, Seed};
use imm_operator::api::{JobAccess, RequestPayer};
use imm_operator::cloud::{Cloud, imm, oss_objects, oss_policy, sts};
use imm_operator::core::place::BucketPlace;
use imm_operator::core::refusal::{CallerType, Refusal, RefusedBy};
use imm_operator::ports::{AccessKeys, CloudError, ListPosition, RoleSession};
use k8s_openapi::jiff::Timestamp;

use super::formats::{caller, client, emulator, project};

const BUCKET: &str = "test-bucket-2024";

async fn with_users() -> (Emulator, Cloud) {
    let emulator = emulator(Options::default()).await;
    let accounts = "
accounts:
  - uid: '6543210987654321'
    keys:
      - { id: reader, secret: canary-reader, user: '27000000000000001', allow: ['oss:GetBucketPolicy', 'sts:*'] }
      - { id: governed, secret: canary-governed, user: '27000000000000004', controlDeny: ['oss:PutBucketPolicy', 'sts:AssumeRole'] }
      - { id: barred, secret: canary-barred, user: '27000000000000003', deny: ['oss:Put*'] }
    roles:
      - { name: writer }
      - { name: closed, trust: { services: [imm.aliyuncs.com] } }
  - uid: '1234567890123456'
    keys: [{ id: scorer, secret: canary-scorer, user: '27000000000000002', allow: ['imm:GetProject'] }]
";
    emulator.add(Seed::from_yaml(accounts).unwrap()).unwrap();
    let cloud = client(&emulator.url());
    (emulator, cloud)
}

fn keys(id: &str) -> AccessKeys {
    AccessKeys {
        id: id.to_owned(),
        secret: format!("canary-{id}").into(),
        ..caller()
    }
}

fn role(name: &str, policy: Option<&str>) -> RoleSession {
    RoleSession {
        role_arn: format!("acs:ram::6543210987654321:role/{name}"),
        name: "imm-operator@team".to_owned(),
        external_id: None,
        policy: policy.map(str::to_owned),
    }
}

async fn put(cloud: &Cloud, keys: &AccessKeys) -> CloudError {
    let bucket = BucketPlace::new(BUCKET, "cn-hangzhou").unwrap();
    oss_policy::put_policy(cloud, &bucket, keys, "{}", Timestamp::now())
        .await
        .unwrap_err()
}

/// Checks what is known about a refusal, and that nothing else of the answer is.
fn check(error: &CloudError, expected: Refusal, message: &str) {
    assert_eq!(error.refusal, expected, "{error:?}");
    let shown = error.code_and_refusal();
    assert!(shown.ends_with(&format!(", {message}")), "{shown}");
    assert!(!format!("{error:?} {shown}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn a_refusal_of_oss_names_side_action_and_type_of_the_caller() {
    let (emulator, cloud) = with_users().await;
    check(
        &put(&cloud, &keys("reader")).await,
        Refusal {
            by: Some(RefusedBy::RamPolicy),
            by_deny: false,
            caller: Some(CallerType::RamUser),
            action: Some("oss:PutBucketPolicy"),
        },
        "no RAM policy allows oss:PutBucketPolicy to a RAM user",
    );

    let policy =
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:ListObjects","Resource":"*"}]}"#;
    let session = sts::assume_role(
        &cloud,
        &role("writer", Some(policy)),
        &keys("reader"),
        Timestamp::now(),
    )
    .await
    .unwrap();
    check(
        &put(&cloud, &session).await,
        Refusal {
            by: Some(RefusedBy::SessionPolicy),
            by_deny: false,
            caller: Some(CallerType::RoleSession),
            action: Some("oss:PutBucketPolicy"),
        },
        "the session policy does not allow oss:PutBucketPolicy to a role session",
    );

    let barred = |by| Refusal {
        by: Some(by),
        by_deny: true,
        caller: Some(CallerType::RamUser),
        action: Some("oss:PutBucketPolicy"),
    };
    check(
        &put(&cloud, &keys("barred")).await,
        barred(RefusedBy::RamPolicy),
        "a RAM policy denies oss:PutBucketPolicy to a RAM user",
    );

    check(
        &put(&cloud, &keys("governed")).await,
        barred(RefusedBy::ControlPolicy),
        "a control policy of the resource directory denies oss:PutBucketPolicy to a RAM user",
    );

    let deny = r#"{"Version":"1","Statement":[{"Effect":"Deny","Action":["oss:*"],"Principal":["27000000000000001","27000000000000003"],"Resource":["acs:oss:*:6543210987654321:test-bucket-2024"]}]}"#;
    emulator.set_policy(BUCKET, Some(deny));
    let denied = put(&cloud, &keys("reader")).await;
    check(
        &denied,
        Refusal {
            by: Some(RefusedBy::BucketPolicy),
            by_deny: true,
            ..Refusal::default()
        },
        "the bucket policy denies the call",
    );
    assert!(denied.refusal.fix().unwrap().contains("remove the Deny"));
    check(
        &put(&cloud, &keys("barred")).await,
        barred(RefusedBy::RamAndBucketPolicy),
        "a RAM policy and the bucket policy deny oss:PutBucketPolicy to a RAM user",
    );
}

#[tokio::test]
async fn a_closed_public_endpoint_is_named() {
    let (emulator, cloud) = with_users().await;
    emulator.forbid_public_endpoint(BUCKET, true);
    let bucket = BucketPlace::new(BUCKET, "cn-hangzhou").unwrap();
    let now = Timestamp::now();
    let own = keys("barred");
    oss_policy::get_policy(&cloud, &bucket, &own, now).await.unwrap();
    let first = ListPosition {
        max_keys: 1,
        ..ListPosition::default()
    };
    let page =
        oss_objects::list_objects(&cloud, &bucket, "", &first, RequestPayer::BucketOwner, &own, now).await;
    let error = page.err().unwrap();
    check(
        &error,
        Refusal {
            by: Some(RefusedBy::PublicEndpoint),
            ..Refusal::default()
        },
        "the public endpoint does not serve this bucket",
    );
    assert!(error.refusal.fix().unwrap().contains("endpoints.oss"));
}

#[tokio::test]
async fn a_refusal_of_imm_and_sts_names_side_action_and_type_of_the_caller() {
    let (_emulator, cloud) = with_users().await;
    let now = Timestamp::now();
    let uri = format!("oss://{BUCKET}/test-object.jpg");
    let scored = imm::detect_image_score(
        &cloud,
        &project(),
        &JobAccess::default(),
        &keys("scorer"),
        &uri,
        now,
    )
    .await;
    check(
        &scored.unwrap_err(),
        Refusal {
            by: Some(RefusedBy::RamPolicy),
            by_deny: false,
            caller: Some(CallerType::RamUser),
            action: Some("imm:DetectImageScore"),
        },
        "no RAM policy allows imm:DetectImageScore to a RAM user",
    );

    let assumed = sts::assume_role(&cloud, &role("closed", None), &keys("reader"), now).await;
    let error = assumed.err().unwrap();
    check(
        &error,
        Refusal {
            by: Some(RefusedBy::TrustPolicy),
            by_deny: false,
            caller: Some(CallerType::RamUser),
            action: Some("sts:AssumeRole"),
        },
        "the trust policy of the role does not allow sts:AssumeRole to a RAM user",
    );
}
