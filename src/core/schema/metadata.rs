//! Checks the metadata of an object, which have no schema in a CRD.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::core::validate::{is_namespace_name, is_object_name, is_word};

/// Members with one text, members with a text for each key, and members that the API server sets.
const TEXTS: &[&str] = &["name", "generateName", "namespace"];
const MAPS: &[&str] = &["labels", "annotations"];
const OTHERS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Longest name of a label or annotation, without its prefix, and longest value of a label.
const LONGEST_LABEL: usize = 63;

/// Checks metadata. A null counts as absent.
///
/// # Errors
/// Returns the message about the first member that is wrong.
pub(super) fn check_metadata(metadata: &Value) -> Result<(), String> {
    let none = Map::new();
    let given = metadata
        .as_object()
        .or_else(|| metadata.is_null().then_some(&none));
    let members = given.ok_or("metadata must have fields of its own")?;
    for (name, value) in members {
        let place = format!("metadata.{name}");
        let name = name.as_str();
        if value.is_null() && (TEXTS.contains(&name) || MAPS.contains(&name)) {
            continue;
        }
        if TEXTS.contains(&name) {
            check_text(value, &place)?;
        } else if MAPS.contains(&name) {
            let map = value.as_object();
            let map = map.ok_or_else(|| format!("{place} must have fields of its own"))?;
            for (key, value) in map {
                check_entry(key, value, &place)?;
            }
        } else if !OTHERS.contains(&name) {
            return Err(unknown_field(&place));
        }
    }
    let others = members
        .iter()
        .filter(|(name, value)| OTHERS.contains(&name.as_str()) && !value.is_null());
    let others: Value = others
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    ObjectMeta::deserialize(others).map_err(|error| format!("metadata: {error}"))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let (name, generated, namespace) = (text("name"), text("generateName"), text("namespace"));
    if name.is_empty() && generated.is_empty() {
        return Err("metadata.name is required, as a string".to_owned());
    }
    // The API server appends letters and digits to a generated name.
    let complete = if name.is_empty() {
        format!("{generated}a")
    } else {
        name.to_owned()
    };
    if !is_object_name(&complete) {
        return Err(format!(
            "metadata.name is {:?}, and must be lower-case letters, digits, - and .",
            if name.is_empty() { generated } else { name }
        ));
    }
    if !namespace.is_empty() && !is_namespace_name(namespace) {
        return Err(format!(
            "metadata.namespace is {namespace:?}, and must be lower-case letters, digits and -"
        ));
    }
    Ok(())
}

/// Checks one label or annotation: its key, its type, and the syntax of a label's value.
fn check_entry(key: &str, value: &Value, map: &str) -> Result<(), String> {
    // The prefix of an annotation may have capitals.
    let lower = key.to_ascii_lowercase();
    let checked = if map == "metadata.annotations" {
        lower.as_str()
    } else {
        key
    };
    let (prefix, name) = checked
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if name.is_empty() || !is_label_text(name) || prefix.is_some_and(|prefix| !is_object_name(prefix)) {
        return Err(format!(
            "{map} has the key {key:?}, and a key must be 1 to {LONGEST_LABEL} letters, digits, -, _ and ., between letters or \
             digits, after a DNS name and / if wanted"
        ));
    }
    if value.is_null() {
        return Ok(());
    }
    check_text(value, &format!("{map}.{key}"))?;
    let fits = map != "metadata.labels" || value.as_str().is_some_and(is_label_text);
    fits.then_some(()).ok_or_else(|| {
        format!(
            "{map}.{key} is {value}, and must be at most {LONGEST_LABEL} letters, digits, -, _ and ., between letters or digits"
        )
    })
}

fn is_label_text(text: &str) -> bool {
    let is_word = is_word(text, |byte| byte.is_ascii_alphanumeric(), b"-_.");
    text.len() <= LONGEST_LABEL && (text.is_empty() || is_word)
}

/// The message about a field that the schema does not have.
pub(super) fn unknown_field(place: &str) -> String {
    format!("{place} is not a field of this kind: correct the name, or remove it")
}

fn check_text(value: &Value, place: &str) -> Result<(), String> {
    if value.is_string() {
        Ok(())
    } else if value.is_object() || value.is_array() {
        Err(format!("{place} must be a string"))
    } else {
        Err(format!("{place} must be a string: put the value in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_are_checked_as_strictly_as_by_the_api_server() {
        for (metadata, expected) in [
            (
                json!({"name": "a.b-1", "labels": {"a": "1", "b": null}, "creationTimestamp": null}),
                "",
            ),
            (json!({"generateName": "scores-", "namespace": "media"}), ""),
            (
                json!({"name": "a", "uid": "u", "managedFields": [], "resourceVersion": "1"}),
                "",
            ),
            (json!(null), "metadata.name is required"),
            (json!({"name": ""}), "metadata.name is required"),
            (json!("a"), "metadata must have fields"),
            (
                json!({"name": 1}),
                "metadata.name must be a string: put the value in quotes",
            ),
            (
                json!({"name": "My_Grant"}),
                "metadata.name is \"My_Grant\", and must be",
            ),
            (
                json!({"generateName": "Scores-"}),
                "metadata.name is \"Scores-\", and must be",
            ),
            (
                json!({"name": "a", "namespace": false}),
                "metadata.namespace must be a string: put",
            ),
            (
                json!({"name": "a", "namespace": "a.b"}),
                "metadata.namespace is \"a.b\"",
            ),
            (
                json!({"name": "a", "labels": {"on": true}}),
                "metadata.labels.on must be a string: put",
            ),
            (
                json!({"name": "a", "labels": ["a"]}),
                "metadata.labels must have fields",
            ),
            (
                json!({"name": "a", "annotations": {"a": {}}}),
                "metadata.annotations.a must be a string",
            ),
            (
                json!({"name": "a", "label": {}}),
                "metadata.label is not a field of this kind",
            ),
            (
                json!({"name": "a", "label": null}),
                "metadata.label is not a field of this kind",
            ),
            (
                json!({"name": "a", "labels": {"example.com/a_B": "A.b_1", "x": ""}, "annotations": {"a.b/c": "any text: /"}}),
                "",
            ),
            (
                json!({"name": "a", "labels": {"a b": null}}),
                "metadata.labels has the key \"a b\"",
            ),
            (json!({"name": "a", "labels": {"a/": "1"}}), "has the key \"a/\""),
            (
                json!({"name": "a", "labels": {"a/b/c": "1"}}),
                "has the key \"a/b/c\"",
            ),
            (json!({"name": "a", "annotations": {"A.b/c": "1"}}), ""),
            (
                json!({"name": "a", "labels": {"A.b/c": "1"}}),
                "metadata.labels has the key",
            ),
            (
                json!({"name": "a", "labels": {"a": "b c"}}),
                "metadata.labels.a is \"b c\", and must",
            ),
            (
                json!({"name": "a", "labels": {"a": "b-"}}),
                "metadata.labels.a is \"b-\", and must",
            ),
            (
                json!({"name": "a", "labels": {"a": "a".repeat(64)}}),
                "metadata.labels.a is",
            ),
            (json!({"generateName": "scores."}), ""),
            (
                json!({"name": "a", "finalizers": "x"}),
                "metadata: invalid type: string \"x\"",
            ),
            (
                json!({"name": "a", "ownerReferences": [{"kind": 1}]}),
                "metadata: invalid type",
            ),
            (json!({"name": "a", "generation": "1"}), "metadata: invalid type"),
        ] {
            let said = check_metadata(&metadata).err().unwrap_or_default();
            assert!(
                said.contains(expected) && said.is_empty() == expected.is_empty(),
                "{metadata}: {said}"
            );
        }
    }
}
