//! The book: its table of contents lists every page once, and no link of a page leaves the book by a relative path.

use std::collections::BTreeSet;
use std::path::Path;

use super::{find_pages, links, read, root};

/// Folder of the pages.
const SOURCE: &str = "docs/src";

fn listed() -> Vec<String> {
    let summary = read(format!("{SOURCE}/SUMMARY.md"));
    links(&summary)
}

#[test]
fn the_table_of_contents_lists_every_page_once() {
    let listed = listed();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), unique.len(), "a page is listed twice");
    let mut found = Vec::new();
    find_pages(&root().join(SOURCE), &mut found);
    let pages: BTreeSet<String> = found
        .iter()
        .map(|page| {
            page.strip_prefix(root().join(SOURCE))
                .unwrap()
                .display()
                .to_string()
        })
        .filter(|page| page != "SUMMARY.md")
        .collect();
    assert_eq!(unique, pages);
}

#[test]
fn every_page_begins_with_its_title() {
    for page in listed() {
        let text = read(format!("{SOURCE}/{page}"));
        assert!(text.starts_with("# "), "{page} has no title");
        let code = text.matches("```").count();
        assert!(code % 2 == 0, "{page} has a code block that is not closed");
        assert!(text.lines().count() > 6, "{page} is nearly empty");
    }
}

/// mdBook copies only what is below its source folder, so a relative link to another folder would be broken on the site.
#[test]
fn no_relative_link_leaves_the_book() {
    let mut checked = 0;
    for page in listed() {
        let text = read(format!("{SOURCE}/{page}"));
        let depth = page.matches('/').count();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            checked += 1;
            let path = link.split('#').next().unwrap();
            let ups = Path::new(path)
                .components()
                .filter(|part| part.as_os_str() == "..");
            assert!(ups.count() <= depth, "{page}: {link} leaves the book");
        }
    }
    assert!(checked > 100, "only {checked} links were checked");
}

/// Returns the lines of a page that run the program, in order.
fn runs(page: &str) -> Vec<String> {
    let text = read(format!("{SOURCE}/{page}"));
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).map(str::trim);
    lines
        .filter(|line| {
            line.contains("imm-operator ") && !line.contains("helm ") && !line.contains("kubectl ")
        })
        .map(ToOwned::to_owned)
        .collect()
}

/// A reader of the translation, too, sees the plan before the operator writes a policy.
#[test]
fn the_translated_tutorial_runs_the_commands_of_the_tutorial() {
    let [tutorial, translated] = ["get-started/ack.md", "zh-CN/ack.md"].map(runs);
    assert!(tutorial.len() >= 4, "{tutorial:?}");
    assert_eq!(tutorial, translated);
    let page = read(format!("{SOURCE}/zh-CN/ack.md"));
    let place = |text: &str| page.find(text).unwrap();
    assert!(place("imm-operator plan -f grant.yaml --live") < place("kubectl apply -f grant.yaml"));
}

#[test]
fn the_ram_policies_are_those_of_the_files() {
    let page = read(format!("{SOURCE}/reference/ram-policies.md"));
    let mut checked = 0;
    for entry in std::fs::read_dir(root().join("deploy/ram")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "json") {
            checked += 1;
            let block = format!("```json\n{}\n```", read(&path).trim());
            assert!(page.contains(&block), "{} differs from the page", path.display());
        }
    }
    assert!(checked >= 5, "only {checked} policies were found");
}
