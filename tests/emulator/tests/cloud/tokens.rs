//! OIDC tokens: claims, signatures, and the session that a valid token obtains.
//! Signing keys are generated for each run; no token is stored.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use imm_emulator::seed::OidcProviderSeed;
use imm_emulator::{Seed, TokenFault, check_token};
use serde_json::{Value, json};

use crate::client::{ACCOUNT_B, BUCKET, Client, cross_account, encoded, plain};

const NOW: i64 = 1_800_000_000;

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

enum Signer {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    fn jwk(&self) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let shown = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                let (n, e) = (public.modulus(), public.exponent());
                json!({"kty": "RSA", "kid": "rsa", "n": shown(n.big_endian_without_leading_zero()),
                    "e": shown(e.big_endian_without_leading_zero())})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
                    "y": URL_SAFE_NO_PAD.encode(&point[33..])})
            }
        }
    }

    fn token(&self, claims: &Value) -> String {
        let (algorithm, kid) = match self {
            Self::Rsa(_) => ("RS256", "rsa"),
            Self::Ec(_) => ("ES256", "ec"),
        };
        let message = format!(
            "{}.{}",
            part(&json!({"alg": algorithm, "kid": kid})),
            part(claims)
        );
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn signers() -> [Signer; 2] {
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    [
        Signer::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap()),
        Signer::Ec(ec),
    ]
}

fn provider(jwks: Option<Value>) -> OidcProviderSeed {
    OidcProviderSeed {
        name: "cluster".to_owned(),
        issuer: "https://issuer.test".to_owned(),
        audiences: vec!["sts.aliyuncs.com".to_owned()],
        jwks,
        jwks_file: None,
    }
}

fn claims() -> Value {
    json!({"iss": "https://issuer.test", "aud": ["sts.aliyuncs.com"], "exp": NOW + 600,
        "sub": "system:serviceaccount:team:scorer"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

#[test]
fn both_kinds_of_signature_are_checked() {
    for signer in signers() {
        let known = provider(Some(json!({"keys": [signer.jwk()]})));
        let token = signer.token(&claims());
        let accepted = check_token(&token, &known, NOW).unwrap();
        assert_eq!(accepted.subject, "system:serviceaccount:team:scorer");
        let (message, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = signer
            .token(&with("sub", json!("someone else")))
            .rsplit_once('.')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert!(check_token(&format!("{message}.{signature}"), &known, NOW).is_err());
        let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims()));
        assert!(check_token(&unsigned, &known, NOW).is_err());
        for other in signers() {
            assert!(
                check_token(&other.token(&claims()), &known, NOW).is_err(),
                "another key"
            );
        }
        assert!(
            check_token(&token, &provider(None), NOW).is_ok(),
            "without keys only the claims are checked"
        );
    }
}

#[test]
fn every_claim_must_fit() {
    let [_, signer] = signers();
    let known = provider(Some(json!({"keys": [signer.jwk()]})));
    assert!(
        check_token(
            &signer.token(&with("aud", json!("sts.aliyuncs.com"))),
            &known,
            NOW
        )
        .is_ok()
    );
    assert_eq!(
        check_token(&signer.token(&with("exp", json!(NOW))), &known, NOW),
        Err(TokenFault::Expired)
    );
    for (name, value) in [
        ("iss", json!("https://other.test")),
        ("aud", json!(["another"])),
        ("aud", json!(null)),
        ("exp", json!(null)),
        ("sub", json!("")),
        ("nbf", json!(NOW + 3600)),
    ] {
        let result = check_token(&signer.token(&with(name, value.clone())), &known, NOW);
        assert!(
            matches!(result, Err(TokenFault::Invalid(_))),
            "{name} {value}: {result:?}"
        );
    }
    for nonsense in ["", "a.b", "a.b.c", "!.!.!", "a.b.c.d"] {
        assert!(check_token(nonsense, &known, NOW).is_err(), "{nonsense}");
    }
}

#[tokio::test]
async fn a_good_token_of_a_trusted_subject_opens_a_session() {
    let [_, signer] = signers();
    let emulator = cross_account().await;
    let more = json!({"accounts": [{
        "uid": ACCOUNT_B,
        "oidcProviders": [{"name": "cluster", "issuer": "https://issuer.test", "audiences": ["sts.aliyuncs.com"],
            "jwks": {"keys": [signer.jwk()]}}],
        "roles": [{"name": "scorer", "trust": {"oidc": [{"provider": "cluster",
            "subjects": ["system:serviceaccount:team:*"]}]}}],
    }]});
    emulator.add(Seed::from_yaml(&more.to_string()).unwrap()).unwrap();
    let ask = async |provider: &str, claims: Value| {
        let target = format!(
            "/?Action=AssumeRoleWithOIDC&Version=2015-04-01&Format=JSON&RoleSessionName=team-scorer&RoleArn={}&\
             OIDCProviderArn={}&OIDCToken={}",
            encoded(&format!("acs:ram::{ACCOUNT_B}:role/scorer")),
            encoded(&format!("acs:ram::{ACCOUNT_B}:oidc-provider/{provider}")),
            encoded(&signer.token(&claims)),
        );
        plain(&emulator, "GET", &target, b"").await
    };
    let later = json!(jiff::Timestamp::now().as_second() + 600);
    let current = with("exp", later.clone());
    let mut stranger = current.clone();
    stranger["sub"] = json!("system:serviceaccount:other:scorer");
    assert_eq!(
        ask("cluster", stranger).await.code(),
        "AuthenticationFail.NoPermission"
    );
    assert_eq!(
        ask("nowhere", current.clone()).await.code(),
        "EntityNotExist.OIDCProvider"
    );
    assert_eq!(
        ask("cluster", with("exp", json!(1))).await.code(),
        "AuthenticationFail.OIDCToken.Expired"
    );
    let mut elsewhere = current.clone();
    elsewhere["aud"] = json!("another");
    assert_eq!(
        ask("cluster", elsewhere).await.code(),
        "AuthenticationFail.OIDCToken.Invalid"
    );

    let reply = ask("cluster", current).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(
        body["OIDCTokenInfo"]["Subject"],
        "system:serviceaccount:team:scorer"
    );
    let text = |name: &str| body["Credentials"][name].as_str().unwrap().to_owned();
    let session = Client {
        id: text("AccessKeyId"),
        secret: text("AccessKeySecret"),
        token: Some(text("SecurityToken")),
        ..Client::owner(&emulator)
    };
    assert_eq!(session.get_policy().await.status, 200);
    let ledger = plain(&emulator, "GET", "/-/ledger", b"").await.text();
    assert!(!ledger.contains(&text("SecurityToken")) && !ledger.contains(&text("AccessKeySecret")));
    assert!(emulator.policy(BUCKET).is_some());
}

#[tokio::test]
async fn without_a_signature_or_a_format_the_answer_is_xml() {
    let emulator = cross_account().await;
    let more = json!({"accounts": [{
        "uid": ACCOUNT_B,
        "oidcProviders": [{"name": "cluster", "issuer": "https://issuer.test", "audiences": ["sts.aliyuncs.com"]}],
        "roles": [{"name": "scorer", "trust": {"oidc": [{"provider": "cluster", "subjects": ["*"]}]}}],
    }]});
    emulator.add(Seed::from_yaml(&more.to_string()).unwrap()).unwrap();
    let later = json!(jiff::Timestamp::now().as_second() + 600);
    let ask = async |format: &str, provider: &str| {
        let target = format!(
            "/?Action=AssumeRoleWithOIDC&Version=2015-04-01{format}&RoleSessionName=team-scorer&RoleArn={}&\
             OIDCProviderArn={}&OIDCToken={}.{}.none",
            encoded(&format!("acs:ram::{ACCOUNT_B}:role/scorer")),
            encoded(&format!("acs:ram::{ACCOUNT_B}:oidc-provider/{provider}")),
            part(&json!({"alg": "RS256"})),
            part(&with("exp", later.clone())),
        );
        plain(&emulator, "GET", &target, b"").await
    };
    for format in ["", "&Format=XML"] {
        let reply = ask(format, "cluster").await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("text/xml;charset=utf-8"))
        );
        let text = reply.text();
        assert!(
            text.contains("<AssumeRoleWithOIDCResponse>") && text.contains("<Credentials><AccessKeyId>STS."),
            "{text}"
        );
        let refused = ask(format, "nowhere").await.text();
        assert!(
            refused.contains("<Error>") && refused.contains("<Code>EntityNotExist.OIDCProvider</Code>"),
            "{refused}"
        );
    }
    for format in ["&Format=JSON", "&Format=json"] {
        assert_eq!(
            ask(format, "cluster").await.json()["OIDCTokenInfo"]["Issuer"],
            "https://issuer.test"
        );
        assert_eq!(
            ask(format, "nowhere").await.json()["Code"],
            "EntityNotExist.OIDCProvider"
        );
    }
}
