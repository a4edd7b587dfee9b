//! OIDC tokens: verifies the claims against the provider, and the signature if the provider's keys are known.
//! Rejection messages are fixed texts and never contain a part of the token.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::seed::OidcProviderSeed;

/// The reason why a token is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// The token has expired.
    Expired,
    /// The token is invalid. The message contains nothing of the token.
    Invalid(&'static str),
}

/// The claims of an accepted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// `aud`
    pub audiences: Vec<String>,
    /// `exp`
    pub expires: i64,
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenFault::Invalid("a part is not base64url"))
}

fn parsed(part: &str) -> Result<Value, TokenFault> {
    serde_json::from_slice(&decoded(part)?).map_err(|_| TokenFault::Invalid("a part is not JSON"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is_signed_by(key: &Value, algorithm: &str, message: &[u8], signature: &[u8]) -> Result<bool, TokenFault> {
    Ok(match (algorithm, text(key, "kty")) {
        ("RS256", "RSA") => {
            let (n, e) = (decoded(text(key, "n"))?, decoded(text(key, "e"))?);
            RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok()
        }
        ("ES256", "EC") if text(key, "crv") == "P-256" => {
            let point = [vec![4], decoded(text(key, "x"))?, decoded(text(key, "y"))?].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok()
        }
        _ => false,
    })
}

/// Verifies a token for a provider at a time in Unix seconds. Fails if the token has expired or is invalid.
pub fn check_token(token: &str, provider: &OidcProviderSeed, now: i64) -> Result<Claims, TokenFault> {
    let mut parts = token.trim().split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenFault::Invalid("it has not three parts"));
    };
    let (head, claims) = (parsed(header)?, parsed(payload)?);
    if let Some(keys) = &provider.jwks {
        let keys = keys
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(TokenFault::Invalid("the provider has no keys"))?;
        let wanted = head.get("kid");
        let message = format!("{header}.{payload}");
        let signature = decoded(signature)?;
        let mut signed = false;
        for key in keys
            .iter()
            .filter(|key| wanted.is_none() || key.get("kid") == wanted)
        {
            signed = signed || is_signed_by(key, text(&head, "alg"), message.as_bytes(), &signature)?;
        }
        if !signed {
            return Err(TokenFault::Invalid("no key of the provider signed it"));
        }
    }
    if text(&claims, "iss") != provider.issuer {
        return Err(TokenFault::Invalid("the issuer is not the provider's"));
    }
    let audiences: Vec<String> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) | None => Vec::new(),
    };
    if !audiences
        .iter()
        .any(|audience| provider.audiences.contains(audience))
    {
        return Err(TokenFault::Invalid("the audience is none of the provider's"));
    }
    let expires = claims
        .get("exp")
        .and_then(Value::as_i64)
        .ok_or(TokenFault::Invalid("it has no exp"))?;
    if expires <= now {
        return Err(TokenFault::Expired);
    }
    if claims
        .get("nbf")
        .and_then(Value::as_i64)
        .is_some_and(|start| start > now + 60)
    {
        return Err(TokenFault::Invalid("it is not valid yet"));
    }
    let subject = text(&claims, "sub").to_owned();
    if subject.is_empty() {
        return Err(TokenFault::Invalid("it has no sub"));
    }
    Ok(Claims {
        issuer: provider.issuer.clone(),
        subject,
        audiences,
        expires,
    })
}
