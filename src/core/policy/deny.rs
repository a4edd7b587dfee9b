//! Evaluates whether a Deny statement in the same policy overrides a grant. The result is a hint: RAM policies of either
//! account are not visible here. Source of the grammar: OSS page "Policy syntax and elements".

use serde_json::Value;

use super::document::Document;

/// Effect of the Deny statements of a document on a grant, in ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenyVerdict {
    /// No Deny covers the grant.
    NoDeny,
    /// A Deny uses `NotPrincipal` or `NotResource`, which are not evaluated.
    NotEvaluated,
    /// A Deny with a condition covers the grant.
    ConditionalDeny,
    /// A Deny without a condition covers the grant.
    ExplicitDeny,
}

/// The access that a grant gives: one principal may read objects under each resource.
#[derive(Clone, Debug)]
pub struct GrantedAccess<'a> {
    /// The principal, in the form of our statements.
    pub principal: &'a str,
    /// UID of the grantee account.
    pub account_uid: &'a str,
    /// The resources, in the form of our statements.
    pub resources: &'a [String],
}

/// Evaluates all Deny statements of a document and returns the most severe verdict.
pub fn evaluate_denies(document: Option<&Document>, given: &GrantedAccess<'_>) -> DenyVerdict {
    let statements = document
        .map(|d| d.statements().iter().map(|s| d.text_of(s)).collect::<Vec<_>>())
        .unwrap_or_default();
    statements
        .into_iter()
        .map(|text| evaluate(text, given))
        .max()
        .unwrap_or(DenyVerdict::NoDeny)
}

fn evaluate(text: &str, given: &GrantedAccess<'_>) -> DenyVerdict {
    let Ok(Value::Object(statement)) = serde_json::from_str::<Value>(text) else {
        return DenyVerdict::NoDeny;
    };
    if statement.get("Effect") != Some(&Value::from("Deny")) {
        return DenyVerdict::NoDeny;
    }
    if ["NotPrincipal", "NotResource"]
        .iter()
        .any(|name| statement.contains_key(*name))
    {
        return DenyVerdict::NotEvaluated;
    }
    let list = |name: &str| -> Option<Vec<&str>> {
        match statement.get(name)? {
            Value::String(one) => Some(vec![one]),
            Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        }
    };
    // An absent or empty Principal means everyone.
    let principals = list("Principal").unwrap_or_default();
    let to_us = principals.is_empty()
        || principals
            .iter()
            .any(|p| *p == given.account_uid || patterns_overlap(p, given.principal));
    let reads = match (list("Action"), list("NotAction")) {
        (Some(actions), _) => actions.iter().any(|a| patterns_overlap(a, "oss:GetObject")),
        (None, Some(spared)) => !spared.iter().any(|a| patterns_overlap(a, "oss:GetObject")),
        (None, None) => false,
    };
    let resources = list("Resource").unwrap_or_default();
    let ours = resources
        .iter()
        .any(|r| given.resources.iter().any(|own| resources_overlap(r, own)));
    match (to_us && reads && ours, statement.contains_key("Condition")) {
        (false, _) => DenyVerdict::NoDeny,
        (true, true) => DenyVerdict::ConditionalDeny,
        (true, false) => DenyVerdict::ExplicitDeny,
    }
}

/// Returns `true` if two resources `acs:oss:REGION:OWNER:PATH` have an object in common. Compares field by field,
/// because a `*` in one field must not match into the next.
fn resources_overlap(a: &str, b: &str) -> bool {
    let fields = |text| str::splitn(text, 5, ':');
    if fields(a).count() != fields(b).count() {
        return patterns_overlap(a, b);
    }
    fields(a).zip(fields(b)).all(|(x, y)| patterns_overlap(x, y))
}

/// Returns `true` if a text exists that matches both patterns; `*` matches any text. The cost is linear in the sum of the
/// lengths, also for a hostile policy.
fn patterns_overlap(a: &str, b: &str) -> bool {
    match (a.split_once('*'), b.split_once('*')) {
        (None, None) => a == b,
        (Some((head, rest)), None) => glob_matches(b, head, rest),
        (None, Some((head, rest))) => glob_matches(a, head, rest),
        // The `*` of each pattern matches the middle of the other, so only the heads and the tails can differ.
        (Some((head, rest)), Some((other_head, other_rest))) => {
            let tail = rest.rsplit('*').next().unwrap_or_default();
            let other_tail = other_rest.rsplit('*').next().unwrap_or_default();
            (head.starts_with(other_head) || other_head.starts_with(head))
                && (tail.ends_with(other_tail) || other_tail.ends_with(tail))
        }
    }
}

/// Returns `true` if a text matches the pattern `head*rest`. Each piece is matched at its first occurrence, which
/// leaves the most text for the others.
fn glob_matches(text: &str, head: &str, rest: &str) -> bool {
    let mut pieces = rest.split('*');
    let tail = pieces.next_back().unwrap_or_default();
    let between = text.strip_prefix(head).and_then(|t| t.strip_suffix(tail));
    let left = between.and_then(|t| pieces.try_fold(t, |left, piece| Some(left.split_once(piece)?.1)));
    left.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_when_one_text_matches_both() {
        for (a, b, expected) in [
            ("*", "", true),
            ("a*", "*b", true),
            ("a*c", "ab*", true),
            ("abc", "abd", false),
            ("acs:oss:*:*:pics/*", "acs:oss:*:6543:pics/p/*", true),
            ("pics", "pics/*", false),
            ("*a", "*b", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(patterns_overlap(a, b), expected, "{a} {b}");
            assert_eq!(patterns_overlap(b, a), expected, "{b} {a}");
        }
    }

    /// The definition itself, at exponential cost.
    fn patterns_overlap_by_definition(a: &[u8], b: &[u8]) -> bool {
        match (a, b) {
            ([], []) => true,
            ([b'*', rest @ ..], _) if patterns_overlap_by_definition(rest, b) => true,
            (_, [b'*', rest @ ..]) if patterns_overlap_by_definition(a, rest) => true,
            ([b'*', ..], [_, rest @ ..]) => patterns_overlap_by_definition(a, rest),
            ([_, rest @ ..], [b'*', ..]) => patterns_overlap_by_definition(rest, b),
            ([x, left @ ..], [y, right @ ..]) => x == y && patterns_overlap_by_definition(left, right),
            ([], [..]) | ([..], []) => false,
        }
    }

    #[test]
    fn the_overlap_of_all_short_patterns_equals_the_definition() {
        let mut patterns = vec![String::new()];
        for length in 0..5 {
            let longest: Vec<_> = patterns.iter().filter(|p| p.len() == length).cloned().collect();
            patterns.extend(
                longest
                    .iter()
                    .flat_map(|p| ["a", "b", "*"].map(|end| format!("{p}{end}"))),
            );
        }
        for a in &patterns {
            for b in &patterns {
                assert_eq!(
                    patterns_overlap(a, b),
                    patterns_overlap_by_definition(a.as_bytes(), b.as_bytes()),
                    "{a} {b}"
                );
            }
        }
    }

    /// The process has one thread: a quadratic algorithm would block it for minutes, and it would lose its lease.
    #[test]
    fn long_patterns_cost_no_more_than_their_length() {
        let long = "a".repeat(1_000_000);
        for (a, b, expected) in [
            (format!("{long}*"), format!("{long}b*"), true),
            (format!("{long}c*"), format!("{long}b*"), false),
            (format!("{}b", "*a".repeat(500_000)), long.clone(), false),
            (format!("*{long}*"), format!("{long}{long}"), true),
            ("*".repeat(1_000_000), long.clone(), true),
        ] {
            assert_eq!(patterns_overlap(&a, &b), expected);
        }
    }

    #[test]
    fn a_deny_counts_only_if_it_covers_the_grant() {
        let resources = ["acs:oss:*:6543:pics/p/*".to_owned()];
        let given = GrantedAccess {
            principal: "arn:sts::1234:assumed-role/R/*",
            account_uid: "1234",
            resources: &resources,
        };
        let deny = |rest: &str| format!(r#"{{"Statement":[{{"Effect":"Deny",{rest}}}]}}"#);
        let everything = r#""Action":"oss:*","Principal":["*"],"Resource":["acs:oss:*:*:pics/*"]"#;
        for (text, expected) in [
            (deny(everything), DenyVerdict::ExplicitDeny),
            (
                deny(&format!(r#"{everything},"Condition":{{}}"#)),
                DenyVerdict::ConditionalDeny,
            ),
            (
                deny(r#""Action":"oss:*","NotPrincipal":["1"],"Resource":"*""#),
                DenyVerdict::NotEvaluated,
            ),
            (
                deny(r#""NotAction":["oss:Put*"],"Principal":"1234","Resource":"*""#),
                DenyVerdict::ExplicitDeny,
            ),
            (
                deny(r#""NotAction":["oss:Get*"],"Principal":"1234","Resource":"*""#),
                DenyVerdict::NoDeny,
            ),
            (
                deny(r#""Action":["oss:PutObject"],"Principal":[],"Resource":"*""#),
                DenyVerdict::NoDeny,
            ),
            (
                deny(r#""Action":["oss:GetObject"],"Principal":[],"Resource":"*""#),
                DenyVerdict::ExplicitDeny,
            ),
            (
                deny(r#""Action":["oss:GetObject"],"Resource":"*""#),
                DenyVerdict::ExplicitDeny,
            ),
            (
                deny(r#""Action":"oss:*","Principal":["999"],"Resource":"*""#),
                DenyVerdict::NoDeny,
            ),
            (
                deny(r#""Action":"oss:*","Principal":["*"],"Resource":"acs:oss:*:*:pics/q/*""#),
                DenyVerdict::NoDeny,
            ),
            (
                r#"{"Statement":[7,{"Effect":"Allow"}]}"#.to_owned(),
                DenyVerdict::NoDeny,
            ),
        ] {
            let document = Document::parse(text.as_bytes()).unwrap();
            assert_eq!(evaluate_denies(Some(&document), &given), expected, "{text}");
        }
    }
}
