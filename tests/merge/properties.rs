//! Properties over arbitrary documents and sets of grants. PROPTEST_CASES raises the number of cases.

use imm_operator::core::grant::{Change, Leave, plan};
use imm_operator::core::policy::Document;
use proptest::prelude::*;

use super::build::*;

/// White space as JSON allows it.
fn blank() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A foreign statement: odd numbers, duplicate members, nesting, non-ASCII text, escapes; or no object at all.
fn foreign() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#"{"Effect":"Allow","Effect":"Deny"}"#.to_owned()),
        Just(r#"{"n":1000000000000000000000,"m":1e400,"k":-0.0}"#.to_owned()),
        Just("7".to_owned()),
        (1usize..200).prop_map(|depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth))),
        ("[a-z\u{e4}\u{4e2d}]{0,6}", blank())
            .prop_map(|(text, ws)| format!("{{{ws}\"\\u00e9{text}\" :{ws}[\"]}}\\\"\",null]{ws}}}")),
        // Statements equal to ours, spelled otherwise: somebody else's, to be left alone.
        (0u8..3, blank()).prop_map(|(account, ws)| access(&account.to_string(), &[])
            .text
            .replace(',', &format!(",{ws}"))),
    ]
}

fn found() -> impl Strategy<Value = Option<String>> {
    let document = (
        proptest::collection::vec((foreign(), blank(), blank()), 1..5),
        blank(),
        any::<bool>(),
    );
    let document = document.prop_map(|(items, ws, version_first)| {
        let list: Vec<String> = items
            .into_iter()
            .map(|(item, a, b)| format!("{a}{item}{b}"))
            .collect();
        let statement = format!("\"Statement\"{ws}:{ws}[{}]", list.join(","));
        if version_first {
            format!("{ws}{{\"Version\":\"1\",{ws}{statement}}}{ws}")
        } else {
            format!("{{{statement},\"Version\":{ws}\"1\"}}")
        }
    });
    proptest::option::of(document)
}

/// Which accounts and prefixes the grants want.
fn grants() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    proptest::collection::vec((0u8..3, 0u8..3, any::<bool>()), 0..6)
}

fn members(wishes: &[(u8, u8, bool)]) -> Vec<imm_operator::core::grant::Member> {
    let wish = |(index, (account, prefix, role)): (usize, &(u8, u8, bool))| {
        let account = account.to_string();
        let prefix = format!("p{prefix}/");
        let prefixes: &[&str] = if prefix == "p0/" { &[] } else { &[&prefix] };
        let mut statements = vec![access(&account, prefixes)];
        if *role {
            statements.insert(0, pass_role(&account));
        }
        active(&format!("g{index}"), &statements)
    };
    wishes.iter().enumerate().map(wish).collect()
}

fn texts(document: Option<&Document>) -> Vec<String> {
    document
        .map(|d| d.statements().iter().map(|s| d.text_of(s).to_owned()).collect())
        .unwrap_or_default()
}

proptest! {
    #[test]
    fn planning_twice_equals_once_foreign_bytes_stay_and_removal_undoes(found in found(), wishes in grants()) {
        let mut grants = members(&wishes);
        let with = carry_out(found.as_deref(), &mut grants);
        let seen = with.as_deref().map(document);
        prop_assert_eq!(plan(scene(seen.as_ref()), &grants).change, Change::Keep);
        let (before, after) = (texts(found.as_deref().map(document).as_ref()), texts(seen.as_ref()));
        prop_assert!(after.starts_with(&before), "foreign statements come first, unchanged and in order");
        leave(&mut grants, Leave::Remove);
        prop_assert_eq!(carry_out(with.as_deref(), &mut grants), found);
        prop_assert!(grants.iter().all(|g| g.ledger.is_empty()));
    }

    #[test]
    fn the_order_of_grants_does_not_matter(found in found(), wishes in grants()) {
        let mut grants = members(&wishes);
        let mut turned: Vec<_> = grants.iter().rev().cloned().collect();
        prop_assert_eq!(carry_out(found.as_deref(), &mut grants), carry_out(found.as_deref(), &mut turned));
    }
}
