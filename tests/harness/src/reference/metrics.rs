//! The page of the metrics, generated from their registration in the source: a series with labels appears only with its first
//! event, so a registry that is rendered at the start does not list all of them.

use std::fmt::Write as _;

use super::{cell, head};
use crate::error::{HarnessError, Result};

/// Returns the page from the text of the module that registers the metrics. Fails if a registration has an unexpected form.
pub fn page(source: &str) -> Result<String> {
    let mut page = head("Metrics", "`src/runtime/metrics.rs`");
    page.push_str(
        "\nEvery name begins with `immops_`. A series with labels appears with its first event. Values of the labels and how to use the \
         series: [Monitoring](../operate/monitor.md#metrics).\n\n| series | type | labels | meaning |\n|---|---|---|---|\n",
    );
    let mut found = 0;
    for registration in source.split("registry.register(").skip(1) {
        let unexpected =
            || HarnessError::Surprise(format!("a registration has another form: {registration:.60}"));
        let mut texts = registration.split('"');
        let (name, help) = (texts.nth(1), texts.nth(1));
        let (Some(name), Some(help)) = (name, help) else {
            return Err(unexpected());
        };
        let field = registration
            .split_once("metrics.")
            .and_then(|(_, rest)| rest.split_once(".clone()"))
            .map(|(field, _)| field)
            .ok_or_else(unexpected)?;
        let declared = declaration(source, field).ok_or_else(unexpected)?;
        let (kind, suffix) = kind_of(declared).ok_or_else(unexpected)?;
        let labels = labels_of(source, declared);
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `immops_{name}{suffix}` | {kind} | {labels} | {} |",
            cell(help)
        );
        found += 1;
    }
    if found == 0 {
        return Err(HarnessError::Surprise("no metric is registered".to_owned()));
    }
    Ok(page)
}

/// Returns the type of a field of the struct `Metrics`.
fn declaration<'a>(source: &'a str, field: &str) -> Option<&'a str> {
    let (_, fields) = source.split_once("pub struct Metrics {")?;
    let (fields, _) = fields.split_once("\n}")?;
    let start = format!("    {field}: ");
    fields.lines().find_map(|line| line.strip_prefix(start.as_str()))
}

/// Returns the type of a metric, and the suffix that OpenMetrics adds to its name.
fn kind_of(declared: &str) -> Option<(&'static str, &'static str)> {
    let kinds = [
        ("Counter", "counter", "_total"),
        ("Histogram", "histogram", ""),
        ("Gauge", "gauge", ""),
    ];
    let found = kinds.iter().find(|(name, ..)| declared.contains(name));
    found.map(|(_, kind, suffix)| (*kind, *suffix))
}

/// Returns the labels of a family, which are the fields of its struct.
fn labels_of(source: &str, declared: &str) -> String {
    let name = declared
        .split_once("Family<")
        .and_then(|(_, rest)| rest.split_once(','));
    let fields = name.and_then(|(name, _)| {
        let (_, fields) = source.split_once(&format!("struct {name} {{"))?;
        fields.split_once('}').map(|(fields, _)| fields)
    });
    let names = fields
        .into_iter()
        .flat_map(str::lines)
        .filter_map(|line| line.trim().split_once(':'));
    let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
struct KindLabels {
    kind: &'static str,
    reason: &'static str,
}

pub struct Metrics {
    registry: Registry,
    calls: Family<KindLabels, Counter>,
    leader: Gauge,
}

        registry.register("calls", "Calls", metrics.calls.clone());
        registry.register(
            "leader",
            "1 in the leader",
            metrics.leader.clone(),
        );
"#;

    #[test]
    fn a_counter_has_its_suffix_and_its_labels() {
        let page = page(SOURCE).unwrap();
        assert!(
            page.contains("| `immops_calls_total` | counter | `kind`, `reason` | Calls |"),
            "{page}"
        );
        assert!(
            page.contains("| `immops_leader` | gauge |  | 1 in the leader |"),
            "{page}"
        );
    }

    #[test]
    fn a_registration_in_another_form_is_rejected() {
        assert!(super::page("").is_err());
        assert!(super::page("registry.register(NAME, HELP, x)").is_err());
        assert!(super::page(&SOURCE.replace("leader: Gauge", "leader: Other")).is_err());
    }
}
