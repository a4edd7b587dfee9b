//! Checks the metadata of an object, which have no schema in a CRD.

use serde_json::{Map, Value};

use crate::core::validate::{is_namespace_name, is_object_name};

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
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let place = format!("metadata.{name}");
        let name = name.as_str();
        if TEXTS.contains(&name) {
            check_text(value, &place)?;
        } else if MAPS.contains(&name) {
            let map = value.as_object();
            let map = map.ok_or_else(|| format!("{place} must have fields of its own"))?;
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                check_text(value, &format!("{place}.{key}"))?;
            }
        } else if !OTHERS.contains(&name) {
            return Err(format!(
                "{place} is no field of this kind: correct the name, or remove it"
            ));
        }
    }
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
                "metadata.label is no field of this kind",
            ),
        ] {
            let said = check_metadata(&metadata).err().unwrap_or_default();
            assert!(
                said.contains(expected) && said.is_empty() == expected.is_empty(),
                "{metadata}: {said}"
            );
        }
    }
}
