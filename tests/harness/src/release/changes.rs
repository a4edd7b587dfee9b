//! The annotations of Chart.yaml that a release writes: what Artifact Hub shows of the version and its changes, from
//! the section of the changelog, and the digest of the image.

use std::fmt::Write;

use crate::error::{HarnessError, Result};

/// The annotation, whose lines are those that follow with a deeper indentation.
const CHANGES: &str = "  artifacthub.io/changes: |";
/// The annotation that says whether the section has an entry below *Security*.
const SECURITY: &str = "  artifacthub.io/containsSecurityUpdates: ";
/// The annotation that says whether the version is a pre-release.
const PRERELEASE: &str = "  artifacthub.io/prerelease: ";
/// The annotation with the digest of the image, which the chart's templates read.
const DIGEST: &str = "  immops.dev/image-digest: ";

/// Returns a Chart.yaml with the annotations of a release: the entries of a section of the changelog, and what
/// follows from the version and from the digest of its image. Entries below another heading than those of Keep a
/// Changelog are left out, because Artifact Hub has no kind for them.
///
/// # Errors
/// The section has no entry, or Chart.yaml does not have each annotation once.
pub fn for_release(chart: &str, section: &str, version: &str, digest: &str) -> Result<String> {
    let changes = changes(section);
    if changes.is_empty() {
        let text = "the section of CHANGELOG.md has no list below Added, Changed, Deprecated, Removed, Fixed or Security";
        return Err(HarnessError::Surprise(text.to_owned()));
    }
    let security = changes.iter().any(|(kind, _)| *kind == "security");
    let texts = [
        (SECURITY, security.to_string()),
        (PRERELEASE, version.contains('-').to_string()),
        (DIGEST, digest.to_owned()),
    ];
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
        if let Some((start, value)) = texts.iter().find(|(start, _)| line.starts_with(start)) {
            places += 1;
            add(&format!("{start}\"{value}\""));
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
    if places == texts.len() + 1 {
        return Ok(text);
    }
    Err(HarnessError::Surprise(format!(
        "Chart.yaml needs the lines `{CHANGES}`, `{SECURITY}\"false\"`, `{PRERELEASE}\"true\"` and `{DIGEST}\"\"` once"
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

    const CHART: &str = "annotations:\n  artifacthub.io/prerelease: \"true\"\n  artifacthub.io/containsSecurityUpdates: \"false\"\n  \
                         immops.dev/image-digest: \"\"\n  artifacthub.io/changes: |\n    - kind: added\n      description: Old\n  \
                         artifacthub.io/links: |\n    - name: x\n";

    fn with_changes(chart: &str, section: &str) -> Result<String> {
        for_release(chart, section, "0.1.0", "sha256:ab")
    }

    #[test]
    fn the_entries_of_the_section_replace_those_of_the_chart() {
        let section = "### Added\n\n- `A`: keeps [what \"it\"](docs/a.md) is\n  given. More.\n\n  Below.\n\n### Security\n\n- A hole.\n\n### What you must know\n\n- Nothing.\n";
        let chart = with_changes(CHART, section).unwrap();
        assert_eq!(
            chart,
            "annotations:\n  artifacthub.io/prerelease: \"false\"\n  artifacthub.io/containsSecurityUpdates: \"true\"\n  \
             immops.dev/image-digest: \"sha256:ab\"\n  artifacthub.io/changes: |\n    - kind: added\n      \
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
    fn only_a_version_with_a_name_after_the_numbers_is_a_pre_release() {
        for (version, pre) in [("0.2.0-rc.1", true), ("0.2.0", false), ("1.0.0-alpha", true)] {
            let chart = for_release(CHART, "### Fixed\n\n- A fault.\n", version, "sha256:ab").unwrap();
            assert!(
                chart.contains(&format!("{PRERELEASE}\"{pre}\"\n")),
                "{version}: {chart}"
            );
        }
    }

    #[test]
    fn a_section_without_an_entry_and_a_chart_without_the_place_are_refused() {
        assert!(with_changes(CHART, "### Notes\n\n- Nothing.\n").is_err());
        for start in [CHANGES, SECURITY, PRERELEASE, DIGEST] {
            let without = CHART.replace(start, "  other: ");
            assert!(
                with_changes(&without, "### Fixed\n\n- A fault.\n").is_err(),
                "{start}"
            );
        }
    }
}
