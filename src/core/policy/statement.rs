//! Our statements: rendering them, and comparing statements of a policy with them by meaning.
//! Source of the grammar: OSS pages "Bucket policy" and "Policy syntax and elements".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{Grantee, OssAction, PrincipalForm, StatementRole};
use crate::core::hash::sha256;
use crate::core::validate::{check_prefix, check_role, check_session};

use super::wildcard::patterns_overlap;

/// Maximum size of one statement in bytes (error 0030-00000003). The limit applies to a field in one language version
/// of the page and to the statement in the other; this is the stricter reading.
pub const STATEMENT_LIMIT: usize = 4095;

/// A statement that the operator renders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Purpose of the statement.
    pub role: StatementRole,
    /// The exact text.
    pub text: String,
    /// Fingerprint of the meaning.
    pub fingerprint: String,
}

/// The members of a rendered statement, in the order of Alibaba Cloud's page.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rendered<'a> {
    effect: &'a str,
    action: &'a [&'a str],
    principal: &'a [String],
    resource: &'a [String],
}

impl Rendered<'_> {
    fn statement(&self, role: StatementRole) -> Statement {
        let text = serde_json::to_string(self).unwrap_or_default();
        let fingerprint = fingerprint(&text).unwrap_or_default();
        Statement {
            role,
            text,
            fingerprint,
        }
    }
}

/// Returns the principal in the statement that grants access.
fn principal(grantee: &Grantee) -> String {
    match grantee.principal {
        PrincipalForm::ServiceRole | PrincipalForm::ServiceRoleSession => readers(grantee),
        PrincipalForm::Account => grantee.account_uid.clone(),
    }
}

/// Returns the sessions that read with a grant: the named session, else all sessions of the service role, because IMM
/// documents no fixed session name. An account reads through them as well.
pub fn readers(grantee: &Grantee) -> String {
    let session = match grantee.principal {
        PrincipalForm::ServiceRoleSession => grantee.session_name.as_deref().unwrap_or_default(),
        PrincipalForm::ServiceRole | PrincipalForm::Account => "*",
    };
    sessions(grantee) + session
}

/// Returns the start of the ARN of each session of the service role.
fn sessions(grantee: &Grantee) -> String {
    format!(
        "arn:sts::{}:assumed-role/{}/",
        grantee.account_uid, grantee.role_name
    )
}

/// Whether a statement with these principals may be about the sessions that read with a grant: it names some of them, or
/// their account. The case of the role is ignored, because it is not documented whether OSS compares it. Names for
/// everybody do not count.
pub fn names_grantee(grantee: &Grantee, principals: &[String]) -> bool {
    let (sessions, readers) = (
        sessions(grantee).to_ascii_lowercase(),
        readers(grantee).to_ascii_lowercase(),
    );
    principals.iter().any(|name| {
        let found = name.to_ascii_lowercase();
        found == grantee.account_uid || (found.starts_with(&sessions) && patterns_overlap(&found, &readers))
    })
}

/// Returns the statement that allows the service role to read: `actions` on the whole bucket, or on each prefix.
pub fn access_statement(
    bucket: &str,
    owner_uid: &str,
    grantee: &Grantee,
    actions: &[OssAction],
    prefixes: &[String],
) -> Statement {
    let actions: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
    let whole = [String::new()];
    let prefixes = if prefixes.is_empty() {
        whole.as_slice()
    } else {
        prefixes
    };
    let resources: Vec<String> = prefixes
        .iter()
        .map(|prefix| format!("acs:oss:*:{owner_uid}:{bucket}/{prefix}*"))
        .collect();
    let principal = [principal(grantee)];
    Rendered {
        effect: "Allow",
        action: &actions,
        principal: &principal,
        resource: &resources,
    }
    .statement(StatementRole::Access)
}

/// Returns the first statement of Alibaba Cloud's cross-account procedure, exactly as documented: with an empty
/// Principal, which means everyone.
pub fn pass_role_statement(grantee: &Grantee) -> Statement {
    let resource = [sessions(grantee) + "*"];
    Rendered {
        effect: "Allow",
        action: &["ram:PassRole"],
        principal: &[],
        resource: &resource,
    }
    .statement(StatementRole::PassRole)
}

/// Returns the fingerprint of a statement's meaning; `None` for a text that cannot be our statement: not a JSON object,
/// or with a duplicate member at any depth.
pub fn fingerprint(text: &str) -> Option<String> {
    canonical(&parse_strictly(text)?).map(|c| hash(&c))
}

/// Returns the entries of a statement's Principal that are strings.
pub(super) fn principals(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    match value.get("Principal") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns `true` if a ledger entry for `bucket` is exactly what the operator renders. Every user with permission to
/// write the status could forge an entry, and a later version could render other statements: an entry that fails this
/// check is never acted on.
pub fn is_plausible(bucket: &str, text: &str, claimed_fingerprint: &str) -> bool {
    text.len() <= STATEMENT_LIMIT
        && render_again(bucket, text)
            .is_some_and(|own| own.text == text && own.fingerprint == claimed_fingerprint)
}

/// Whether only a copy with the same bytes is removed for a ledger entry: people write statements with such a principal
/// by hand, so an equal statement in another spelling is theirs.
pub fn is_removed_verbatim_only(text: &str) -> bool {
    let principals = principals(text);
    !principals.is_empty() && !principals.iter().any(|name| name.ends_with("/*"))
}

/// The members of a statement as the operator writes them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Parts {
    effect: String,
    action: Vec<String>,
    principal: Vec<String>,
    resource: Vec<String>,
}

/// Renders a statement again from its parts; `None` if a part is not one that the operator writes.
fn render_again(bucket: &str, text: &str) -> Option<Statement> {
    let parts: Parts = serde_json::from_str(text).ok()?;
    if parts.effect != "Allow" {
        return None;
    }
    if let ([], [role]) = (parts.principal.as_slice(), parts.resource.as_slice()) {
        let grantee = grantee_of(role).filter(|grantee| grantee.principal == PrincipalForm::ServiceRole)?;
        return Some(pass_role_statement(&grantee));
    }
    let [name] = parts.principal.as_slice() else {
        return None;
    };
    let grantee = grantee_of(name)?;
    let actions: Option<Vec<OssAction>> = parts
        .action
        .iter()
        .map(|name| {
            OssAction::ALL
                .iter()
                .copied()
                .find(|action| action.as_str() == name)
        })
        .collect();
    let objects: Option<Vec<(&str, &str)>> = parts
        .resource
        .iter()
        .map(|resource| {
            let (owner, path) = resource.strip_prefix("acs:oss:*:")?.split_once(':')?;
            let prefix = path.strip_prefix(bucket)?.strip_prefix('/')?.strip_suffix('*')?;
            Some((owner, prefix))
        })
        .collect();
    let (actions, objects) = (actions.filter(|list| !list.is_empty())?, objects?);
    let (owner, first) = objects.first()?;
    is_number(owner).then_some(())?;
    let prefixes: Vec<String> = match objects.len() {
        1 if first.is_empty() => Vec::new(),
        _ => objects.iter().map(|(_, prefix)| (*prefix).to_owned()).collect(),
    };
    prefixes
        .iter()
        .try_for_each(|prefix| check_prefix("prefix", prefix))
        .ok()?;
    Some(access_statement(bucket, owner, &grantee, &actions, &prefixes))
}

/// Returns the grantee that a principal of ours names.
fn grantee_of(name: &str) -> Option<Grantee> {
    let grantee = |uid: &str, role: &str, principal, session: Option<&str>| {
        is_number(uid).then_some(())?;
        Some(Grantee {
            account_uid: uid.to_owned(),
            role_name: role.to_owned(),
            principal,
            session_name: session.map(ToOwned::to_owned),
        })
    };
    let Some(rest) = name.strip_prefix("arn:sts::") else {
        return grantee(name, "", PrincipalForm::Account, None);
    };
    let (uid, path) = rest.split_once(":assumed-role/")?;
    let (role, session) = path.split_once('/')?;
    check_role("role", role).ok()?;
    if session == "*" {
        return grantee(uid, role, PrincipalForm::ServiceRole, None);
    }
    check_session("session", session).ok()?;
    grantee(uid, role, PrincipalForm::ServiceRoleSession, Some(session))
}

/// Whether a text can be the UID of an account, whatever its length.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the texts of a member: of a text or of a list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(many) => many.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// Parses a JSON object. Returns `None` for other values and for duplicate members at any depth.
pub(super) fn parse_strictly(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.as_object()?;
    // Duplicate members collapse in `Value`, so the parsed value then has fewer members than the text.
    let duplicates_free = count_members(text) == count_parsed(&value);
    duplicates_free.then_some(value)
}

/// Counts the members in the text: colons outside strings.
fn count_members(text: &str) -> usize {
    let (mut members, mut in_string, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b':') => members += 1,
            _ => {}
        }
    }
    members
}

fn count_parsed(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(count_parsed).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_parsed).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Returns the canonical form: Action, Principal and Resource are sets, and a single string equals a list of one. Other
/// members stay unchanged. A missing Principal equals an empty one only with `ram:PassRole`, which is rendered with an
/// empty Principal.
fn canonical(value: &Value) -> Option<BTreeMap<String, Value>> {
    let mut out: BTreeMap<String, Value> = value.as_object()?.clone().into_iter().collect();
    for name in ["Action", "Principal", "Resource"] {
        let set: Option<BTreeSet<String>> = match out.get(name) {
            Some(Value::String(one)) => Some(BTreeSet::from([one.clone()])),
            Some(Value::Array(many)) => many.iter().map(|v| v.as_str().map(ToOwned::to_owned)).collect(),
            Some(_) | None => None,
        };
        if let Some(set) = set {
            out.insert(name.to_owned(), json!(set));
        }
    }
    let pass_role = out.get("Action") == Some(&json!(["ram:PassRole"]));
    if pass_role && !out.contains_key("Principal") {
        out.insert("Principal".to_owned(), json!([]));
    }
    Some(out)
}

fn hash(canonical: &BTreeMap<String, Value>) -> String {
    format!(
        "sha256:{}",
        sha256(serde_json::to_string(canonical).unwrap_or_default())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_member_is_found_at_any_depth_and_a_colon_in_a_text_is_none() {
        for (text, strict) in [
            (r#"{"Sid":"a:b","Effect":"Allow"}"#, true),
            (r#"{"Sid":"a\":\"b","Effect":"Allow"}"#, true),
            (r#"{"Sid":"a\\","Effect":"Allow"}"#, true),
            (r#"{"a:b":{"c":[{"d":":"}]}}"#, true),
            (r#"{"Sid":"a","Sid":"a"}"#, false),
            (r#"{"Sid":"a\\","Sid":"a\\"}"#, false),
            (r#"{"Sid":"\"","Sid":":"}"#, false),
            (r#"{"Condition":{"a":["b"],"a":["b"]}}"#, false),
            (r#"{"a":[{"b":1,"b":1}]}"#, false),
            (r#"["Sid"]"#, false),
            ("{", false),
        ] {
            assert_eq!(parse_strictly(text).is_some(), strict, "{text}");
        }
    }

    #[test]
    fn a_member_is_a_text_or_a_list_of_texts() {
        for (value, expected) in [
            (json!("a"), Some(vec!["a"])),
            (json!(["a", "b"]), Some(vec!["a", "b"])),
            (json!([]), Some(Vec::new())),
            (json!(["a", 7]), None),
            (json!(7), None),
            (json!({"a": "b"}), None),
            (json!(null), None),
        ] {
            assert_eq!(texts(&value), expected, "{value}");
        }
    }
}
