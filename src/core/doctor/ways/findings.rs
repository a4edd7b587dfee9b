//! What the probe of other ways to access has found out.

use serde::Serialize;

use crate::api::RoleType;

/// The answer to a call through a role chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainAnswer {
    /// The type of each role of the chain.
    pub role_types: Vec<RoleType>,
    /// Whether the image was scored.
    pub is_scored: bool,
    /// Status and code of a refusal, and the side that refused the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_with: Option<String>,
}

/// What was found out about the statement with conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionFindings {
    /// Whether OSS counts the policy as public.
    pub is_public: Option<bool>,
    /// Whether that follows from Block Public Access, which is on, and not from what OSS says about the policy.
    pub by_block: bool,
    /// Code with which OSS rejected it for another reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_with: Option<String>,
    /// Whether an image was scored with it.
    pub gives_access: Option<bool>,
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaysFindings {
    /// The answers through the role chain, that of the job first; empty if the job names none.
    pub chains: Vec<ChainAnswer>,
    /// Whether the job names a role chain.
    pub has_chain: bool,
    /// The statement with conditions, once it was written or rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<ConditionFindings>,
    /// Calls that may be billed.
    pub billed: u32,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}
