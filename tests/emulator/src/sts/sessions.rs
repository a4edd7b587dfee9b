//! Role sessions: who may assume a role, the session's duration, and its temporary credentials.
//! Sessions are kept in memory only and are identified by their access key id.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::answer::{Answer, RpcError};
use crate::clock::iso_seconds;
use crate::cloud::Cloud;
use crate::denial::AccessDeniedDetail;
use crate::digest::{random_hex, sha256_hex};
use crate::ledger::Call;
use crate::policy::Document;
use crate::rpc::RpcRequest;
use crate::seed::{RoleSeed, SecretText};
use crate::world::accounts::Session;
use crate::world::callers::Caller;

/// Returns account and name of `acs:ram::{uid}:{kind}/{name}`, or `None` for another form. Names are compared without
/// regard to case, as in RAM.
pub(super) fn ram_arn<'a>(arn: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let (account, rest) = arn.strip_prefix("acs:ram::")?.split_once(':')?;
    let name = rest.strip_prefix(kind)?.strip_prefix('/')?;
    (!account.is_empty() && !name.is_empty()).then_some((account, name))
}

/// Returns a stable numeric-looking id for a role, as RAM assigns them.
pub(super) fn role_id(account: &str, role: &str) -> String {
    let digits: String = sha256_hex(format!("{account}/{role}").as_bytes())
        .bytes()
        .map(|byte| char::from(b'0' + byte % 10))
        .collect();
    format!("3{}", digits.get(..17).unwrap_or_default())
}

/// Returns the role that a request names, with its account. Fails if the ARN is malformed or the role does not exist.
pub(super) fn wanted_role(cloud: &Cloud, order: &RpcRequest) -> Result<(String, RoleSeed), RpcError> {
    let arn = order.required("RoleArn")?;
    let (account, name) = ram_arn(arn, "role").ok_or_else(|| {
        RpcError::new(
            400,
            "InvalidParameter.RoleArn",
            "The parameter RoleArn is wrongly formed.",
        )
    })?;
    let world = cloud.world();
    let role = world
        .accounts
        .get(account)
        .and_then(|account| account.role(name))
        .cloned();
    let role = role.ok_or_else(|| RpcError::new(404, "EntityNotExist.Role", "The role not exists."))?;
    Ok((account.to_owned(), role))
}

/// Creates a session and returns the part of the response that both calls share. Fails if a parameter is invalid.
pub(super) fn open(
    cloud: &Cloud,
    order: &RpcRequest,
    account: &str,
    role: &RoleSeed,
) -> Result<serde_json::Map<String, Value>, RpcError> {
    let invalid = |name: &str| {
        RpcError::new(
            400,
            &format!("InvalidParameter.{name}"),
            format!("The parameter {name} is not valid."),
        )
    };
    let name = order.required("RoleSessionName")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'@' | b'-' | b'_');
    if !(2..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        return Err(invalid("RoleSessionName"));
    }
    let longest = role.max_session_seconds.unwrap_or(3600);
    let seconds: i64 = match order.parameter("DurationSeconds") {
        None => longest.min(3600),
        Some(text) => text.parse().map_err(|_| invalid("DurationSeconds"))?,
    };
    if !(900..=longest).contains(&seconds) {
        return Err(invalid("DurationSeconds"));
    }
    let policy = match order.parameter("Policy") {
        None => None,
        Some(text) if text.len() > 2048 => return Err(invalid("Policy")),
        Some(text) => Some(Document::from_bytes(text.as_bytes()).ok_or_else(|| invalid("Policy.Grammar"))?),
    };
    let expires = cloud.clock.now() + SignedDuration::from_secs(seconds);
    let (id, secret, token) = (
        format!("STS.{}", random_hex(12)),
        random_hex(20),
        format!("CAIS{}", random_hex(48)),
    );
    let session = Session {
        secret: SecretText(secret.clone()),
        token: SecretText(token.clone()),
        expires,
        account: account.to_owned(),
        role: role.name.clone(),
        name: name.to_owned(),
        rights: role.rights(),
        policy,
    };
    cloud.world().sessions.insert(id.clone(), session);
    let body = json!({
        "Credentials": {
            "AccessKeyId": id, "AccessKeySecret": secret, "SecurityToken": token, "Expiration": iso_seconds(expires),
        },
        "AssumedRoleUser": {
            "Arn": format!("acs:ram::{account}:role/{}/{name}", role.name),
            "AssumedRoleId": format!("{}:{name}", role_id(account, &role.name)),
        },
    });
    Ok(match body {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            serde_json::Map::new()
        }
    })
}

pub(super) fn assume_role(
    cloud: &Cloud,
    order: &RpcRequest,
    caller: &Caller,
    call: &mut Call,
) -> Result<Answer, RpcError> {
    let (account, role) = wanted_role(cloud, order)?;
    let trusted = role.trusts_account(&account, &caller.account, order.parameter("ExternalId"));
    let missing = if caller.may("sts:AssumeRole", order.required("RoleArn")?) {
        (!trusted).then(|| AccessDeniedDetail::new("AssumeRolePolicy", "sts:AssumeRole", caller))
    } else {
        Some(caller.missing_right("sts:AssumeRole"))
    };
    if let Some(missing) = missing {
        let message = "You are not authorized to do this action. You should be authorized by RAM.";
        return Err(RpcError::new(403, "NoPermission", message).missing(missing));
    }
    let mut body = open(cloud, order, &account, &role)?;
    body.insert("RequestId".to_owned(), json!(call.request_id));
    Ok(Answer::json(&Value::Object(body)))
}
