//! Single cases of the merge about ownership: what exists already, what is ours after a crash, and equal copies.

use imm_operator::api::{AdoptionPolicy, EntryState};
use imm_operator::core::grant::{Change, Desired, Disposition, GrantOutcome, OnDrift, Removal, plan};

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
        (left.change, left.outcomes[0].clone()),
        (Change::Keep, GrantOutcome::Released { residual: 1 })
    );
}

#[test]
fn adoption_fail_changes_nothing() {
    let found = format!(r#"{{"Version":"1","Statement":[{}]}}"#, access("1", &[]).text);
    let disposition = Disposition::Enforced(Desired {
        statements: vec![access("1", &[])],
        adoption: AdoptionPolicy::Fail,
        on_drift: OnDrift::Restore,
    });
    let seen = document(&found);
    let plan = plan(scene(Some(&seen)), &[member("a", disposition, vec![])]);
    assert_eq!(
        (plan.change, plan.outcomes[0].clone()),
        (Change::Keep, GrantOutcome::ExistingStatement)
    );
    assert!(plan.ledgers[0].is_empty());
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
        assert_eq!(plan.ledgers[0][0].pre_existing, !ours);
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
