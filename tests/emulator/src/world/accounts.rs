//! Accounts, access keys and role sessions, and the lookup of presented credentials.
//! A key is looked up before its signature is checked, because the check needs the secret.

use jiff::Timestamp;

use super::World;
use super::callers::{Caller, Identity};
use crate::policy::{Document, Rights};
use crate::seed::{AccountSeed, KeySeed, OidcProviderSeed, RoleSeed, SecretText};

/// The role that IMM uses when a project names none. Every account has it.
pub(crate) const DEFAULT_SERVICE_ROLE: &str = "AliyunIMMDefaultRole";

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) block_public_access: bool,
    pub(crate) roles: Vec<RoleSeed>,
    pub(crate) oidc_providers: Vec<OidcProviderSeed>,
}

impl Account {
    pub(crate) fn extend(&mut self, seed: AccountSeed) {
        self.uid = seed.uid;
        self.block_public_access = self.block_public_access || seed.block_public_access;
        if !seed.name.is_empty() {
            self.name = seed.name;
        }
        self.roles.extend(seed.roles);
        self.oidc_providers.extend(seed.oidc_providers);
    }

    pub(crate) fn role(&self, name: &str) -> Option<&RoleSeed> {
        self.roles.iter().find(|role| role.name == name)
    }
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    secret: SecretText,
    token: Option<SecretText>,
    account: String,
    user: Option<String>,
    rights: Rights,
}

impl Key {
    pub(crate) fn new(account: &str, seed: &KeySeed) -> Self {
        Self {
            id: seed.id.clone(),
            secret: seed.secret.clone(),
            token: seed.token.clone(),
            account: account.to_owned(),
            user: seed.user.clone(),
            rights: Rights::new(seed.allow.clone(), seed.deny.clone()).controlled(seed.control_deny.clone()),
        }
    }
}

/// Temporary credentials issued by STS.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) secret: SecretText,
    pub(crate) token: SecretText,
    pub(crate) expires: Timestamp,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) rights: Rights,
    pub(crate) policy: Option<Document>,
}

/// The reason why a key with its token is rejected. Each service reports its own error codes for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// The key does not exist.
    Unknown,
    /// The token was never issued, or a required token is missing.
    Token,
    /// The token belongs to another key.
    Mismatch,
    /// The session has expired.
    Expired,
}

impl World {
    /// Returns the secret and the caller of a key id and token. Fails if the key or the token is not valid.
    pub(crate) fn credential(
        &self,
        id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<(SecretText, Caller), KeyFault> {
        if let Some(session) = self.sessions.get(id) {
            self.check_token(token, Some(&session.token))?;
            if session.expires <= now {
                return Err(KeyFault::Expired);
            }
            let identity = Identity::Session {
                role: session.role.clone(),
                session: session.name.clone(),
            };
            let caller = Caller {
                account: session.account.clone(),
                identity,
                rights: session.rights.clone(),
                policy: session.policy.clone(),
            };
            return Ok((session.secret.clone(), caller));
        }
        let key = self.keys.get(id).ok_or(KeyFault::Unknown)?;
        self.check_token(token, key.token.as_ref())?;
        let identity = key.user.clone().map_or(Identity::Account, Identity::User);
        let caller = Caller {
            account: key.account.clone(),
            identity,
            rights: key.rights.clone(),
            policy: None,
        };
        Ok((key.secret.clone(), caller))
    }

    /// Returns the account of a key id, whether or not the key is usable. `None` for an unknown key.
    pub(crate) fn account_of(&self, id: &str) -> Option<&str> {
        let session = self.sessions.get(id).map(|session| session.account.as_str());
        session.or_else(|| self.keys.get(id).map(|key| key.account.as_str()))
    }

    fn check_token(&self, presented: Option<&str>, expected: Option<&SecretText>) -> Result<(), KeyFault> {
        let expected = expected.map(|token| token.0.as_str());
        if presented == expected {
            return Ok(());
        }
        let known = |text: &str| {
            self.sessions.values().any(|session| session.token.0 == text)
                || self
                    .keys
                    .values()
                    .any(|key| key.token.as_ref().is_some_and(|token| token.0 == text))
        };
        Err(if presented.is_some_and(known) {
            KeyFault::Mismatch
        } else {
            KeyFault::Token
        })
    }
}
