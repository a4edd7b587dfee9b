//! Every value is described, has a schema, and is set by `ci/everything-values.yaml`.

use std::collections::BTreeSet;

use imm_harness::chart_files::described_values;
use serde_json::Value;

use super::chart;

fn read(name: &str) -> String {
    std::fs::read_to_string(chart().join(name)).unwrap()
}

fn parsed(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap()
}

/// Returns the paths of all values; what is in a free map is no value of the chart.
fn paths(values: &Value, path: &str, described: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    for (name, value) in values.as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        found.insert(path.clone());
        if described
            .iter()
            .any(|other| other.starts_with(&format!("{path}.")))
        {
            paths(value, &path, described, found);
        }
    }
}

fn described() -> BTreeSet<String> {
    described_values(&read("values.yaml"))
        .into_iter()
        .map(|value| value.path)
        .collect()
}

#[test]
fn every_value_is_described_and_its_schema_says_the_same() {
    let described = described();
    let mut all = BTreeSet::new();
    paths(&parsed("values.yaml"), "", &described, &mut all);
    assert_eq!(all, described, "values without a description, or the reverse");
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    for value in described_values(&read("values.yaml")) {
        let pointer = format!("/properties/{}", value.path.replace('.', "/properties/"));
        let found = schema.pointer(&pointer).map(|value| &value["description"]);
        assert_eq!(found, Some(&Value::from(value.description)), "{pointer}");
    }
    assert!(
        described.len() > 120,
        "only {} values were found",
        described.len()
    );
}

/// Calls `judge` with every schema of an object.
fn walk(path: &str, schema: &Value, judge: &mut impl FnMut(&str, &Value)) {
    match schema {
        Value::Object(members) => {
            let kind = &schema["type"];
            let object =
                kind == "object" || kind.as_array().is_some_and(|all| all.contains(&"object".into()));
            // A reference is judged where it leads.
            let refers = members.contains_key("$ref");
            if object && !refers && !path.ends_with("/if") && !path.ends_with("/then") {
                judge(path, schema);
            }
            for (name, member) in members {
                walk(&format!("{path}/{name}"), member, judge);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(path, item, judge)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_schema_is_strict_at_every_level() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let (mut objects, mut open) = (0, BTreeSet::new());
    walk("", &schema, &mut |path, schema| {
        objects += 1;
        let more = schema.get("additionalProperties");
        // A map accepts any key, and its values have a schema.
        if more.is_none() || more == Some(&Value::from(true)) {
            open.insert(path.to_owned());
        }
    });
    // Values for other charts, and objects of any kind.
    let expected = ["/properties/extraObjects/items/anyOf", "/properties/global"];
    assert_eq!(open, expected.map(ToOwned::to_owned).into());
    assert!(objects > 80, "only {objects} schemas of objects");
}

/// Helm prints the pattern that a value does not match.
#[test]
fn no_pattern_of_the_schema_is_too_long_for_a_message() {
    fn patterns<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(members) => {
                found.extend(members.get("pattern").and_then(Value::as_str));
                members.values().for_each(|member| patterns(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| patterns(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut found = Vec::new();
    patterns(&schema, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for pattern in found {
        assert!(pattern.len() < 200, "{pattern}");
    }
}

#[test]
fn one_set_of_values_sets_every_value() {
    let described = described();
    let (mut all, mut set) = (BTreeSet::new(), BTreeSet::new());
    paths(&parsed("values.yaml"), "", &described, &mut all);
    paths(&parsed("ci/everything-values.yaml"), "", &described, &mut set);
    assert_eq!(set, all);
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let rule = "/properties/tenancy/properties/rules/items/properties";
    let fields: BTreeSet<&String> = schema
        .pointer(rule)
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .collect();
    let values = parsed("ci/everything-values.yaml");
    let rule = values["tenancy"]["rules"][0].as_object().unwrap();
    assert_eq!(rule.keys().collect::<BTreeSet<_>>(), fields);
}

#[test]
fn every_template_starts_with_the_defaults() {
    let mut folders = vec![chart().join("templates")];
    let mut checked = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind != "tpl") {
                let text = std::fs::read_to_string(&path).unwrap();
                let first = text.lines().find(|line| !line.contains("/*")).unwrap();
                assert!(first.contains("imm-operator.prepare"), "{}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "only {checked} templates were found");
}
