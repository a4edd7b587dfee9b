//! The change that a grant in preview shows.

use imm_operator::api::{AdoptionPolicy, EntryState};
use imm_operator::core::grant::{Desired, OnDrift, planned_change_alone};

use super::build::*;

#[test]
fn a_preview_shows_what_is_added_and_removed_and_not_what_is_there() {
    let (there, missing, former) = (access("1", &["a/"]), access("1", &["b/"]), access("1", &["c/"]));
    let seen = document(&format!(
        r#"{{"Version":"1","Statement":[{},{}]}}"#,
        there.text, former.text
    ));
    let wanted = Desired {
        statements: vec![there.clone(), missing.clone()],
        adoption: AdoptionPolicy::Adopt,
        on_drift: OnDrift::Report,
    };
    let result = format!(
        r#"{{"Version":"1","Statement":[{},{}]}}"#,
        there.text, missing.text
    );
    // What another writer removed is shown as added as well, although it would be reported only.
    for owned in [vec![&former], vec![&former, &missing]] {
        let ledger = owned.into_iter().map(|s| entry(s, EntryState::Applied));
        let change = planned_change_alone(Some(&seen), &wanted, ledger.collect(), now()).unwrap();
        assert_eq!(change.add, std::slice::from_ref(&missing.text));
        assert_eq!(change.remove, std::slice::from_ref(&former.text));
        assert_eq!(usize::try_from(change.resulting_bytes).unwrap(), result.len());
    }
}
