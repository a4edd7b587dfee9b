//! The page of a kind, generated from its CRD: columns, fields with types, defaults and descriptions, and rules.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that is indexed with an absent name is null"
)]

use std::fmt::Write as _;

use serde_json::Value;

use super::{cell, head};
use crate::error::{HarnessError, Result};

/// Returns name of the file and text of the page of a CRD.
pub fn page(definition: &str) -> Result<(String, String)> {
    let definition: Value = serde_saphyr::from_str(definition)
        .map_err(|error| HarnessError::Surprise(format!("a CRD is no YAML: {error}")))?;
    let spec = &definition["spec"];
    let version = &spec["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let name = |path: &str| spec["names"][path].as_str().unwrap_or_default();
    let (kind, short) = (
        name("kind"),
        spec["names"]["shortNames"][0].as_str().unwrap_or_default(),
    );
    if kind.is_empty() || !schema["properties"].is_object() {
        return Err(HarnessError::Surprise(
            "a CRD has no kind or no schema".to_owned(),
        ));
    }
    let mut page = head(kind, "the CRD");
    let group = spec["group"].as_str().unwrap_or_default();
    let api = version["name"].as_str().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "\n{}\n\n`apiVersion: {group}/{api}`, `kind: {kind}`, short name `{short}`.\n",
        schema["description"].as_str().unwrap_or_default()
    );
    columns(version, &mut page);
    for (part, schema) in schema["properties"].as_object().into_iter().flatten() {
        if ["apiVersion", "kind", "metadata"].contains(&part.as_str()) {
            continue;
        }
        let mut rows = Vec::new();
        let mut rules = Vec::new();
        walk("", schema, &mut rows, &mut rules);
        let _ = write!(page, "\n## {part}\n\n{}\n", description(schema));
        if !rows.is_empty() {
            let _ = write!(
                page,
                "\n| field | type | default | description |\n|---|---|---|---|\n{}",
                rows.concat()
            );
        }
        if !rules.is_empty() {
            let _ = write!(
                page,
                "\n### Rules of {part}\n\nThe API server rejects a violation with the message.\n\n"
            );
            let _ = write!(page, "| field | message |\n|---|---|\n{}", rules.concat());
        }
    }
    Ok((short.to_owned(), page))
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn columns(version: &Value, page: &mut String) {
    page.push_str("\n## Columns\n\n| column | shown | meaning |\n|---|---|---|\n");
    for column in version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let wide = column["priority"].as_i64().unwrap_or_default() > 0;
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            column["name"].as_str().unwrap_or_default().to_uppercase(),
            if wide { "`-o wide`" } else { "always" },
            cell(column["description"].as_str().unwrap_or_default())
        );
    }
}

/// Adds a row for each field of an object, and for each rule of it and of its fields.
fn walk(path: &str, schema: &Value, rows: &mut Vec<String>, rules: &mut Vec<String>) {
    let shown = if path.is_empty() {
        "(the whole object)"
    } else {
        path
    };
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let field = rule["fieldPath"].as_str().map(|field| format!("{path}{field}"));
        let field = field.as_deref().unwrap_or(shown).trim_start_matches('.');
        let message = rule["message"].as_str().unwrap_or_default();
        rules.push(format!("| `{field}` | {} |\n", cell(message)));
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            default @ (Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => format!("`{}`", cell(&default.to_string())),
        };
        rows.push(format!(
            "| `{path}` | {} | {default} | {} |\n",
            type_of(field),
            cell(description(field))
        ));
        walk(&path, field, rows, rules);
        if field["items"].is_object() {
            walk(&format!("{path}[]"), &field["items"], rows, rules);
        }
    }
}

/// Returns the type of a field in words.
fn type_of(schema: &Value) -> String {
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<String> = choices
            .iter()
            .filter_map(Value::as_str)
            .map(|choice| format!("`{choice}`"))
            .collect();
        return format!("one of {}", choices.join(", "));
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    if schema["type"] == "array" {
        return format!("list of {}", type_of(&schema["items"]));
    }
    let name = schema["format"].as_str().filter(|format| *format == "date-time");
    let name = name
        .or_else(|| schema["type"].as_str())
        .unwrap_or("any")
        .to_owned();
    let bound = |key: &str| schema[key].as_i64();
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{name}, {least} to {most}"),
        (Some(least), None) => format!("{name}, at least {least}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = r#"
spec:
  group: example.com
  names: {kind: Thing, shortNames: [th]}
  versions:
    - name: v1
      additionalPrinterColumns:
        - {name: Ready, description: Whether it is ready}
        - {name: Size, description: Its size, priority: 1}
      schema:
        openAPIV3Schema:
          description: A thing.
          properties:
            metadata: {type: object}
            spec:
              description: What is wanted.
              required: [name]
              properties:
                name: {type: string, description: "A name, for example a|b."}
                mode: {enum: [A, B], default: A, description: How.}
                parts:
                  type: array
                  description: Parts.
                  items:
                    type: object
                    x-kubernetes-validations: [{message: no part twice, rule: "true"}]
                    properties:
                      size: {type: integer, minimum: 1, maximum: 9, description: A size.}
"#;

    #[test]
    fn fields_have_their_types_defaults_and_rules() {
        let (file, page) = page(DEFINITION).unwrap();
        assert_eq!(file, "th");
        for line in [
            "| READY | always | Whether it is ready |",
            "| SIZE | `-o wide` | Its size |",
            "| `name` | string | required | A name, for example a\\|b. |",
            "| `mode` | one of `A`, `B` | `\"A\"` | How. |",
            "| `parts[].size` | integer, 1 to 9 |  | A size. |",
            "| `parts[]` | no part twice |",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert!(!page.contains("metadata"), "{page}");
    }

    #[test]
    fn a_document_that_is_no_crd_is_rejected() {
        assert!(super::page("a: b").is_err());
        assert!(super::page("{").is_err());
    }
}
