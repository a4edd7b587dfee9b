//! Text files of a release: the notes, and the manifest of the kubectl plugin.

use crate::error::{HarnessError, Result};

/// Returns the section of a version in the changelog, without its heading. With `or_unreleased`, the section of unreleased
/// changes is used if the version has none.
///
/// # Errors
/// There is no such section, or it is empty.
pub fn section(changelog: &str, version: &str, or_unreleased: bool) -> Result<String> {
    let find = |name: &str| {
        let start = format!("## [{name}]");
        let mut lines = changelog.lines().skip_while(|line| !line.starts_with(&start));
        lines.next()?;
        // Links of Markdown are listed at the end of the file.
        let ours = lines.take_while(|line| !line.starts_with("## ") && !is_link(line));
        let text = ours.collect::<Vec<_>>().join("\n");
        let text = text.trim();
        (!text.is_empty()).then(|| format!("{text}\n"))
    };
    let found = find(version).or_else(|| or_unreleased.then(|| find("Unreleased")).flatten());
    found.ok_or_else(|| {
        HarnessError::Surprise(format!(
            "CHANGELOG.md has no text below `## [{version}]`: write what changed before you release"
        ))
    })
}

/// Returns whether a line defines a link, for example `[0.1.0]: https://…`.
fn is_link(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// Fills version and checksum into the manifest of the kubectl plugin.
///
/// # Errors
/// The checksum is not SHA-256, or the manifest does not have both places.
pub fn filled(manifest: &str, version: &str, sha256: &str) -> Result<String> {
    let digest = sha256.len() == 64 && sha256.chars().all(|c| c.is_ascii_hexdigit());
    let places = manifest.contains("{{VERSION}}") && manifest.contains("{{SHA256}}");
    let text = manifest
        .replace("{{VERSION}}", version)
        .replace("{{SHA256}}", sha256);
    if digest && places && !text.contains("{{") {
        return Ok(text);
    }
    Err(HarnessError::Surprise(
        "the krew manifest needs {{VERSION}} and {{SHA256}} and nothing else to fill in, and a SHA-256 checksum"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog

## [Unreleased]

### Added

- Something new.

## [0.2.0] - 2026-11-20

### Fixed

- A fault.

## [0.1.0] - 2026-10-01

First version.

[0.2.0]: https://example.com/0.2.0
";

    #[test]
    fn notes_are_the_section_of_the_version_and_nothing_else() {
        let notes = |version: &str| section(CHANGELOG, version, false);
        assert_eq!(notes("0.2.0").unwrap(), "### Fixed\n\n- A fault.\n");
        assert_eq!(notes("0.1.0").unwrap(), "First version.\n");
        assert!(notes("0.3.0").is_err());
        assert!(notes("0.2").is_err());
    }

    #[test]
    fn only_a_dry_run_takes_unreleased_changes() {
        let notes = section(CHANGELOG, "0.3.0", true).unwrap();
        assert_eq!(notes, "### Added\n\n- Something new.\n");
        assert_eq!(section(CHANGELOG, "0.1.0", true).unwrap(), "First version.\n");
        assert!(section("## [Unreleased]\n\n## [0.1.0]\n", "0.1.0", true).is_err());
    }

    #[test]
    fn a_manifest_is_filled_completely_or_not_at_all() {
        let sum = "a".repeat(64);
        let manifest = "version: v{{VERSION}}\nsha256: {{SHA256}}\n";
        assert_eq!(
            filled(manifest, "0.1.0", &sum).unwrap(),
            format!("version: v0.1.0\nsha256: {sum}\n")
        );
        assert!(filled(manifest, "0.1.0", "abc").is_err());
        assert!(filled("version: {{VERSION}}", "0.1.0", &sum).is_err());
        assert!(filled(&format!("{manifest}{{{{MORE}}}}"), "0.1.0", &sum).is_err());
    }
}
