//! STS 2015-04-01: role sessions for access keys and for OIDC tokens, and the identity of a caller.
//! This service's error codes are poorly documented; undocumented ones are the emulator's choice.

mod jwt;
mod oidc;
mod sessions;

use serde_json::json;

use crate::answer::{Answer, RpcError};
use crate::cloud::Cloud;
use crate::ledger::Call;
use crate::request::Request;
use crate::rpc::{RpcRequest, authenticate};
use crate::world::callers::{Caller, Identity};

pub use jwt::{TokenFault, check_token};

pub(crate) fn perform(
    cloud: &Cloud,
    order: &RpcRequest,
    request: &Request,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    if order.version != "2015-04-01" {
        return Err(RpcError::new(
            400,
            "InvalidVersion",
            "Only version 2015-04-01 is here.",
        ));
    }
    match order.action.as_str() {
        // The only unsigned call: its token is the credential.
        "AssumeRoleWithOIDC" => oidc::assume_role_with_oidc(cloud, order, call),
        "AssumeRole" => {
            let caller = authenticate(cloud, order, request, call)?;
            sessions::assume_role(cloud, order, &caller, call)
        }
        "GetCallerIdentity" => {
            let caller = authenticate(cloud, order, request, call)?;
            Ok(identity(&caller, call))
        }
        other => Err(RpcError::new(
            404,
            "InvalidAction.NotFound",
            format!("The emulator does not have {other}."),
        )),
    }
}

fn identity(caller: &Caller, call: &Call) -> Answer {
    let account = &caller.account;
    let (kind, arn, principal, user, role) = match &caller.identity {
        Identity::Account => (
            "Account",
            format!("acs:ram::{account}:root"),
            account.clone(),
            Some(account.clone()),
            None,
        ),
        Identity::User(uid) => (
            "RAMUser",
            format!("acs:ram::{account}:user/{uid}"),
            uid.clone(),
            Some(uid.clone()),
            None,
        ),
        Identity::Session { role, session } => {
            let id = sessions::role_id(account, role);
            let arn = format!("acs:ram::{account}:assumed-role/{role}/{session}");
            ("AssumedRoleUser", arn, format!("{id}:{session}"), None, Some(id))
        }
    };
    Answer::json(&json!({
        "RequestId": call.request_id, "AccountId": account, "IdentityType": kind, "Arn": arn,
        "PrincipalId": principal, "UserId": user, "RoleId": role,
    }))
}
