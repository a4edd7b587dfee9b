//! docs/src/project/chart-checks.md and the tests agree: every check has a row, every named test exists, and every test with
//! the number of a check is in its row.

#![expect(clippy::unwrap_used, reason = "a failing test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imm_harness::environment::checkout;

/// Returns the names of all functions below a folder that follow an attribute of a test, or that a list of tests names.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let mut attribute = false;
            for line in source.lines().map(str::trim) {
                if line.starts_with("together ") || line.starts_with("apart ") || line.starts_with("alone ") {
                    let name = line.trim_end_matches(',').rsplit("::").next().unwrap();
                    found.insert(name.to_owned());
                }
                if let (true, Some((_, rest))) = (attribute, line.split_once("fn ")) {
                    found.insert(rest.split('(').next().unwrap().to_owned());
                }
                attribute = line == "#[test]" || line.starts_with("#[tokio::test");
            }
        }
    }
}

/// Returns the tests in each row.
fn rows() -> BTreeMap<u32, Vec<String>> {
    let page = std::fs::read_to_string(checkout().join("docs/src/project/chart-checks.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" |").collect();
        let number = cells.first()?.trim().parse().ok()?;
        let named = cells.get(2)?.split('`').skip(1).step_by(2);
        Some((number, named.map(str::to_owned).collect()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn the_page_and_the_tests_agree() {
    let mut found = BTreeSet::new();
    tests(&checkout().join("tests"), &mut found);
    let rows = rows();
    let numbers: Vec<u32> = rows.keys().copied().collect();
    assert_eq!(numbers, (1..=25).collect::<Vec<_>>());
    let named: usize = rows.values().map(Vec::len).sum();
    assert!(named > 30, "only {named} tests are named");
    for (number, names) in &rows {
        for name in names {
            assert!(found.contains(name), "check {number}: no test {name}");
            let other = name
                .strip_prefix("check_")
                .is_some_and(|rest| !rest.starts_with(&format!("{number}_")));
            assert!(!other, "{name} is in the row of check {number}");
        }
    }
    for name in &found {
        let number = name
            .strip_prefix("check_")
            .and_then(|rest| rest.split('_').next()?.parse().ok());
        let listed = number.is_none_or(|number: u32| rows.get(&number).is_some_and(|row| row.contains(name)));
        assert!(listed, "{name} is not on the page");
    }
}
