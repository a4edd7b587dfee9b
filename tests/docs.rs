//! The documentation matches the project: links, headings, make targets, flags, metrics, and examples that decode.

#[cfg(test)]
mod docs {
    mod blocks;
    mod book;
    mod commands;
    mod examples;
    mod reasons;
    mod samples;

    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use clap::CommandFactory;
    use imm_operator::api::{GrantWait, ImageScoreJob, ImmBucketGrant};
    use imm_operator::cli::Arguments;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
    }

    fn read(path: impl AsRef<Path>) -> String {
        let path = root().join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn find_pages(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str())
            {
                find_pages(&path, found);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }

    fn pages() -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        find_pages(&root(), &mut found);
        assert!(found.len() > 12, "only {} pages were found", found.len());
        found.into_iter().map(|p| (p.clone(), read(p))).collect()
    }

    /// Returns the text outside code: brackets in an example are no link, and a shell comment is no heading.
    fn prose(text: &str) -> String {
        let blocks = text.split("```").step_by(2).collect::<String>();
        blocks.split('`').step_by(2).collect()
    }

    fn links(text: &str) -> Vec<String> {
        let text = prose(text);
        let ends = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        ends.map(|(target, _)| target.to_owned()).collect()
    }

    /// Returns the anchors that GitHub makes of the headings.
    fn anchors(text: &str) -> BTreeSet<String> {
        let outside = text.split("```").step_by(2).collect::<String>();
        let headings = outside.lines().filter(|line| line.starts_with('#'));
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        headings
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .map(|line| line.chars().filter(kept).collect::<String>().replace(' ', "-"))
            .collect()
    }

    /// Address of a file in the repository, as the pages of the book write it.
    const REPOSITORY: &str = "https://github.com/imm-operator/imm-operator/blob/main/";

    #[test]
    fn every_link_has_a_target() {
        let mut checked = 0;
        for (page, text) in pages() {
            let ours = |link: &&String| !link.contains("://") || link.starts_with(REPOSITORY);
            for link in links(&text).iter().filter(ours) {
                checked += 1;
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() {
                    page.clone()
                } else if let Some(path) = file.strip_prefix(REPOSITORY) {
                    root().join(path)
                } else {
                    page.parent().unwrap().join(file)
                };
                assert!(
                    target.exists(),
                    "{}: the target of {link} does not exist",
                    page.display()
                );
                let known = anchor.is_empty() || anchors(&read(&target)).contains(anchor);
                assert!(known, "{}: the anchor of {link} does not exist", page.display());
            }
        }
        assert!(checked > 150, "only {checked} links were checked");
    }

    #[test]
    fn every_make_target_exists() {
        let makefile = read("Makefile");
        let targets: BTreeSet<&str> = makefile
            .lines()
            .filter(|l| !l.starts_with(['#', '.']))
            .filter_map(|l| l.split_once(": ;"))
            .map(|(name, _)| name)
            .collect();
        let word = |rest: &str| {
            rest.chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect::<String>()
        };
        let mut checked = 0;
        for (page, text) in pages() {
            for name in text.split("`make ").skip(1).map(word) {
                checked += 1;
                assert!(
                    targets.contains(name.as_str()),
                    "{}: no make target {name}",
                    page.display()
                );
            }
        }
        assert!(checked > 10, "only {checked} targets were checked");
    }

    #[test]
    fn the_table_of_flags_matches_the_program() {
        let page = read("docs/src/operate/configure.md");
        let listed: BTreeSet<String> = page
            .lines()
            .filter(|l| l.starts_with("| `--"))
            .filter_map(|l| l.split('`').nth(1))
            .map(ToOwned::to_owned)
            .collect();
        let program = Arguments::command();
        let run = program.find_subcommand("run").unwrap();
        let flags = run.get_arguments().filter(|a| a.get_env().is_some());
        let mut real = BTreeSet::new();
        for flag in flags {
            let name = format!("--{}", flag.get_long().unwrap());
            let variable = flag.get_env().unwrap().to_string_lossy().into_owned();
            let line = page
                .lines()
                .find(|l| l.starts_with(&format!("| `{name}`")))
                .unwrap_or_default();
            assert!(line.contains(&variable), "{name} is not listed with {variable}");
            for default in flag.get_default_values() {
                let default = default.to_string_lossy();
                assert!(
                    line.contains(&format!("`{default}`")),
                    "{name} is not listed with {default}"
                );
            }
            real.insert(name);
        }
        assert_eq!(listed, real);
        for command in program.get_subcommands() {
            let named = format!("`imm-operator {}`", command.get_name());
            assert!(page.contains(&named), "{named} is not on the page");
        }
    }

    #[test]
    fn the_table_of_metrics_matches_the_program() {
        let source = read("src/runtime/metrics.rs");
        let (_, table) = source.split_once("\nmetrics! {\n").unwrap();
        let (table, _) = table.split_once("\n}").unwrap();
        let real: BTreeSet<String> = table
            .lines()
            .filter_map(|row| row.split('"').nth(1))
            .map(|name| format!("immops_{name}"))
            .collect();
        let listed: BTreeSet<String> = read("docs/src/operate/monitor.md")
            .lines()
            .filter_map(|l| l.strip_prefix("| `immops_")?.split('`').next())
            .map(|name| format!("immops_{}", name.trim_end_matches("_total")))
            .collect();
        assert!(real.len() > 5, "only {} series were found", real.len());
        assert_eq!(listed, real);
    }

    #[test]
    fn the_first_example_equals_the_samples() {
        let page = read("README.md");
        let (_, rest) = page.split_once("```yaml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let (grant, job) = example.split_once("---\n").unwrap();
        let grant: ImmBucketGrant = serde_saphyr::from_str(grant).unwrap();
        let job: ImageScoreJob = serde_saphyr::from_str(job).unwrap();
        let sample: ImmBucketGrant = serde_saphyr::from_str(&read("deploy/samples/grant.yaml")).unwrap();
        assert_eq!(grant, sample);
        let mut sample: ImageScoreJob = serde_saphyr::from_str(&read("deploy/samples/job.yaml")).unwrap();
        sample.spec.grant_wait = GrantWait::default();
        assert_eq!(job, sample);
    }
}
