//! docs/src/project/chart-checks.md and the tests agree: every check has a row with tests that exist and have its
//! number, and every test with the number of a check is in its row.

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

/// Returns the numbers with which the name of a test starts: `check_19_21_x` is a test of two checks.
fn numbers(name: &str) -> Vec<u32> {
    let rest = name.strip_prefix("check_").unwrap_or_default();
    rest.split('_').map_while(|part| part.parse().ok()).collect()
}

#[test]
fn the_page_and_the_tests_agree() {
    let mut found = BTreeSet::new();
    tests(&checkout().join("tests"), &mut found);
    let rows = rows();
    let all: Vec<u32> = rows.keys().copied().collect();
    assert_eq!(all, (1..=25).collect::<Vec<_>>());
    let named: usize = rows.values().map(Vec::len).sum();
    assert!(named > 30, "only {named} tests are named");
    for (number, names) in &rows {
        assert!(!names.is_empty(), "check {number} has no test");
        for name in names {
            assert!(found.contains(name), "check {number}: no test {name}");
            let own = numbers(name).contains(number);
            assert!(own, "{name} is in the row of check {number}");
        }
    }
    for name in &found {
        for number in numbers(name) {
            let listed = rows.get(&number).is_some_and(|row| row.contains(name));
            assert!(listed, "{name} is not in the row of check {number}");
        }
    }
}
