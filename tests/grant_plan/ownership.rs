//! Single cases of the merge about ownership: what exists already, what is ours after a crash, and equal copies.

use imm_operator::api::{AdoptionPolicy, EntryState, LedgerEntry};
use imm_operator::core::grant::{
    Change, Desired, Disposition, GrantInput, GrantOutcome, OnDrift, PlanInput, Removal, plan,
};
use imm_operator::core::policy::fingerprint;

use super::build::*;

#[test]
fn a_pre_existing_statement_is_adopted_and_left() {
    let found = format!(r#"{{"Version":"1","Statement":[{}]}}"#, access("1", &[]).text);
    let mut grants = [active("a", &[access("1", &[])])];
    assert_eq!(
        apply_plans(Some(&found), &mut grants).as_deref(),
        Some(found.as_str())
    );
    assert!(grants[0].ledger[0].pre_existing);
    leave(&mut grants, Removal::Delete);
    let seen = document(&found);
    let left = plan(scene(Some(&seen)), &grants);
    assert_eq!(
        (left.change, left.grants[0].outcome.clone()),
        (Change::Keep, GrantOutcome::Released { residual: 1 })
    );
}

#[test]
fn a_grant_that_found_a_statement_of_ours_owns_it_when_its_owner_no_longer_wants_it() {
    let statement = access("1", &[]);
    let text = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text);
    let found = LedgerEntry {
        pre_existing: true,
        ..entry(&statement, EntryState::Applied)
    };
    let other = Disposition::Carried;
    for disposition in [wants(std::slice::from_ref(&statement)), other] {
        let owner = member(
            "a",
            wants(&[access("2", &[])]),
            vec![entry(&statement, EntryState::Applied)],
        );
        let mut grants = [owner, member("b", disposition, vec![found.clone()])];
        let with_both = apply_plans(Some(&text), &mut grants).unwrap();
        grants[1].disposition = Disposition::Removing(Removal::Delete);
        let left = apply_plans(Some(&with_both), &mut grants).unwrap();
        assert!(!left.contains(&statement.text), "{left}");
        assert!(left.contains(&access("2", &[]).text), "{left}");
    }
}

#[test]
fn what_this_identity_has_written_is_removed_although_a_sibling_had_found_it_there() {
    let statement = access("1", &[]);
    let text = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text);
    let seen = document(&text);
    let found = LedgerEntry {
        pre_existing: true,
        ..entry(&statement, EntryState::Applied)
    };
    // With an identity of several namespaces, the entry of another identity, or of none, can be forged.
    let cases = [
        (Some("own"), true, 1),
        (Some("another"), true, 0),
        (None, true, 0),
        (Some("another"), false, 1),
        (None, false, 1),
    ];
    for (digest, shared_identity, removed) in cases {
        let owned = LedgerEntry {
            identity: digest.map(ToOwned::to_owned),
            ..entry(&statement, EntryState::Applied)
        };
        let grants = [
            member("a", Disposition::Removing(Removal::Delete), vec![owned]),
            member("b", Disposition::Removing(Removal::Delete), vec![found.clone()]),
        ];
        let input = PlanInput {
            identity: Some("own"),
            shared_identity,
            ..scene(Some(&seen))
        };
        let plan = plan(input, &grants);
        assert_eq!(plan.removed(), removed, "{digest:?} {shared_identity}");
    }
}

#[test]
fn adoption_fail_changes_nothing_and_leaves_what_was_adopted_before() {
    let statement = access("1", &[]);
    let found = format!(
        r#"{{"Version":"1","Statement":[{}]}}"#,
        statement.text.replace(',', ", ")
    );
    let disposition = Disposition::Enforced(Desired {
        statements: vec![statement.clone()],
        adoption: AdoptionPolicy::Fail,
        on_drift: OnDrift::Restore,
    });
    let seen = document(&found);
    let adopted = LedgerEntry {
        pre_existing: true,
        ..entry(&statement, EntryState::Applied)
    };
    for (ledger, outcome) in [
        (vec![], GrantOutcome::ExistingStatement),
        (
            vec![entry(&statement, EntryState::Intended)],
            GrantOutcome::ExistingStatement,
        ),
        (vec![adopted], GrantOutcome::Applied),
    ] {
        let grant = member("a", disposition.clone(), ledger.clone());
        let plan = plan(scene(Some(&seen)), &[grant]);
        assert_eq!(
            (plan.change, plan.grants[0].outcome.clone()),
            (Change::Keep, outcome),
            "{ledger:?}"
        );
        assert_eq!(plan.grants[0].ledger, ledger);
    }
}

#[test]
fn only_an_applied_statement_counts_as_missing() {
    let statement = access("1", &[]);
    for (state, missing) in [
        (EntryState::Applied, 1),
        (EntryState::Missing, 0),
        (EntryState::Intended, 0),
    ] {
        let grant = member(
            "a",
            wants(std::slice::from_ref(&statement)),
            vec![entry(&statement, state)],
        );
        let planned = plan(scene(None), &[grant]).grants.remove(0);
        assert_eq!(
            (planned.outcome, planned.missing),
            (GrantOutcome::Writing, missing),
            "{state:?}"
        );
    }
}

#[test]
fn after_a_crash_an_intended_statement_is_ours_only_byte_by_byte() {
    let statement = access("1", &[]);
    for (live, ours) in [
        (statement.text.clone(), true),
        (statement.text.replace(',', ", "), false),
    ] {
        let text = format!(r#"{{"Version":"1","Statement":[{live}]}}"#);
        let grant = member(
            "a",
            wants(std::slice::from_ref(&statement)),
            vec![entry(&statement, EntryState::Intended)],
        );
        let seen = document(&text);
        let plan = plan(scene(Some(&seen)), &[grant]);
        assert_eq!(plan.change, Change::Keep);
        assert_eq!(plan.grants[0].ledger[0].pre_existing, !ours);
    }
}

/// Every member counts for the meaning of a statement, whatever its name: with one more, the statement is foreign, and
/// ours is written beside it.
#[test]
fn a_statement_with_a_further_member_is_another_statement() {
    let statement = access("1", &[]);
    for member_text in [
        r#""Condition":{"IpAddress":{"acs:SourceIp":["10.0.0.0/8"]}}"#,
        r#""Condition":{}"#,
        r#""NotPrincipal":["1"]"#,
        r#""NotAction":["oss:PutObject"]"#,
        r#""NotResource":["x"]"#,
        r#""Sid":"note""#,
    ] {
        let live = statement.text.replacen('{', &format!("{{{member_text},"), 1);
        assert_ne!(
            fingerprint(&live),
            Some(statement.fingerprint.clone()),
            "{member_text}"
        );
        let text = format!(r#"{{"Version":"1","Statement":[{live}]}}"#);
        let grant = member(
            "a",
            wants(std::slice::from_ref(&statement)),
            vec![entry(&statement, EntryState::Applied)],
        );
        let mut grants = [grant];
        let with = apply_plans(Some(&text), &mut grants).unwrap();
        assert_eq!(
            with,
            format!(r#"{{"Version":"1","Statement":[{live},{}]}}"#, statement.text)
        );
        leave(&mut grants, Removal::Delete);
        assert_eq!(apply_plans(Some(&with), &mut grants), Some(text), "{member_text}");
    }
}

#[test]
fn of_equal_copies_only_ours_is_removed() {
    let statement = access("1", &[]);
    let other = statement.text.replace(',', ", ");
    let text = format!(
        r#"{{"Version":"1","Statement":[{other},{},{other}]}}"#,
        statement.text
    );
    let grant = member(
        "a",
        Disposition::Removing(Removal::Delete),
        vec![entry(&statement, EntryState::Applied)],
    );
    let mut grants = [grant];
    let left = apply_plans(Some(&text), &mut grants).unwrap();
    assert_eq!(
        left,
        format!(r#"{{"Version":"1","Statement":[{other},{other}]}}"#)
    );
    assert!(grants[0].ledger.is_empty());
}

#[test]
fn an_intended_write_that_did_not_take_effect_owns_nothing() {
    let statement = access("1", &[]);
    let text = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text);
    let seen = document(&text);
    let mut grant = active("a", std::slice::from_ref(&statement));
    grant.ledger = vec![entry(&statement, EntryState::Intended)];
    let fingerprints = std::collections::BTreeSet::from([statement.fingerprint.clone()]);
    let owned = |grant: &GrantInput, explained| {
        let scene = PlanInput {
            explained_by_others: explained,
            ..scene(Some(&seen))
        };
        let plan = plan(scene, std::slice::from_ref(grant));
        assert_eq!(plan.change, Change::Keep);
        !plan.grants[0].ledger[0].pre_existing
    };
    assert!(owned(&grant, None), "the write took effect and was not answered");
    assert!(
        !owned(&grant, Some(&fingerprints)),
        "a grant of another identity wrote it"
    );
    grant.unproven.clone_from(&fingerprints);
    assert!(
        !owned(&grant, None),
        "OSS rejected the write, or it was never sent"
    );
}

#[test]
fn an_intended_write_of_a_carried_grant_holds_nothing_for_others() {
    let statement = access("1", &[]);
    let text = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statement.text);
    let owner = member(
        "owner",
        Disposition::Removing(Removal::Delete),
        vec![entry(&statement, EntryState::Applied)],
    );
    for (state, held) in [(EntryState::Intended, false), (EntryState::Applied, true)] {
        let carried = member("carried", Disposition::Carried, vec![entry(&statement, state)]);
        let seen = document(&text);
        let plan = plan(scene(Some(&seen)), &[owner.clone(), carried]);
        let expected = if held { Change::Keep } else { Change::Delete };
        assert_eq!(plan.change, expected, "{state:?}");
    }
}

#[test]
fn only_an_applied_entry_takes_the_identity_and_unknown_members_stay() {
    let (kept, gone, wanted) = (access("1", &["a/"]), access("1", &["b/"]), access("1", &["c/"]));
    let text = format!(r#"{{"Version":"1","Statement":[{},{}]}}"#, kept.text, gone.text);
    let seen = document(&text);
    let with_extra = |statement, state| {
        let mut entry = entry(statement, state);
        entry.identity = Some("earlier".to_owned());
        entry.other.insert("future".to_owned(), serde_json::json!([1]));
        entry
    };
    let grant = member(
        "a",
        wants(&[kept.clone(), wanted.clone()]),
        vec![
            with_extra(&kept, EntryState::Applied),
            with_extra(&gone, EntryState::Applied),
            with_extra(&wanted, EntryState::Applied),
        ],
    );
    let scene = PlanInput {
        identity: Some("reader"),
        ..scene(Some(&seen))
    };
    let plan = plan(scene, std::slice::from_ref(&grant));
    let entries: Vec<_> = plan.grants[0]
        .ledger
        .iter()
        .map(|e| (e.state, e.identity.as_deref(), e.other.len()))
        .collect();
    assert_eq!(
        entries,
        [
            (EntryState::Applied, Some("reader"), 1),
            (EntryState::Removing, Some("earlier"), 1),
            (EntryState::Intended, None, 1),
        ]
    );
    // What the API server stores is what was read.
    let stored = serde_json::to_value(&plan.grants[0].ledger[0]).unwrap();
    assert_eq!(stored["future"], serde_json::json!([1]));
    let read: imm_operator::api::LedgerEntry = serde_json::from_value(stored).unwrap();
    assert_eq!(read, plan.grants[0].ledger[0]);
}
