//! The page of annotations, labels and finalizers, generated from the constants in the source that hold their names.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{cell, head};
use crate::error::{HarnessError, Result};

/// Returns the page from all source files below a folder.
pub fn page(folder: &Path) -> Result<String> {
    let mut found = Vec::new();
    for path in sources(folder)? {
        let source = std::fs::read_to_string(&path)
            .map_err(HarnessError::io(format!("reading {}", path.display())))?;
        found.extend(names_of(&source));
    }
    found.sort();
    if found.is_empty() {
        return Err(HarnessError::Surprise(
            "no name of an annotation was found".to_owned(),
        ));
    }
    let mut page = head("Annotations and labels", "the constants in `src`");
    page.push_str("\n| name | meaning |\n|---|---|\n");
    for (name, meaning) in found {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}` | {} |", cell(&meaning));
    }
    page.push_str(
        "\nHow to use them: [trigger a reconcile](../concepts/grants.md#drift), [orphan the statements of a \
         grant](../concepts/grants.md#deleting), [score again after a restore](../concepts/jobs.md#after-a-crash), [list the reports of \
         a job](../concepts/jobs.md#results).\n",
    );
    Ok(page)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = || HarnessError::io(format!("reading {}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(doing())? {
        let path = entry.map_err(doing())?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Returns name and comment of each constant whose value begins with the API group.
fn names_of(source: &str) -> Vec<(String, String)> {
    let (mut comment, mut found) = (Vec::<&str>::new(), Vec::new());
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
            continue;
        }
        let value = line
            .split_once(": &str = \"immops.dev/")
            .filter(|(start, _)| start.contains("const "))
            .and_then(|(_, rest)| rest.split_once('"'));
        if let Some((name, _)) = value {
            found.push((format!("immops.dev/{name}"), comment.join(" ")));
        }
        comment.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_comment_above_it() {
        let source = "/// Group.\npub const GROUP: &str = \"immops.dev\";\n/// Label\n/// of a thing.\nconst A: &str = \"immops.dev/a\";\nlet x: &str = \"immops.dev/x\";\n";
        let wanted = ("immops.dev/a".to_owned(), "Label of a thing.".to_owned());
        assert_eq!(names_of(source), [wanted]);
    }
}
