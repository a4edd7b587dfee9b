//! `CredentialConfig`: the object is read as the last role of a chain, with that role's own permissions.
//! Alibaba Cloud's page documents the members and little else; the checks are those that each AssumeRole call would
//! make.

use serde::Deserialize;

use crate::answer::RpcError;
use crate::policy::Document;
use crate::rpc::RpcRequest;
use crate::world::World;
use crate::world::callers::Caller;

/// The service name in a role's trust policy.
const SERVICE: &str = "imm.aliyuncs.com";

/// The principal that a role of the chain must trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleType {
    /// The account of the previous role.
    #[default]
    User,
    /// IMM itself.
    Service,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Link {
    assume_role_for: String,
    role: String,
    #[serde(default)]
    role_type: RoleType,
}

/// The parsed parameter.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub(super) struct CredentialConfig {
    service_role: String,
    policy: String,
    chain: Vec<Link>,
    #[serde(skip)]
    document: Option<Document>,
}

impl CredentialConfig {
    /// Returns `None` if the call names no role; the project's service role then reads the object.
    pub(super) fn read(order: &RpcRequest) -> Result<Option<Self>, RpcError> {
        let invalid = |what: &str| RpcError::new(400, "InvalidArgument", format!("CredentialConfig {what}."));
        let Some(text) = order.parameter("CredentialConfig") else {
            return Ok(None);
        };
        // serde would also accept an array, as a struct's members in order.
        let object = text.trim_start().starts_with('{').then_some(text);
        let config: Option<Self> = object.and_then(|text| serde_json::from_str(text).ok());
        let mut config = config.ok_or_else(|| invalid("is not JSON of the documented form"))?;
        let unnamed = |link: &Link| link.assume_role_for.is_empty() || link.role.is_empty();
        if config.chain.iter().any(unnamed) {
            return Err(invalid("has a Chain entry without AssumeRoleFor or Role"));
        }
        if config.service_role.is_empty() {
            let own = config.chain.is_empty();
            return if own {
                Ok(None)
            } else {
                Err(invalid("has a Chain and no ServiceRole"))
            };
        }
        if !config.policy.is_empty() {
            let short = config.policy.len() <= 2048;
            config.document = Document::from_bytes(config.policy.as_bytes()).filter(|_| short);
            if config.document.is_none() {
                return Err(invalid("has a Policy that is not one"));
            }
        }
        Ok(Some(config))
    }

    /// Returns the name of the role of the project's account with which the chain begins.
    pub(super) fn service_role(&self) -> &str {
        &self.service_role
    }

    /// Returns the last session of the chain, which starts in the project's account. Fails if a role is missing or does
    /// not trust the previous one.
    pub(super) fn session(self, world: &World, account: &str) -> Result<Caller, RpcError> {
        let refused = |account: &str, role: &str, why: &str| {
            let message = format!("The role acs:ram::{account}:role/{role} {why}.");
            RpcError::new(403, "AccessDenied", message)
        };
        let first = world.accounts.get(account);
        let first = first.and_then(|account| account.role(&self.service_role));
        if first.is_some_and(|role| !role.trusts_service(SERVICE)) {
            return Err(refused(account, &self.service_role, "does not trust IMM"));
        }
        let mut caller = Caller::service_session(world, account, &self.service_role)
            .ok_or_else(|| refused(account, &self.service_role, "does not exist"))?;
        for link in &self.chain {
            let (owner, name) = (link.assume_role_for.as_str(), link.role.as_str());
            let role = world.accounts.get(owner).and_then(|account| account.role(name));
            let role = role.ok_or_else(|| refused(owner, name, "does not exist"))?;
            let trusted = match link.role_type {
                RoleType::User => role.trusts_account(owner, &caller.account, None),
                RoleType::Service => role.trusts_service(SERVICE),
            };
            if !trusted {
                return Err(refused(owner, name, "does not trust the one before it"));
            }
            if !caller.may("sts:AssumeRole", &format!("acs:ram::{owner}:role/{name}")) {
                return Err(refused(owner, name, "may not be assumed by the one before it"));
            }
            caller = Caller::session_of(owner, role);
        }
        caller.policy = self.document;
        Ok(caller)
    }
}
