//! Commands of the book: every block names its language, every command of the operator parses, and each
//! block of commands is followed by what it prints, or by a sentence that it was not run.

use clap::CommandFactory;
use imm_operator::cli::Arguments;

use super::{find_pages, read, root};

const LANGUAGES: [&str; 8] = ["sh", "text", "json", "yaml", "hcl", "markdown", "md", "lua"];
const OUTPUT: [&str; 2] = ["text", "json"];
/// What a page says below a block that this project could not run.
const NOT_RUN: [&str; 4] = ["Not run here", "not run here", "Expected: `", "未在此运行"];

/// A fenced block with the text from its end to the next block or heading, and the language of that block.
struct Block {
    line: usize,
    language: String,
    lines: Vec<String>,
    below: String,
    next: String,
}

fn parse(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut inside, mut open) = (false, false);
    for (number, line) in page.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match fence {
            Some(_) if inside => inside = false,
            Some(language) => {
                if let Some(last) = blocks.last_mut().filter(|_| open) {
                    language.clone_into(&mut last.next);
                }
                (inside, open) = (true, true);
                blocks.push(Block {
                    line: number + 1,
                    language: language.to_owned(),
                    lines: Vec::new(),
                    below: String::new(),
                    next: String::new(),
                });
            }
            None if inside => blocks.last_mut().unwrap().lines.push(line.to_owned()),
            None if line.starts_with('#') => open = false,
            None if open => {
                let below = &mut blocks.last_mut().unwrap().below;
                below.push_str(line);
                below.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// Returns what is wrong with a block of commands whose output a page has to show.
fn fault(block: &Block) -> Option<String> {
    let prompt = |line: &String| line.trim_start().starts_with("$ ");
    if block.lines.iter().any(prompt) {
        return Some(format!("line {}: a prompt cannot be pasted", block.line));
    }
    let shown = OUTPUT.contains(&block.next.as_str());
    let said = NOT_RUN.iter().any(|phrase| block.below.contains(phrase));
    (!shown && !said).then(|| format!("line {}: neither output nor `Not run here`", block.line))
}

fn book(folder: &str) -> Vec<(String, Vec<Block>)> {
    let mut pages = Vec::new();
    find_pages(&root().join(folder), &mut pages);
    let named = |page: std::path::PathBuf| (page.display().to_string(), parse(&read(&page)));
    pages.into_iter().map(named).collect()
}

#[test]
fn every_block_names_its_language() {
    let mut checked = 0;
    for (page, blocks) in book("docs/src") {
        for block in blocks {
            checked += 1;
            let known = LANGUAGES.contains(&block.language.as_str());
            assert!(known, "{page}, line {}: {:?}", block.line, block.language);
        }
    }
    assert!(checked > 150, "only {checked} blocks");
}

#[test]
fn every_page_shows_what_each_command_prints() {
    let (mut checked, mut faults) = (0, Vec::new());
    for (page, blocks) in book("docs/src") {
        for block in blocks.iter().filter(|block| block.language == "sh") {
            checked += 1;
            faults.extend(fault(block).map(|fault| format!("{page}, {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 150, "only {checked} blocks of commands");
}

/// Returns the words of a command of the operator, up to a pipe, a redirection or a comment.
fn command_line(line: &str) -> Option<Vec<String>> {
    let ends = |word: &&str| !["|", "||", "&&", ">", ";", "#"].contains(word) && !word.starts_with('#');
    let parts = line.split_whitespace().skip_while(|word| word.contains('='));
    let parts: Vec<String> = parts
        .take_while(ends)
        .map(|word| word.trim_matches(['"', '\'', ';']).to_owned())
        .collect();
    (parts.first()? == "imm-operator").then_some(parts)
}

#[test]
fn every_command_of_the_operator_parses() {
    let (mut checked, mut faults) = (0, Vec::new());
    for (page, blocks) in book("docs/src") {
        for block in blocks.iter().filter(|block| block.language == "sh") {
            let text = block.lines.join("\n").replace("\\\n", " ");
            for parts in text.lines().filter_map(command_line) {
                checked += 1;
                if let Err(error) = Arguments::command().try_get_matches_from(&parts) {
                    faults.push(format!("{page}: {}: {error}", parts.join(" ")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 15, "only {checked} commands");
}

/// A cluster can have several releases: what reads or deletes the Pods of one must not meet those of another.
#[test]
fn commands_about_pods_select_those_of_one_release() {
    let (by_name, release) = (
        "app.kubernetes.io/name=imm-operator",
        "app.kubernetes.io/instance=",
    );
    let mut pages = Vec::new();
    find_pages(&root().join("docs/src"), &mut pages);
    let lines = |page: &std::path::PathBuf| read(page).lines().map(str::to_owned).collect::<Vec<_>>();
    let selecting: Vec<String> = pages
        .iter()
        .flat_map(lines)
        .filter(|line| line.contains(by_name))
        .collect();
    assert!(selecting.len() > 5, "{selecting:?}");
    for line in selecting {
        assert!(line.contains(release), "{line}");
    }
    for page in ["docs/src/operate/alerts.md", "docs/src/operate/emergencies.md"] {
        for line in lines(&page.into()) {
            let fixed = [
                "-n imm-system",
                "/imm-system/",
                "leases/imm-operator",
                ":imm-operator",
            ];
            let about_any_release = !fixed.iter().any(|text| line.contains(text));
            assert!(about_any_release, "{page}: use $ns and $name: {line}");
        }
    }
}

#[test]
fn a_block_without_output_is_detected() {
    let fault_of = |page: &str| fault(&parse(page)[0]).is_some();
    assert!(fault_of("```sh\nkubectl get ibg\n```\n\nLook at it.\n"));
    assert!(fault_of(
        "```sh\nkubectl get ibg\n```\n\n## Next\n\n```text\nNAME\n```\n"
    ));
    assert!(fault_of(
        "```sh\nmake\n```\n\n```yaml\na: b\n```\n\nNot run here.\n"
    ));
    assert!(fault_of("```sh\n$ kubectl get ibg\n```\n\n```text\nNAME\n```\n"));
    assert!(!fault_of(
        "```sh\nkubectl get ibg\n```\n\nExpected:\n\n```text\nNAME\n```\n"
    ));
    assert!(!fault_of("```sh\nossutil ls\n```\n\nNot run here.\n"));
    let wrong = command_line("KEY=a imm-operator plan --life grant.yaml | jq").unwrap();
    assert_eq!(wrong, ["imm-operator", "plan", "--life", "grant.yaml"]);
    assert!(Arguments::command().try_get_matches_from(wrong).is_err());
    assert_eq!(command_line("kubectl exec -- /imm-operator results"), None);
}
