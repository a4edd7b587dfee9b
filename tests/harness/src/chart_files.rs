//! Generated files of the chart: the defaults that its templates use for values that are null or missing, and the
//! table of values in its README. Both are derived from values.yaml.

use std::fmt::Write as _;

use crate::error::{HarnessError, Result};

const DEFAULTS_HEAD: &str = "{{- /* Generated from values.yaml by `make generate`: change that. */}}
{{- define \"imm-operator.defaults\" -}}
";
const TABLE_START: &str = "<!-- Generated from values.yaml by `make generate`: change that. -->\n";
const TABLE_END: &str = "<!-- End of the generated table. -->\n";

/// One value of values.yaml that has a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedValue {
    /// The path, with dots.
    pub path: String,
    /// The description: the comment above it that starts with `# -- `.
    pub description: String,
    /// The default as it is written, empty for a block.
    pub default: String,
}

/// Returns the values with a description, in their order.
pub fn described_values(values: &str) -> Vec<DescribedValue> {
    let (mut path, mut description, mut found) = (Vec::<&str>::new(), String::new(), Vec::new());
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(start) = text.strip_prefix("# -- ") {
            start.clone_into(&mut description);
            continue;
        }
        if let Some(more) = text.strip_prefix("# ").filter(|_| !description.is_empty()) {
            description = format!("{description} {more}");
            continue;
        }
        if let Some((name, default)) = text.split_once(':').filter(|_| !description.is_empty()) {
            path.truncate((line.len() - text.len()) / 2);
            path.push(name);
            found.push(DescribedValue {
                path: path.join("."),
                description: std::mem::take(&mut description),
                default: default.trim().to_owned(),
            });
        }
        description.clear();
    }
    found
}

/// Returns the template with the defaults: values.yaml without its comments.
pub(crate) fn defaults_template(values: &str) -> String {
    let lines = values
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let body: Vec<&str> = lines.collect();
    format!("{DEFAULTS_HEAD}{}\n{{{{- end }}}}\n", body.join("\n"))
}

/// Returns the README with its table of values replaced.
pub(crate) fn readme(old: &str, values: &str) -> Result<String> {
    let parts = old.split_once(TABLE_START).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(TABLE_END)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or_else(|| {
        HarnessError::Surprise("the README of the chart has no marks for the table of values".to_owned())
    })?;
    let table = described_table(values);
    Ok(format!("{before}{TABLE_START}{table}{TABLE_END}{after}"))
}

/// Returns the table of the values with a description.
pub(crate) fn described_table(values: &str) -> String {
    let described = described_values(values);
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for (index, value) in described.iter().enumerate() {
        let block = format!("{}.", value.path);
        let is_block = value.default.is_empty();
        // The members of a block with descriptions say more than the block itself.
        let default = if !is_block {
            format!("`{}`", value.default)
        } else if described
            .get(index + 1)
            .is_some_and(|next| next.path.starts_with(&block))
        {
            String::new()
        } else {
            "see `values.yaml`".to_owned()
        };
        let meaning = value.description.replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{}` | {default} | {meaning} |", value.path);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = "# A comment.\n\n# -- A block.\nfirst:\n  # -- A member,\n  # described twice.\n  second: \"\"\n# -- Free.\nthird:\n  a: b\nfourth: 1\n";

    #[test]
    fn only_values_with_a_description_are_listed() {
        let paths: Vec<String> = described_values(VALUES).into_iter().map(|v| v.path).collect();
        assert_eq!(paths, ["first", "first.second", "third"]);
        assert_eq!(
            described_values(VALUES)[1].description,
            "A member, described twice."
        );
    }

    #[test]
    fn the_defaults_are_the_values_without_comments() {
        let text = defaults_template(VALUES);
        assert!(
            text.contains("first:\n  second: \"\"\nthird:\n  a: b\nfourth: 1\n{{- end }}"),
            "{text}"
        );
    }

    #[test]
    fn the_table_replaces_what_is_between_its_marks() {
        let old = format!("before\n{TABLE_START}old\n{TABLE_END}after\n");
        let new = readme(&old, VALUES).unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("after\n"), "{new}");
        assert!(
            !new.contains("old\n")
                && new.contains("| `first.second` | `\"\"` | A member, described twice. |"),
            "{new}"
        );
        assert!(readme("nothing", VALUES).is_err());
    }
}
