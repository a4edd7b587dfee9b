//! A RAM role that a ServiceAccount of the cluster assumes with its token: an OIDC provider with the keys that the
//! API server publishes, and a role that trusts it.

use imm_emulator::Seed;
use imm_emulator::seed::{AccountSeed, OidcProviderSeed, OidcTrustSeed, RoleSeed, TrustSeed};
use serde_json::Value;

use super::{ACCOUNT_B, Stage};

/// The audience of tokens for STS.
pub const AUDIENCE: &str = "sts.aliyuncs.com";

/// Returns a provider of the bucket owner account with the keys of the API server.
pub async fn provider(stage: &Stage, name: &str) -> OidcProviderSeed {
    let discovery = |path| async move {
        let text = stage.kubectl(&["get", "--raw", path]).await;
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let about = discovery("/.well-known/openid-configuration").await;
    let provider = OidcProviderSeed {
        name: name.to_owned(),
        issuer: about["issuer"].as_str().unwrap().to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        jwks: Some(discovery("/openid/v1/jwks").await),
        ..OidcProviderSeed::default()
    };
    let kinds = &provider.jwks.as_ref().unwrap()["keys"][0];
    assert_eq!(
        [&kinds["kty"], &kinds["alg"]],
        ["RSA", "RS256"],
        "clusters sign with RS256"
    );
    provider
}

/// Adds a provider, and a role of the bucket owner account that trusts one subject of it. Returns the ARNs of role and
/// provider.
pub fn add_role(stage: &Stage, name: &str, provider: OidcProviderSeed, subject: &str) -> [String; 2] {
    let arns = [
        format!("acs:ram::{ACCOUNT_B}:role/{name}"),
        format!("acs:ram::{ACCOUNT_B}:oidc-provider/{}", provider.name),
    ];
    let trust = OidcTrustSeed {
        provider: provider.name.clone(),
        subjects: vec![subject.to_owned()],
    };
    let role = RoleSeed {
        name: name.to_owned(),
        trust: Some(TrustSeed {
            oidc: vec![trust],
            ..TrustSeed::default()
        }),
        ..RoleSeed::default()
    };
    let account = AccountSeed {
        uid: ACCOUNT_B.to_owned(),
        roles: vec![role],
        oidc_providers: vec![provider],
        ..AccountSeed::default()
    };
    let seed = Seed {
        accounts: vec![account],
        ..Seed::default()
    };
    stage.cloud.add(seed).unwrap();
    arns
}
