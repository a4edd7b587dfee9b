//! Whether a statement counts as public, by the documented rule of Block Public Access. Only Effect, Principal and
//! Condition matter. Source: OSS page "Block Public Access".

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::document::Document;
use super::statement::{parse_strictly, texts};

/// Conditions whose fixed values make a statement non-public.
const NARROWING_KEYS: [&str; 4] = [
    "acs:SourceVpc",
    "acs:SourceVpcId",
    "acs:SourceVpcIp",
    "acs:AccessId",
];

/// What the rule says about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publicity {
    /// It is not public.
    Fixed,
    /// Its only wildcard stands for the sessions of one role. The documentation does not say whether that counts.
    SessionWildcard,
    /// It is public.
    Public,
    /// It uses elements that are not evaluated.
    Unclear,
}

/// The statements of a document that are not certainly fixed, by their positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyPublicity {
    /// Positions of the public statements, from 0.
    pub public: Vec<usize>,
    /// Positions of the statements with a wildcard for sessions only.
    pub session_wildcards: Vec<usize>,
    /// Positions of the statements that are not evaluated.
    pub unclear: Vec<usize>,
}

impl PolicyPublicity {
    /// Judges every statement of a document; no document has none.
    pub fn of(document: Option<&Document>) -> Self {
        let mut found = Self::default();
        let statements = document.map_or(&[][..], Document::statements);
        for (position, statement) in statements.iter().enumerate() {
            let text = document.map_or("", |document| document.text_of(statement));
            match publicity(text) {
                Publicity::Fixed => {}
                Publicity::SessionWildcard => found.session_wildcards.push(position),
                Publicity::Public => found.public.push(position),
                Publicity::Unclear => found.unclear.push(position),
            }
        }
        found
    }

    /// Returns whether OSS counts a wildcard for sessions as public, from what OSS says about the policy as a whole.
    /// `None` if nothing follows.
    pub fn session_wildcard_is_public(&self, policy_is_public: Option<bool>) -> Option<bool> {
        if self.session_wildcards.is_empty() {
            return None;
        }
        match policy_is_public? {
            // One public statement makes the policy public, so each of these is not.
            false => Some(false),
            true if self.public.is_empty() && self.unclear.is_empty() => Some(true),
            true => None,
        }
    }
}

/// Judges one statement.
pub fn publicity(text: &str) -> Publicity {
    let Some(Value::Object(statement)) = parse_strictly(text) else {
        return Publicity::Unclear;
    };
    match statement.get("Effect").and_then(Value::as_str) {
        Some("Allow") => {}
        Some("Deny") => return Publicity::Fixed,
        Some(_) | None => return Publicity::Unclear,
    }
    if statement.contains_key("NotPrincipal") {
        return Publicity::Unclear;
    }
    let principals = match statement.get("Principal") {
        // An absent or empty Principal means everyone.
        None => Vec::new(),
        Some(given) => match texts(given) {
            Some(names) => names,
            None => return Publicity::Unclear,
        },
    };
    let wildcards: Vec<&str> = principals
        .iter()
        .copied()
        .filter(|name| name.contains('*'))
        .collect();
    if !principals.is_empty() && wildcards.is_empty() {
        return Publicity::Fixed;
    }
    match narrowing(&statement) {
        Some(true) => Publicity::Fixed,
        None => Publicity::Unclear,
        Some(false) if !principals.is_empty() && wildcards.iter().all(|name| is_role_sessions(name)) => {
            Publicity::SessionWildcard
        }
        Some(false) => Publicity::Public,
    }
}

/// Whether a principal stands for all sessions of one role of one account.
fn is_role_sessions(name: &str) -> bool {
    let sessions = name
        .strip_prefix("arn:sts::")
        .and_then(|rest| rest.strip_suffix("/*"));
    sessions.is_some_and(|role| {
        !role.contains('*')
            && role
                .split_once(":assumed-role/")
                .is_some_and(|(account, role)| !account.is_empty() && !role.is_empty())
    })
}

/// Whether a condition has fixed values on the caller's network or key. `None` if the conditions are not evaluated.
fn narrowing(statement: &Map<String, Value>) -> Option<bool> {
    let Some(condition) = statement.get("Condition") else {
        return Some(false);
    };
    for (operator, keys) in condition.as_object()? {
        let positive = ["StringEquals", "StringLike", "IpAddress"].contains(&operator.as_str());
        for (key, values) in keys.as_object()? {
            let values = texts(values)?;
            let fixed = NARROWING_KEYS.contains(&key.as_str())
                && values.iter().all(|value| !value.contains(['*', '?']));
            let narrow = key == "acs:SourceIp" && values.iter().all(|value| is_narrow(value));
            if positive && !values.is_empty() && (fixed || narrow) {
                return Some(true);
            }
        }
    }
    Some(false)
}

/// Whether a text is an address, or a range of at most 2^24 addresses of IPv4 or of a /32 of IPv6.
fn is_narrow(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (text, Some(128)),
    };
    let least = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 8,
        Ok(IpAddr::V6(_)) => 32,
        Err(_) => return false,
    };
    bits.is_some_and(|bits| bits >= least)
}

#[cfg(test)]
mod tests {
    use super::Publicity::{Fixed, Public, SessionWildcard, Unclear};
    use super::*;

    #[test]
    fn the_principal_and_the_condition_decide() {
        let sessions = r#""Principal":["arn:sts::1234:assumed-role/R/*"]"#;
        let vpc = |value: &str| {
            format!(r#""Principal":["*"],"Condition":{{"StringEquals":{{"acs:SourceVpc":["{value}"]}}}}"#)
        };
        let from = |value: &str| {
            format!(r#""Principal":"*","Condition":{{"IpAddress":{{"acs:SourceIp":"{value}"}}}}"#)
        };
        for (rest, expected) in [
            (sessions.to_owned(), SessionWildcard),
            (
                r#""Principal":["arn:sts::1234:assumed-role/R/one"]"#.to_owned(),
                Fixed,
            ),
            (r#""Principal":["1234"]"#.to_owned(), Fixed),
            (
                r#""Principal":["1234","arn:sts::1234:assumed-role/R/*"]"#.to_owned(),
                SessionWildcard,
            ),
            (
                r#""Principal":["arn:sts::1234:assumed-role/*"]"#.to_owned(),
                Public,
            ),
            (
                r#""Principal":["arn:sts::*:assumed-role/R/*"]"#.to_owned(),
                Public,
            ),
            (r#""Principal":["arn:sts:::assumed-role/R/*"]"#.to_owned(), Public),
            (r#""Principal":["*"]"#.to_owned(), Public),
            (r#""Principal":[]"#.to_owned(), Public),
            (r#""Action":"*""#.to_owned(), Public),
            (r#""NotPrincipal":["1"]"#.to_owned(), Unclear),
            (r#""Principal":7"#.to_owned(), Unclear),
            (vpc("vpc-1"), Fixed),
            (vpc("*"), Public),
            (vpc("vpc-1").replace("Equals", "NotEquals"), Public),
            (vpc("").replace(r#"[""]"#, "[]"), Public),
            (from("10.0.0.0/8"), Fixed),
            (from("10.1.2.3"), Fixed),
            (from("0.0.0.0/0"), Public),
            (from("2001:db8::/32"), Fixed),
            (from("2000::/3"), Public),
            (r#""Principal":"*","Condition":7"#.to_owned(), Unclear),
        ] {
            let statement = format!(r#"{{"Effect":"Allow",{rest}}}"#);
            assert_eq!(publicity(&statement), expected, "{statement}");
        }
        assert_eq!(publicity(r#"{"Effect":"Deny","Principal":"*"}"#), Fixed);
        assert_eq!(publicity(r#"{"Effect":"allow","Principal":"*"}"#), Unclear);
        assert_eq!(publicity("7"), Unclear);
    }

    #[test]
    fn what_oss_says_about_the_policy_tells_about_the_wildcard_only_if_nothing_else_can_be_public() {
        let of = |statements: &str| {
            let text = format!(r#"{{"Statement":[{statements}]}}"#);
            PolicyPublicity::of(Some(&Document::parse(text.as_bytes()).unwrap()))
        };
        let wildcard = r#"{"Effect":"Allow","Principal":["arn:sts::1234:assumed-role/R/*"]}"#;
        let public = r#"{"Effect":"Allow","Principal":["*"]}"#;
        let one = of(wildcard);
        assert_eq!(one.session_wildcard_is_public(Some(true)), Some(true));
        assert_eq!(one.session_wildcard_is_public(Some(false)), Some(false));
        assert_eq!(one.session_wildcard_is_public(None), None);
        let both = of(&format!("{wildcard},{public}"));
        assert_eq!(both.session_wildcard_is_public(Some(true)), None);
        assert_eq!(both.session_wildcard_is_public(Some(false)), Some(false));
        assert_eq!(of(public).session_wildcard_is_public(Some(true)), None);
        assert_eq!(
            PolicyPublicity::of(None).session_wildcard_is_public(Some(false)),
            None
        );
    }
}
