//! The expressions of the chart's alerts and dashboard, and the series that they select.

use std::path::Path;

use serde_json::Value;

pub fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap().to_owned()
}

pub fn source_alerts() -> Vec<Value> {
    let parsed: Value = serde_saphyr::from_str(&read("charts/imm-operator/files/alerts.yaml")).unwrap();
    parsed["alerts"].as_array().unwrap().clone()
}

pub fn dashboard() -> Value {
    serde_json::from_str(&read("charts/imm-operator/files/dashboard.json")).unwrap()
}

/// Returns each query of the dashboard with its panel.
pub fn targets() -> Vec<(Value, Value)> {
    let mut found = Vec::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((panel.clone(), target.clone()));
        }
    }
    found
}

/// Returns the expressions of alerts and dashboard, with a name for messages.
pub fn expressions() -> Vec<(String, String)> {
    let alerts = source_alerts();
    let mut found: Vec<_> = alerts
        .iter()
        .map(|alert| (text(alert, "alert"), text(alert, "expr")))
        .collect();
    let panels = targets().into_iter();
    found.extend(panels.map(|(panel, target)| (text(&panel, "title"), text(&target, "expr"))));
    let dashboard = dashboard();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            found.push((text(variable, "name"), query.to_owned()));
        }
    }
    assert!(found.len() > 40, "only {} expressions were found", found.len());
    found
}

/// Returns each series of an expression with its matchers: label, operator and value.
pub fn series(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let named = |prefix: &'static str| {
        let parts = expression.split(prefix).skip(1);
        parts.map(move |part| (prefix, part)).collect::<Vec<_>>()
    };
    for (prefix, part) in ["immops_", "process_", "up"].into_iter().flat_map(named) {
        // Other names have these letters too.
        if prefix == "up" && !part.starts_with('{') {
            continue;
        }
        let end = part
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let matchers = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
            .map(|(inner, _)| inner)
            .unwrap_or_default();
        let pairs = matchers.split(", ").filter_map(|matcher| {
            let (label, value) = matcher.split_at(matcher.find(['=', '!'])?);
            let value = value.trim_start_matches(['=', '!', '~']).trim_matches('"');
            Some((label.to_owned(), value.to_owned()))
        });
        found.push((format!("{prefix}{name}"), pairs.collect()));
    }
    found
}
