//! Takes back what was stored for a write that was not sent, or that OSS has rejected. A user may edit the grant in the
//! meantime, so that its status cannot be stored with the version on which the write was planned. Nothing depends on
//! the result: an entry that stays claims nothing and expires.

use super::grant_set::{GrantSet, GrantWork};
use crate::api::{EntryState, GrantStatus, LedgerEntry};

/// How often a ledger is read and stored again.
const ATTEMPTS: usize = 3;

impl GrantSet<'_> {
    /// Restores the entries from before the write in the ledger as it is stored now.
    pub(super) async fn roll_back(&self, work: &GrantWork) {
        for _ in 0..ATTEMPTS {
            let mut fresh = match self.context.read_grant_again(&work.grant.key).await {
                Ok(Some(fresh)) => fresh,
                Ok(None) => return,
                Err(_) => continue,
            };
            let owned = rolled_back(&fresh.status.owned, &work.input.ledger);
            if fresh.uid != work.grant.uid || owned == fresh.status.owned {
                return;
            }
            let status = GrantStatus {
                owned,
                ..fresh.status.clone()
            };
            if self.store_status(&mut fresh, status).await {
                return;
            }
        }
        tracing::info!(grant = %work.grant.key, "failed to roll back ledger");
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::StatementRole;

    #[test]
    fn only_what_the_write_recorded_is_taken_back() {
        let entry = |fingerprint: &str, state| LedgerEntry {
            fingerprint: fingerprint.to_owned(),
            role: StatementRole::Access,
            state,
            pre_existing: false,
            statement: String::new(),
            copies: None,
            unsettled_until: None,
            identity: None,
            other: std::collections::BTreeMap::new(),
        };
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
}
