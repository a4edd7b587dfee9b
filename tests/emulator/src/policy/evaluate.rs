//! The decision: may this caller do this to that resource under that policy?
//!
//! An explicit Deny wins over everything; then an Allow must be found; else the answer is "nothing said".

use super::document::{Document, Effect, Statement};
use super::{Context, condition, matches, matches_ignoring_case};

/// Who asks, as policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Nobody signed the request.
    Anonymous,
    /// An account itself or a RAM user, by UID.
    User {
        /// The UID.
        uid: String,
        /// Whether this is the very account that owns the resource.
        owner: bool,
    },
    /// A session of a role: `arn:sts::{uid}:assumed-role/{role}/{session}`.
    Session {
        /// The whole ARN.
        arn: String,
    },
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// Who asks.
    pub subject: &'a Subject,
    /// `oss:GetObject`
    pub action: &'a str,
    /// The names of the resource, any of which a pattern may match.
    pub resources: &'a [String],
    /// Facts for conditions.
    pub context: &'a Context,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it.
    Denied,
    /// No statement is about it.
    NotMentioned,
}

/// Matches part by part: a `*` never reaches over a `:` or `/`, so a pattern without a session part names none.
fn arn_matches(pattern: &str, arn: &str) -> bool {
    let parts = |text: &str| text.split([':', '/']).map(str::to_owned).collect::<Vec<_>>();
    let (patterns, found) = (parts(pattern), parts(arn));
    patterns.len() == found.len()
        && patterns
            .iter()
            .zip(&found)
            .all(|(pattern, part)| matches(pattern, part))
}

fn names(statement: &Statement, subject: &Subject) -> bool {
    statement
        .principals
        .names()
        .iter()
        .any(|principal| match (subject, *principal) {
            // `*` without a condition is about everybody but the owner; with one, about the owner too.
            (Subject::User { owner: true, .. }, "*") => !statement.conditions.is_empty(),
            (Subject::Anonymous | Subject::User { .. } | Subject::Session { .. }, "*") => true,
            (Subject::User { uid, .. }, principal) => uid == principal,
            (Subject::Session { arn }, pattern) => arn_matches(pattern, arn),
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

fn weigh<'a>(statements: impl Iterator<Item = &'a Statement>) -> Decision {
    let mut decision = Decision::NotMentioned;
    for statement in statements {
        match statement.effect {
            Effect::Deny => return Decision::Denied,
            Effect::Allow => decision = Decision::Allowed,
        }
    }
    decision
}

/// What a bucket policy says about an access.
pub fn decide(document: &Document, access: &Access<'_>) -> Decision {
    weigh(document.statements.iter().filter(|statement| {
        names(statement, access.subject)
            && is_about(statement, access.action, access.resources, access.context)
    }))
}

/// Whether the policy of a session (which names no principal) lets an access through.
pub fn session_allows(document: &Document, action: &str, resources: &[String], context: &Context) -> bool {
    let about = document
        .statements
        .iter()
        .filter(|statement| is_about(statement, action, resources, context));
    weigh(about) == Decision::Allowed
}
