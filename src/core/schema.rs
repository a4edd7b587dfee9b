//! Checks a value against the schema of a CRD, as the API server does before it stores an object: unknown fields, types,
//! limits, listed values, patterns and rules. Rules that compare with the object from before are left out.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::{Map, Value};

use crate::core::text::counted;

use self::metadata::unknown_field;

mod metadata;
mod rules;

/// Prepares a value as the API server does, and checks it: a null counts as absent, an absent member has its default, and
/// a number without a fraction is an integer.
///
/// # Errors
/// Returns the message about the first field that is wrong, starting with its path.
pub fn check(value: &mut Value, schema: &JSONSchemaProps, path: &str) -> Result<(), String> {
    if schema.x_kubernetes_int_or_string == Some(true) {
        make_integer(value);
        let number = value.is_i64() || value.is_u64();
        let fits = schema.max_length.is_none_or(|most| length(value) <= most);
        return match (number || value.is_string(), number || fits) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("{path} is too long")),
            (false, _) => Err(format!("{path} must be an integer or a string")),
        };
    }
    match schema.type_.as_deref() {
        Some("object") => check_object(value, schema, path)?,
        Some("array") => check_array(value, schema, path)?,
        Some("string") => check_string(value, schema, path)?,
        Some("boolean") if !value.is_boolean() => {
            return Err(format!("{path} must be true or false, without quotes"));
        }
        Some("integer") => check_integer(value, schema, path)?,
        _ => {}
    }
    check_rules(value, schema, path)
}

fn check_rules(value: &Value, schema: &JSONSchemaProps, path: &str) -> Result<(), String> {
    let all = schema.x_kubernetes_validations.iter().flatten();
    if let Some(broken) = all
        .clone()
        .find(|rule| rules::holds(&rule.rule, value) == Some(false))
    {
        let place = broken.field_path.as_deref().unwrap_or_default();
        let message = broken.message.as_deref().unwrap_or(&broken.rule);
        return Err(said(&format!("{path}{place}"), message));
    }
    let (Some(pattern), Some(text)) = (&schema.pattern, value.as_str()) else {
        return Ok(());
    };
    if rules::matches(pattern, text) != Some(false) {
        return Ok(());
    }
    // The last rule of a field with a pattern has the message about it.
    let message = all.last().and_then(|rule| rule.message.clone());
    Err(said(
        path,
        &message.unwrap_or_else(|| format!("must match {pattern}")),
    ))
}

fn said(path: &str, message: &str) -> String {
    let separator = if message.starts_with("must ") { " " } else { ": " };
    format!("{path}{separator}{message}")
}

fn check_object(value: &mut Value, schema: &JSONSchemaProps, path: &str) -> Result<(), String> {
    let Value::Object(members) = value else {
        return Err(format!("{path} must have fields of its own"));
    };
    let Some(properties) = &schema.properties else {
        members.retain(|_, member| !member.is_null());
        return Ok(());
    };
    if let Some(unknown) = members.keys().find(|name| !properties.contains_key(*name)) {
        return Err(unknown_field(&format!("{path}.{unknown}")));
    }
    members.retain(|_, member| !member.is_null());
    for (name, property) in properties {
        if let Some(default) = &property.default
            && !members.contains_key(name)
        {
            members.insert(name.clone(), default.0.clone());
        }
    }
    for (name, member) in members.iter_mut() {
        if let Some(known) = properties.get(name) {
            check(member, known, &format!("{path}.{name}"))?;
        }
    }
    let missing = schema
        .required
        .iter()
        .flatten()
        .find(|name| !members.contains_key(*name));
    missing.map_or(Ok(()), |name| Err(format!("{path}.{name} is required")))
}

fn check_array(value: &mut Value, schema: &JSONSchemaProps, path: &str) -> Result<(), String> {
    let Value::Array(items) = value else {
        return Err(format!("{path} must be a list"));
    };
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    check_size(path, count, (schema.min_items, schema.max_items), "item")?;
    if let Some(JSONSchemaPropsOrArray::Schema(of_items)) = &schema.items {
        for (index, item) in items.iter_mut().enumerate() {
            check(item, of_items, &format!("{path}[{index}]"))?;
        }
    }
    let set = schema.x_kubernetes_list_type.as_deref() == Some("set");
    let doubled = items
        .iter()
        .enumerate()
        .find(|(index, item)| set && items.iter().take(*index).any(|i| i == *item));
    doubled.map_or(Ok(()), |(index, _)| {
        Err(format!("{path}[{index}] is in the list twice"))
    })
}

fn check_string(value: &Value, schema: &JSONSchemaProps, path: &str) -> Result<(), String> {
    if value.is_number() || value.is_boolean() {
        return Err(format!("{path} must be a string: put the value in quotes"));
    }
    let Value::String(text) = value else {
        return Err(format!("{path} must be a string"));
    };
    if let Some(listed) = &schema.enum_
        && !listed.iter().any(|one| one.0 == *value)
    {
        let names: Vec<&str> = listed.iter().filter_map(|one| one.0.as_str()).collect();
        return Err(format!(
            "{path} is {text:?}, and must be one of {}",
            names.join(", ")
        ));
    }
    check_size(
        path,
        length(value),
        (schema.min_length, schema.max_length),
        "character",
    )
}

fn check_size(
    path: &str,
    size: i64,
    (least, most): (Option<i64>, Option<i64>),
    unit: &str,
) -> Result<(), String> {
    let (too_large, too_small) = (
        most.filter(|most| size > *most),
        least.filter(|least| size < *least),
    );
    match (too_large, too_small) {
        (Some(most), _) => Err(format!("{path} must have at most {}", counted(most, unit))),
        (None, Some(least)) => Err(format!("{path} must have at least {}", counted(least, unit))),
        (None, None) => Ok(()),
    }
}

fn check_integer(value: &mut Value, schema: &JSONSchemaProps, path: &str) -> Result<(), String> {
    make_integer(value);
    let Some(number) = value.as_i64() else {
        return Err(format!("{path} must be an integer, without quotes"));
    };
    // The limits in the schemas are far below the integers that a float cannot represent.
    let limit = |limit: Option<f64>| limit.and_then(whole);
    if limit(schema.minimum).is_some_and(|least| number < least)
        || limit(schema.maximum).is_some_and(|most| number > most)
    {
        let shown = |limit: Option<f64>| limit.map_or_else(String::new, |limit| limit.to_string());
        return Err(format!(
            "{path} is {number}, and must be from {} to {}",
            shown(schema.minimum),
            shown(schema.maximum)
        ));
    }
    Ok(())
}

fn length(value: &Value) -> i64 {
    let count = value.as_str().map_or(0, |text| text.chars().count());
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Replaces a number without a fraction, such as 6e+02, by the integer.
fn make_integer(value: &mut Value) {
    if !value.is_i64()
        && let Some(number) = value.as_f64().and_then(whole)
    {
        *value = number.into();
    }
}

/// Returns the integer that a float stands for; `None` if it has a fraction or is too large.
fn whole(number: f64) -> Option<i64> {
    // The text of a float without a fraction has only digits.
    (number.abs() < 1e15 && number.fract() == 0.0).then(|| format!("{number:.0}").parse().ok())?
}

/// Checks the members of an object besides its spec, as strict decoding does.
///
/// # Errors
/// Returns the message about the first member that is wrong.
pub fn check_envelope(object: &Map<String, Value>, api_version: &str) -> Result<(), String> {
    let given = object
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if given != api_version {
        return Err(format!("apiVersion is {given:?}, and must be {api_version}"));
    }
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    if let Some(name) = object.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(unknown_field(name));
    }
    metadata::check_metadata(object.get("metadata").unwrap_or(&Value::Null))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_without_a_fraction_is_an_integer() {
        for (number, expected) in [
            (600.0, Some(600)),
            (-2.0, Some(-2)),
            (0.5, None),
            (1e300, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(whole(number), expected, "{number}");
        }
    }

    #[test]
    fn a_message_names_the_field_and_the_fix() {
        let schema: JSONSchemaProps = serde_json::from_value(json!({
            "type": "object",
            "required": ["uid"],
            "properties": {
                "uid": {"type": "string", "maxLength": 5},
                "mode": {"type": "string", "enum": ["A", "B"]},
                "seconds": {"type": "integer", "minimum": 60.0, "maximum": 90.0},
                "on": {"type": "boolean"},
                "names": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "most": {"x-kubernetes-int-or-string": true, "maxLength": 4},
            },
        }))
        .unwrap();
        for (value, expected) in [
            (json!({"uid": "1"}), ""),
            (json!({"uid": "1", "mode": null, "seconds": 6e1, "most": 1}), ""),
            (json!({"uid": "1", "most": "10%"}), ""),
            (
                json!({"uid": 12345}),
                "s.uid must be a string: put the value in quotes",
            ),
            (json!({"uid": null}), "s.uid is required"),
            (json!({"uid": "123456"}), "s.uid must have at most 5 characters"),
            (
                json!({"uid": "1", "mod": "A"}),
                "s.mod is not a field of this kind",
            ),
            (
                json!({"uid": "1", "mod": null}),
                "s.mod is not a field of this kind",
            ),
            (json!({"uid": "1", "mode": "C"}), "must be one of A, B"),
            (json!({"uid": "1", "seconds": 59}), "must be from 60 to 90"),
            (
                json!({"uid": "1", "seconds": "60"}),
                "s.seconds must be an integer",
            ),
            (
                json!({"uid": "1", "seconds": 60.5}),
                "s.seconds must be an integer",
            ),
            (json!({"uid": "1", "on": "true"}), "s.on must be true or false"),
            (json!({"uid": "1", "names": "a"}), "s.names must be a list"),
            (
                json!({"uid": "1", "names": ["a", "a"]}),
                "s.names[1] is in the list twice",
            ),
            (
                json!({"uid": "1", "names": [null]}),
                "s.names[0] must be a string",
            ),
            (
                json!({"uid": "1", "most": 1.5}),
                "s.most must be an integer or a string",
            ),
            (json!({"uid": "1", "most": "1000%"}), "s.most is too long"),
            (json!([]), "s must have fields"),
        ] {
            let mut given = value.clone();
            let said = check(&mut given, &schema, "s").err().unwrap_or_default();
            assert!(
                said.contains(expected) && said.is_empty() == expected.is_empty(),
                "{value}: {said}"
            );
        }
    }
}
