//! Role sessions: what STS issues, and what the other services accept.
//! These keys are issued by STS; they are not in the seed.

use imm_emulator::{Emulator, Request, Seed};

use crate::client::{ACCOUNT_A, ACCOUNT_B, BUCKET, Client, cross_account, encoded, exchange};

const STS: &str = "2015-04-01";

/// The seed of the procedure, plus roles in the bucket owner account: one that the grantee account may assume, and one
/// that only the owner account may assume.
async fn with_roles() -> Emulator {
    let emulator = cross_account().await;
    let more = format!(
        "accounts: [{{uid: '{ACCOUNT_B}', roles: [{{name: policy-admin, trust: {{accounts: ['{ACCOUNT_A}'], externalId: word}}}}, \
         {{name: own, maxSessionSeconds: 7200}}, {{name: reader, allow: ['oss:Get*']}}]}}]"
    );
    emulator.add(Seed::from_yaml(&more).unwrap()).unwrap();
    emulator
}

fn arn(role: &str) -> String {
    format!("acs:ram::{ACCOUNT_B}:role/{role}")
}

async fn assume(client: &Client, role: &str, more: &[(&str, &str)]) -> crate::client::Reply {
    let arn = arn(role);
    let mut parameters = vec![("RoleArn", arn.as_str()), ("RoleSessionName", "test-session")];
    parameters.extend(more);
    client.rpc(STS, "AssumeRole", &parameters).await.unwrap()
}

fn session(client: &Client, reply: &crate::client::Reply) -> Client {
    let credentials = &reply.json()["Credentials"];
    let text = |name: &str| credentials[name].as_str().expect("credentials").to_owned();
    Client {
        id: text("AccessKeyId"),
        secret: text("AccessKeySecret"),
        token: Some(text("SecurityToken")),
        ..client.clone()
    }
}

#[tokio::test]
async fn a_session_does_what_its_role_may_until_it_expires() {
    let emulator = with_roles().await;
    let owner = Client::owner(&emulator);
    let reply = assume(&owner, "own", &[("DurationSeconds", "1800")]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(
        reply.json()["Credentials"]["Expiration"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    let mut session = session(&owner, &reply);
    assert!(session.id.starts_with("STS."));
    assert_eq!(session.get_policy().await.status, 200);
    let identity = session.rpc(STS, "GetCallerIdentity", &[]).await.unwrap().json();
    assert_eq!(identity["IdentityType"], "AssumedRoleUser");
    assert_eq!(identity["AccountId"], ACCOUNT_B);
    assert_eq!(
        identity["Arn"],
        format!("acs:ram::{ACCOUNT_B}:assumed-role/own/test-session")
    );
    let calls = emulator.calls();
    let expected = format!("arn:sts::{ACCOUNT_B}:assumed-role/own/test-session");
    assert_eq!(calls[1].principal.as_deref(), Some(expected.as_str()));

    emulator.set_clock_offset(1801);
    session.skew_seconds = 1801;
    let reply = session.get_policy().await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "SecurityTokenExpired")
    );
    let reply = session.rpc(STS, "GetCallerIdentity", &[]).await.unwrap();
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "InvalidSecurityToken.Expired")
    );
}

#[tokio::test]
async fn the_token_and_the_key_belong_together() {
    let emulator = with_roles().await;
    let owner = Client::owner(&emulator);
    let first = session(&owner, &assume(&owner, "own", &[]).await);
    let second = session(&owner, &assume(&owner, "own", &[]).await);
    for (token, oss, rpc) in [
        (
            second.token.clone(),
            "AccessKeyIdAndSecurityTokenNotMatch",
            "InvalidSecurityToken.MismatchWithAccessKey",
        ),
        (
            Some("CAISmade-up".to_owned()),
            "InvalidSecurityToken",
            "InvalidSecurityToken.Malformed",
        ),
        (None, "InvalidSecurityToken", "InvalidSecurityToken.Malformed"),
    ] {
        let mixed = Client {
            token,
            ..first.clone()
        };
        let reply = mixed.get_policy().await;
        assert_eq!((reply.status, reply.code().as_str()), (403, oss));
        assert_eq!(
            mixed.rpc(STS, "GetCallerIdentity", &[]).await.unwrap().code(),
            rpc
        );
    }
    assert_eq!(first.get_policy().await.status, 200);
    let forger = Client {
        secret: "guessed".to_owned(),
        ..first.clone()
    };
    let reply = forger.get_policy().await;
    assert_eq!(reply.code(), "SignatureDoesNotMatch");
    assert!(reply.text().contains("(token)") && !reply.text().contains(first.token.as_ref().unwrap()));
}

#[tokio::test]
async fn trust_decides_who_may_open_a_session() {
    let emulator = with_roles().await;
    let (owner, stranger) = (Client::owner(&emulator), Client::caller(&emulator));
    for (client, role, more, status) in [
        (&owner, "own", vec![], 200),
        (&stranger, "own", vec![], 403),
        (&stranger, "policy-admin", vec![], 403),
        (&stranger, "policy-admin", vec![("ExternalId", "other")], 403),
        (&stranger, "policy-admin", vec![("ExternalId", "word")], 200),
        (&owner, "policy-admin", vec![("ExternalId", "word")], 403),
        (&owner, "none", vec![], 404),
        (&owner, "own", vec![("DurationSeconds", "899")], 400),
        (&owner, "own", vec![("DurationSeconds", "7200")], 200),
        (&owner, "own", vec![("DurationSeconds", "7201")], 400),
        (&owner, "own", vec![("Policy", "not a policy")], 400),
    ] {
        let reply = assume(client, role, &more).await;
        assert_eq!(reply.status, status, "{role} {more:?}: {}", reply.text());
    }
    let arn = arn("own");
    let bad_name = [("RoleArn", arn.as_str()), ("RoleSessionName", "not allowed")];
    assert_eq!(
        owner.rpc(STS, "AssumeRole", &bad_name).await.unwrap().code(),
        "InvalidParameter.RoleSessionName"
    );
}

#[tokio::test]
async fn a_role_and_the_policy_of_a_session_narrow_what_it_may() {
    let emulator = with_roles().await;
    let owner = Client::owner(&emulator);
    let reader = session(&owner, &assume(&owner, "reader", &[]).await);
    assert_eq!(reader.get_policy().await.status, 200);
    assert_eq!(
        reader
            .oss("DELETE", &format!("/{BUCKET}/?policy"), b"")
            .await
            .status,
        403
    );

    let narrow = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"oss:GetBucketPolicy","Resource":"acs:oss:*:*:{BUCKET}"}}]}}"#
    );
    let narrowed = session(&owner, &assume(&owner, "own", &[("Policy", &narrow)]).await);
    assert_eq!(narrowed.get_policy().await.status, 200);
    assert_eq!(
        narrowed
            .oss("GET", &format!("/{BUCKET}/?bucketInfo"), b"")
            .await
            .status,
        403
    );
    assert_eq!(
        narrowed
            .oss("GET", &format!("/{BUCKET}/test-object.jpg"), b"")
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn the_old_form_of_signature_opens_a_session_too() {
    use imm_emulator::signing::rpc;

    let emulator = with_roles().await;
    let owner = Client::owner(&emulator);
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let parameters = [
        ("Action", "AssumeRole"),
        ("Version", STS),
        ("Format", "JSON"),
        ("RoleArn", &arn("own")),
        ("RoleSessionName", "old~form"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", "nonce of the old form"),
        ("Timestamp", &time),
        ("AccessKeyId", &owner.id),
    ];
    let query: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    let mut request = Request {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        query: query.join("&").replace("old%7Eform", "old-form"),
        headers: vec![("host".to_owned(), emulator.url().replace("http://", ""))],
        ..Request::default()
    };
    let key = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        format!("{}&", owner.secret).as_bytes(),
    );
    let text = rpc::ParsedSignature::string_to_sign(&request);
    assert!(text.starts_with("GET&%2F&AccessKeyId%3D"), "{text}");
    let signature = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signature.as_ref());
    let unsigned = request.query.clone();
    request.query = format!("{unsigned}&Signature={}", encoded("d3Jvbmc="));
    assert_eq!(exchange(&request).await.unwrap().code(), "SignatureDoesNotMatch");
    request.query = format!("{unsigned}&Signature={}", encoded(&signature));
    let reply = exchange(&request).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(exchange(&request).await.unwrap().code(), "SignatureNonceUsed");
}

#[tokio::test]
async fn a_nonce_serves_once() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    let call = || caller.rpc_with_nonce(STS, "GetCallerIdentity", &[], "the-same-nonce");
    let first = call().await.unwrap();
    assert_eq!(
        (first.status, first.json()["IdentityType"].as_str()),
        (200, Some("Account"))
    );
    let second = call().await.unwrap();
    assert_eq!(
        (second.status, second.code().as_str()),
        (400, "SignatureNonceUsed")
    );
}

#[tokio::test]
async fn invalid_keys_get_the_error_codes_of_imm_and_sts() {
    let emulator = cross_account().await;
    let caller = Client::caller(&emulator);
    let stranger = Client {
        id: "LTAI5tNobody".to_owned(),
        ..caller.clone()
    };
    let reply = stranger.score("test-object.jpg").await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "InvalidAccessKeyId.NotFound")
    );
    let forger = Client {
        secret: "guessed".to_owned(),
        ..caller.clone()
    };
    let reply = forger.score("test-object.jpg").await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "SignatureDoesNotMatch")
    );
    assert!(!reply.text().contains("canary"));
    let late = Client {
        skew_seconds: -1000,
        ..caller.clone()
    };
    assert_eq!(
        late.score("test-object.jpg").await.code(),
        "InvalidTimeStamp.Expired"
    );
}
