//! Whether a Deny in the same policy takes back what a grant gives. A hint: RAM policies of either account are not visible
//! here. Source of the grammar: OSS page "Policy syntax and elements".

use serde_json::Value;

use super::document::Document;

/// What the Denies of a document mean for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenyVerdict {
    /// None covers it.
    NoDeny,
    /// One is written in a way that is not evaluated.
    NotEvaluated,
    /// One covers it under a condition.
    ConditionalDeny,
    /// One covers it.
    ExplicitDeny,
}

/// What a grant gives: one principal, reading objects under each resource.
#[derive(Clone, Debug)]
pub struct GrantedAccess<'a> {
    /// The principal, as our statements write it.
    pub principal: &'a str,
    /// UID of the principal's account.
    pub account_uid: &'a str,
    /// Resources, as our statements write them.
    pub resources: &'a [String],
}

/// Judges all Denies of a document; the worst counts.
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

/// Whether two resources `acs:oss:REGION:OWNER:PATH` have an object in common. Field by field, because a `*` in one field
/// must not reach into the next.
fn resources_overlap(a: &str, b: &str) -> bool {
    let fields = |text| str::splitn(text, 5, ':');
    if fields(a).count() != fields(b).count() {
        return patterns_overlap(a, b);
    }
    fields(a).zip(fields(b)).all(|(x, y)| patterns_overlap(x, y))
}

/// Whether some text follows both patterns, in which `*` stands for any text. Its cost is bounded by the sum of the lengths,
/// whatever a hostile policy holds.
fn patterns_overlap(a: &str, b: &str) -> bool {
    match (a.split_once('*'), b.split_once('*')) {
        (None, None) => a == b,
        (Some((head, rest)), None) => glob_matches(b, head, rest),
        (None, Some((head, rest))) => glob_matches(a, head, rest),
        // Each one's `*` takes in what the other has in its middle, so that only the ends can disagree.
        (Some((head, rest)), Some((other_head, other_rest))) => {
            let tail = rest.rsplit('*').next().unwrap_or_default();
            let other_tail = other_rest.rsplit('*').next().unwrap_or_default();
            (head.starts_with(other_head) || other_head.starts_with(head))
                && (tail.ends_with(other_tail) || other_tail.ends_with(tail))
        }
    }
}

/// Whether a text follows the pattern `head*rest`. Taking each piece where it is first found leaves the most for the others.
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
    fn patterns_meet_when_one_text_follows_both() {
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

    /// By the letter, at the cost of every way to go on.
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
    fn all_short_patterns_meet_as_the_definition_says() {
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

    /// The process has one thread: a table of each byte against each would hold it for minutes, and cost it its lease.
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
    fn a_deny_that_covers_the_grant_is_told_from_one_that_does_not() {
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
