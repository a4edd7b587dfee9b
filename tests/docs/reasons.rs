//! Troubleshooting has an entry for every reason of a condition or an event: a section, or a row in the tables of those
//! that need no action.

use std::collections::BTreeSet;

use imm_operator::api::{EventReason, GrantReason, JobReason};

use super::read;

const PAGE: &str = "docs/src/troubleshoot/reasons.md";

fn reasons() -> BTreeSet<&'static str> {
    let grants = GrantReason::ALL.iter().map(|reason| reason.as_str());
    grants
        .chain(JobReason::ALL.iter().map(|reason| reason.as_str()))
        .chain(EventReason::ALL.iter().map(|reason| reason.as_str()))
        .collect()
}

#[test]
fn every_reason_has_an_entry() {
    let page = read(PAGE);
    let (sections, tables) = page.split_once("## Events that need no action").unwrap();
    let sections: BTreeSet<&str> = sections
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let rows: BTreeSet<&str> = tables
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let reasons = reasons();
    assert!(reasons.len() > 75, "only {} reasons", reasons.len());
    for reason in &reasons {
        assert!(
            sections.contains(reason) || rows.contains(reason),
            "{PAGE} has no entry for {reason}"
        );
    }
    for row in rows {
        assert!(
            reasons.contains(row) && !sections.contains(row),
            "{row} is no such reason"
        );
    }
}

#[test]
fn every_section_says_meaning_check_and_fix() {
    let page = read(PAGE);
    let mut checked = 0;
    for section in page.split("\n### ").skip(1) {
        checked += 1;
        for part in ["- **Meaning:**", "- **Check:**", "- **Fix:**"] {
            let title = section.lines().next().unwrap();
            assert!(section.contains(part), "{title} has no {part}");
        }
    }
    assert!(checked > 60, "only {checked} sections");
}

/// The message of a stalled condition ends with the address of its section.
#[test]
fn the_anchor_in_messages_is_that_of_a_section() {
    let source = read("src/core/condition_builder.rs");
    assert!(
        source.contains(&format!("({PAGE}#{{anchor}})")),
        "messages name another page"
    );
}
