//! What a probe has found out.

use serde::Serialize;

use crate::api::Grantee;
use crate::core::doctor::deny_spelling::DenyFindings;
use crate::core::doctor::read_back::ReadBack;

/// Least value of `settleSeconds` that a measurement leads to: one measurement shows no maximum.
const LEAST_SETTLE_SECONDS: u64 = 10;

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeFindings {
    /// Whether OSS counts the `*` for the sessions of a role as public.
    pub session_wildcard_is_public: Option<bool>,
    /// Whether that follows from Block Public Access, which is on for the probe bucket, and not from what OSS says.
    pub wildcard_by_block: bool,
    /// The grantee with which the image was scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub works: Option<Grantee>,
    /// The grantees with which access was denied for as long as it was waited for.
    pub denied: Vec<Grantee>,
    /// The grantees that OSS rejected as public.
    pub rejected: Vec<Grantee>,
    /// Time from the write to the first score, in milliseconds.
    pub lag_millis: Option<u64>,
    /// How soon access ended after the statement was removed, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationLag>,
    /// What is known about the `ram:PassRole` statement, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_role: Option<PassRoleFindings>,
    /// What reads of the written policy showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// What was found out about spellings of a Deny, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<DenyFindings>,
    /// Billed calls.
    pub billed: u32,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

impl ProbeFindings {
    /// Returns the value of `settleSeconds` that the measurement leads to: twice the time that access took.
    pub fn settle_seconds(&self) -> Option<u64> {
        let seconds = self.lag_millis?.div_ceil(1000);
        Some(seconds.saturating_mul(2).clamp(LEAST_SETTLE_SECONDS, 3600))
    }

    /// Whether access was denied to a statement that OSS accepted, and the `ram:PassRole` statement was not tried
    /// beside it.
    pub fn may_need_pass_role(&self) -> bool {
        let ended = self.works.is_none() && self.stopped.is_none();
        ended && self.pass_role.is_none() && self.rejected.is_empty() && !self.denied.is_empty()
    }
}

/// What was found out about the `ram:PassRole` statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassRoleFindings {
    /// Whether OSS counts the statement as public.
    pub is_public: Option<bool>,
    /// Whether Block Public Access rejected it.
    pub is_blocked: bool,
    /// Whether IMM needs it.
    pub is_needed: Option<bool>,
    /// Code with which OSS rejected it for another reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_with: Option<String>,
}

/// How soon access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationLag {
    /// Access was denied, this many milliseconds after the statement was removed.
    Millis(u64),
    /// The image was still scored after this many milliseconds, and the probe ended.
    LongerThan(u64),
}
