//! How OSS reads principals, where its documentation leaves it open. Each switch is one of two readings.

use serde::Deserialize;

use super::SessionWildcard;

/// The readings. The defaults make Alibaba Cloud's cross-account procedure work, and match no more than is documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrincipalReading {
    /// Whether `*` as the session of an assumed role makes a policy public.
    pub session_wildcard_is_public: bool,
    /// Whether the UID of an account names the sessions of its roles too.
    pub account_covers_sessions: bool,
    /// Whether the case of a role is ignored.
    pub role_case_is_ignored: bool,
}

impl PrincipalReading {
    /// Returns the reading in which everything holds that holds in one of two.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            session_wildcard_is_public: self.session_wildcard_is_public || other.session_wildcard_is_public,
            account_covers_sessions: self.account_covers_sessions || other.account_covers_sessions,
            role_case_is_ignored: self.role_case_is_ignored || other.role_case_is_ignored,
        }
    }

    /// Returns the reading of a session wildcard.
    pub(crate) fn session_wildcard(self) -> SessionWildcard {
        if self.session_wildcard_is_public {
            SessionWildcard::Public
        } else {
            SessionWildcard::Fixed
        }
    }
}
