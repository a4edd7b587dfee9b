//! Our statements: rendering them, and comparing statements of a policy with them by meaning.
//! Source of the grammar: OSS pages "Bucket policy" and "Policy syntax and elements".

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{Grantee, OssAction, StatementRole};
use crate::core::hash::sha256;

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

/// Returns the principal of a grant: all sessions of the grantee account's service role, because IMM documents no fixed
/// session name.
pub fn principal(grantee: &Grantee) -> String {
    format!(
        "arn:sts::{}:assumed-role/{}/*",
        grantee.account_uid, grantee.role_name
    )
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
    let resource = [principal(grantee)];
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

/// Returns `true` if the operator could have rendered a ledger entry for `bucket`. Every user with permission to write
/// the status could forge an entry; entries that fail this check are never acted on.
pub fn is_plausible(bucket: &str, text: &str, claimed_fingerprint: &str) -> bool {
    let Some(value) = parse_strictly(text) else {
        return false;
    };
    if fingerprint(text).as_deref() != Some(claimed_fingerprint) || text.len() > STATEMENT_LIMIT {
        return false;
    }
    let Some(members) = value.as_object() else {
        return false;
    };
    let names: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    let list = |name: &str| -> Vec<&str> {
        let entries = members.get(name).and_then(Value::as_array);
        entries.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let (actions, principals, resources) = (list("Action"), list("Principal"), list("Resource"));
    let shaped = names == BTreeSet::from(["Action", "Effect", "Principal", "Resource"])
        && members.get("Effect") == Some(&Value::from("Allow"))
        && !resources.is_empty();
    let role_arn = |text: &&str| {
        let parts = text
            .strip_prefix("arn:sts::")
            .and_then(|rest| rest.split_once(":assumed-role/"));
        parts.is_some_and(|(uid, role)| uid.bytes().all(|b| b.is_ascii_digit()) && role.ends_with("/*"))
    };
    let object_of_bucket = |text: &&str| {
        let parts = text
            .strip_prefix("acs:oss:*:")
            .and_then(|rest| rest.split_once(':'));
        parts.is_some_and(|(_, path)| {
            path.strip_prefix(bucket)
                .is_some_and(|key| key.starts_with('/') && key.ends_with('*'))
        })
    };
    let pass_role = actions == ["ram:PassRole"] && principals.is_empty() && resources.iter().all(role_arn);
    let readable = |name: &&str| OssAction::ALL.iter().any(|action| action.as_str() == *name);
    let access = !actions.is_empty()
        && actions.iter().all(readable)
        && principals.len() == 1
        && principals.iter().all(role_arn)
        && resources.iter().all(object_of_bucket);
    shaped && (pass_role || access)
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
