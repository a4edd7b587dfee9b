//! The ledger of a grant after a write: confirmed, or as it was before.

use k8s_openapi::jiff::Timestamp;

use super::GrantObject;
use super::work::GrantWork;
use crate::api::{EntryState, GrantStatus, LedgerEntry};
use crate::core::policy::Document;

/// How often a ledger is read and stored again.
pub const ROLL_BACKS: usize = 3;

/// Returns the status of a grant as it is stored now, without what was recorded for a write that was not sent or was
/// rejected; `None` if it has nothing of it.
pub fn rolled_back_status(work: &GrantWork, stored: &GrantObject) -> Option<GrantStatus> {
    let owned = rolled_back(&stored.status.owned, &work.input.ledger);
    if stored.uid != work.grant.uid || owned == stored.status.owned {
        return None;
    }
    Some(GrantStatus {
        owned,
        ..stored.status.clone()
    })
}

/// Returns `stored` with the entries from before the write in place of those that it recorded.
fn rolled_back(stored: &[LedgerEntry], before: &[LedgerEntry]) -> Vec<LedgerEntry> {
    let recorded = |e: &&LedgerEntry| matches!(e.state, EntryState::Intended | EntryState::Removing);
    let earlier = |e: &LedgerEntry| before.iter().find(|old| old.fingerprint == e.fingerprint);
    let entries = stored.iter().filter_map(|entry| {
        if recorded(&entry) {
            earlier(entry).cloned()
        } else {
            Some(entry.clone())
        }
    });
    entries.collect()
}

/// Confirms the entries of an answered write: its removals, and the intended statements that the written policy
/// contains byte for byte. Other intended entries stay as they are: they belong to an earlier write for another grant.
pub fn confirm_entries(
    ledger: &mut [LedgerEntry],
    earlier: &[LedgerEntry],
    document: Option<&Document>,
    now: Timestamp,
) {
    let written = |entry: &LedgerEntry| {
        let mut statements = document
            .into_iter()
            .flat_map(|d| d.statements().iter().map(|s| d.text_of(s)));
        statements.any(|text| text == entry.statement)
    };
    for entry in ledger {
        match entry.state {
            EntryState::Removing => {}
            EntryState::Intended if written(entry) => entry.state = EntryState::Applied,
            EntryState::Intended | EntryState::Applied | EntryState::Missing => continue,
        }
        let old = earlier.iter().find(|e| e.fingerprint == entry.fingerprint);
        entry.unsettled_until = old.and_then(|e| e.unsettled_until.clone()).filter(|t| t.0 > now);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::SignedDuration;

    use super::*;
    use crate::core::grant::{entry_of, work_of};

    #[test]
    fn a_ledger_without_the_write_or_of_another_object_stays() {
        let (before, intended) = (work_of("a", None), work_of("a", Some(EntryState::Intended)));
        let status = rolled_back_status(&before, &intended.grant).unwrap();
        assert!(status.owned.is_empty());
        assert_eq!(rolled_back_status(&before, &before.grant), None);
        let other = GrantObject {
            uid: "another".to_owned(),
            ..intended.grant
        };
        assert_eq!(rolled_back_status(&before, &other), None);
    }

    #[test]
    fn only_what_the_write_recorded_is_taken_back() {
        let entry = entry_of;
        let before = [
            entry("leaving", EntryState::Applied),
            entry("stored", EntryState::Intended),
            entry("kept", EntryState::Applied),
        ];
        let stored = [
            entry("leaving", EntryState::Removing),
            entry("new", EntryState::Intended),
            entry("stored", EntryState::Intended),
        ];
        assert_eq!(
            rolled_back(&stored, &before),
            [
                entry("leaving", EntryState::Applied),
                entry("stored", EntryState::Intended),
            ],
            "an entry that is no longer stored does not return"
        );
    }

    #[test]
    fn an_answered_write_confirms_its_statements_and_removals_and_nothing_else() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let entry = |statement: &str, state, seconds: i64| LedgerEntry {
            statement: statement.to_owned(),
            unsettled_until: Some(Time(now + SignedDuration::from_secs(seconds))),
            ..entry_of(statement, state)
        };
        let earlier = [
            entry(r#"{"not":"in it"}"#, EntryState::Intended, 100),
            entry(r#"{"once":"sent before"}"#, EntryState::Intended, 50),
            entry(r#"{"now":"removed"}"#, EntryState::Intended, 0),
        ];
        let mut ledger = vec![
            entry(r#"{"not":"in it"}"#, EntryState::Intended, 100),
            entry(r#"{"once":"sent before"}"#, EntryState::Intended, 360),
            entry(r#"{"now":"added"}"#, EntryState::Intended, 360),
            entry(r#"{"now":"removed"}"#, EntryState::Removing, 360),
        ];
        let text = r#"{"Statement":[{"once":"sent before"},{"now":"added"}]}"#;
        let document = Document::parse(text.as_bytes()).unwrap();
        confirm_entries(&mut ledger, &earlier, Some(&document), now);
        let view = |e: &LedgerEntry| {
            let left = e
                .unsettled_until
                .as_ref()
                .map(|t| t.0.duration_since(now).as_secs());
            (e.state, left)
        };
        assert_eq!(
            ledger.iter().map(view).collect::<Vec<_>>(),
            [
                (EntryState::Intended, Some(100)),
                (EntryState::Applied, Some(50)),
                (EntryState::Applied, None),
                (EntryState::Removing, None),
            ]
        );
    }
}
