//! Accounts, access keys and role sessions, and what a presented key is worth.
//! A key is looked up before its signature is checked, since the secret is needed to check it.

use jiff::Timestamp;

use super::World;
use super::callers::{Caller, Identity};
use crate::policy::Document;
use crate::seed::{AccountSeed, KeySeed, OidcProviderSeed, RoleSeed, SecretText};

/// The role IMM uses when a project names none; every account has it.
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
    allow: Option<Vec<String>>,
}

impl Key {
    pub(crate) fn new(account: &str, seed: &KeySeed) -> Self {
        Self {
            id: seed.id.clone(),
            secret: seed.secret.clone(),
            token: seed.token.clone(),
            account: account.to_owned(),
            user: seed.user.clone(),
            allow: seed.allow.clone(),
        }
    }
}

/// Temporary credentials that STS gave out.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) secret: SecretText,
    pub(crate) token: SecretText,
    pub(crate) expires: Timestamp,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) allow: Option<Vec<String>>,
    pub(crate) policy: Option<Document>,
}

/// Why a key with its token is worth nothing; each service has its own words for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// No such key.
    Unknown,
    /// The token is none that was given out, or one is needed and missing.
    Token,
    /// The token belongs to another key.
    Mismatch,
    /// The session is over.
    Expired,
}

impl World {
    /// The secret and the caller behind a key id and token.
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
                allow: session.allow.clone(),
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
            allow: key.allow.clone(),
            policy: None,
        };
        Ok((key.secret.clone(), caller))
    }

    /// The account that a key id belongs to, whether or not it may be used.
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
