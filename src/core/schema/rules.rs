//! The rules of the schemas, which the API server evaluates as CEL. Those about the text of a field have one form and are
//! read here; the others are in a table, and a test finds one that is missing. An interpreter of CEL would cost more
//! than all of them, and would lack the functions that Kubernetes adds to CEL.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use regex::Regex;
use serde_json::Value;

use crate::core::validate::is_invisible;

type Evaluation = fn(&Value) -> bool;

/// The rules of more than one field, or with functions, as in the schemas. Each is evaluated on values whose types
/// fit and whose defaults are set.
const RULES: &[(&str, Evaluation)] = &[
    (
        "self.preset == 'Custom' ? has(self.actions) && self.actions.size() > 0 : !has(self.actions) || self.actions.size() == 0",
        |access| is(access, "preset", "Custom") == has(list(access, "actions")),
    ),
    (
        "!has(self.prefixes) || self.prefixes.all(p, !p.matches('[*?]'))",
        |access| texts(access, "prefixes").all(|p| !p.contains(['*', '?'])),
    ),
    (
        r"!has(self.prefixes) || self.prefixes.all(p, !p.matches('[$\\{\\}\\\\]'))",
        |access| texts(access, "prefixes").all(|p| !p.contains(['$', '{', '}', '\\'])),
    ),
    (
        "!has(self.prefixes) || self.prefixes.all(p, !p.startsWith('/'))",
        |access| texts(access, "prefixes").all(|p| !p.starts_with('/')),
    ),
    (
        r"!has(self.prefixes) || self.prefixes.all(p, !p.matches('[\\p{Cc}\\p{Cf}\\x{2028}\\x{2029}]'))",
        |access| texts(access, "prefixes").all(|p| !p.chars().any(is_invisible)),
    ),
    (
        "has(self.secretRef) == (self.source == 'Secret')",
        |credentials| has(credentials.get("secretRef")) == is(credentials, "source", "Secret"),
    ),
    (
        "has(self.serviceAccount) == (self.source == 'ServiceAccount')",
        |credentials| has(credentials.get("serviceAccount")) == is(credentials, "source", "ServiceAccount"),
    ),
    (
        "!has(self.assumeRole) || self.source != 'ServiceAccount'",
        |credentials| !has(credentials.get("assumeRole")) || !is(credentials, "source", "ServiceAccount"),
    ),
    (
        "self.principal == 'ServiceRoleSession' || !has(self.sessionName)",
        |grantee| is(grantee, "principal", "ServiceRoleSession") || !has(grantee.get("sessionName")),
    ),
    (
        "self.principal != 'ServiceRoleSession' || has(self.sessionName)",
        |grantee| !is(grantee, "principal", "ServiceRoleSession") || has(grantee.get("sessionName")),
    ),
    (
        "!has(self.grantRef) || !has(self.access) || !has(self.access.roleChain)",
        |spec| !has(spec.get("grantRef")) || !has(spec.pointer("/access/roleChain")),
    ),
    (
        "has(self.budget) || !(has(self.source.prefix) || has(self.source.manifest))",
        |spec| {
            let counted = spec
                .pointer("/source/prefix")
                .or_else(|| spec.pointer("/source/manifest"));
            has(spec.get("budget")) || !has(counted)
        },
    ),
    (
        "self.results.select != 'BelowThreshold' || has(self.thresholds)",
        |spec| {
            spec.pointer("/results/select")
                .is_none_or(|select| select != "BelowThreshold")
                || has(spec.get("thresholds"))
        },
    ),
    (
        "type(self.maxFailedItems) == int ? self.maxFailedItems >= 0 && self.maxFailedItems <= 2147483647 : self.maxFailedItems.matches('^(100|[0-9]{1,2})%$')",
        |spec| is_count_or_percentage(spec.get("maxFailedItems")),
    ),
    (
        "!has(self.thresholds) || (type(self.thresholds.maxBelow) == int ? self.thresholds.maxBelow >= 0 && self.thresholds.maxBelow <= 2147483647 : self.thresholds.maxBelow.matches('^(100|[0-9]{1,2})%$'))",
        |spec| is_count_or_percentage(spec.pointer("/thresholds/maxBelow")),
    ),
    ("has(self.roleChain) == (self.mode == 'RoleChain')", |access| {
        has(access.get("roleChain")) == is(access, "mode", "RoleChain")
    }),
    ("!has(self.passedRole) || self.mode != 'RoleChain'", |access| {
        !has(access.get("passedRole")) || !is(access, "mode", "RoleChain")
    }),
    (
        "[has(self.uris), has(self.prefix), has(self.manifest)].filter(x, x).size() == 1",
        |source| {
            ["uris", "prefix", "manifest"]
                .iter()
                .filter(|name| has(source.get(**name)))
                .count()
                == 1
        },
    ),
    (
        "!has(self.uris) || self.uris.all(u, bytes(u.substring(u.indexOf('/', 6) + 1)).size() <= 1023)",
        |source| texts(source, "uris").all(has_short_key),
    ),
    (
        "!has(self.uris) || self.uris.map(u, bytes(u).size()).sum() <= 131072",
        |source| texts(source, "uris").map(str::len).sum::<usize>() <= 131_072,
    ),
    (
        "!has(self.manifest) || bytes(self.manifest.uri.substring(self.manifest.uri.indexOf('/', 6) + 1)).size() <= 1023",
        |source| manifest_uri(source).is_none_or(has_short_key),
    ),
    (
        "!has(self.manifest) || !self.manifest.uri.split('/').exists(s, s == '.' || s == '..')",
        |source| {
            manifest_uri(source).is_none_or(|uri| !uri.split('/').any(|part| part == "." || part == ".."))
        },
    ),
    (
        "!self.matches('^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(Z|[+-][0-9:]{5})$') || timestamp(self).getFullYear() > 0",
        |time| {
            let form = "^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(Z|[+-][0-9:]{5})$";
            let text = time.as_str().unwrap_or_default();
            matches(form, text) != Some(true) || text.parse::<Timestamp>().is_ok()
        },
    ),
];

/// Returns whether a rule holds for a value. `None` if the rule compares with the object from before, or is not known.
pub(super) fn holds(rule: &str, value: &Value) -> Option<bool> {
    let listed = RULES.iter().find(|(known, _)| *known == rule);
    listed
        .map(|(_, check)| check(value))
        .or_else(|| holds_for_text(rule, value.as_str()?))
}

/// Returns whether a pattern is found in a text; `None` if the pattern is not valid. A list can have a thousand texts
/// of one pattern, so it is compiled once.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    static COMPILED: LazyLock<Mutex<BTreeMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock();
    if let Some(regex) = compiled.get(pattern) {
        return Some(regex.is_match(text));
    }
    let regex = Regex::new(pattern).ok()?;
    let found = regex.is_match(text);
    compiled.insert(pattern.to_owned(), regex);
    Some(found)
}

/// Evaluates a rule such as `!self.contains('/') && self.startsWith('a')`. `None` if it has another form.
fn holds_for_text(rule: &str, text: &str) -> Option<bool> {
    let mut all = true;
    for term in rule.split(" && ") {
        let call = term.trim_start_matches('!');
        let call = call.strip_prefix("self.")?.strip_suffix("')")?;
        let (function, argument) = call.split_once('(')?;
        let argument = argument
            .strip_prefix("r'")
            .or_else(|| argument.strip_prefix('\''))?;
        let found = match function {
            "contains" => text.contains(argument),
            "startsWith" => text.starts_with(argument),
            "endsWith" => text.ends_with(argument),
            "matches" => matches(argument, text)?,
            _ => return None,
        };
        all &= found != term.starts_with('!');
    }
    Some(all)
}

fn has(member: Option<&Value>) -> bool {
    member.is_some()
}

fn is(object: &Value, name: &str, text: &str) -> bool {
    object.get(name).is_some_and(|value| value == text)
}

/// Returns a list with at least one item.
fn list<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|items| items.get(0).is_some())
}

fn texts<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    let items = object.get(name).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str)
}

fn manifest_uri(source: &Value) -> Option<&str> {
    source.pointer("/manifest/uri")?.as_str()
}

fn has_short_key(uri: &str) -> bool {
    let after = uri.strip_prefix("oss://").and_then(|rest| rest.split_once('/'));
    after.is_none_or(|(_, key)| key.len() <= 1023)
}

fn is_count_or_percentage(value: Option<&Value>) -> bool {
    value.is_none_or(|value| match value.as_i64() {
        Some(count) => i32::try_from(count).is_ok_and(|count| count >= 0),
        None => matches("^(100|[0-9]{1,2})%$", value.as_str().unwrap_or_default()) == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaProps, JSONSchemaPropsOrArray,
    };

    use super::*;
    use crate::api::crds;

    fn collect(schema: &JSONSchemaProps, found: &mut Vec<(String, bool)>) {
        let text = schema.type_.as_deref() == Some("string");
        let rules = schema.x_kubernetes_validations.iter().flatten();
        found.extend(rules.map(|rule| (rule.rule.clone(), text)));
        let nested = schema.properties.iter().flat_map(BTreeMap::values);
        for schema in nested {
            collect(schema, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            collect(items, found);
        }
    }

    #[test]
    fn every_rule_and_pattern_of_a_spec_can_be_evaluated() {
        let mut found = Vec::new();
        for definition in crds() {
            let schema = definition.spec.versions[0].schema.as_ref().unwrap();
            let properties = schema.open_api_v3_schema.as_ref().unwrap().properties.as_ref();
            if let Some(spec) = properties.unwrap().get("spec") {
                collect(spec, &mut found);
            }
        }
        found.retain(|(rule, _)| !rule.contains("oldSelf"));
        assert!(found.len() > 50, "only {} rules were found", found.len());
        for (rule, text) in &found {
            let listed = RULES.iter().any(|(known, _)| known == rule);
            assert!(
                listed || (*text && holds_for_text(rule, "a").is_some()),
                "not evaluated: {rule}"
            );
        }
        for (rule, _) in RULES {
            assert!(
                found.iter().any(|(known, _)| known == rule),
                "no longer a rule: {rule}"
            );
        }
    }
}
