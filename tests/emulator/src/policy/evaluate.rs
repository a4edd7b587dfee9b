//! The policy decision for a caller, an action and a resource.
//!
//! An explicit Deny overrides everything, then an Allow is required; otherwise the decision is `NotMentioned`.

use super::document::{Document, Effect, Statement};
use super::{Context, PrincipalReading, condition, matches, matches_ignoring_case};

/// The caller, as policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The request is unsigned.
    Anonymous,
    /// An account itself or a RAM user, by UID.
    User {
        /// The UID.
        uid: String,
        /// Whether the UID is the account that owns the resource.
        owner: bool,
    },
    /// A role session: `arn:sts::{uid}:assumed-role/{role}/{session}`.
    Session {
        /// The full ARN.
        arn: String,
    },
}

/// The access to decide.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// The caller.
    pub subject: &'a Subject,
    /// The action, such as `oss:GetObject`.
    pub action: &'a str,
    /// The resource's names. A statement matches if one of its patterns matches one of them.
    pub resources: &'a [String],
    /// The context for conditions.
    pub context: &'a Context,
    /// How principals are read.
    pub reading: PrincipalReading,
}

/// The result of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows the access and none denies it.
    Allowed,
    /// A statement denies the access.
    Denied,
    /// No statement matches the access.
    NotMentioned,
}

/// Matches part by part: a `*` never matches a `:` or `/`, so a pattern without a session part matches no session.
fn arn_matches(pattern: &str, arn: &str) -> bool {
    let parts = |text: &str| text.split([':', '/']).map(str::to_owned).collect::<Vec<_>>();
    let (patterns, found) = (parts(pattern), parts(arn));
    patterns.len() == found.len()
        && patterns
            .iter()
            .zip(&found)
            .all(|(pattern, part)| matches(pattern, part))
}

/// Returns whether a principal that is not `*` names a session.
fn names_session(principal: &str, arn: &str, reading: PrincipalReading) -> bool {
    let account = arn
        .strip_prefix("arn:sts::")
        .and_then(|rest| rest.split_once(':'));
    arn_matches(principal, arn)
        || (reading.role_case_is_ignored
            && arn_matches(&principal.to_ascii_lowercase(), &arn.to_ascii_lowercase()))
        || (reading.account_covers_sessions && account.is_some_and(|(uid, _)| uid == principal))
}

fn names(statement: &Statement, subject: &Subject, reading: PrincipalReading) -> bool {
    statement
        .principals
        .names()
        .iter()
        .any(|principal| match (subject, *principal) {
            // `*` without a condition matches everyone except the owner; with a condition, it matches the owner too.
            (Subject::User { owner: true, .. }, "*") => !statement.conditions.is_empty(),
            (Subject::Anonymous | Subject::User { .. } | Subject::Session { .. }, "*") => true,
            (Subject::User { uid, .. }, principal) => uid == principal,
            (Subject::Session { arn }, principal) => names_session(principal, arn, reading),
            (Subject::Anonymous, _) => false,
        })
}

fn is_about(statement: &Statement, action: &str, resources: &[String], context: &Context) -> bool {
    statement
        .actions
        .iter()
        .any(|pattern| matches_ignoring_case(pattern, action))
        && statement
            .resources
            .iter()
            .any(|pattern| resources.iter().any(|resource| matches(pattern, resource)))
        && statement
            .conditions
            .iter()
            .all(|one| condition::holds(one, context))
}

fn combine_effects<'a>(statements: impl Iterator<Item = &'a Statement>) -> Decision {
    let mut decision = Decision::NotMentioned;
    for statement in statements {
        match statement.effect {
            Effect::Deny => return Decision::Denied,
            Effect::Allow => decision = Decision::Allowed,
        }
    }
    decision
}

/// Returns the decision of a bucket policy for an access.
pub fn decide(document: &Document, access: &Access<'_>) -> Decision {
    combine_effects(document.statements.iter().filter(|statement| {
        names(statement, access.subject, access.reading)
            && is_about(statement, access.action, access.resources, access.context)
    }))
}

/// Returns whether a session policy (which names no principal) allows an access.
pub fn session_allows(document: &Document, action: &str, resources: &[String], context: &Context) -> bool {
    let about = document
        .statements
        .iter()
        .filter(|statement| is_about(statement, action, resources, context));
    combine_effects(about) == Decision::Allowed
}
