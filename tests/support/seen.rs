//! Reading what objects say: conditions, and policies by meaning.

use std::collections::BTreeSet;

use serde_json::Value;

/// Status, reason and message of a condition; three empty texts when it is not there.
pub fn condition<'a>(object: &'a Value, kind: &str) -> [&'a str; 3] {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == kind));
    ["status", "reason", "message"]
        .map(|member| found.and_then(|one| one[member].as_str()).unwrap_or_default())
}

/// The reason of Ready, once the status is about the present generation.
pub fn reason(object: &Value) -> &str {
    if object["status"]["observedGeneration"] == object["metadata"]["generation"] {
        condition(object, "Ready")[1]
    } else {
        ""
    }
}

/// A statement by meaning: a single text equals a list of one, and the order in a list says nothing.
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

/// The statements of a policy.
pub fn statements(policy: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(policy).unwrap();
    document["Statement"].as_array().unwrap().clone()
}
