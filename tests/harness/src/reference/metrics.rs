//! The page of the metrics, generated from their registration in the source: `immops_objects` has series only for objects
//! that exist, so a registry that is rendered at the start does not list all labels.

use std::fmt::Write as _;

use super::{cell, head};
use crate::error::{HarnessError, Result};

/// Returns the page from the texts of the modules that register the metrics of the operator and those of its process.
/// Fails if a registration has an unexpected form.
pub fn page(source: &str, process: &str) -> Result<String> {
    let mut page = head(
        "Metrics",
        "`src/runtime/metrics.rs` and `src/runtime/process_metrics.rs`",
    );
    page.push_str(
        "\nEvery name begins with `immops_`, except two about the process, which have the names that the clients of Prometheus \
         share. Every counter starts at 0. Values of the labels and how to use the series: \
         [Monitoring](../operate/monitor.md#metrics).\n\n| series | type | labels | meaning |\n|---|---|---|---|\n",
    );
    let unexpected = |row: &str| HarnessError::Surprise(format!("a metric has another form: {row:.60}"));
    let table = source
        .split_once("\nmetrics! {\n")
        .and_then(|(_, rest)| rest.split_once("\n}"));
    let (table, _) = table.ok_or_else(|| HarnessError::Surprise("no metric is registered".to_owned()))?;
    for row in table.lines() {
        let mut texts = row.split('"');
        let (Some(declared), Some(name), Some(help)) = (texts.next(), texts.next(), texts.nth(1)) else {
            return Err(unexpected(row));
        };
        let (kind, suffix) = kind_of(declared).ok_or_else(|| unexpected(row))?;
        let labels = labels_of(source, declared);
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `immops_{name}{suffix}` | {kind} | {labels} | {} |",
            cell(help)
        );
    }
    page.push_str(&process_rows(process)?);
    Ok(page)
}

/// Returns the rows of the metrics of the process, which are gauges without labels.
fn process_rows(source: &str) -> Result<String> {
    let (code, _) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
    let mut rows = String::new();
    let unexpected = |call: &str| HarnessError::Surprise(format!("a metric has another form: {call:.60}"));
    for call in code.split("registry.register(").skip(1) {
        let mut texts = call.split('"');
        let before = texts.next().map(str::trim);
        let (Some(""), Some(name), Some(help)) = (before, texts.next(), texts.nth(1)) else {
            return Err(unexpected(call));
        };
        // Writing to a String cannot fail.
        let _ = writeln!(rows, "| `{name}` | gauge |  | {} |", cell(help));
    }
    if rows.is_empty() {
        return Err(HarnessError::Surprise(
            "no metric of the process is registered".to_owned(),
        ));
    }
    Ok(rows)
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
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .filter_map(|line| line.trim_start_matches("pub ").split_once(':'));
    let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
struct KindLabels {
    /// The kind: a name.
    pub kind: &'static str,
    reason: &'static str,
}

metrics! {
    calls: Family<KindLabels, Counter>, "calls", "Calls";
    leader: Gauge, "leader", "1 in the leader";
}
"#;

    const PROCESS: &str = r#"
    registry.register("process_start", "Start", start.clone());
    registry.register(
        "process_memory",
        "Memory, in bytes",
        resident.clone(),
    );
#[cfg(test)]
registry.register(NAME);
"#;

    #[test]
    fn a_counter_has_its_suffix_and_its_labels() {
        let page = page(SOURCE, PROCESS).unwrap();
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
    fn the_metrics_of_the_process_have_no_prefix() {
        let page = page(SOURCE, PROCESS).unwrap();
        assert!(
            page.ends_with(
                "| `process_start` | gauge |  | Start |\n| `process_memory` | gauge |  | Memory, in bytes |\n"
            ),
            "{page}"
        );
    }

    #[test]
    fn a_registration_in_another_form_is_rejected() {
        let fails = |source: &str, process: &str| page(source, process).is_err();
        assert!(fails("", PROCESS));
        assert!(fails("\nmetrics! {\n    leader: Gauge, NAME;\n}", PROCESS));
        assert!(fails(&SOURCE.replace("leader: Gauge", "leader: Other"), PROCESS));
        assert!(fails(SOURCE, ""));
        assert!(fails(SOURCE, "registry.register(NAME, \"Start\", start);"));
        assert!(fails(SOURCE, "registry.register(NAME);"));
    }
}
