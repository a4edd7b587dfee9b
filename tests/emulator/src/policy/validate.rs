//! Validates a submitted bucket policy as OSS does, in the same order.
//! The order is visible to clients: the first violation is the one reported.

use serde_json::Value;

use super::document::{Document, Statement};

const LARGEST_DOCUMENT: usize = 16 * 1024;
const LONGEST_VALUE: usize = 4095;

/// The reason why a submission is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRefusal {
    /// The `EC`, where the documentation gives one.
    pub ec: Option<&'static str>,
    /// The message for the caller.
    pub message: String,
}

fn refusal(ec: &'static str, message: impl Into<String>) -> PolicyRefusal {
    PolicyRefusal {
        ec: Some(ec),
        message: message.into(),
    }
}

/// Collects every string of a document, keys included.
fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                found.push(name);
                strings(member, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn has_condition_key(statement: &Statement, key: &str) -> bool {
    statement.conditions.iter().any(|condition| condition.key == key)
}

/// Validates a submitted body. Publicity is checked separately, because it depends on the bucket. Fails with the first
/// violation.
pub fn read_submission(body: &[u8]) -> Result<Document, PolicyRefusal> {
    if body.len() > LARGEST_DOCUMENT {
        return Err(refusal(
            "0030-00000001",
            "The bucket policy is larger than 16 KB.",
        ));
    }
    let text =
        std::str::from_utf8(body).map_err(|_| refusal("0030-00000004", "The bucket policy is not UTF-8."))?;
    let value: Value = serde_json::from_str(text)
        .map_err(|_| refusal("0030-00000005", "The bucket policy is not a valid JSON document."))?;
    let document = Document::from_value(&value).map_err(|message| refusal("0030-00000005", message))?;
    match value.get("Version") {
        Some(Value::String(version)) if version == "1" => {}
        Some(Value::String(_)) | None => return Err(refusal("0030-00000002", "Version must be \"1\".")),
        Some(_) => return Err(refusal("0030-00000005", "Version must be the string \"1\".")),
    }
    let mut texts = Vec::new();
    strings(&value, &mut texts);
    if texts.iter().any(|text| text.len() > LONGEST_VALUE) {
        return Err(refusal(
            "0030-00000003",
            "A field of the bucket policy is longer than 4095 bytes.",
        ));
    }
    if texts.iter().any(|text| text.contains("**")) {
        return Err(refusal(
            "0030-00000007",
            "A field of the bucket policy has consecutive asterisks.",
        ));
    }
    let unpaired = |statement: &Statement| {
        has_condition_key(statement, "acs:SourceIp") && !has_condition_key(statement, "acs:SourceVpc")
    };
    if document.statements.iter().any(unpaired) {
        let message =
            "A condition on acs:SourceIp needs one on acs:SourceVpc in the same statement.".to_owned();
        return Err(PolicyRefusal { ec: None, message });
    }
    Ok(document)
}
