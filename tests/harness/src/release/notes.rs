//! Text files of a release: the notes, and the manifest of the kubectl plugin.

use super::REPOSITORY;
use crate::error::{HarnessError, Result};

/// Returns the section of a version in the changelog, without its heading. With `or_unreleased`, the section of
/// unreleased changes is used if the version has none.
///
/// # Errors
/// There is no such section, or it is empty. Or, without `or_unreleased`, there are unreleased changes too: the notes
/// would lack them.
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
    if !or_unreleased && find("Unreleased").is_some() {
        let text = format!(
            "CHANGELOG.md has text below `## [Unreleased]`: move it below `## [{version}]` before you release"
        );
        return Err(HarnessError::Surprise(text));
    }
    let found = find(version).or_else(|| or_unreleased.then(|| find("Unreleased")).flatten());
    found.ok_or_else(|| {
        HarnessError::Surprise(format!(
            "CHANGELOG.md has no text below `## [{version}]`: write what changed before you release"
        ))
    })
}

/// Returns a text of the repository with links that work outside it: those to files and headings get the address of
/// the version.
pub fn with_absolute_links(text: &str, version: &str) -> String {
    let base = format!("{REPOSITORY}/blob/v{version}/");
    let mut parts = text.split("](");
    let mut absolute = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        absolute.push_str("](");
        let target = part.split(')').next().unwrap_or_default();
        if target.starts_with('#') {
            absolute.push_str(&base);
            absolute.push_str("CHANGELOG.md");
        } else if !target.contains("://") && !target.starts_with("mailto:") {
            absolute.push_str(&base);
        }
        absolute.push_str(part);
    }
    absolute
}

/// Returns notes that end with the compilers.
pub fn with_build(notes: &str, compilers: &str) -> String {
    format!(
        "{notes}\n### Build\n\n{compilers} [Verify a release](docs/src/project/verify.md) says how to build \
         the same files.\n"
    )
}

/// Returns a manifest with the digest of the image in place of its tag.
///
/// # Errors
/// The manifest does not name the image with this tag.
pub fn pinned(manifest: &str, image: &str, version: &str, digest: &str) -> Result<String> {
    let named = format!("image: \"{image}:{version}\"");
    if !manifest.contains(&named) {
        return Err(HarnessError::Surprise(format!(
            "install.yaml has no line `{named}`"
        )));
    }
    Ok(manifest.replace(&named, &format!("image: \"{image}@{digest}\"")))
}

/// Returns whether a line defines a link, for example `[0.1.0]: https://…`.
fn is_link(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// Fills the version, and the checksum of each architecture, into the manifest of the kubectl plugin. The place of a
/// checksum is, for example, `{{SHA256_AMD64}}`.
///
/// # Errors
/// A checksum is not SHA-256, or the manifest does not have exactly these places.
pub fn filled(manifest: &str, version: &str, archives: &[(&str, String)]) -> Result<String> {
    let mut places = vec![("{{VERSION}}".to_owned(), version)];
    let mut right = true;
    for (architecture, sha256) in archives {
        right &= sha256.len() == 64 && sha256.chars().all(|c| c.is_ascii_hexdigit());
        let place = format!("{{{{SHA256_{}}}}}", architecture.to_uppercase());
        places.push((place, sha256));
    }
    let mut text = manifest.to_owned();
    for (place, value) in places {
        right &= text.contains(&place);
        text = text.replace(&place, value);
    }
    if right && !text.contains("{{") {
        return Ok(text);
    }
    Err(HarnessError::Surprise(
        "the krew manifest needs {{VERSION}}, {{SHA256_AMD64}} and {{SHA256_ARM64}} and nothing else to fill in, and \
         SHA-256 checksums"
            .to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog

## [Unreleased]

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
        let heading = "## [Unreleased]\n";
        let more = CHANGELOG.replace(heading, &format!("{heading}\n### Added\n\n- Something new.\n"));
        let notes = section(&more, "0.3.0", true).unwrap();
        assert_eq!(notes, "### Added\n\n- Something new.\n");
        assert_eq!(section(&more, "0.1.0", true).unwrap(), "First version.\n");
        // The notes of a release would lack them.
        let refused = section(&more, "0.2.0", false).unwrap_err().to_string();
        assert!(refused.contains("below `## [Unreleased]`"), "{refused}");
        assert!(section("## [Unreleased]\n\n## [0.1.0]\n", "0.1.0", true).is_err());
    }

    #[test]
    fn links_of_the_notes_work_outside_the_repository() {
        let text = "[a](docs/a.md#b), [c](#d), [e](https://example.com/f) and `g`](h";
        let base = format!("{REPOSITORY}/blob/v0.2.0");
        assert_eq!(
            with_absolute_links(text, "0.2.0"),
            format!(
                "[a]({base}/docs/a.md#b), [c]({base}/CHANGELOG.md#d), [e](https://example.com/f) and `g`]({base}/h"
            )
        );
        assert_eq!(with_absolute_links("none", "0.2.0"), "none");
    }

    #[test]
    fn the_manifest_of_a_release_names_the_image_by_its_digest() {
        let manifest = "          image: \"example.com/a:0.1.0\"\n          imagePullPolicy: IfNotPresent\n";
        assert_eq!(
            pinned(manifest, "example.com/a", "0.1.0", "sha256:ab").unwrap(),
            "          image: \"example.com/a@sha256:ab\"\n          imagePullPolicy: IfNotPresent\n"
        );
        assert!(pinned(manifest, "example.com/a", "0.2.0", "sha256:ab").is_err());
    }

    #[test]
    fn a_manifest_is_filled_completely_or_not_at_all() {
        let sums = |amd64: &str| [("amd64", amd64.to_owned()), ("arm64", "b".repeat(64))];
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let manifest = "version: v{{VERSION}}\nsha256: {{SHA256_AMD64}}\nsha256: {{SHA256_ARM64}}\n";
        assert_eq!(
            filled(manifest, "0.1.0", &sums(&one)).unwrap(),
            format!("version: v0.1.0\nsha256: {one}\nsha256: {two}\n")
        );
        assert!(filled(manifest, "0.1.0", &sums("abc")).is_err());
        assert!(filled("version: {{VERSION}}", "0.1.0", &sums(&one)).is_err());
        assert!(filled(&format!("{manifest}{{{{MORE}}}}"), "0.1.0", &sums(&one)).is_err());
    }
}
