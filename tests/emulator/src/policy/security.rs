//! The Deny that Alibaba Cloud adds to bucket policies on its own.

use serde_json::{Value, json};

/// Returns a policy with that Deny after its statements. A policy that cannot be read is replaced.
pub(crate) fn with_security_deny(policy: Option<&str>, bucket: &str) -> String {
    let read = policy.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut document = read.unwrap_or_else(|| json!({"Version": "1", "Statement": []}));
    let resources = [format!("acs:oss:*:*:{bucket}"), format!("acs:oss:*:*:{bucket}/*")];
    let deny = json!({"Sid": "Created by Alibaba Cloud Security, do not modify this action", "Effect": "Deny",
        "Action": ["oss:GetObject"], "Principal": ["*"], "Resource": resources});
    if let Some(statements) = document.get_mut("Statement").and_then(Value::as_array_mut) {
        statements.push(deny);
    }
    document.to_string()
}
