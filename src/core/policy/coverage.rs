//! What an element of a Deny statement covers of the access that a grant gives.

use serde_json::{Map, Value};

use super::statement::texts;
use super::wildcard::{covers_all_after, pattern_matches, patterns_overlap};

/// Maximum length of the patterns that are stored in the status.
pub const DENIED_PATTERN_LENGTH: usize = 512;

/// The access that a grant gives: the sessions of one role may read the objects whose path `BUCKET/KEY` starts with one
/// of the paths.
#[derive(Clone, Debug)]
pub struct GrantedAccess<'a> {
    /// The sessions that read, as a pattern of their ARNs.
    pub readers: &'a str,
    /// UID of the grantee account.
    pub account_uid: &'a str,
    /// UID of the account that owns the bucket.
    pub owner_uid: &'a str,
    /// The bucket and a prefix of its keys.
    pub paths: &'a [String],
}

/// Whether an element of a statement covers the granted access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coverage {
    None,
    /// The element is not evaluated.
    Unknown,
    Part,
    All,
}

/// Returns the entries of a member; `None` if it is absent or holds anything else than strings.
fn strings<'a>(statement: &'a Map<String, Value>, name: &str) -> Option<Vec<&'a str>> {
    texts(statement.get(name)?)
}

/// Whether a pattern has characters that may be more than themselves: OSS documents only `*`.
fn is_unclear(pattern: &str) -> bool {
    pattern.contains(['?', '$'])
}

/// Returns a pattern that matches at least what an unclear pattern matches.
fn widened(pattern: &str) -> String {
    let literal = pattern.split('$').next().unwrap_or_default();
    let end = if literal.len() < pattern.len() { "*" } else { "" };
    format!("{}{end}", literal.replace('?', "*"))
}

/// Whether `oss:GetObject` is denied. OSS ignores the case of actions.
pub(super) fn action_coverage(statement: &Map<String, Value>) -> Coverage {
    let reads = |pattern: &str| match pattern.to_ascii_lowercase() {
        lower if !pattern_matches(&widened(&lower), "oss:getobject") => Coverage::None,
        lower if is_unclear(&lower) => Coverage::Unknown,
        _ => Coverage::All,
    };
    let best = |patterns: Vec<&str>| patterns.into_iter().map(reads).max().unwrap_or(Coverage::None);
    match (strings(statement, "Action"), strings(statement, "NotAction")) {
        (Some(actions), _) if !statement.contains_key("NotAction") => best(actions),
        (None, Some(spared))
            if !statement.contains_key("Action") && best(spared.clone()) == Coverage::All =>
        {
            Coverage::None
        }
        _ => Coverage::Unknown,
    }
}

/// Which sessions of the service role are denied.
pub(super) fn principal_coverage(statement: &Map<String, Value>, given: &GrantedAccess<'_>) -> Coverage {
    if statement.contains_key("NotPrincipal") {
        return Coverage::Unknown;
    }
    // An absent or empty Principal means everyone.
    if !statement.contains_key("Principal") {
        return Coverage::All;
    }
    let Some(principals) = strings(statement, "Principal") else {
        return Coverage::Unknown;
    };
    if principals.is_empty() {
        return Coverage::All;
    }
    let one = |pattern: &str| match pattern {
        "*" => Coverage::All,
        // It is not documented whether the UID of an account covers the sessions of its roles.
        _ if pattern == given.account_uid => Coverage::Unknown,
        _ => session_coverage(pattern, given.readers),
    };
    principals.into_iter().map(one).max().unwrap_or(Coverage::None)
}

/// Which of the sessions `readers` a principal pattern covers.
fn session_coverage(pattern: &str, readers: &str) -> Coverage {
    let wide = widened(pattern);
    if patterns_overlap(&wide, readers) {
        return match pattern {
            _ if is_unclear(pattern) => Coverage::Unknown,
            _ if sessions_covered(pattern, readers) => Coverage::All,
            _ => Coverage::Part,
        };
    }
    // It is not documented whether OSS compares the case of a role.
    if patterns_overlap(&wide.to_ascii_lowercase(), &readers.to_ascii_lowercase()) {
        Coverage::Unknown
    } else {
        Coverage::None
    }
}

/// Whether a principal pattern covers every session of `ours`. Compares part by part, because it is not documented that
/// a `*` matches a `:` or a `/`.
fn sessions_covered(pattern: &str, ours: &str) -> bool {
    let parts = |text: &str| text.split([':', '/']).map(ToOwned::to_owned).collect::<Vec<_>>();
    let (patterns, ours) = (parts(pattern), parts(ours));
    patterns.len() == ours.len()
        && patterns
            .iter()
            .zip(&ours)
            .all(|(pattern, own)| pattern == "*" || pattern_matches(pattern, own))
}

/// Which objects are denied: the coverage, the granted paths that are denied completely, and the patterns of the objects
/// that are certainly denied.
pub(super) fn resource_coverage(
    statement: &Map<String, Value>,
    given: &GrantedAccess<'_>,
) -> (Coverage, Vec<bool>, Vec<String>) {
    let mut paths = vec![false; given.paths.len()];
    let mut patterns = Vec::new();
    let unknown = (Coverage::Unknown, paths.clone(), Vec::new());
    if statement.contains_key("NotResource") {
        return unknown;
    }
    let Some(resources) = strings(statement, "Resource") else {
        return unknown;
    };
    let mut coverage = Coverage::None;
    for resource in resources {
        let (clear, path) = match split_resource(resource) {
            Some((region, owner, path)) => {
                if !patterns_overlap(&widened(owner), given.owner_uid) {
                    continue;
                }
                (region == "*" && pattern_matches(owner, given.owner_uid), path)
            }
            // `*` also matches across the fields.
            None => (resource == "*", "*"),
        };
        let wide = widened(path);
        if !given
            .paths
            .iter()
            .any(|own| patterns_overlap(&wide, &format!("{own}*")))
        {
            continue;
        }
        if !clear || is_unclear(resource) {
            coverage = coverage.max(Coverage::Unknown);
            continue;
        }
        coverage = coverage.max(Coverage::Part);
        for (denied, own) in paths.iter_mut().zip(given.paths) {
            *denied |= covers_all_after(path, own);
        }
        if path.len() <= DENIED_PATTERN_LENGTH {
            patterns.push(path.to_owned());
        }
    }
    if !paths.is_empty() && paths.iter().all(|denied| *denied) {
        coverage = Coverage::All;
    }
    (coverage, paths, patterns)
}

/// Splits `acs:oss:REGION:OWNER:PATH` into region, owner and path, because a `*` in one field must not match into the
/// next. `None` for another form.
fn split_resource(resource: &str) -> Option<(&str, &str, &str)> {
    let mut fields = resource.splitn(5, ':');
    let service = (fields.next()?, fields.next()?);
    let rest = (fields.next()?, fields.next()?, fields.next()?);
    (pattern_matches(service.0, "acs") && pattern_matches(service.1, "oss")).then_some(rest)
}
