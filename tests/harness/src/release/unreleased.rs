//! Sentences of the documentation that are true only while no version is released. A release fails while one of them
//! stands.

use std::fs;
use std::path::Path;

use tokio::process::Command;

use super::VERSION;
use crate::error::{HarnessError, Result};
use crate::plane::clients;

/// What such a sentence contains, in lower case. A sentence can go over several lines.
const PHRASES: [&str; 14] = [
    "no release yet",
    "no release exists",
    "released yet",
    "published yet",
    "none yet: no published",
    "no binary is published",
    "unpublished image",
    "until a version is released",
    "once a version is released",
    "the first release on",
    "with the first release",
    "还没有发布",
    "还没有公开",
    "还没有版本",
];

/// Returns the places in the pages of a repository that say that no version is released, as `PAGE:LINE: PHRASE`.
///
/// # Errors
/// The folder is no repository of git, or a page cannot be read.
pub async fn places(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root);
    let listed = clients::run(git, "git", &["ls-files", "*.md"], None).await?;
    let mut found = Vec::new();
    for name in listed.lines() {
        let path = root.join(name);
        // A page can be deleted and not committed yet.
        if path.is_file() {
            let text = fs::read_to_string(&path).map_err(HarnessError::io(format!("reading {name}")))?;
            found.extend(places_in(name, &text));
        }
    }
    Ok(found)
}

fn places_in(name: &str, page: &str) -> Vec<String> {
    let (mut text, mut starts) = (String::new(), Vec::new());
    for line in page.lines() {
        starts.push(text.len());
        text.push_str(
            &line
                .trim_start_matches(['>', ' ', '#'])
                .trim_end()
                .to_ascii_lowercase(),
        );
        text.push(' ');
    }
    let own = [format!("to be {VERSION}"), format!("will be {VERSION}")];
    let phrases = PHRASES.into_iter().chain(own.iter().map(String::as_str));
    let mut found: Vec<(usize, &str)> = phrases
        .flat_map(|phrase| text.match_indices(phrase))
        .map(|(place, phrase)| (starts.partition_point(|start| *start <= place), phrase))
        .collect();
    found.sort_unstable();
    found.dedup_by_key(|(line, _)| *line);
    let place = |(line, phrase)| format!("{name}:{line}: {phrase}");
    found.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_found_on_its_line_also_if_it_goes_over_two() {
        let page = "# Install\n\nA release pushes the image. None is published yet: build it.\n\n> Not run, because no version\n> has been released yet.\n";
        assert_eq!(
            places_in("install.md", page),
            ["install.md:3: published yet", "install.md:6: released yet"]
        );
        assert_eq!(
            places_in("x.md", "No binary is published\nyet."),
            ["x.md:1: no binary is published"]
        );
        assert_eq!(
            places_in("x.md", "from the first\nrelease on"),
            ["x.md:1: the first release on"]
        );
        assert_eq!(
            places_in("x.md", "目前还没有公开的二进制文件。"),
            ["x.md:1: 还没有公开"]
        );
        let own = format!("To be {VERSION}, the first version.");
        assert_eq!(places_in("x.md", &own).len(), 1);
    }

    #[test]
    fn a_sentence_that_stays_true_is_not_found() {
        for page in [
            "A release pushes the image to the registry, which is not reached from here.",
            "events that were not published, because their object had ten events",
            "The default answers only after the project is published.",
        ] {
            assert_eq!(places_in("x.md", page), Vec::<String>::new());
        }
    }
}
