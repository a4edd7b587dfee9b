//! `AssumeRoleWithOIDC`: exchanges a token of a known identity provider for a session of a role that trusts its
//! subject.
//! As in RAM, provider and role must belong to one account.

use serde_json::{Value, json};

use super::jwt::{TokenFault, check_token};
use super::sessions::{open, ram_arn, wanted_role};
use crate::answer::{Answer, RpcError};
use crate::cloud::Cloud;
use crate::ledger::Call;
use crate::policy::matches;
use crate::rpc::RpcRequest;

fn token_error(fault: &TokenFault) -> RpcError {
    match fault {
        TokenFault::Expired => RpcError::new(
            400,
            "AuthenticationFail.OIDCToken.Expired",
            "This JWT token has expired.",
        ),
        TokenFault::Invalid(reason) => RpcError::new(
            400,
            "AuthenticationFail.OIDCToken.Invalid",
            format!("The OIDC token is not valid: {reason}."),
        ),
    }
}

pub(super) fn assume_role_with_oidc(
    cloud: &Cloud,
    order: &RpcRequest,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    let provider_arn = order.required("OIDCProviderArn")?;
    let token = order.required("OIDCToken")?;
    let missing = || {
        RpcError::new(
            404,
            "EntityNotExist.OIDCProvider",
            "The OIDC provider not exists.",
        )
    };
    let (account, name) = ram_arn(provider_arn, "oidc-provider").ok_or_else(missing)?;
    let provider = {
        let world = cloud.world();
        let account = world.accounts.get(account).ok_or_else(missing)?;
        account
            .oidc_providers
            .iter()
            .find(|one| one.name == name)
            .cloned()
            .ok_or_else(missing)?
    };
    let (role_account, role) = wanted_role(cloud, order)?;
    let claims =
        check_token(token, &provider, cloud.clock.now().as_second()).map_err(|fault| token_error(&fault))?;
    let trusted = role_account == account
        && role.trust.iter().flat_map(|trust| &trust.oidc).any(|trust| {
            trust.provider == name
                && trust
                    .subjects
                    .iter()
                    .any(|pattern| matches(pattern, &claims.subject))
        });
    if !trusted {
        let message = "The role's trust policy does not let this token's subject in.";
        return Err(RpcError::new(403, "AuthenticationFail.NoPermission", message));
    }
    let mut body = open(cloud, order, &role_account, &role)?;
    call.account_uid = Some(role_account);
    body.insert("RequestId".to_owned(), json!(call.request_id));
    body.insert(
        "OIDCTokenInfo".to_owned(),
        json!({
            "Issuer": claims.issuer, "Subject": claims.subject, "ClientIds": claims.audiences.join(","),
            "ExpirationTime": claims.expires.to_string(),
        }),
    );
    Ok(Answer::json(&Value::Object(body)))
}
