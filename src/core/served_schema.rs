//! Compares the schema that the API server serves with the one that this version stores. The API server drops members
//! that its CRDs do not know, without an error: with older CRDs, the record of what a grant owns would be lost.

use serde_json::{Map, Value};

/// Returns the paths of members that `ours` has and `served` does not, such as `status.owned[].role`.
pub fn missing_members(path: &str, ours: &Value, served: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    compare(path, ours, served, &mut missing);
    missing
}

fn compare(path: &str, ours: &Value, served: &Value, missing: &mut Vec<String>) {
    if served.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    for (name, ours) in members(ours) {
        let path = format!("{path}.{name}");
        match members(served).find(|(known, _)| *known == name) {
            Some((_, served)) => compare(&path, ours, served, missing),
            None => missing.push(path),
        }
    }
    for (keyword, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        let Some(ours) = ours.get(keyword).filter(|schema| schema.is_object()) else {
            continue;
        };
        match served.get(keyword) {
            Some(served) => compare(&format!("{path}{mark}"), ours, served, missing),
            None => missing.push(format!("{path}{mark}")),
        }
    }
}

fn members(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(Map::iter)
}

/// Returns the schema of a kind in an OpenAPI v3 document; `None` if the document does not describe it.
pub fn schema_of<'a>(document: &'a Value, group: &str, version: &str, kind: &str) -> Option<&'a Value> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    schemas.values().find(|schema| {
        let kinds = schema
            .get("x-kubernetes-group-version-kind")
            .and_then(Value::as_array);
        kinds.into_iter().flatten().any(|named| {
            let is = |member: &str, value: &str| named.get(member).is_some_and(|text| text == value);
            is("group", group) && is("version", version) && is("kind", kind)
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_the_served_schema_lacks_is_named_at_any_depth() {
        let text = json!({"type": "string"});
        let ours = json!({"properties": {
            "owned": {"items": {"properties": {"state": text, "role": text}}},
            "labels": {"additionalProperties": text},
            "policy": {"properties": {"bytes": text}},
        }});
        assert!(missing_members("status", &ours, &ours).is_empty());
        let mut old = ours.clone();
        old["properties"]["owned"]["items"]["properties"] = json!({"state": text, "removed": text});
        old["properties"]["policy"] = json!({"type": "object"});
        old["properties"]["labels"] = json!({"type": "object"});
        assert_eq!(
            missing_members("status", &ours, &old),
            ["status.labels{}", "status.owned[].role", "status.policy.bytes"]
        );
        old["properties"]["policy"]["x-kubernetes-preserve-unknown-fields"] = json!(true);
        assert!(!missing_members("status", &ours, &old).contains(&"status.policy.bytes".to_owned()));
    }

    #[test]
    fn a_schema_is_found_by_group_version_and_kind() {
        let named = |kind: &str| json!({"x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": kind}]});
        let document = json!({"components": {"schemas": {"g.v1.A": named("A"), "g.v1.B": named("B")}}});
        assert_eq!(schema_of(&document, "g", "v1", "B"), Some(&named("B")));
        assert_eq!(schema_of(&document, "g", "v1", "C"), None);
        assert_eq!(schema_of(&json!({}), "g", "v1", "A"), None);
    }
}
