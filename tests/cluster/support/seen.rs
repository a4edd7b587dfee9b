//! Reading objects: conditions, and policies by meaning.

use std::collections::BTreeSet;

use serde_json::Value;

/// Returns status, reason and message of a condition; three empty strings if the object does not have the condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> [&'a str; 3] {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == kind));
    ["status", "reason", "message"]
        .map(|member| found.and_then(|one| one[member].as_str()).unwrap_or_default())
}

/// Returns the reason of Ready, or an empty string if the status is older than the current generation.
pub fn reason(object: &Value) -> &str {
    if object["status"]["observedGeneration"] == object["metadata"]["generation"] {
        condition(object, "Ready")[1]
    } else {
        ""
    }
}

/// Returns a statement by meaning: a single string equals a list of one, and the order of a list is ignored.
pub fn meaning(statement: &Value) -> Vec<(String, BTreeSet<String>)> {
    let texts = |value: &Value| match value.as_array() {
        Some(many) => many.iter().map(Value::to_string).collect(),
        None => BTreeSet::from([value.to_string()]),
    };
    let mut members: Vec<_> = statement
        .as_object()
        .map(|members| {
            members
                .iter()
                .map(|(name, value)| (name.clone(), texts(value)))
                .collect()
        })
        .unwrap_or_default();
    members.sort();
    members
}

/// Returns the statements of a policy.
pub fn statements(policy: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(policy).unwrap();
    document["Statement"].as_array().unwrap().clone()
}
