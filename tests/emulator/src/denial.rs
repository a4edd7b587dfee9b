//! What an error says about a missing permission: `AccessDeniedDetail`, the same in both error formats.

use serde_json::Value;

use crate::encoding::element;
use crate::world::callers::{Caller, Identity};

/// The type of the policies of a RAM user or role.
pub(crate) const RAM_POLICY: &str = "AccountLevelIdentityBasedPolicy";
/// The type of the policy of a session.
pub(crate) const SESSION_POLICY: &str = "SessionPolicy";

/// The type of the control policies of the resource directory.
pub(crate) const CONTROL_POLICY: &str = "ControlPolicy";

/// The policy that refuses an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// A Deny statement of the bucket policy.
    BucketPolicy,
    /// The policy of the caller's session does not allow it.
    Session,
    /// The caller's RAM policies do not allow it.
    Ram,
    /// A Deny statement of the caller's RAM policies.
    RamDeny,
    /// A Deny statement of a control policy.
    Control,
    /// Deny statements of both the caller's RAM policies and the bucket policy.
    RamAndBucketPolicy,
    /// The service does not say.
    Unnamed,
}

/// The members of `AccessDeniedDetail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessDeniedDetail(Vec<(&'static str, String)>);

impl AccessDeniedDetail {
    /// Returns the detail for an action that no policy of a type allows, or that RAM denies.
    pub(crate) fn new(policy_type: &str, action: &str, caller: &Caller) -> Self {
        let (principal, name) = match &caller.identity {
            Identity::Account => (None, caller.account.clone()),
            Identity::User(uid) => (Some("SubUser"), uid.clone()),
            Identity::Session { role, session } => (Some("AssumedRoleUser"), format!("{role}:{session}")),
        };
        let denied = policy_type == RAM_POLICY && caller.rights.deny(action);
        let kind = if denied || policy_type == CONTROL_POLICY {
            "ExplicitDeny"
        } else {
            "ImplicitDeny"
        };
        let members = [
            ("PolicyType", Some(policy_type.to_owned())),
            ("AuthPrincipalOwnerId", Some(caller.account.clone())),
            ("AuthPrincipalType", principal.map(str::to_owned)),
            ("AuthPrincipalDisplayName", Some(name)),
            ("NoPermissionType", Some(kind.to_owned())),
            ("AuthAction", Some(action.to_owned())),
            // Nobody but RAM can read it, and clients must not show it.
            (
                "EncodedDiagnosticMessage",
                Some("canary-diagnostic-message".to_owned()),
            ),
        ];
        let given = members.into_iter().filter_map(|(name, text)| Some((name, text?)));
        Self(given.collect())
    }

    pub(crate) fn xml(&self) -> String {
        let inner: String = self.0.iter().map(|(name, text)| element(name, text)).collect();
        format!("<AccessDeniedDetail>{inner}</AccessDeniedDetail>")
    }

    pub(crate) fn json(&self) -> Value {
        let members = self.0.iter();
        members
            .map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str())))
            .collect()
    }
}
