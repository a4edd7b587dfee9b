//! Whether a Deny in the same policy takes back what a grant gives. A hint: RAM policies of either account are not visible
//! here. Source of the grammar: OSS page "Policy syntax and elements".

use serde_json::Value;

use super::document::Document;

/// What the Denies of a document mean for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// None covers it.
    Effective,
    /// One is written in a way that is not evaluated.
    NotEvaluated,
    /// One covers it under a condition.
    ConditionalDeny,
    /// One covers it.
    ExplicitDeny,
}

/// What a grant gives: one principal, reading objects under each resource.
#[derive(Clone, Debug)]
pub struct Given<'a> {
    /// The principal, as our statements write it.
    pub principal: &'a str,
    /// UID of the principal's account.
    pub account_uid: &'a str,
    /// Resources, as our statements write them.
    pub resources: &'a [String],
}

/// Judges all Denies of a document; the worst counts.
pub fn effect(document: Option<&Document>, given: &Given<'_>) -> Effect {
    let statements = document
        .map(|d| d.statements().iter().map(|s| d.text_of(s)).collect::<Vec<_>>())
        .unwrap_or_default();
    statements
        .into_iter()
        .map(|text| judge(text, given))
        .max()
        .unwrap_or(Effect::Effective)
}

fn judge(text: &str, given: &Given<'_>) -> Effect {
    let Ok(Value::Object(statement)) = serde_json::from_str::<Value>(text) else {
        return Effect::Effective;
    };
    if statement.get("Effect") != Some(&Value::from("Deny")) {
        return Effect::Effective;
    }
    if ["NotPrincipal", "NotResource"]
        .iter()
        .any(|name| statement.contains_key(*name))
    {
        return Effect::NotEvaluated;
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
            .any(|p| *p == given.account_uid || meet(p.as_bytes(), given.principal.as_bytes()));
    let reads = match (list("Action"), list("NotAction")) {
        (Some(actions), _) => actions.iter().any(|a| meet(a.as_bytes(), b"oss:GetObject")),
        (None, Some(spared)) => !spared.iter().any(|a| meet(a.as_bytes(), b"oss:GetObject")),
        (None, None) => false,
    };
    let resources = list("Resource").unwrap_or_default();
    let ours = resources
        .iter()
        .any(|r| given.resources.iter().any(|own| same_objects(r, own)));
    match (to_us && reads && ours, statement.contains_key("Condition")) {
        (false, _) => Effect::Effective,
        (true, true) => Effect::ConditionalDeny,
        (true, false) => Effect::ExplicitDeny,
    }
}

/// Whether two resources `acs:oss:REGION:OWNER:PATH` have an object in common. Field by field, because a `*` in one field
/// must not reach into the next.
fn same_objects(a: &str, b: &str) -> bool {
    let fields = |text: &str| {
        text.splitn(5, ':')
            .map(|f| f.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    let (first, second) = (fields(a), fields(b));
    if first.len() != second.len() {
        return meet(a.as_bytes(), b.as_bytes());
    }
    first.iter().zip(&second).all(|(x, y)| meet(x, y))
}

/// Whether some text follows both patterns, in which `*` stands for any text. One row of a table at a time: its cost is
/// bounded by the product of the lengths, whatever a hostile policy holds.
fn meet(a: &[u8], b: &[u8]) -> bool {
    // below[j]: whether the rest of `a` behind the present byte meets b[j..].
    let mut below: Vec<bool> = (0..=b.len())
        .map(|j| b.iter().skip(j).all(|byte| *byte == b'*'))
        .collect();
    for x in a.iter().rev() {
        let mut row = vec![false; b.len() + 1];
        let at = |cells: &[bool], j: usize| cells.get(j).copied().unwrap_or(false);
        for j in (0..=b.len()).rev() {
            let here = match b.get(j) {
                _ if *x == b'*' => at(&below, j) || (j < b.len() && at(&row, j + 1)),
                Some(b'*') => at(&row, j + 1) || at(&below, j),
                Some(y) => x == y && at(&below, j + 1),
                None => false,
            };
            if let Some(cell) = row.get_mut(j) {
                *cell = here;
            }
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
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
            assert_eq!(meet(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
            assert_eq!(meet(b.as_bytes(), a.as_bytes()), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_deny_that_covers_the_grant_is_told_from_one_that_does_not() {
        let resources = ["acs:oss:*:6543:pics/p/*".to_owned()];
        let given = Given {
            principal: "arn:sts::1234:assumed-role/R/*",
            account_uid: "1234",
            resources: &resources,
        };
        let deny = |rest: &str| format!(r#"{{"Statement":[{{"Effect":"Deny",{rest}}}]}}"#);
        let everything = r#""Action":"oss:*","Principal":["*"],"Resource":["acs:oss:*:*:pics/*"]"#;
        for (text, expected) in [
            (deny(everything), Effect::ExplicitDeny),
            (
                deny(&format!(r#"{everything},"Condition":{{}}"#)),
                Effect::ConditionalDeny,
            ),
            (
                deny(r#""Action":"oss:*","NotPrincipal":["1"],"Resource":"*""#),
                Effect::NotEvaluated,
            ),
            (
                deny(r#""NotAction":["oss:Put*"],"Principal":"1234","Resource":"*""#),
                Effect::ExplicitDeny,
            ),
            (
                deny(r#""NotAction":["oss:Get*"],"Principal":"1234","Resource":"*""#),
                Effect::Effective,
            ),
            (
                deny(r#""Action":["oss:PutObject"],"Principal":[],"Resource":"*""#),
                Effect::Effective,
            ),
            (
                deny(r#""Action":["oss:GetObject"],"Principal":[],"Resource":"*""#),
                Effect::ExplicitDeny,
            ),
            (
                deny(r#""Action":["oss:GetObject"],"Resource":"*""#),
                Effect::ExplicitDeny,
            ),
            (
                deny(r#""Action":"oss:*","Principal":["999"],"Resource":"*""#),
                Effect::Effective,
            ),
            (
                deny(r#""Action":"oss:*","Principal":["*"],"Resource":"acs:oss:*:*:pics/q/*""#),
                Effect::Effective,
            ),
            (
                r#"{"Statement":[7,{"Effect":"Allow"}]}"#.to_owned(),
                Effect::Effective,
            ),
        ] {
            let document = Document::parse(text.as_bytes()).unwrap();
            assert_eq!(effect(Some(&document), &given), expected, "{text}");
        }
    }
}
