//! What a grant is during a reconcile, before anything is read.

use serde_json::json;

use super::*;
use crate::api::EntryState;
use crate::core::grant::{entry_of, spec_with, work_of};

#[test]
fn a_grant_that_is_suspended_or_invalid_has_its_state_before_any_call() {
    let state = |deleting, change: serde_json::Value| {
        let mut fields = json!({"credentials": {"source": "Operator"}});
        fields
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let mut grant = GrantObject::bare("media", "a");
        grant.deleting = deleting;
        grant.spec = Ok(spec_with(&fields));
        GrantWork::of(grant, BTreeSet::new(), false).decided
    };
    let invalid = json!({"access": {"preset": "Custom"}});
    assert_eq!(state(false, json!({})), None);
    assert_eq!(
        state(false, json!({"suspend": true})),
        Some(GrantState::Suspended)
    );
    assert!(matches!(
        state(false, invalid.clone()),
        Some(GrantState::Invalid(_))
    ));
    assert_eq!(state(true, invalid), None, "a deletion needs no valid spec");
    assert_eq!(state(true, json!({"suspend": true})), None);
    let undecoded = GrantWork::of(GrantObject::bare("media", "a"), BTreeSet::new(), false);
    assert_eq!(undecoded.decided, Some(GrantState::Invalid(String::new())));
    assert!(undecoded.purpose().is_none());
}

#[test]
fn the_operator_looks_for_no_statement_that_it_has_not_written() {
    let mut grant = work_of("a", Some(EntryState::Applied)).grant;
    grant.status.owned = vec![
        entry_of("written", EntryState::Applied),
        entry_of("unproven", EntryState::Intended),
    ];
    grant.deleting = true;
    let unproven = BTreeSet::from(["unproven".to_owned()]);
    let ledger = |is_operator| {
        let work = GrantWork::of(grant.clone(), unproven.clone(), is_operator);
        assert!(!work.removes_nothing(is_operator));
        assert_eq!(work.input.disposition, Disposition::Removing(Removal::Delete));
        work.input.ledger.len()
    };
    assert_eq!((ledger(true), ledger(false)), (1, 2));
    grant.status.owned.remove(0);
    let removes_nothing = |grant: &GrantObject, is_operator| {
        GrantWork::of(grant.clone(), unproven.clone(), is_operator).removes_nothing(is_operator)
    };
    assert!(removes_nothing(&grant, true));
    assert!(
        !removes_nothing(&grant, false),
        "it also reports which access remains"
    );
    grant.status.owned.clear();
    assert!(removes_nothing(&grant, false) && removes_nothing(&grant, true));
    grant.deleting = false;
    assert!(!removes_nothing(&grant, true));
}

#[test]
fn only_a_deleted_grant_owns_nothing_and_only_once_its_stored_ledger_is_empty() {
    for (deleting, owned, expected) in [
        (true, None, true),
        (true, Some(EntryState::Intended), false),
        (false, None, false),
        (false, Some(EntryState::Applied), false),
    ] {
        let mut work = work_of("a", owned);
        work.grant.deleting = deleting;
        assert_eq!(work.owns_nothing(), expected, "{deleting} {owned:?}");
    }
}

#[test]
fn a_policy_was_written_for_a_grant_if_a_statement_was_added_or_removed_or_a_late_write_was_seen() {
    let changes: [fn(&mut GrantWork); 3] = [
        |work| work.added = 1,
        |work| work.removed = 1,
        |work| work.late_write_seen = true,
    ];
    assert!(!work_of("a", Some(EntryState::Applied)).was_written());
    for change in changes {
        let mut work = work_of("a", None);
        change(&mut work);
        assert!(work.was_written());
    }
}
