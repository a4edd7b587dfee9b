//! The formats in which STS and IMM answer, and how the operator asks for one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imm_emulator::{Emulator, Fault, FaultAnswer, FaultEffect, Options, Seed};
use imm_operator::api::{JobAccess, ProjectRef};
use imm_operator::cloud::{Cloud, imm, oss_policy, sts};
use imm_operator::core::endpoints::Endpoints;
use imm_operator::core::error::CredentialsError;
use imm_operator::core::identity::{CredentialOrigin, Identity};
use imm_operator::core::place::{BucketPlace, ProjectPlace};
use imm_operator::ports::{AccessKeys, CloudError, CloudErrorKind, RoleSession};
use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const CROSS_ACCOUNT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/emulator/seeds/cross-account.yaml"
);
const PROVIDER: &str = "acs:ram::6543210987654321:oidc-provider/cluster";
/// A token of subject `system:serviceaccount:team:scorer`, valid until 2100.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbInN0cy5hbGl5dW5jcy5jb20iXSwiZXhwIjo0MTAyNDQ0ODAwLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6dGVhbTpzY29yZXIifQ.bm9uZQ";

pub(super) fn client(url: &str) -> Cloud {
    // The first test of the process installs the provider; the others get an error, which is ignored.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Cloud::new(Endpoints::new(url, url, url).unwrap()).unwrap()
}

pub(super) async fn emulator(options: Options) -> Emulator {
    let seed = Seed::from_file(CROSS_ACCOUNT).unwrap();
    Emulator::start(seed, options).await.unwrap()
}

/// The key of the account that owns the project.
pub(super) fn caller() -> AccessKeys {
    AccessKeys {
        id: "LTAI5tImmCaller00001".to_owned(),
        secret: "canary-secret-imm-caller-000001".into(),
        token: None,
        expires_at: None,
    }
}

fn session() -> RoleSession {
    RoleSession {
        role_arn: "acs:ram::6543210987654321:role/scorer".to_owned(),
        name: "imm-operator@team".to_owned(),
        external_id: None,
        policy: None,
    }
}

/// The identity of a ServiceAccount, which needs STS.
fn scorer() -> Identity {
    Identity {
        origin: CredentialOrigin::ServiceAccount {
            namespace: "team".to_owned(),
            name: "scorer".to_owned(),
            role_arn: session().role_arn,
            provider_arn: PROVIDER.to_owned(),
        },
        assumed_role: None,
    }
}

async fn session_for_token(cloud: &Cloud, provider: &str) -> Result<AccessKeys, CloudError> {
    let token = SecretString::from(TOKEN);
    sts::assume_role_with_oidc(cloud, &session(), provider, &token, Timestamp::now()).await
}

pub(super) fn project() -> ProjectPlace {
    ProjectPlace::of(&ProjectRef {
        name: "immtest".to_owned(),
        region: "cn-hangzhou".to_owned(),
        account_uid: "1234567890123456".to_owned(),
    })
    .unwrap()
}

/// Starts a server that answers each request with `answer`, and returns it with the requests that it receives.
async fn server(answer: &'static str) -> (Cloud, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = String::new();
            let mut part = [0; 16 * 1024];
            // Each of these requests has a body, or ends with the empty line of its head.
            while !is_whole(&request) {
                let read = stream.read(&mut part).await.unwrap();
                request.push_str(std::str::from_utf8(&part[..read]).unwrap());
            }
            received.lock().unwrap().push(request);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (client(&url), requests)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

#[tokio::test]
async fn a_session_for_a_token_is_asked_for_in_json_and_the_token_is_sent_in_the_body() {
    let emulator = emulator(Options::default()).await;
    let account = "
accounts:
  - uid: '6543210987654321'
    oidcProviders: [{ name: cluster, issuer: 'https://issuer.test', audiences: [sts.aliyuncs.com] }]
    roles: [{ name: scorer, trust: { oidc: [{ provider: cluster, subjects: ['system:serviceaccount:team:*'] }] } }]
";
    emulator.add(Seed::from_yaml(account).unwrap()).unwrap();
    let cloud = client(&emulator.url());
    let keys = session_for_token(&cloud, PROVIDER).await.unwrap();
    assert!(keys.id.starts_with("STS."), "{}", keys.id);
    let refused = session_for_token(&cloud, "acs:ram::6543210987654321:oidc-provider/other").await;
    assert_eq!(refused.err().unwrap().code, "EntityNotExist.OIDCProvider");

    let (cloud, requests) =
        server("HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    session_for_token(&cloud, PROVIDER).await.err().unwrap();
    let request = requests.lock().unwrap().pop().unwrap();
    let (line, rest) = request.split_once("\r\n").unwrap();
    let (head, body) = rest.split_once("\r\n\r\n").unwrap();
    let query = line
        .strip_prefix("POST /?Action=AssumeRoleWithOIDC&Format=JSON&Timestamp=")
        .and_then(|rest| rest.strip_suffix("&Version=2015-04-01 HTTP/1.1"));
    assert!(
        query.is_some_and(|time| time.ends_with('Z') && time.len() < 30),
        "{line}"
    );
    assert!(body.contains(&format!("OIDCToken={TOKEN}")), "{body}");
    assert!(!line.contains(TOKEN) && !head.contains(TOKEN), "{line} {head}");
}

#[tokio::test]
async fn an_answer_in_xml_is_read_too() {
    let (cloud, _) = server(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<?xml version='1.0' encoding='UTF-8'?><AssumeRoleWithOIDCResponse>\
         <RequestId>R-1</RequestId><AssumedRoleUser><Arn>acs:ram::1:role/a/b</Arn></AssumedRoleUser><Credentials>\
         <SecurityToken>to&amp;ken</SecurityToken><AccessKeyId>STS.a</AccessKeyId><AccessKeySecret>secret</AccessKeySecret>\
         <Expiration>2026-11-27T18:00:00Z</Expiration></Credentials></AssumeRoleWithOIDCResponse>",
    )
    .await;
    let keys = session_for_token(&cloud, PROVIDER).await.unwrap();
    assert_eq!(
        (keys.id.as_str(), keys.secret.expose_secret()),
        ("STS.a", "secret")
    );
    assert_eq!(keys.token.unwrap().expose_secret(), "to&ken");
    assert_eq!(keys.expires_at, Some("2026-11-27T18:00:00Z".parse().unwrap()));

    let (cloud, _) = server(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<?xml version='1.0'?><DetectImageScoreResponse><RequestId>R-1</RequestId>\
         <ImageScore><OverallQualityScore>0.859000027179718</OverallQualityScore></ImageScore></DetectImageScoreResponse>",
    )
    .await;
    let score = imm::detect_image_score(
        &cloud,
        &project(),
        &JobAccess::default(),
        &caller(),
        "oss://b/a.jpg",
        Timestamp::now(),
    )
    .await;
    assert_eq!(score.unwrap(), "0.859000027179718");
}

#[tokio::test]
async fn an_answer_that_is_neither_is_named_in_the_message() {
    let (cloud, _) =
        server("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html><body>canary: please log in</body></html>")
            .await;
    let error = session_for_token(&cloud, PROVIDER).await.err().unwrap();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (CloudErrorKind::Unanswered, "NoCredentialsInAnswer")
    );
    let message = CredentialsError::StsUnavailable(error).message(&scorer());
    assert!(
        message.contains("NoCredentialsInAnswer")
            && message.contains("--sts-endpoint")
            && message.contains("scorer"),
        "{message}"
    );
    assert!(
        !message.contains("did not answer") && !message.contains("canary"),
        "{message}"
    );
}

#[tokio::test]
async fn an_sts_that_refuses_connections_is_named_in_the_message() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = session_for_token(&client(&url), PROVIDER).await.err().unwrap();
    assert_eq!(error.code, "ConnectionFailed");
    let message = CredentialsError::StsUnavailable(error).message(&scorer());
    for part in [
        "STS did not answer",
        "ConnectionFailed",
        "--sts-endpoint",
        "scorer",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test]
async fn errors_of_the_gateway_keep_code_and_request_id_in_xml() {
    let emulator = emulator(Options {
        gateway_errors_in_xml: true,
        ..Options::default()
    })
    .await;
    let cloud = client(&emulator.url());
    let (wrong, unknown) = (
        AccessKeys {
            secret: "canary-wrong".into(),
            ..caller()
        },
        AccessKeys {
            id: "LTAI5tUnknown".to_owned(),
            ..caller()
        },
    );
    for (keys, code) in [
        (wrong, "SignatureDoesNotMatch"),
        (unknown, "InvalidAccessKeyId.NotFound"),
    ] {
        let of_imm = imm::project_limits(&cloud, &project(), &keys, Timestamp::now()).await;
        let of_sts = sts::caller_account(&cloud, &keys, Timestamp::now()).await;
        let sent = emulator.calls();
        for (error, call) in [of_imm.unwrap_err(), of_sts.unwrap_err()]
            .iter()
            .zip(&sent[sent.len() - 2..])
        {
            assert_eq!(
                (error.kind, error.code.as_str()),
                (CloudErrorKind::CredentialsRejected, code)
            );
            assert_eq!(error.request_id.as_ref(), Some(&call.request_id));
        }
    }
}

#[tokio::test]
async fn a_request_id_in_a_header_only_is_kept() {
    let (cloud, _) = server(
        "HTTP/1.1 403 Forbidden\r\nconnection: close\r\nx-acs-request-id: H-1\r\n\r\n{\"Code\": \"NoPermission\"}",
    )
    .await;
    let now = Timestamp::now();
    let of_imm = imm::project_limits(&cloud, &project(), &caller(), now)
        .await
        .unwrap_err();
    let of_sts = sts::caller_account(&cloud, &caller(), now).await.unwrap_err();
    for error in [of_imm, of_sts] {
        assert_eq!(error.code_and_request_id(), "NoPermission, request id H-1");
    }
}

#[tokio::test]
async fn a_requested_delay_means_throttling_unless_a_user_has_to_correct_something() {
    use CloudErrorKind as K;

    let emulator = emulator(Options::default()).await;
    let cloud = client(&emulator.url());
    for (status, code, millis, kind) in [
        (400, "SomethingNew", 5_000, K::Throttled),
        (403, "Throttling.Api", 5_000, K::Throttled),
        (500, "InternalError", 5_000, K::Throttled),
        (400, "SomethingNew", 0, K::RequestRejected),
        (500, "InternalError", 0, K::Unavailable),
        (403, "NoPermission", 5_000, K::AccessDenied),
        (400, "ResourceNotFound.Project", 5_000, K::NoSuchProject),
        (404, "InvalidAccessKeyId.NotFound", 5_000, K::CredentialsRejected),
        (400, "InvalidSecurityToken.Expired", 5_000, K::CredentialsExpired),
        (400, "InvalidTimeStamp.Expired", 5_000, K::Unavailable),
    ] {
        let answer = FaultAnswer {
            status,
            code: code.to_owned(),
            retry_after_ms: Some(millis),
            ..FaultAnswer::default()
        };
        for action in ["GetProject", "GetCallerIdentity"] {
            emulator.add_fault(Fault::on_action(action, 1, FaultEffect::Answer(answer.clone())));
        }
        let now = Timestamp::now();
        let of_imm = imm::project_limits(&cloud, &project(), &caller(), now)
            .await
            .unwrap_err();
        let of_sts = sts::caller_account(&cloud, &caller(), now).await.unwrap_err();
        for error in [of_imm, of_sts] {
            assert_eq!(error.kind, kind, "{code} {millis}");
            let wait = (millis > 0).then(|| Duration::from_millis(millis));
            assert_eq!(error.retry_after, wait, "{code}");
        }
    }
}

/// A write that was answered by a failing server can have taken effect, whatever a proxy adds to the answer.
#[tokio::test]
async fn a_header_of_other_services_does_not_settle_a_policy_write() {
    let (cloud, _) = server(
        "HTTP/1.1 500 Failed\r\nconnection: close\r\nx-acs-retry-after: 1000\r\n\r\n<Error><Code>InternalError</Code></Error>",
    )
    .await;
    let bucket = BucketPlace::new("test-bucket-2024", "cn-hangzhou").unwrap();
    let written = oss_policy::put_policy(&cloud, &bucket, &caller(), "{}", Timestamp::now())
        .await
        .unwrap_err();
    assert_eq!(written.kind, CloudErrorKind::Unavailable);
    assert!(!written.had_no_effect());
}
