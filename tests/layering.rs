//! Allowed dependencies between modules and files, and the limit of a file's size, checked against the source files.

#[cfg(test)]
mod layering {
    mod files;

    use std::path::{Path, PathBuf};

    /// Folder or file of `src`, the modules that it may use, and texts that it must not contain.
    const RULES: &[(&str, &[&str], &[&str])] = &[
        ("api", &["api"], &["tokio", "reqwest", "async fn"]),
        (
            "core",
            &["api", "core"],
            &[
                "tokio",
                "reqwest",
                "tracing",
                "kube::",
                "async fn",
                "std::env",
                "SystemTime",
                "Timestamp::now",
                "HashMap",
                "HashSet",
            ],
        ),
        ("ports.rs", &["api", "core"], &["tokio", "reqwest", "kube::"]),
        (
            "cloud",
            &["api", "core", "ports", "cloud"],
            &["kube::", "tracing"],
        ),
        (
            "runtime",
            &["api", "core", "ports", "runtime"],
            &["reqwest", "hmac", "kube::", "std::env"],
        ),
        (
            "kubernetes",
            &["api", "core", "ports", "kubernetes"],
            &["reqwest", "hmac", "std::env"],
        ),
        (
            "controller",
            &["api", "core", "ports", "runtime", "controller"],
            &["reqwest", "hmac", "std::env"],
        ),
        (
            "app",
            &[
                "api",
                "core",
                "ports",
                "runtime",
                "cloud",
                "kubernetes",
                "controller",
                "app",
            ],
            &["reqwest", "hmac", "std::env"],
        ),
        (
            "cli",
            &[
                "api",
                "core",
                "ports",
                "runtime",
                "cloud",
                "kubernetes",
                "app",
                "cli",
            ],
            &["reqwest"],
        ),
    ];
    /// Dependencies allowed for one file only: the watches feed the queues, so what they decode is used there.
    const EXCEPTIONS: &[(&str, &str)] = &[("controller/watched_object.rs", "kubernetes")];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
    }

    fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("tools") {
                rust_files(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    /// Returns the modules that a file names after `crate::`, including its own tests.
    fn named(text: &str) -> Vec<String> {
        text.split("crate::")
            .skip(1)
            .map(first_word)
            .filter(|w| !w.is_empty())
            .collect()
    }

    /// Returns the word at the start of a text.
    fn first_word(text: &str) -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    }

    fn without_comments(text: &str) -> String {
        text.lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn modules_use_only_what_their_rule_allows() {
        let source = root().join("src");
        let mut files = Vec::new();
        rust_files(&source, &mut files);
        let mut checked = 0;
        for file in files {
            let place = file.strip_prefix(&source).unwrap().display().to_string();
            let Some((_, may, must_not)) = RULES
                .iter()
                .find(|(name, ..)| place.split('/').next() == Some(*name))
            else {
                assert!(
                    ["lib.rs", "main.rs"].contains(&place.as_str()),
                    "{place} has no rule: add one"
                );
                continue;
            };
            checked += 1;
            let text = without_comments(&std::fs::read_to_string(&file).unwrap());
            for module in named(&text) {
                let excepted = EXCEPTIONS.contains(&(place.as_str(), module.as_str()));
                assert!(
                    excepted || may.contains(&module.as_str()),
                    "{place} must not use {module}"
                );
            }
            let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for word in *must_not {
                assert!(!production.contains(word), "{place} must not contain {word}");
            }
        }
        assert!(checked > 25, "only {checked} files were checked");
    }

    /// Calls that fetch credentials, and the places that may contain them: the ports and what implements them, the cache
    /// that only `credential_gate.rs` uses, and the command `plan`, which uses the credentials of who runs it.
    const FETCHES: &[(&str, &[&str])] = &[
        (
            "read_secret(",
            &["ports.rs", "app", "kubernetes", "controller/credential_cache.rs"],
        ),
        (
            "request_token(",
            &["ports.rs", "app", "kubernetes", "controller/credential_cache.rs"],
        ),
        (
            "operator_keys(",
            &["ports.rs", "app", "controller/credential_cache.rs"],
        ),
        (
            "assume_role(",
            &["ports.rs", "app", "cloud", "controller/credential_cache.rs"],
        ),
        (
            "assume_role_with_oidc(",
            &["ports.rs", "app", "cloud", "controller/credential_cache.rs"],
        ),
        (
            "fetch_checked(",
            &["controller/credential_gate.rs", "controller/credential_cache.rs"],
        ),
        (
            "AccessKeys {",
            &["core/identity.rs", "app", "kubernetes", "cloud", "cli"],
        ),
    ];

    #[test]
    fn only_the_gate_fetches_credentials() {
        let source = root().join("src");
        let mut files = Vec::new();
        rust_files(&source, &mut files);
        let mut found = 0;
        // Files of tests are named `tests`, and a module of tests ends a file.
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            let place = file.strip_prefix(&source).unwrap().display().to_string();
            let text = without_comments(&std::fs::read_to_string(file).unwrap());
            // Calls that are split over lines are found too.
            let text: String = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace(" .", ".");
            for (call, places) in FETCHES {
                if text.contains(call) {
                    found += 1;
                    let may = places
                        .iter()
                        .any(|may| place == *may || place.starts_with(&format!("{may}/")));
                    assert!(
                        may,
                        "{place} contains `{call}`: fetch credentials with credentials_for of credential_gate.rs"
                    );
                }
            }
        }
        assert!(found > 10, "only {found} calls were found");
    }

    #[test]
    fn no_file_has_more_than_400_lines() {
        let mut files = Vec::new();
        rust_files(&root().join("src"), &mut files);
        rust_files(&root().join("tests"), &mut files);
        assert!(files.len() > 60, "only {} files were found", files.len());
        let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
        let long: Vec<_> = files
            .iter()
            .map(|f| (lines(f), f))
            .filter(|(n, _)| *n > 400)
            .collect();
        assert!(
            long.is_empty(),
            "files with more than 400 lines, split them: {long:#?}"
        );
    }
}
