//! docs/src/reference/guarantees.md and the tests refer to each other: every promise has tests that exist and run,
//! and every number in a comment above a test is a promise of that page.

#[cfg(test)]
mod promises {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    /// Returns number, sentence and tests of every promise.
    fn lines() -> Vec<(String, String, Vec<String>)> {
        let page = read(&root().join("docs/src/reference/guarantees.md"));
        let promises = page.lines().filter_map(|line| line.strip_prefix("- "));
        promises
            .map(|line| {
                let (number, rest) = line
                    .strip_prefix("**")
                    .and_then(|rest| rest.split_once("** "))
                    .unwrap();
                let (sentence, tests) = rest.split_once(". `").unwrap();
                let tests = tests.trim_end_matches('`').split("` `");
                (
                    number.to_owned(),
                    sentence.to_owned(),
                    tests.map(str::to_owned).collect(),
                )
            })
            .collect()
    }

    /// Returns whether a word is the number of a promise.
    fn is_number(word: &str) -> bool {
        let digits = word.strip_prefix(['C', 'G', 'J', 'P', 'T']);
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// Returns whether a test named `program: module::name`, with any number of modules, exists and is run: it has the
    /// attribute `#[test]`, or the program's main file lists it.
    fn exists(test: &str) -> bool {
        let (program, path) = test.split_once(": ").unwrap();
        let (module, name) = path.rsplit_once("::").unwrap();
        let module = module.replace("::", "/");
        let folders = ["tests/cluster", "tests"].map(|folder| root().join(folder));
        let mut folders = folders.iter();
        let Some(folder) = folders.find(|folder| folder.join(format!("{program}.rs")).is_file()) else {
            return false;
        };
        let main = read(&folder.join(format!("{program}.rs")));
        let source = read(&folder.join(format!("{program}/{module}.rs")));
        let Some((before, _)) = source.split_once(&format!("fn {name}(")) else {
            return false;
        };
        let before = before.trim_end();
        let before = before.strip_suffix("async").unwrap_or(before).trim_end();
        let attribute = before.lines().next_back().unwrap_or_default().trim();
        let marked = attribute == "#[test]" || attribute.starts_with("#[tokio::test");
        marked
            || main
                .lines()
                .any(|line| line.trim().ends_with(&format!(" {path},")))
    }

    #[test]
    fn every_promise_has_tests_that_exist() {
        let lines = lines();
        assert!(lines.len() > 60, "only {} promises were found", lines.len());
        let mut seen = BTreeSet::new();
        for (number, sentence, tests) in lines {
            assert!(
                is_number(&number) && seen.insert(number.clone()),
                "{number} is malformed or duplicate"
            );
            assert!(
                sentence.len() > 20 && !sentence.contains("::"),
                "{number}: {sentence}"
            );
            for test in tests {
                assert!(exists(&test), "{number}: no test {test}");
            }
        }
    }

    #[test]
    fn every_number_above_a_test_is_promised() {
        let promised: BTreeSet<String> = lines().into_iter().map(|(number, ..)| number).collect();
        let mut checked = 0;
        for program in [
            "conclusions",
            "credentials",
            "grants",
            "hostile",
            "jobs",
            "leader",
            "platform",
            "scale",
            "tenancy",
            "upgrade",
        ] {
            for entry in std::fs::read_dir(root().join("tests/cluster").join(program)).unwrap() {
                let path = entry.unwrap().path();
                let source = read(&path);
                let comments = source.lines().filter_map(|line| line.strip_prefix("// "));
                // A promise that this version keeps only in part is not on the page.
                for comment in comments.filter(|comment| !comment.contains("as far as")) {
                    let numbers = comment.split([',', ':', ' ']).filter(|word| is_number(word));
                    for number in numbers {
                        checked += 1;
                        assert!(
                            promised.contains(number),
                            "{}: {number} is not promised",
                            path.display()
                        );
                    }
                }
            }
        }
        assert!(checked > 60, "only {checked} numbers were found");
    }

    #[test]
    fn a_missing_test_is_detected() {
        assert!(exists(
            "grants: merging::a_bucket_without_policy_gets_exactly_our_statements"
        ));
        assert!(exists(
            "crash: plans::a_crash_after_any_effect_changes_nothing_but_the_time_it_takes"
        ));
        assert!(!exists("grants: merging::a_bucket"));
        assert!(
            !exists("grants: crashes::owned_once_and_removed"),
            "a function, but not a test"
        );
    }
}
