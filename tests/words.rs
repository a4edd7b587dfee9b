//! The project speaks the field's language: retired words do not come back, neither as names nor in prose.

#[cfg(test)]
mod words {
    use std::path::{Path, PathBuf};

    /// Words that no identifier contains, as one of the words that it is made of.
    const NAMES: &[&str] = &["passenger", "lane", "told", "seat", "facet", "word", "quarrel"];
    /// Runs of words that no identifier contains.
    const RUNS: &[&[&str]] = &[&["put", "in", "word"], &["letting", "go"]];
    /// Phrases that no text contains, whatever its case and its line breaks.
    const PROSE: &[&str] = &[
        "aboard",
        "quarrel",
        "quarrels",
        "anew",
        "by and by",
        "at a stretch",
        "wished",
        "ever more seldom",
        "nobody must act",
        "a person must act",
        "go on",
        "goes on",
        "going on",
        "all the same",
        "without end",
        "takeover",
        "whoever",
        "lets go",
        "taken out",
    ];
    /// Phrases of the code that nothing contains that users read.
    const INTERNAL: &[&str] = &["foreign", "ledger", "ledgers", "lane", "lanes"];
    const USERS_READ: &[&str] = &[
        "docs/",
        "charts/",
        "crds/",
        "deploy/",
        "README.md",
        "CHANGELOG.md",
        "SUPPORT.md",
    ];
    const PLACES: &[&str] = &[
        "src",
        "tests",
        "docs",
        "charts",
        "crds",
        "deploy",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "DEVELOPMENT.md",
        "SECURITY.md",
        "SUPPORT.md",
    ];
    /// This list itself.
    const EXEMPT: &[&str] = &["tests/words.rs"];

    fn find(path: &Path, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if !["target", "node_modules"].contains(&name.as_str()) && !name.starts_with('.') {
                    find(&path, found);
                }
            }
        } else if path.extension().is_none_or(|kind| kind != "sum") {
            found.push(path.to_owned());
        }
    }

    /// Returns name and text of every text file of the project that the rules cover.
    fn texts() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for place in PLACES {
            find(&root.join(place), &mut files);
        }
        let text = |path: PathBuf| {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let text = std::fs::read_to_string(&path).ok()?;
            (!EXEMPT.contains(&name.as_str())).then_some((name, text))
        };
        files.into_iter().filter_map(text).collect()
    }

    /// Splits an identifier into its words, in lower case and without a plural s.
    fn words_of(identifier: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut lower = false;
        for c in identifier.chars() {
            if c == '_' || (c.is_uppercase() && lower) {
                words.push(String::new());
            }
            lower = c.is_lowercase();
            if c != '_' {
                words.last_mut().unwrap().extend(c.to_lowercase());
            }
        }
        let singular = |word: String| word.strip_suffix('s').map(str::to_owned).unwrap_or(word);
        words.into_iter().map(singular).collect()
    }

    /// Removes comments and the content of string literals from Rust source, roughly: enough for names.
    fn code(source: &str) -> String {
        let lines = source.lines().map(|line| {
            let line = line.split("//").next().unwrap_or_default();
            line.split('"').step_by(2).collect::<Vec<_>>().join(" ")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn retired_name(identifier: &str) -> bool {
        let words = words_of(identifier);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // `word` stands for text in many places; retired is the plural that named a module and its type.
        let plural = |name: &str| name != "word" || identifier == "words" || identifier == "Words";
        NAMES.iter().any(|name| words.contains(name) && plural(name))
            || RUNS
                .iter()
                .any(|run| words.windows(run.len()).any(|window| window == *run))
    }

    #[test]
    fn no_identifier_contains_a_retired_word() {
        let mut checked = 0;
        for (name, text) in texts() {
            if Path::new(&name).extension().is_none_or(|kind| kind != "rs") {
                continue;
            }
            for identifier in code(&text).split(|c: char| !c.is_alphanumeric() && c != '_') {
                checked += 1;
                assert!(!retired_name(identifier), "{name}: {identifier}");
            }
        }
        assert!(checked > 100_000, "only {checked} words were checked");
    }

    /// Nouns that messages count.
    const COUNTED: &[&str] = &[
        "calls",
        "characters",
        "copies",
        "failures",
        "fields",
        "grants",
        "images",
        "items",
        "jobs",
        "members",
        "objects",
        "permissions",
        "reports",
        "requests",
        "results",
        "scores",
        "statements",
    ];
    /// Messages in which the number is never 1.
    const NEVER_ONE: &[&str] = &[
        "The source holds at least {} items",
        "The first {refused} calls were refused",
        "{} requests per second, {} at a time",
        "{per_second} items/s",
    ];

    /// Returns the nouns in the plural that follow a number in a text with placeholders.
    fn plurals(line: &str) -> Vec<&str> {
        let after = line.split("} ").skip(1);
        let noun = after.filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next());
        noun.filter(|noun| COUNTED.contains(noun)).collect()
    }

    #[test]
    fn no_message_puts_a_number_that_can_be_one_before_a_plural() {
        assert_eq!(plurals(r#"format!("{kept} of {total} items kept")"#), ["items"]);
        assert_eq!(plurals(r#"format!("Restored {statements} in {}", x)"#), [""; 0]);
        let (mut checked, mut faults) = (0, Vec::new());
        let covered = |name: &str| name.starts_with("src/") || name.ends_with("/alerts.yaml");
        for (name, text) in texts().into_iter().filter(|(name, _)| covered(name)) {
            checked += 1;
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let lines = lines.filter(|line| !NEVER_ONE.iter().any(|known| line.contains(known)));
            let plural = lines.filter(|line| !plurals(line).is_empty());
            faults.extend(plural.map(|line| format!("{name}: {}", line.trim())));
        }
        assert!(checked > 100, "only {checked} files were checked");
        assert!(faults.is_empty(), "use counted(): {faults:#?}");
    }

    #[test]
    fn no_text_contains_a_retired_phrase() {
        let (mut checked, mut faults) = (0, Vec::new());
        for (name, text) in texts() {
            checked += 1;
            let words = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty());
            let flat = words.map(str::to_lowercase).collect::<Vec<_>>().join(" ");
            let flat = format!(" {flat} ");
            // The page of guarantees contains names of tests.
            let read = USERS_READ.iter().any(|place| name.starts_with(place));
            let internal = read && name != "docs/src/reference/guarantees.md";
            let phrases = PROSE.iter().chain(INTERNAL.iter().filter(|_| internal));
            let retired = phrases.filter(|phrase| flat.contains(&format!(" {phrase} ")));
            faults.extend(retired.map(|phrase| format!("{name}: {phrase}")));
        }
        assert!(checked > 250, "only {checked} files were checked");
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn retired_words_are_detected_in_any_form() {
        for retired in [
            "all_told",
            "Passenger",
            "BucketLanes",
            "put_in_words",
            "letting_go",
            "words",
        ] {
            assert!(retired_name(retired), "{retired}");
        }
        for usual in [
            "plane",
            "password",
            "keyword",
            "first_word",
            "put",
            "go",
            "planes",
        ] {
            assert!(!retired_name(usual), "{usual}");
        }
    }
}
