//! What Artifact Hub shows of the changes of a version: an annotation of Chart.yaml, from the section of the changelog.

use std::fmt::Write;

use crate::error::{HarnessError, Result};

/// The annotation, whose lines are those that follow with a deeper indentation.
const CHANGES: &str = "  artifacthub.io/changes: |";
/// The annotation that says whether the section has an entry below *Security*.
const SECURITY: &str = "  artifacthub.io/containsSecurityUpdates: ";

/// Returns a Chart.yaml with the entries of a section of the changelog. Entries below another heading than those of
/// Keep a Changelog are left out, because Artifact Hub has no kind for them.
///
/// # Errors
/// The section has no entry, or Chart.yaml does not have both annotations.
pub fn with_changes(chart: &str, section: &str) -> Result<String> {
    let changes = changes(section);
    if changes.is_empty() {
        let text = "the section of CHANGELOG.md has no list below Added, Changed, Deprecated, Removed, Fixed or Security";
        return Err(HarnessError::Surprise(text.to_owned()));
    }
    let security = changes.iter().any(|(kind, _)| *kind == "security");
    let (mut text, mut places, mut replaced) = (String::new(), 0, false);
    for line in chart.lines() {
        replaced &= line.starts_with("    ");
        if replaced {
            continue;
        }
        let mut add = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        if line.starts_with(SECURITY) {
            places += 1;
            add(&format!("{SECURITY}\"{security}\""));
        } else {
            add(line);
        }
        if line == CHANGES {
            places += 1;
            replaced = true;
            for (kind, description) in &changes {
                // A text of JSON is one of YAML.
                let description = serde_json::Value::from(description.as_str());
                let _ = writeln!(text, "    - kind: {kind}\n      description: {description}");
            }
        }
    }
    if places == 2 {
        return Ok(text);
    }
    Err(HarnessError::Surprise(format!(
        "Chart.yaml needs the lines `{CHANGES}` and `{SECURITY}\"false\"` once"
    )))
}

/// Returns kind and first sentence of each entry.
fn changes(section: &str) -> Vec<(&'static str, String)> {
    let (mut kind, mut entries) = (None, Vec::new());
    let mut open = false;
    for line in section.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            kind = kind_of(heading);
            open = false;
        } else if let Some((first, kind)) = line.strip_prefix("- ").zip(kind) {
            entries.push((kind, first.trim().to_owned()));
            open = true;
        } else if line.starts_with("  ") && open {
            if let Some((_, text)) = entries.last_mut() {
                text.push(' ');
                text.push_str(line.trim());
            }
        } else {
            open = false;
        }
    }
    for (_, text) in &mut entries {
        *text = first_sentence(&plain(text));
    }
    entries
}

fn kind_of(heading: &str) -> Option<&'static str> {
    let kinds = ["added", "changed", "deprecated", "removed", "fixed", "security"];
    kinds
        .into_iter()
        .find(|kind| heading.trim().eq_ignore_ascii_case(kind))
}

/// Returns a text without the marks of Markdown: code, and links.
fn plain(text: &str) -> String {
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(')').unwrap_or(("", part));
        plain.push_str(rest);
    }
    plain.replace(['`', '['], "")
}

fn first_sentence(text: &str) -> String {
    let (first, _) = text.split_once(". ").unwrap_or((text, ""));
    first.trim_end_matches(['.', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: &str = "annotations:\n  artifacthub.io/containsSecurityUpdates: \"false\"\n  artifacthub.io/changes: |\n    - kind: added\n      description: Old\n  artifacthub.io/links: |\n    - name: x\n";

    #[test]
    fn the_entries_of_the_section_replace_those_of_the_chart() {
        let section = "### Added\n\n- `A`: keeps [what \"it\"](docs/a.md) is\n  given. More.\n\n  Below.\n\n### Security\n\n- A hole.\n\n### What you must know\n\n- Nothing.\n";
        let chart = with_changes(CHART, section).unwrap();
        assert_eq!(
            chart,
            "annotations:\n  artifacthub.io/containsSecurityUpdates: \"true\"\n  artifacthub.io/changes: |\n    - kind: added\n      \
             description: \"A: keeps what \\\"it\\\" is given\"\n    - kind: security\n      description: \"A hole\"\n  \
             artifacthub.io/links: |\n    - name: x\n"
        );
        let without = with_changes(&chart, "### Fixed\n\n- A fault.\n").unwrap();
        assert!(
            without.contains("Updates: \"false\"") && without.contains("- kind: fixed"),
            "{without}"
        );
    }

    #[test]
    fn a_section_without_an_entry_and_a_chart_without_the_place_are_refused() {
        assert!(with_changes(CHART, "### Notes\n\n- Nothing.\n").is_err());
        assert!(with_changes("annotations: {}\n", "### Fixed\n\n- A fault.\n").is_err());
    }
}
