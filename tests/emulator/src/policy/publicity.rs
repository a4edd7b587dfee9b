//! Determines whether a policy is public, by the documented rule of Block Public Access.
//! The rule uses principals, effects and conditions only; actions and resources are ignored.

use super::condition;
use super::document::{Document, Effect, Statement};

/// How to treat `*` in the session part of `arn:sts::{uid}:assumed-role/{role}/{session}`. By the wording of the
/// documentation it is public, but Alibaba Cloud's cross-account procedure works only if it is not. Both readings are
/// available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionWildcard {
    /// A wildcard session of a fixed role of a fixed account is a fixed principal.
    Fixed,
    /// Any `*` makes a principal public.
    Public,
}

fn is_fixed_principal(principal: &str, reading: SessionWildcard) -> bool {
    if !principal.contains('*') {
        return true;
    }
    let session = principal
        .strip_prefix("arn:sts::")
        .and_then(|rest| rest.rsplit_once('/'));
    reading == SessionWildcard::Fixed
        && session.is_some_and(|(role, session)| {
            session == "*" && !role.contains('*') && role.contains(":assumed-role/") && !role.starts_with(':')
        })
}

fn is_narrow_range(text: &str) -> bool {
    condition::range(text).is_some_and(|(address, length)| length >= if address.is_ipv4() { 8 } else { 32 })
}

fn is_narrowed(statement: &Statement) -> bool {
    const FIXED_KEYS: [&str; 4] = [
        "acs:SourceVpcId",
        "acs:SourceVpcIp",
        "acs:SourceVpc",
        "acs:AccessId",
    ];
    statement.conditions.iter().any(|condition| {
        let positive = matches!(
            condition.operator.as_str(),
            "StringEquals" | "StringLike" | "IpAddress"
        );
        let fixed = FIXED_KEYS.contains(&condition.key.as_str())
            && condition.values.iter().all(|value| !value.contains(['*', '?']));
        let ranges =
            condition.key == "acs:SourceIp" && condition.values.iter().all(|value| is_narrow_range(value));
        positive && (fixed || ranges)
    })
}

fn is_public_statement(statement: &Statement, reading: SessionWildcard) -> bool {
    statement.effect == Effect::Allow
        && statement
            .principals
            .names()
            .iter()
            .any(|name| !is_fixed_principal(name, reading))
        && !is_narrowed(statement)
}

/// Returns whether the policy is public, which one public statement suffices for. Actions and resources are ignored.
pub fn is_public(document: &Document, reading: SessionWildcard) -> bool {
    document
        .statements
        .iter()
        .any(|statement| is_public_statement(statement, reading))
}
