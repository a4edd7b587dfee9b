//! Properties over arbitrary documents and sets of grants. PROPTEST_CASES sets the number of cases of each property.

use imm_operator::core::grant::{Change, GrantInput, Removal, plan};
use imm_operator::core::policy::Document;
use proptest::prelude::*;

use super::build::*;

/// Returns white space that JSON allows.
fn blank() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["", " ", "\t", "\r\n", "\n\n ", "\r\n\t"])
}

/// Returns a text inside quotes: non-ASCII, escapes, brackets without meaning.
fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "",
        "a",
        "\u{e4}\u{4e2d}\u{1f600}",
        "\\u00e9\\ud83d\\ude00",
        "]}\\\"",
        "Statement",
        "\u{2028}\u{feff}",
    ])
}

/// Returns a foreign statement: odd numbers, duplicate members, deep nesting, non-ASCII text, escapes; or no object.
fn foreign() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#"{"Effect":"Allow","Effect":"Deny"}"#.to_owned()),
        Just(r#"{"n":1000000000000000000000,"m":1e400,"k":-0.0,"l":1000000000000000000}"#.to_owned()),
        Just("7".to_owned()),
        (1usize..60).prop_map(|depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth))),
        (1usize..30).prop_map(|depth| format!("{}1{}", "{\"a\":[".repeat(depth), "]}".repeat(depth))),
        (word(), word(), blank())
            .prop_map(|(name, text, ws)| format!("{{{ws}\"{name}\" :{ws}[\"{text}\",null]{ws}}}")),
        // Statements that mean the same as ours, spelled differently: they are foreign and stay.
        (0u8..3, blank()).prop_map(|(account, ws)| access(&account.to_string(), &[])
            .text
            .replace(',', &format!(",{ws}"))),
    ]
}

fn document_text() -> impl Strategy<Value = String> {
    let document = (
        proptest::collection::vec((foreign(), blank(), blank()), 1..5),
        blank(),
        0u8..4,
    );
    document.prop_map(|(items, ws, shape)| {
        let list: Vec<String> = items
            .into_iter()
            .map(|(item, a, b)| format!("{a}{item}{b}"))
            .collect();
        let statement = format!("\"Statement\"{ws}:{ws}[{}]", list.join(","));
        match shape {
            0 => format!("{ws}{{\"Version\":\"1\",{ws}{statement}}}{ws}"),
            1 => format!("{{{statement},\"Version\":{ws}\"1\"}}"),
            2 => format!("{{\"Version\":\"1\",\"Version\":\"1\",{statement}}}"),
            _ => format!("{{\"Id\":{{\"Statement\":[1]}},{statement}{ws}}}"),
        }
    })
}

fn found() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(document_text())
}

/// Returns a damaged document: a byte order mark, a second list of statements, a truncation, a stray byte.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (
        document_text(),
        0u8..5,
        any::<proptest::sample::Index>(),
        any::<u8>(),
    )
        .prop_map(|(text, damage, place, stray)| {
            let mut bytes = text.into_bytes();
            let at = place.index(bytes.len());
            match damage {
                0 => drop(bytes.splice(0..0, [0xef, 0xbb, 0xbf])),
                1 => drop(bytes.splice(1..1, b"\"Statement\":[],".iter().copied())),
                2 => bytes.truncate(at),
                3 => bytes[at] = stray,
                _ => drop(bytes.splice(at..at, vec![b'['; 1_000])),
            }
            bytes
        })
}

/// Returns the accounts and prefixes that the grants ask for.
fn grants() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    proptest::collection::vec((0u8..3, 0u8..3, any::<bool>()), 0..6)
}

fn members(specs: &[(u8, u8, bool)]) -> Vec<GrantInput> {
    let member = |(index, (account, prefix, role)): (usize, &(u8, u8, bool))| {
        let account = account.to_string();
        let prefix = format!("p{prefix}/");
        let prefixes: &[&str] = if prefix == "p0/" { &[] } else { &[&prefix] };
        let mut statements = vec![access(&account, prefixes)];
        if *role {
            statements.insert(0, pass_role(&account));
        }
        active(&format!("g{index}"), &statements)
    };
    specs.iter().enumerate().map(member).collect()
}

fn texts(document: Option<&Document>) -> Vec<String> {
    document
        .map(|d| d.statements().iter().map(|s| d.text_of(s).to_owned()).collect())
        .unwrap_or_default()
}

/// Checks that planning is idempotent, that foreign statements come first, unchanged and in order, and that removing all
/// grants restores the original document, byte for byte.
fn check_round_trip(found: Option<String>, mut grants: Vec<GrantInput>) -> Result<(), TestCaseError> {
    let with = apply_plans(found.as_deref(), &mut grants);
    let seen = with.as_deref().map(document);
    prop_assert_eq!(plan(scene(seen.as_ref()), &grants).change, Change::Keep);
    let (before, after) = (
        texts(found.as_deref().map(document).as_ref()),
        texts(seen.as_ref()),
    );
    prop_assert!(after.starts_with(&before));
    leave(&mut grants, Removal::Delete);
    // An empty list of statements is removed with the last of our statements.
    let kept = found.filter(|_| !before.is_empty() || grants.is_empty());
    prop_assert_eq!(apply_plans(with.as_deref(), &mut grants), kept);
    prop_assert!(grants.iter().all(|g| g.ledger.is_empty()));
    Ok(())
}

proptest! {
    #[test]
    fn planning_is_idempotent_keeps_foreign_bytes_and_is_undone_by_removal(found in found(), specs in grants()) {
        check_round_trip(found, members(&specs))?;
    }

    #[test]
    fn the_order_of_grants_does_not_matter(found in found(), specs in grants()) {
        let mut grants = members(&specs);
        let mut turned: Vec<_> = grants.iter().rev().cloned().collect();
        prop_assert_eq!(apply_plans(found.as_deref(), &mut grants), apply_plans(found.as_deref(), &mut turned));
        turned.reverse();
        prop_assert_eq!(grants, turned);
    }

    #[test]
    fn a_damaged_document_is_rejected_or_kept_like_any_other(bytes in damaged(), specs in grants()) {
        if let Ok(document) = Document::parse(&bytes) {
            prop_assert!(!bytes.starts_with(b"\xef\xbb\xbf"));
            prop_assert_eq!(document.text().as_bytes(), bytes.as_slice());
            check_round_trip(Some(document.text().to_owned()), members(&specs))?;
        }
    }
}
